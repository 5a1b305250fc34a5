"""Rank, world size and name of a job from the environment of its launcher."""

from __future__ import annotations

import pytest

from millrace.errors import UsageError
from millrace.training.ranks import job_name, rank_and_world_size


def test_given_numbers_are_used_and_others_come_from_the_environment() -> None:
    environment = {"RANK": "3", "WORLD_SIZE": "4"}
    assert rank_and_world_size(None, None, environment) == (3, 4)
    assert rank_and_world_size(0, None, environment) == (0, 4)
    assert rank_and_world_size(0, 1, environment) == (0, 1)
    assert rank_and_world_size(None, None, {}) == (0, 1)
    assert rank_and_world_size(None, None, {"RANK": "", "WORLD_SIZE": ""}) == (0, 1)


def test_a_variable_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="WORLD_SIZE='two' is not a number"):
        rank_and_world_size(None, None, {"WORLD_SIZE": "two"})


def test_the_processes_of_a_job_share_its_name() -> None:
    assert job_name({"TORCHELASTIC_RUN_ID": "run-7", "MASTER_PORT": "1"}) == "run-7"
    assert job_name({"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}) == "a:29500"
    assert job_name({}) != job_name({})
