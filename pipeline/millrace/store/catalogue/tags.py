"""Tags: movable names of versions. They are the only rows that are overwritten on purpose, and are never deleted."""

from __future__ import annotations

from millrace.errors import VersionNotFoundError
from millrace.names import check_tag
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.version import Version
from millrace.store.cluster.write_times import later_than


def set_tag(catalogue: Catalogue, catalogue_writer: CatalogueWriter, version: Version, tag: str) -> None:
    """Set the tag to this version.

    Raises ``VersionNotFoundError`` where the version was deleted meanwhile, because a tag does not protect the data
    then. The tag is set back to its previous value.
    """
    check_tag(tag)
    previous = next(iter(catalogue.tagged(version.dataset, tag)), None)
    _write(catalogue, catalogue_writer, version, tag, (version.number, version.hex))
    # A deletion checks for tags before it marks a version, and once more before it removes data.
    if all(other.hex != version.hex for other in catalogue.numbered(version.dataset, version.number)):
        target = previous or (version.number, version.hex)
        _write(catalogue, catalogue_writer, version, tag, target, removed=previous is None)
        raise VersionNotFoundError(
            f"{version.reference} was deleted a moment ago, so it has no tag",
            dataset=version.dataset,
            version=version.label,
        )


def remove_tag(catalogue: Catalogue, catalogue_writer: CatalogueWriter, latest: Version, tag: str) -> None:
    """Remove a tag of the dataset whose latest version is given.

    Raises ``VersionNotFoundError`` when there is no tag of that name.
    """
    dataset = latest.dataset
    target = next(iter(catalogue.tagged(dataset, tag)), None)
    if target is None:
        raise VersionNotFoundError(
            f"{dataset} has no tag {tag!r}", hint=f"millrace versions {dataset} shows its tags", dataset=dataset
        )
    # Not a tombstone, because its write time cannot be read: it would hide a tag that is set later by a machine with a
    # clock that is behind.
    _write(catalogue, catalogue_writer, latest, tag, target, removed=True)


def _write(
    catalogue: Catalogue,
    catalogue_writer: CatalogueWriter,
    version: Version,
    tag: str,
    target: tuple[int, str],
    *,
    removed: bool = False,
) -> None:
    """Write every column with one write time, which is later than that of the tag's row.

    So a later move wins even if its machine's clock is behind. A row that is proven on one node only is recorded as
    under-replicated under the version's attempt.
    """
    query = "SELECT WRITETIME(number) AS at FROM {ks}.tags WHERE dataset = ? AND tag = ?"
    times = [row.at for row in catalogue.reader.rows(query, (version.dataset, tag))]
    number, hexpart = target
    catalogue_writer.insert(
        "tags",
        f"the tag {version.dataset}@{tag}",
        {"dataset": version.dataset, "tag": tag, "number": number, "hex": hexpart, "removed": removed},
        record_key=(version.dataset, version.attempt_id, MetadataBucket.CATALOGUE),
        write_time=later_than(times),
    )
