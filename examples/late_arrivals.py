"""Train a linear model on a prepared dataset by scikit-learn, and score rows from the stored model alone.

``train`` is the training function of the declared dataset ``late_arrivals``. It reads shuffled batches of the split
``train`` and keeps the epoch with the best AUC on ``val``. The baseline is the rate of the training rows with the same
carrier and hour. ``train`` needs scikit-learn, which is in the extra ``prepare``; ``score`` needs NumPy alone::

    with connect() as store:
        files = store.model_files("late_arrivals_model@best")
    probabilities = score(files, rows)  # rows: an Arrow table with the columns of the query
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.dataset import Recipe
from millrace.errors import UsageError
from millrace.training.models import RECIPE_FILE, TrainedModel, TrainingJob, pack_arrays, unpack_arrays

EPOCHS = 4
BATCH_ROWS = 2048
STEPS = 32
"""The steps of a number; with at most 31 hours or months, each has a step of its own."""
BASELINE = ("carrier", "hour")
CELL_ROWS_MIN = 20
"""A cell of the baseline with fewer rows has the rate of all rows."""
BINS = 10
WEIGHTS_FILE, CALIBRATION_FILE = "weights.npz", "calibration.json"

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Array]
Encoded = tuple[list[Array], list[Array]]


@dataclass(frozen=True)
class Encoder:
    """Turn the columns of rows into the weights that each row uses.

    A category has a weight for each code. A number has a weight for its standardised value, and one for each of
    ``STEPS`` equal steps from its least to its largest value, because months and hours are not linear. The step of a
    value is ``(value - low) * scale``; that of a code is the code. All arrays have an item for each feature.
    """

    names: tuple[str, ...]
    is_number: Array
    lows: Array
    scales: Array
    sizes: Array
    means: Array
    stds: Array

    @classmethod
    def of(cls, recipe: Recipe) -> Encoder:
        """Return the encoder by the figures of the recipe, which are those of the split ``train``."""
        facts = [_facts(recipe, name) for name in recipe.features]
        return cls(recipe.features, *(np.array(values) for values in zip(*facts, strict=True)))

    def step(self, feature: int, columns: Columns) -> Array:
        """Return the step of each value of a feature; the one of a value outside is the nearest one."""
        values = columns[self.names[feature]].astype(np.float64)
        steps = (np.nan_to_num(values, nan=self.means[feature]) - self.lows[feature]) * self.scales[feature]
        return np.clip(steps, 0, self.sizes[feature] - 1).astype(np.int64)

    def standardised(self, columns: Columns) -> list[Array]:
        """Return the values of each number; one that is missing is the mean."""
        values = [
            (columns[self.names[feature]].astype(np.float64) - self.means[feature]) / self.stds[feature]
            for feature in np.flatnonzero(self.is_number)
        ]
        return [np.nan_to_num(each, nan=0.0) for each in values]

    def positions(self, columns: Columns) -> list[Array]:
        """Return the position of the weight of each step, feature after feature, behind those of the numbers."""
        firsts = int(self.is_number.sum()) + np.cumsum(self.sizes) - self.sizes
        return [firsts[feature] + self.step(feature, columns) for feature in range(len(self.names))]

    def encoded(self, columns: Columns) -> Encoded:
        """Return the standardised numbers of the rows, and the positions of their weights."""
        return self.standardised(columns), self.positions(columns)

    def matrix(self, encoded: Encoded) -> Any:
        """Return encoded rows as a sparse matrix."""
        from scipy.sparse import csr_matrix

        values, positions = encoded
        rows, width = len(positions[0]), len(values) + len(positions)
        places = [np.full(rows, place) for place in range(len(values))] + positions
        values = values + [np.ones(rows)] * len(positions)
        shape = (rows, int(self.is_number.sum() + self.sizes.sum()))
        ends = np.arange(0, rows * width + 1, width)
        return csr_matrix((np.stack(values, 1).ravel(), np.stack(places, 1).ravel(), ends), shape)

    def probabilities(self, weights: Array, columns: Columns) -> Array:
        """Return the probability of each row; equal rows have equal bits in any batch."""
        return probabilities(weights, self.encoded(columns))


def probabilities(weights: Array, encoded: Encoded) -> Array:
    """Return the probability of encoded rows. The last weight is for all of them."""
    values, positions = encoded
    total = np.full(len(positions[0]), weights[-1])
    for weight, numbers in zip(weights, values, strict=False):
        total += weight * numbers
    for places in positions:
        total += weights[places]
    return 0.5 + 0.5 * np.tanh(0.5 * total)


def _facts(recipe: Recipe, name: str) -> tuple[bool, float, float, int, float, float]:
    if name in recipe.categories:  # the code 0 is that of a value that was not seen
        return False, 0.0, 1.0, len(recipe.categories[name]) + 1, 0.0, 1.0
    figures = recipe.statistics[name]
    low, high = float(figures["min"] or 0), float(figures["max"] or 0)
    scale = STEPS / (high - low) if high > low else 0.0
    return True, low, scale, STEPS, float(figures["mean"] or 0), float(figures["std"] or 0) or 1.0


class Baseline:
    """The rate of the training rows with the same carrier and hour."""

    def __init__(self, encoder: Encoder) -> None:
        if missing := [name for name in BASELINE if name not in encoder.names]:
            raise UsageError(
                f"the baseline needs the feature {missing[0]!r}, and the dataset does not have it",
                hint=f"add {missing[0]} to the query and to the features, or train by a function of your own",
            )
        self._encoder = encoder
        self._features = [encoder.names.index(name) for name in BASELINE]
        shape = [int(encoder.sizes[feature]) for feature in self._features]
        self._late, self._rows = np.zeros(shape), np.zeros(shape)

    def _cells(self, columns: Columns) -> tuple[Array, ...]:
        return tuple(self._encoder.step(feature, columns) for feature in self._features)

    def add(self, columns: Columns, target: Array) -> None:
        """Count rows of the split ``train``."""
        cells = self._cells(columns)
        np.add.at(self._rows, cells, 1)
        np.add.at(self._late, cells, target)

    def probabilities(self, columns: Columns) -> Array:
        """Return the rate of the cell of each row."""
        overall = self._late.sum() / self._rows.sum()
        rates = np.where(self._rows < CELL_ROWS_MIN, overall, self._late / np.maximum(self._rows, 1))
        found: Array = rates[self._cells(columns)]
        return found


def matrices_of(schema: pa.Schema, recipe: Recipe) -> dict[str, list[str]]:
    """Return the names of the features in the columns of each matrix of a batch."""
    matrices: dict[str, list[str]] = {}
    for name in (name for name in schema.names if name in recipe.features):
        stored = str(schema.field(name).type)
        dtype = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(stored, stored)
        matrices.setdefault("features" if dtype == "float32" else f"features_{dtype}", []).append(name)
    return matrices


class Reader:
    """Reads the splits of a job as columns by their names, and the target as true and false."""

    def __init__(self, job: TrainingJob) -> None:
        classes = job.recipe.classes or ()
        if len(classes) != 2:
            raise UsageError(
                f"the target has {len(classes) or 'no'} classes, and this model needs two",
                hint="give a target that is true or false",
            )
        self._job, self._positive = job, classes[1]
        self._matrices = matrices_of(job.dataset.schema, job.recipe)

    def loader(self, split: str) -> Any:
        """Return a shuffled loader for ``train``; each row of another split is read once, in stored order."""
        order = {} if split == "train" else {"shuffle": "none", "tail": "uneven"}
        return self._job.loader(split, global_batch_rows=BATCH_ROWS, **order)

    def columns(self, batch: Columns) -> dict[str, Array]:
        """Return the features of a batch by their names: the columns of its matrices."""
        matrices = {key: batch[key].reshape(len(batch["target"]), -1) for key in self._matrices}
        return {name: matrices[key][:, i] for key, names in self._matrices.items() for i, name in enumerate(names)}

    def target(self, batch: Columns) -> Array:
        """Return whether each row has the second class."""
        return batch["target"] == self._positive

    def scored(self, batches: Iterable[Columns], *scores: Any) -> list[Array]:
        """Return the target of all rows, and the result of each function of their columns."""
        parts: list[list[Array]] = [[] for _ in range(1 + len(scores))]
        for batch in batches:
            columns = self.columns(batch)
            for part, values in zip(parts, [self.target(batch), *(s(columns) for s in scores)], strict=True):
                part.append(values)
        return [np.concatenate(part) for part in parts]


def train(job: TrainingJob) -> TrainedModel:
    """Train on ``train``, choose the epoch by ``val``, and report the metrics of ``val`` and ``test``."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import roc_auc_score

    reader, encoder = Reader(job), Encoder.of(job.recipe)
    baseline = Baseline(encoder)
    classifier = SGDClassifier(
        loss="log_loss", alpha=1e-5, learning_rate="constant", eta0=0.01, average=True, random_state=job.seed
    )
    weights, best_auc, best_epoch = np.zeros(0), -1.0, 0
    with reader.loader("train") as training, reader.loader("val") as validation:
        job.progress.follow(training, epochs=EPOCHS)
        for epoch in range(1, EPOCHS + 1):
            for batch in training:
                columns, target = reader.columns(batch), reader.target(batch)
                encoded = encoder.encoded(columns)
                classifier.partial_fit(encoder.matrix(encoded), target, classes=[False, True])
                if epoch == 1:
                    baseline.add(columns, target)
                job.progress.report(loss=log_loss(target, probabilities(weights_of(classifier), encoded)))
            newest = weights_of(classifier)
            late, scores = reader.scored(
                validation, lambda columns, newest=newest: encoder.probabilities(newest, columns)
            )
            auc = float(roc_auc_score(late, scores))
            job.progress.report(val_auc=auc, val_loss=log_loss(late, scores))
            if auc > best_auc:
                weights, best_auc, best_epoch = newest, auc, epoch
    job.log(f"epoch {best_epoch} of {EPOCHS} has the best AUC on val: {best_auc:.4f}")
    return result(reader, encoder, weights, baseline, best_epoch)


