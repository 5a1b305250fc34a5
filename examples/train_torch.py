"""Train with PyTorch on one process or several: ``torchrun --nproc-per-node 2 examples/train_torch.py``."""

from __future__ import annotations

import torch

from millrace import connect

FEATURES = ["distance", "hour", "month"]

torch.manual_seed(7)
model = torch.nn.Linear(len(FEATURES), 1)
if torch.distributed.is_torchelastic_launched():
    torch.distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

with connect() as store:
    # RANK and WORLD_SIZE of torchrun are used: every rank gets its share of the same global batches.
    loader = store.dataset("flights").training(
        global_batch_rows=4096,
        seed=7,
        format="torch",
        columns=[*FEATURES, "arr_delay"],
        nulls={"arr_delay": 0},
        normalize={"distance": (1040.0, 733.0), "hour": (13.2, 4.7), "month": (6.5, 3.4)},
    )
    with loader:
        for batch in loader:
            rows = torch.stack([batch[name] for name in FEATURES], dim=1)
            loss = torch.nn.functional.huber_loss(model(rows).squeeze(1), batch["arr_delay"].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        state = loader.state_dict()  # equal on all ranks; save it beside the model
    print(f"rank {loader.rank} of {loader.world_size}: loss {loss.item():.2f}, next epoch {state['epoch']}")
