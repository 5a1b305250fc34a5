"""Which visible versions were made from which others, by the setting ``inputs`` of their rows.

Every version of training data and every model names its inputs. The names of the datasets that have such versions are
a partition of the table ``datasets``, so the versions of all other datasets need not be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from millrace.store.catalogue.catalogue import DERIVED_DATASETS_PARTITION, read_names
from millrace.store.catalogue.version import Version
from millrace.store.catalogue.version_rows import ReadRows, read_versions


class Lineage:
    """The visible versions that were made from others, as one read of the catalogue returned them. Immutable."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._made_into: dict[str, list[Version]] = {}
        self._datasets: dict[str, set[str]] = {}
        for version in versions:
            if version.deleted_at is not None:
                continue
            for reference in dict.fromkeys(version.inputs.values()):
                self._made_into.setdefault(reference, []).append(version)
                self._datasets.setdefault(reference.partition("@")[0], set()).add(version.dataset)

    @classmethod
    def read(cls, read: ReadRows) -> Self:
        """Read the versions of every dataset that has derived versions; one request each, and one for their names."""
        names = read_names(read, DERIVED_DATASETS_PARTITION)
        return cls(version for name in names for version in read_versions(read, name))

    def made_into(self, reference: str) -> list[Version]:
        """Return the visible versions that were made directly from the version of this full reference."""
        return list(self._made_into.get(reference, ()))

    def inputs_of(self, dataset: str) -> set[tuple[int, str]]:
        """Return number and hex of the versions of a dataset from which a visible version was made."""
        labels = (label for name, _, label in (key.partition("@") for key in self._made_into) if name == dataset)
        return {(int(number), hexpart) for number, _, hexpart in (label.partition("-") for label in labels)}

    def derived(self, references: Iterable[str]) -> list[Version]:
        """Return every visible version that was made from these, directly or not; the nearest first.

        Versions of these references are left out.
        """
        waiting = list(dict.fromkeys(references))
        seen = set(waiting)
        found: list[Version] = []
        for reference in waiting:  # grows in the loop
            for version in self.made_into(reference):
                if version.reference not in seen:
                    seen.add(version.reference)
                    waiting.append(version.reference)
                    found.append(version)
        return found

    def free(self, versions: Iterable[Version]) -> list[Version]:
        """Return those of the versions from which no other visible version was made.

        Versions that are free themselves do not count.
        """
        free = {version.reference: version for version in versions}
        while needed := [key for key in free if any(v.reference not in free for v in self.made_into(key))]:
            for reference in needed:
                del free[reference]
        return list(free.values())

    def layers(self, versions: Sequence[Version]) -> list[list[Version]]:
        """Return the versions in the order in which they can be deleted, each layer before its inputs."""
        left = {version.reference: version for version in versions}
        layers: list[list[Version]] = []
        while left:
            layer = [v for key, v in left.items() if not any(d.reference in left for d in self.made_into(key))]
            layers.append(layer or list(left.values()))
            for version in layers[-1]:
                del left[version.reference]
        return layers

    def derived_first(self, names: Sequence[str]) -> list[str]:
        """Return the names of datasets in the order of pruning, each before the datasets of its inputs.

        The other names keep their order.
        """
        ordered: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            if name not in seen:
                seen.add(name)
                for derived in sorted(self._datasets.get(name, ())):
                    visit(derived)
                ordered.append(name)

        for name in names:
            visit(name)
        return [name for name in ordered if name in names]
