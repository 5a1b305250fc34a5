"""An encrypted Parquet file is refused with its name and columns, and never crashes the process."""

from __future__ import annotations

import base64
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from millrace.errors import SourceFormatError
from millrace.sources import SourceOptions, plan_source

NESTED = [{"a": i, "b": str(i)} for i in range(20)]
TABLE = pa.table({"id": range(20), "price": [i / 4 for i in range(20)], "who": NESTED})


class _PlainKeys(pe.KmsClient):
    """A key service that does not wrap keys, because the tests read without keys."""

    def wrap_key(self, key: bytes, _master: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, wrapped: bytes, _master: str) -> bytes:
        return base64.b64decode(wrapped)


def encrypted(path: Path, **how: object) -> Path:
    factory = pe.CryptoFactory(lambda _: _PlainKeys())
    configuration = pe.EncryptionConfiguration(footer_key="f", **how)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    with pq.ParquetWriter(path, TABLE.schema, encryption_properties=properties) as writer:
        writer.write_table(TABLE, row_group_size=10)
    return path


@pytest.mark.parametrize("format_", [None, "parquet"])
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"plaintext_footer": True, "column_keys": {"c": ["price"]}}, "its column 'price' is"),
        ({"plaintext_footer": True, "column_keys": {"c": ["price", "who.b"]}}, "its column 'price', 'who' is"),
        ({"plaintext_footer": True, "uniform_encryption": True}, "the file is"),
        ({"plaintext_footer": False, "column_keys": {"c": ["price"]}}, "the file is"),
        ({"plaintext_footer": False, "uniform_encryption": True}, "the file is"),
    ],
)
def test_an_encrypted_file_is_refused_as_encrypted(
    tmp_path: Path, how: dict[str, object], what: str, format_: str | None
) -> None:
    path = encrypted(tmp_path / "prices.parquet", **how)
    with pytest.raises(SourceFormatError) as caught:
        plan_source(str(path), SourceOptions(format=format_))
    assert str(caught.value) == (
        f"prices.parquet cannot be loaded: {what} encrypted: load a copy that was written without encryption"
    )


@pytest.mark.parametrize("plain_footer", [True, False])
def test_an_encrypted_file_of_a_folder_is_refused_by_its_name(tmp_path: Path, plain_footer: bool) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    encrypted(tmp_path / "b.parquet", plaintext_footer=plain_footer, column_keys={"c": ["price"]})
    with pytest.raises(SourceFormatError, match=r"^b\.parquet cannot be loaded: .* encrypted") as caught:
        plan_source(str(tmp_path))
    assert caught.value.context["file"].endswith("b.parquet")
