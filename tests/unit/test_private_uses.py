"""The check of private interfaces: it finds each kind of use, and the product has none."""

from __future__ import annotations

import pytest

from tests.private_uses import PRODUCT, in_folders, uses_of


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("from isal import isal_zlib\nr = isal_zlib._GzipReader(b'')", [(2, "isal_zlib._GzipReader")]),
        ("import _thread", [(1, "_thread")]),
        ("from cassandra.connection import _Frame", [(1, "cassandra.connection._Frame")]),
        ("import ctypes", [(1, "ctypes")]),
        ("from ctypes import pythonapi", [(1, "ctypes.pythonapi")]),
        ("from sqlglot.tokenizer_core import Token", [(1, "sqlglot.tokenizer_core.Token")]),
        ("from redis.connection import PythonRespSerializer", [(1, "redis.connection.PythonRespSerializer")]),
        ("import codecs\ngetattr(codecs.lookup('x'), '_is_text_encoding', 1)",
         [(2, "getattr(codecs.lookup('x'), '_is_text_encoding', 1)")]),
        ("from driver import Connection\nConnection.size = 1", [(2, "assignment to driver.Connection.size")]),
        ("from driver import Base\nclass Own(Base):\n    def read(self): return self._socket",
         [(3, "self._socket of driver.Base")]),
        ("import os, driver\nclass Own(driver.Base):\n    def read(self): return self._socket",
         [(3, "self._socket of driver")]),
    ],
)  # fmt: skip
def test_a_private_use_is_found(source: str, uses: list[tuple[int, str]]) -> None:
    assert uses_of(source) == uses


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations",
        "import os\nos._exit(1)",
        "from confluent_kafka import KafkaError\nKafkaError._TRANSPORT",
        "class Own:\n    def __init__(self): self._x = 1\ndef f(own: Own): return own._x",
        "from driver import Base\nclass Own(Base):\n    _x: int\n    def f(self): return self._x",
        "from millrace.store import Base\nclass Own(Base):\n    def f(self): return self._x",
        "x = y.__class__",
        "from driver import Connection\nsize = Connection.size",
    ],
)
def test_public_and_own_names_are_allowed(source: str) -> None:
    assert uses_of(source) == []


def test_the_product_uses_private_interfaces_in_compat_only() -> None:
    assert in_folders(PRODUCT) == []
    assert in_folders(("pipeline/millrace/compat",)) == []
