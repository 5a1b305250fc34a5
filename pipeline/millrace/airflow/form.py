"""The form that starts a load in Airflow. Building it opens no connection, because Airflow parses DAGs repeatedly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from millrace.airflow.inbox import newest_names
from millrace.airflow.source_fields import ONE_ON_EACH_LINE, column_fields, text_fields
from millrace.errors import MillraceError
from millrace.settings import CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Settings, load_settings
from millrace.sources import allowed_roots, root_list

if TYPE_CHECKING:
    from millrace.load import LoadOptions
    from millrace.sources import Paths

CODECS = ("gzip", "zstd", "none")


@dataclass(frozen=True, slots=True)
class FormRequest:
    """The request of a submitted form."""

    params: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return str(self.params["dataset"])

    @property
    def mode(self) -> str:
        """The mode of the load."""
        return str(self.params["mode"])

    @property
    def warm(self) -> bool:
        """Whether the new version is put into Redis."""
        return bool(self.params["warm"])

    @property
    def warm_options(self) -> dict[str, Any]:
        """The options of ``Store.warm``."""
        form, columns = self.params["warm_form"], self.params["warm_columns"]
        return {"form": None if form == "auto" else form, "columns": columns or None}

    def load(self, settings: Settings) -> tuple[Paths, LoadOptions]:
        """Return the source and the options. Raises ``UsageError`` for a source that is not allowed."""
        from millrace.airflow.request import load_options

        return load_options(self.params, settings)


def load_form() -> dict[str, Param]:
    """Return the fields of the form, the most needed first. Airflow shows fields without a section expanded."""
    settings = form_settings()
    return {
        **_main_fields(settings),
        **text_fields(),
        **column_fields(),
        **_chunk_fields(settings),
        **_cache_fields(),
        **_limit_fields(settings),
    }


def form_settings() -> Settings:
    """Return the settings for the defaults of a form."""
    try:
        return load_settings()
    except MillraceError:
        # The task that needs a wrong setting reports it; the form is built with the defaults.
        return Settings.model_construct()


def _main_fields(settings: Settings) -> dict[str, Param]:
    return {
        "dataset": Param(
            type="string",
            minLength=1,  # the plan explains a wrong name; a pattern here would give a "Bad Request"
            title="Dataset",
            description="Name of the dataset: a lower-case letter, then up to 47 lower-case letters, digits or _. "
            "An existing dataset gets a new version.",
        ),
        "source": Param(
            type="string",
            minLength=1,
            examples=newest_names(allowed_roots(settings)),
            title="Source",
            description="A file, a folder or a pattern (*, ?, **) on the machine that runs the tasks, below "
            f"{root_list(allowed_roots(settings))}. A relative path is searched in these folders. "
            "The newest names are proposed. "
            "Or an s3://, gs:// or https:// address. "
            "Hidden files (. or _ in front) are left out, and the report says so.",
        ),
        "connection": Param(
            None,
            type=["null", "string"],
            minLength=1,
            title="Connection",
            description="Name of the Airflow connection with the credentials for an s3://, gs:// or https:// address. "
            "Empty: the usual environment of the cloud.",
        ),
        "mode": Param(
            "replace",
            type="string",
            enum=["replace", "append", "incremental"],
            title="Mode",
            values_display={
                "replace": "replace: only these rows",
                "append": "append: the latest version and these",
                "incremental": "incremental: the latest version and the files that are not loaded yet",
            },
            description="The contents of the new version. Older versions do not change.",
        ),
        "on_change": Param(
            "refuse",
            type="string",
            enum=["refuse", "append", "ignore"],
            title="Changed files",
            values_display={
                "refuse": "refuse: load nothing",
                "append": "append: load the file again, besides its rows",
                "ignore": "ignore: leave the file out",
            },
            description="For the mode incremental: the reaction to a loaded file whose content changed.",
        ),
        "null_values": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Null values",
            description=f"{ONE_ON_EACH_LINE}Spellings that mean null in every column of a CSV, text too (NA). "
            "Empty: the usual spellings are null in columns that are not text, and text stays text.",
        ),
        "warm": Param(
            True,
            type="boolean",
            title="Warm the cache",
            description="Put the new version into Redis when it is loaded, or the first chunks that fit.",
        ),
    }


def _chunk_fields(settings: Settings) -> dict[str, Param]:
    section = "Chunks"
    return {
        "codec": Param(
            settings.load.codec,
            type="string",
            enum=list(CODECS),
            section=section,
            title="Codec",
            description="How chunks are compressed; any reader reads all three.",
        ),
        "codec_level": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            maximum=22,
            section=section,
            title="Level",
            description=f"Effort of the codec: 0 to 3 for gzip, 1 to 22 for zstd. Empty: {settings.load.codec_level}.",
        ),
        "chunk_bytes": Param(
            settings.load.chunk_bytes,
            type="integer",
            minimum=CHUNK_BYTES_MIN,
            maximum=CHUNK_BYTES_MAX,
            section=section,
            title="Largest chunk",
            description=f"Stored bytes of a chunk, at most: {CHUNK_BYTES_MIN:,} to {CHUNK_BYTES_MAX:,}.",
        ),
    }


def _cache_fields() -> dict[str, Param]:
    section = "Cache"
    return {
        "warm_form": Param(
            "auto",
            type="string",
            enum=["auto", "stored", "raw"],
            section=section,
            title="Form in the cache",
            values_display={
                "auto": "auto: raw if it fits beside everything else, else stored",
                "stored": "stored: compressed, as in Cassandra",
                "raw": "raw: uncompressed, faster to read",
            },
            description="How chunks are put into Redis.",
        ),
        "warm_columns": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            section=section,
            title="Columns in the cache",
            description=f"{ONE_ON_EACH_LINE}Only these columns are put into Redis, in the raw form. Empty: all.",
        ),
    }


def _limit_fields(settings: Settings) -> dict[str, Param]:
    def field(default: int, low: int, high: int, title: str, description: str) -> Param:
        return Param(
            default,
            type="integer",
            minimum=low,
            maximum=high,
            section="Limits",
            title=title,
            description=f"{description} {low:,} to {high:,}.",
        )

    load = settings.load
    return {
        "max_bad_rows": Param(
            "0",
            type="string",
            section="Limits",
            title="Bad rows",
            description="Rows that may be set aside because they do not fit: a number, or a percentage (1%). They "
            "become a version of the dataset with __rejects behind its name.",
        ),
        "split_bytes": field(
            load.split_bytes, 1_000_000, 10_000_000_000, "Size of a split", "Bytes of the source that one task loads."
        ),
        "max_splits": field(load.max_splits, 1, 1000, "Splits", "Tasks that a load is split into, at most."),
        "infer_bytes": field(
            load.infer_bytes, 1, 1_000_000_000, "Bytes for inference", "Bytes that are read to infer column types."
        ),
        "max_unit_bytes": field(
            load.max_unit_bytes,
            1_000,
            1_000_000_000,
            "Largest unit",
            "Bytes of a record, line, row group or record batch that must be read at once; a larger one is refused.",
        ),
    }
