"""Run by the tests of torch in a process that has it: what a DataLoader delivers, as JSON.

python -m tests.integration.training.torch_runs DATASET
"""

from __future__ import annotations

import hashlib
import itertools
import json
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch.utils.data import DataLoader, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from millrace import connect
from millrace.api import Store
from millrace.errors import UsageError
from millrace.training import mix

OPTIONS: dict[str, Any] = {"global_batch_rows": 640, "seed": 7, "format": "torch", "window_chunks": 2, "lanes": 8}
WORKERS = (0, 1, 2)


def digests(batches: Iterable[Any]) -> list[str]:
    """Return a hash of each batch."""
    return [
        hashlib.sha256(b"".join(batch[name].numpy().tobytes() for name in sorted(batch))).hexdigest()[:12]
        for batch in batches
    ]


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


def data_loaders(loader: Any) -> dict[str, Any]:
    """Return the batches of two epochs with each number of workers, and the refusals of a loader with workers."""
    results: dict[str, Any] = {"loader": [digests(loader) for _ in range(2)]}
    for workers, start in itertools.product(WORKERS, ("fork", "spawn")):
        loader.set_epoch(0)
        batches = DataLoader(
            loader, batch_size=None, num_workers=workers, multiprocessing_context=start if workers else None
        )
        first = digests(batches)
        if workers:
            results["state_dict"] = refusal(loader.state_dict)
            results["second epoch"] = refusal(lambda batches=batches: digests(batches))
            results["state_at"] = loader.state_at(len(first))
        loader.set_epoch(1)
        results[f"{workers} {start}"] = [first, digests(batches)]
    loader.set_epoch(0)
    lasting = DataLoader(loader, batch_size=None, num_workers=2, persistent_workers=True)
    results["persistent"] = [digests(lasting)]
    loader.set_epoch(1)
    results["persistent"].append(digests(lasting))
    return results


def resumed(make_loader: Callable[[], Any]) -> dict[str, list[str]]:
    """Return the batches of StatefulDataLoaders that were stopped and restored, by workers and batches before."""
    results = {}
    for workers, before in itertools.product(WORKERS, (0, 1, 2, 5)):
        batches = StatefulDataLoader(make_loader(), batch_size=None, num_workers=workers)
        iterator = iter(batches)
        delivered = digests(itertools.islice(iterator, before))
        state = pickle.dumps(batches.state_dict())
        del iterator
        again = StatefulDataLoader(make_loader(), batch_size=None, num_workers=workers)
        again.load_state_dict(pickle.loads(state))
        results[f"{workers} after {before}"] = delivered + digests(again)
    return results


def mixed(store: Store, dataset: str) -> dict[str, Any]:
    """Return the batches of a mixture without workers and with two."""

    def mixture() -> Any:
        return mix({store.dataset(dataset).training(**OPTIONS | {"seed": seed}): 1.0 + seed for seed in (0, 1)})

    return {
        str(workers): digests(DataLoader(mixture(), batch_size=None, num_workers=workers)) for workers in (0, 2)
    } | {"loader": digests(mixture())}


class Wrapped(IterableDataset):  # type: ignore[misc]
    """A dataset of a user, over a loader of NumPy."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Any:
        return iter(self._loader)


def numpy_items(store: Store, dataset: str) -> dict[str, Any]:
    """Return what a DataLoader makes of a loader and a mixture of NumPy, alone and within a dataset of the user."""

    def loader(seed: int = 1) -> Any:
        return store.dataset(dataset).training(**OPTIONS | {"format": "numpy", "seed": seed})

    results: dict[str, Any] = {}
    for name, make in (("loader", loader), ("mixture", lambda: mix({loader(): 2, loader(2): 1}))):
        rows = [batch["y"].tolist() for batch in make()]
        for workers in WORKERS:
            alone = DataLoader(make(), batch_size=None, num_workers=workers)
            results[f"{name} {workers}"] = refusal(lambda batches=alone: list(batches))
            wrapped = DataLoader(Wrapped(make()), batch_size=None, num_workers=workers)
            if workers < 2:
                results[f"wrapped {name} {workers}"] = [batch["y"].tolist() for batch in wrapped] == rows
            else:
                results[f"wrapped {name} {workers}"] = refusal(lambda batches=wrapped: list(batches))
    return results


def main(dataset: str) -> None:
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    with connect() as store:

        def make_loader() -> Any:
            return store.dataset(dataset).training(**OPTIONS)

        print(
            json.dumps(
                {
                    "workers": data_loaders(make_loader()),
                    "resumed": resumed(make_loader),
                    "mixed": mixed(store, dataset),
                    "numpy": numpy_items(store, dataset),
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1])
