"""Train a linear model with PyTorch on several processes, and continue after a crash on any number of them.

torchrun --nproc-per-node 2 examples/train_with_torch.py DATASET checkpoint.pt

The columns are ``x`` (lists of 8 floats) and ``y``. Without torchrun it trains in one process. The checkpoint holds the
loader's state. With another number of processes the same global batches follow.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from millrace import connect

EPOCHS = 2
STEPS_BETWEEN_CHECKPOINTS = 5
OPTIONS: dict[str, Any] = {"global_batch_rows": 640, "format": "torch", "columns": ["x", "y"]}


def main(dataset: str, checkpoint: Path) -> None:
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    os.environ.update({name: value for name, value in alone.items() if name not in os.environ})
    dist.init_process_group("gloo")
    torch.manual_seed(7)
    tell({"rank": dist.get_rank(), "pid": os.getpid()})
    saved = torch.load(checkpoint) if checkpoint.exists() else None
    with connect() as store:
        if saved:  # the version, the seed and the order are in the state; rank and world size are those of torchrun
            loader = store.resume(saved["loader"], **OPTIONS)
        else:
            loader = store.dataset(dataset).training(seed=7, lanes=8, **OPTIONS)
        with loader:
            train(loader, checkpoint, saved)
    dist.destroy_process_group()


def train(loader: Any, checkpoint: Path, saved: dict[str, Any] | None) -> None:
    model = DistributedDataParallel(nn.Linear(8, 1).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step = 0
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
    while loader.epoch < EPOCHS:
        for batch in loader:
            loss = nn.functional.mse_loss(model(batch["x"].double())[:, 0], batch["y"].double())
            optimizer.zero_grad()
            loss.backward()  # averages the gradients of all ranks
            optimizer.step()
            step += 1
            show(step, batch, loss.detach())
            if step % STEPS_BETWEEN_CHECKPOINTS == 0 and dist.get_rank() == 0:
                parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                save(checkpoint, {"step": step, "loader": loader.state_dict(), **parts})


def show(step: int, batch: dict[str, torch.Tensor], loss: torch.Tensor) -> None:
    """Print the loss of the global batch, and a hash of its bytes: the ranks' rows, one rank after another."""
    dist.all_reduce(loss)
    digest = hashlib.sha256()
    for name in sorted(batch):
        parts = [torch.empty_like(batch[name]) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, batch[name].contiguous())
        for part in parts:
            digest.update(part.numpy().tobytes())
    if dist.get_rank() == 0:
        mean = float(loss) / dist.get_world_size()
        tell({"step": step, "loss": mean, "batch": digest.hexdigest()[:16]})


def tell(facts: dict[str, Any]) -> None:
    """Print a line in one piece, because all ranks write to one output."""
    print(json.dumps(facts) + "\n", end="", flush=True)


def save(checkpoint: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint so that a crash leaves the old or the new one."""
    handle, name = tempfile.mkstemp(dir=checkpoint.parent)
    with os.fdopen(handle, "wb") as file:
        torch.save(state, file)
    Path(name).replace(checkpoint)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
