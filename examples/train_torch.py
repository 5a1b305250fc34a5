"""Train a small network with embeddings on a prepared dataset, on any number of processes, with live curves.

torchrun --standalone --nproc-per-node 2 examples/train_torch.py late_arrivals

The features and the target come as matrices. Each category has an embedding of its own; numbers are standardised by the
recipe. All ranks evaluate their share of ``val`` and ``test``. Without torchrun it trains in one process. The last line
of the output is JSON with the AUC of the network and that of the rate by carrier and hour.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from late_arrivals import Baseline, Encoder, matrices_of
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from millrace import connect
from millrace.dataset import Recipe, recipe_of
from millrace.training import TrainingProgress

EPOCHS = 3
BATCH_ROWS = 2048
EMBEDDING = 8
HIDDEN = 64
ONCE: dict[str, Any] = {"shuffle": "none", "tail": "uneven"}
"""Each row once: in stored order, and the last batch is as long as it is."""

Batch = Mapping[str, Any]


class Network(nn.Module):
    """Embeddings of the codes beside the standardised numbers, and one hidden layer."""

    def __init__(self, recipe: Recipe, matrices: Mapping[str, list[str]]) -> None:
        super().__init__()
        self.matrices, self.categories = matrices, recipe.categories
        numbers = [name for names in matrices.values() for name in names if name not in recipe.categories]
        figures = [recipe.statistics[name] for name in numbers]
        self.register_buffer("means", torch.tensor([float(each["mean"] or 0) for each in figures]))
        self.register_buffer("stds", torch.tensor([float(each["std"] or 0) or 1.0 for each in figures]))
        self.embeddings = nn.ModuleDict(
            {name: nn.Embedding(len(values) + 1, EMBEDDING) for name, values in recipe.categories.items()}
        )
        width = len(numbers) + EMBEDDING * len(recipe.categories)
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the logit of each row."""
        numbers, embedded = [], []
        for key, names in self.matrices.items():
            for place, name in enumerate(names):
                values = batch[key][:, place]
                if name in self.categories:
                    embedded.append(self.embeddings[name](values.long()))
                else:
                    numbers.append(values.float())
        standardised = torch.nan_to_num((torch.stack(numbers, 1) - self.means) / self.stds)
        result: torch.Tensor = self.layers(torch.cat([standardised, *embedded], 1))[:, 0]
        return result


def main(reference: str) -> None:
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    os.environ.update({name: value for name, value in alone.items() if name not in os.environ})
    dist.init_process_group("gloo")
    torch.manual_seed(7)
    with connect() as store:
        dataset = store.dataset(reference)
        recipe = recipe_of(dataset.schema)
        if recipe is None:
            raise SystemExit(f"{dataset.version.reference} was not prepared as training data")
        matrices = matrices_of(dataset.schema, recipe)
        network = DistributedDataParallel(Network(recipe, matrices))
        train(dataset, network)
        auc, *_ = evaluate(dataset, network, "test")
        if dist.get_rank() == 0:
            baseline = baseline_auc(dataset, recipe, matrices)
            facts = {"ranks": dist.get_world_size(), "test_auc": auc, "baseline_test_auc": baseline}
            print(json.dumps(facts), flush=True)
        dist.barrier()
    dist.destroy_process_group()


def train(dataset: Any, network: nn.Module) -> None:
    """Train on all ranks, and report the loss of each step and the AUC on ``val`` of each epoch."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    options: dict[str, Any] = {"global_batch_rows": BATCH_ROWS, "seed": 7, "format": "torch"}
    with dataset.training(split="train", **options) as loader, TrainingProgress(loader, epochs=EPOCHS) as progress:
        for _ in range(EPOCHS):
            for batch in loader:
                loss = nn.functional.binary_cross_entropy_with_logits(network(batch), batch["target"].float())
                optimizer.zero_grad()
                loss.backward()  # averages the gradients of all ranks
                optimizer.step()
                progress.report(loss=float(loss.detach()))
            progress.report(val_auc=evaluate(dataset, network, "val")[0])


def evaluate(dataset: Any, network: nn.Module, split: str) -> tuple[float, int]:
    """Return the AUC over the rows of all ranks, and their number; every rank returns the same."""
    scores, targets = [], []
    with torch.no_grad(), dataset.training(split=split, global_batch_rows=BATCH_ROWS, format="torch", **ONCE) as loader:
        for batch in loader:
            # The module itself: the last batches of the ranks differ in number, and the wrapper would wait for all.
            scores.append(network.module(batch).numpy())
            targets.append(batch["target"].numpy())
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, [np.concatenate(each) if each else np.zeros(0) for each in (scores, targets)])
    score, target = (np.concatenate([part[i] for part in parts]) for i in range(2))
    return float(roc_auc_score(target.astype(bool), score)), len(target)


def baseline_auc(dataset: Any, recipe: Recipe, matrices: Mapping[str, list[str]]) -> float:
    """Return the AUC on ``test`` of the rate of the training rows with the same carrier and hour."""
    baseline, scores, targets = Baseline(Encoder.of(recipe)), [], []
    for split in ("train", "test"):
        with dataset.training(split=split, global_batch_rows=BATCH_ROWS, rank=0, world_size=1, **ONCE) as loader:
            for batch in loader:
                columns = {name: batch[key][:, i] for key, names in matrices.items() for i, name in enumerate(names)}
                if split == "train":
                    baseline.add(columns, batch["target"])
                else:
                    scores.append(baseline.probabilities(columns))
                    targets.append(batch["target"])
    return float(roc_auc_score(np.concatenate(targets), np.concatenate(scores)))


if __name__ == "__main__":
    main(sys.argv[1])
