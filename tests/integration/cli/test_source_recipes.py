"""The recipes of ``docs/sources.md``: their entries, settings and commands have the outputs that the page shows.

Only the address and the credentials of the server, and the path of the folder, differ from the page.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local_stack.settings import CHECKOUT
from millrace.api import Store
from millrace.settings import load_settings
from millrace.sources.io.remote.access import forget_connections
from tests.https_server import Authority, HttpsServer, WebFile
from tests.integration.cli.conftest import Millrace
from tests.remote_servers import S3Server

PAGE = (CHECKOUT / "docs" / "sources.md").read_text()
VARYING = (
    (r"@(\d+)-[0-9a-f]{6}\b", r"@\1-HEX"),
    (r"^(run +\w+-)[0-9a-f]{8}$", r"\1HEX"),
    (r"\b[\d.,]+ (ms|s|min)\b", "TIME"),
    (r"\b[\d.,]+ (B|kB)\b", "SIZE"),
    (r"[\d.,]+( times smaller)", r"RATIO\1"),
    (r"^(rows/s +)[\d.,]+$", r"\1RATE"),
)
"""Patterns of the parts of an output that differ in each run, and their replacements."""


@dataclass(frozen=True)
class Recipe:
    """The blocks of a recipe; ``commands`` have each command with its output."""

    entries: str
    variables: dict[str, str]
    commands: list[tuple[str, str]]


Run = Callable[..., dict[str, str]]


def read_recipe(title: str, replace: Callable[[str], str]) -> Recipe:
    """Return a recipe of the page, with ``replace`` applied to its entries and variables."""
    section = re.split(r"\n###? ", PAGE.split(f"\n### {title}\n")[1])[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (entries,) = (text for language, text in blocks if language == "yaml")
    (variables,) = (text for _, text in blocks if text.startswith("MILLRACE_"))
    return Recipe(
        replace(entries),
        dict(line.split("=", 1) for line in shlex.split(replace(variables))),
        [(command, output) for (_, command), (_, output) in pairwise(blocks) if command.startswith("millrace ")],
    )


def comparable(output: str) -> list[str]:
    """Return the lines of an output without the parts that vary, the widths of columns and the rules of tables."""
    for pattern, replacement in VARYING:
        output = re.sub(pattern, replacement, output, flags=re.MULTILINE)
    return [" ".join(line.split()) for line in output.splitlines() if line.strip(" ─")]


@pytest.fixture(scope="module")
def keyspace(store: Store) -> Iterator[str]:
    """Return a keyspace without datasets, which is dropped at the end."""
    name = f"recipes_{uuid4().hex[:12]}"
    Store.init(load_settings(cassandra={"keyspace": name}))
    try:
        yield name
    finally:
        store.cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {name}", timeout=120)


@pytest.fixture
def run(millrace: Millrace, keyspace: str, tmp_path: Path) -> Run:
    """Return a function that runs the commands of a recipe, compares their outputs, and returns the variables."""

    def run_recipe(title: str, replacements: dict[str, str]) -> dict[str, str]:
        def replace(text: str) -> str:
            for documented, actual in replacements.items():
                assert documented in PAGE
                text = text.replace(documented, actual)
            return text

        recipe = read_recipe(title, replace)
        path = tmp_path / "sources.yaml"
        path.write_text(recipe.entries)
        variables = {
            **recipe.variables,
            "MILLRACE_SOURCES__FILE": str(path),
            "MILLRACE_CASSANDRA__KEYSPACE": keyspace,
        }
        for command, output in recipe.commands:
            done = millrace(*shlex.split(command)[1:], **variables)
            assert (done.code, done.err) == (0, "")
            assert comparable(done.out) == comparable(replace(output)), command
        return variables

    return run_recipe


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    authority = Authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    forget_connections()
    with authority.server() as server:
        yield server
    forget_connections()


def test_the_recipe_of_s3_prints_the_outputs_of_the_page(run: Run, s3: S3Server) -> None:
    rows = pa.table({"flight": [1545, 1714, 1141], "origin": ["EWR", "LGA", "JFK"], "delay": [11.0, 20.0, None]})
    data = io.BytesIO()
    pq.write_table(rows, data)
    for day in (21, 22):
        s3.put(f"flights/2026/11/{day}.parquet", data.getvalue())
    region = '"region_name": "eu-west-1"'
    variables = run(
        "S3",
        {'"KEY"': f'"{s3.key}"', '"SECRET"': f'"{s3.secret}"', region: f'{region}, "endpoint_url": "{s3.proxy.url}"'},
    )
    assert s3.secret in variables["MILLRACE_SOURCES__CONNECTIONS__LAKE"]
    assert s3.proxy.count("GET", ".parquet") > 0


def test_the_recipe_of_https_sends_the_token_and_prints_the_outputs_of_the_page(run: Run, web: HttpsServer) -> None:
    web.required = {"authorization": "Bearer TOKEN"}
    web.files["/airports.csv"] = WebFile(b"code,name,altitude_ft\nEWR,Newark,18\nJFK,Kennedy,13\nLGA,LaGuardia,22\n")
    run(
        "HTTPS with a token",
        {"HOSTS=data.example.org": f"HOSTS={web.entry}", "https://data.example.org": web.url()},
    )
    assert {request.path for request in web.requests} == {"/airports.csv"}


def test_the_recipe_of_a_folder_prints_the_outputs_of_the_page(run: Run, millrace: Millrace, tmp_path: Path) -> None:
    day = tmp_path / "sales" / "2026" / "11" / "22"
    day.mkdir(parents=True)
    lines = ["day,amount,price", *(f"2026-11-22,{amount},{amount}.50" for amount in range(100))]
    (day / "berlin.csv").write_text("\n".join(lines) + "\n")
    (day / "munich.csv").write_text("\n".join([*lines, "2026-11-22,3,free"]) + "\n")
    (tmp_path / "regions.csv").write_text("region\nBerlin\nMunich\n")
    variables = run("A folder", {"/data/inbox": str(tmp_path)})
    done = millrace("ingest", "regions", **variables)
    assert (done.code, done.err) == (0, "")
