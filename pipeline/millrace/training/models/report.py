"""Describe the result of a training for users, programs and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final, Literal

from millrace.display import html_table, human_bytes, human_seconds
from millrace.training.models.selection import BEST_TAG

BASELINE: Final = "baseline_"
"""How the names of the metrics of a simple rule begin."""


@dataclass(frozen=True, slots=True, repr=False)
class ModelReport:
    """Result of a training: the version of the model, the version of its data, and its metrics.

    The fields, and the properties in ``DERIVED``, are the keys of the JSON document.
    """

    TYPE: ClassVar = "model"
    """The value of ``report`` in the JSON document, by which it differs from a load report."""
    DERIVED: ClassVar = ("state", "degraded", "baseline")

    dataset: str
    """The dataset of the model, such as ``late_arrivals_model``."""
    version: str
    """The version of the model, such as ``3-1a2b3c``."""
    run: str
    data: str
    """The version that the model was trained on, such as ``late_arrivals@3-4d5e6f``."""
    function: str
    """The training function, as ``module:function``."""
    seed: int
    metrics: Mapping[str, float]
    """All metrics of the model, those of the baseline included."""
    files: tuple[str, ...] = ()
    """The paths of the files."""
    bytes: int = 0
    """The size of all files."""
    best: bool = False
    """Whether the model has the tag ``best`` now."""
    seconds: float = 0.0
    """Time from the start of the run until the version is visible and tagged."""
    started: str = ""
    """Time when the run started, in UTC."""
    total_rows: int = 0
    """Rows of the version, which are pieces of files."""
    replicas: int = 2
    skipped: str = ""
    """``unchanged`` if a visible version has the same data, function and seed; the report then describes that one."""
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<ModelReport {self.reference} of {self.data}: {self.text.splitlines()[1].strip()}>"

    def _repr_html_(self) -> str:
        return html_table(f"Training of {self.reference}", self.facts())

    @property
    def reference(self) -> str:
        """``late_arrivals_model@3-1a2b3c``."""
        return f"{self.dataset}@{self.version}"

    @property
    def state(self) -> Literal["succeeded", "skipped"]:
        """``succeeded``, or ``skipped`` (then ``skipped`` has the reason)."""
        return "skipped" if self.skipped else "succeeded"

    @property
    def rejected(self) -> int:
        """Bad rows of the run: a training has none."""
        return 0

    @property
    def degraded(self) -> bool:
        """Whether a chunk or row is on one node only; ``millrace repair`` writes the missing replica."""
        return self.replicas < 2

    @property
    def baseline(self) -> dict[str, float]:
        """The metrics of the baseline by the names of the metrics that they compare with."""
        return {name.removeprefix(BASELINE): value for name, value in self.metrics.items() if name.startswith(BASELINE)}

    @property
    def text(self) -> str:
        """The report as lines of text."""
        facts = self.facts()
        width = max(len(name) for name, _ in facts)
        return "\n".join([self.reference, *(f"  {name:<{width}}  {value}" for name, value in facts)])

    def facts(self) -> list[tuple[str, str]]:
        """Return names and values as text: the metrics, each beside its baseline, and the facts of the run."""
        facts = [("state", f"skipped ({self.skipped})")] if self.skipped else []
        facts += [(name, self._value(name, value)) for name, value in self._shown()]
        facts += [
            ("data", self.data),
            ("function", self.function),
            ("seed", str(self.seed)),
            ("files", f"{', '.join(self.files)} ({human_bytes(self.bytes)})"),
            ("tag", BEST_TAG if self.best else f"none: another version has the tag {BEST_TAG}, or no version has it"),
            ("seconds", human_seconds(self.seconds)),
            ("run", self.run),
        ]
        if self.skipped:
            facts.append(("written", "nothing: a version of this data, function and seed exists"))
        return facts + [("warning", warning) for warning in self.warnings]

    def _shown(self) -> list[tuple[str, float]]:
        return [(name, value) for name, value in self.metrics.items() if not name.startswith(BASELINE)]

    def _value(self, name: str, value: float) -> str:
        beside = self.baseline.get(name)
        return f"{value:.4g}" if beside is None else f"{value:.4f} (baseline {beside:.4f})"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document: every field, the properties in ``DERIVED``, and ``report``, which is ``model``."""
        derived = {name: getattr(self, name) for name in self.DERIVED}
        return {
            "report": self.TYPE,
            **asdict(self),
            "files": list(self.files),
            "warnings": list(self.warnings),
            **derived,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelReport:
        """Return the report of a JSON document; keys that this Millrace does not know are left out."""
        values = {each.name: document[each.name] for each in fields(cls) if each.name in document}
        return cls(**{**values, **{name: tuple(values.get(name, ())) for name in ("files", "warnings")}})