def weights_of(classifier: Any) -> Array:
    """Return the weights of the features and, as the last one, the weight alone."""
    return np.concatenate([classifier.coef_[0], classifier.intercept_])


def log_loss(late: Array, scores: Array) -> float:
    """Return the mean logistic loss."""
    bounded = np.clip(scores, 1e-6, 1 - 1e-6)
    return float(-np.where(late, np.log(bounded), np.log1p(-bounded)).mean())


def result(reader: Reader, encoder: Encoder, weights: Array, baseline: Baseline, epoch: int) -> TrainedModel:
    """Return the model with its metrics beside those of the baseline, and its calibration on ``test``."""
    from sklearn.metrics import roc_auc_score

    metrics, bins = {"epoch": float(epoch)}, []
    for split in ("val", "test"):
        with reader.loader(split) as loader:
            late, *both = reader.scored(
                loader, lambda columns: encoder.probabilities(weights, columns), baseline.probabilities
            )
        for prefix, scores in zip(("", "baseline_"), both, strict=True):
            metrics[f"{prefix}{split}_auc"] = float(roc_auc_score(late, scores))
            metrics[f"{prefix}{split}_log_loss"] = log_loss(late, scores)
        bins = calibration(late, both[0])
    metrics["test_calibration_error"] = sum(b["rows"] * abs(b["predicted"] - b["late"]) for b in bins) / len(late)
    facts = {each.name: np.asarray(getattr(encoder, each.name)) for each in fields(encoder)}
    files = {
        WEIGHTS_FILE: pack_arrays({**facts, "weights": weights}),
        CALIBRATION_FILE: json.dumps(bins, indent=1).encode(),
    }
    return TrainedModel(metrics, files, report_of(metrics, bins))


