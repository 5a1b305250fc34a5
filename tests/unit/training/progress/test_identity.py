from __future__ import annotations

import pytest

from millrace.errors import UsageError
from millrace.progress import is_counted
from millrace.training.progress import TrainingFacts
from millrace.training.progress.identity import identity_of_rank


def ranks(world_size: int) -> list[TrainingFacts]:
    return [TrainingFacts("flights", rank=rank, world_size=world_size) for rank in range(world_size)]


def test_all_ranks_of_a_job_are_one_run_with_an_instance_for_each_rank() -> None:
    identities = [identity_of_rank(facts, "nightly-7", {}) for facts in ranks(4)]
    assert [each.subject for each in identities] == [f"python/nightly-7/train/{rank}" for rank in range(4)]
    assert {each.origin for each in identities} == {"python"}


def test_the_run_id_of_torchrun_is_used_unless_one_is_given() -> None:
    environment = {"TORCHELASTIC_RUN_ID": "job-3"}
    assert identity_of_rank(ranks(2)[1], None, environment).run_id == "job-3"
    assert identity_of_rank(ranks(2)[1], "mine", environment).run_id == "mine"


@pytest.mark.parametrize("environment", [{}, {"TORCHELASTIC_RUN_ID": "none"}, {"TORCHELASTIC_RUN_ID": ""}])
def test_several_ranks_without_a_run_id_in_common_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="the 2 ranks of this job have no run id in common") as refused:
        identity_of_rank(ranks(2)[0], None, environment)
    assert "run_id=" in str(refused.value.hint)


def test_a_single_process_gets_a_new_run_each_time() -> None:
    first, second = (identity_of_rank(ranks(1)[0], None, {}) for _ in range(2))
    assert first.run_id != second.run_id
    assert first.run_id.startswith("flights-")
    assert (first.map_index, first.attempt) == (0, 1)


def test_an_attempt_of_a_given_run_is_later_than_all_before() -> None:
    attempt = identity_of_rank(ranks(1)[0], "nightly-7", {}).attempt
    assert not is_counted(attempt)
