"""Run Cassandra's nodetool against a node of the stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Protocol

from local_stack.artifacts import class_path
from local_stack.services.base import StackLayout
from local_stack.services.java import JDK_FLAGS, java_command
from local_stack.templating import render
from millrace.errors import StackError

SOURCE = Path(__file__).parent / "java" / "LocalNodeTool.java"
COMPILE_TIMEOUT_S = 120


class JmxNode(Protocol):
    """A node that nodetool can reach over JMX."""

    @property
    def name(self) -> str:
        """Return the name of the node's service."""

    @property
    def place(self) -> StackLayout:
        """Return the folders and settings of its stack."""

    @property
    def running(self) -> bool:
        """Return whether its process runs."""

    @property
    def jmx_port(self) -> int:
        """Return the port of JMX on loopback."""


def nodetool(node: JmxNode, arguments: list[str], *, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run nodetool at ``node`` and return the completed process.

    Its output goes to this process's output unless ``capture`` is set. Raises ``StackError`` if the node does not run,
    or if ``SOURCE`` cannot be compiled.
    """
    if not node.running:
        raise StackError(f"{node.name} is not running", hint=f"./run up {node.name}")
    place = node.place
    conf = place.folder("conf", "nodetool")
    (conf / "logback.xml").write_text(render("logback.xml", level="WARN", target="System.err"))
    _compile(place, conf)
    command = java_command(
        place,
        "cassandra",
        SOURCE.stem,
        *("-h", "127.0.0.1", "-p", str(node.jmx_port)),
        *arguments,
        heap_mb=256,
        flags=[
            *JDK_FLAGS,
            "-XX:TieredStopAtLevel=1",  # the process lives for a second
            f"-Dcassandra.config=file://{place.folder('conf', node.name)}/cassandra.yaml",
            f"-Dcassandra.storagedir={place.folder('data', node.name)}",
            f"-Dlogback.configurationFile=file://{conf}/logback.xml",
        ],
        conf="nodetool",
    )
    env = {**place.base_env(), "COLUMNS": os.environ.get("COLUMNS", "160")}
    return subprocess.run(command, env=env, check=False, text=True, capture_output=capture)


def _compile(place: StackLayout, conf: Path) -> None:
    compiled = conf / f"{SOURCE.stem}.class"
    if compiled.exists() and (conf / SOURCE.name).exists() and (conf / SOURCE.name).read_text() == SOURCE.read_text():
        return
    # Only this jar: another one contains classes in java.lang, on which the compiler fails.
    jars = class_path("cassandra", place.settings.maven_repository)
    cassandra = next(str(jar) for jar in jars if jar.name.startswith("cassandra-all-"))
    folder = Path(tempfile.mkdtemp(prefix="compile-", dir=conf))
    try:
        command = java_command(
            place,
            "cassandra",
            "org.eclipse.jdt.internal.compiler.batch.Main",
            *("-17", "-proc:none", "-d", str(folder), "-cp", cassandra, str(SOURCE)),
            heap_mb=256,
        )
        done = subprocess.run(
            command,
            env=place.base_env(),
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise StackError(f"{SOURCE.name} could not be compiled: {(done.stderr or done.stdout).strip()}")
        (folder / compiled.name).replace(compiled)
        shutil.copy(SOURCE, conf / SOURCE.name)  # last: its presence marks the class as compiled from this source
    finally:
        shutil.rmtree(folder)