def calibration(late: Array, scores: Array) -> list[dict[str, float]]:
    """Return ten bins of equal width: rows, mean score, and the share of rows that were late."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        of_bin = place == number
        rows = int(of_bin.sum())
        means = {"predicted": float(scores[of_bin].mean()), "late": float(late[of_bin].mean())} if rows else {}
        bins.append({"from": number / BINS, "rows": rows, "predicted": 0.0, "late": 0.0, **means})
    return bins


def report_of(metrics: Mapping[str, float], bins: Iterable[Mapping[str, float]]) -> str:
    """Return the report in Markdown."""
    lines = ["# Late arrivals", "", f"Weights after epoch {metrics['epoch']:.0f}.", ""]
    lines += ["| metric | model | rate by carrier and hour |", "|---|---|---|"]
    for name in ("val_auc", "test_auc", "val_log_loss", "test_log_loss"):
        lines.append(f"| {name} | {metrics[name]:.4f} | {metrics[f'baseline_{name}']:.4f} |")
    lines += ["", "Calibration on test:", "", "| score from | rows | mean score | share late |", "|---|---|---|---|"]
    lines += [f"| {b['from']:.1f} | {b['rows']:,} | {b['predicted']:.3f} | {b['late']:.3f} |" for b in bins]
    return "\n".join(lines)


def score(files: Mapping[str, bytes], rows: pa.Table) -> Array:
    """Return the probability of each row to be late, from the files of a stored model alone.

    ``rows`` has the features as the query gives them: categories as their values, numbers with nulls.
    """
    arrays, recipe = unpack_arrays(files[WEIGHTS_FILE]), json.loads(files[RECIPE_FILE])
    names, weights = tuple(map(str, arrays.pop("names"))), arrays.pop("weights")
    encoder = Encoder(names, **arrays)
    return encoder.probabilities(weights, {name: _raw_column(name, rows, recipe) for name in names})


def _raw_column(name: str, rows: pa.Table, recipe: Mapping[str, Any]) -> Array:
    """Return a feature as the prepared dataset has it: codes of categories, and nulls replaced by the recipe's rule."""
    indicated = name.removesuffix("_is_null")
    if indicated != name and recipe["nulls"].get(indicated, {}).get("rule") == "indicator":
        return np.asarray(rows.column(indicated).is_null())
    if name not in rows.schema.names:
        raise UsageError(f"the rows have no column {name!r}", hint="select it as the query of the dataset does")
    column = rows.column(name)
    if name in recipe["categories"]:
        codes = {value: code for code, value in enumerate(recipe["categories"][name], 1)}
        return np.array([codes.get(value, 0) for value in column.to_pylist()], np.uint16)
    if column.null_count:
        value = recipe["nulls"].get(name, {}).get("value")
        column = column.cast(pa.float64()) if value is None else column.fill_null(pa.scalar(value, column.type))
    values: Array = column.to_numpy()
    return values
