"""``examples/train_torch.py`` on one and two processes, over the real services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from local_stack.settings import CHECKOUT, PYTHON_PATH
from local_stack.stack import Stack
from millrace import progress
from millrace.api import Store
from millrace.settings import KafkaSettings, Settings, load_settings
from tests.integration.progress.conftest import Records
from tests.integration.training.prepared import load_prepared
from tests.package_folder import package_folder

pytestmark = [pytest.mark.torch, pytest.mark.full]

RUN_S = 300


@pytest.fixture(scope="module")
def torch_path() -> str:
    try:
        return f"{PYTHON_PATH}:{package_folder('torch', timeout_s=3000)}"
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the wheel of torch cannot be installed: {error}")


@pytest.fixture
def kafka(services: Callable[..., Stack]) -> Iterator[KafkaSettings]:
    """Return settings with a new topic, which is deleted afterwards."""
    services("kafka")
    settings = load_settings().kafka.model_copy(update={"topic": f"test-{uuid4().hex[:12]}"})
    assert progress.create_topic(settings)
    yield settings
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.delete_topics([settings.topic], request_timeout=10)[settings.topic].result(timeout=15)


@pytest.fixture(scope="module")
def data(store: Store) -> str:
    return load_prepared(store)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_network_beats_the_baseline_with_live_curves(
    processes: int, data: str, settings: Settings, kafka: KafkaSettings, torch_path: str
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": torch_path,
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
        "MILLRACE_KAFKA__TOPIC": kafka.topic,
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*torchrun, str(CHECKOUT / "examples" / "train_torch.py"), data],
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ranks"] == processes
    assert result["test_auc"] > result["baseline_test_auc"] + 0.02
    events: list[dict[str, Any]] = [event for _, _, event in Records(kafka)()]
    curves = {event["source"]: event["data"]["series"] for event in events if event["source"].endswith("/curves")}
    assert len(curves) == processes
    for series in curves.values():
        assert len(series["val_auc"]) == 3
        assert series["loss"][0][1] > series["loss"][-1][1]
    assert {event["data"]["kind"] for event in events if "kind" in event["data"]} == {"train"}
