"""The bridge: progress from Kafka to browsers, on gunicorn's gevent worker."""

from __future__ import annotations

from local_stack.ports import Port
from local_stack.services.base import Service
from local_stack.services.python import SCRIPTS, python_env
from local_stack.settings import CHECKOUT, ENV_PREFIX

CONFIGURATION = "python:sse_bridge.gunicorn_conf"
"""The bridge's own configuration of gunicorn. Address and port are among the product's settings."""


class Bridge(Service):
    """The bridge's server. It is ready when its consumer has caught up with Kafka."""

    name = "bridge"
    grace_s = 6.0

    @property
    def address(self) -> str:
        """Return the address for a browser."""
        return f"http://127.0.0.1:{self.place.settings.port('bridge')}"

    @property
    def memory_mb(self) -> int:
        """Return the memory in MiB with 2,000 clients."""
        return 200

    def ports(self) -> list[Port]:
        """Return its only port."""
        return [Port("127.0.0.1", self.place.settings.port("bridge"), f"{ENV_PREFIX}BRIDGE_PORT")]

    def prepare(self) -> None:
        """Create its folder for temporary files."""
        self.place.folder("tmp")

    def command(self) -> list[str]:
        """Return the command of gunicorn, which leaves no file outside the stack's home."""
        return [
            str(SCRIPTS / "gunicorn"),
            *("-c", CONFIGURATION),
            *("--worker-tmp-dir", str(self.place.folder("tmp"))),
            *("--chdir", str(CHECKOUT)),
        ]

    def env(self) -> dict[str, str]:
        """Return the environment of the bridge.

        The product finds its settings below ``MILLRACE_HOME``. Address and port are set here, over those of the caller.
        """
        listen = {"MILLRACE_BRIDGE__HOST": "127.0.0.1", "MILLRACE_BRIDGE__PORT": str(self.ports()[0].number)}
        return {**python_env(self.place), **listen}

    def not_ready(self) -> str | None:
        """Ask the bridge whether its consumer has caught up."""
        import httpx

        try:
            with httpx.Client(timeout=5, trust_env=False) as client:
                answer = client.get(f"{self.address}/readyz")
        except httpx.HTTPError as error:
            return f"no response ({error})"
        return None if answer.status_code == 200 else f"/readyz returned {answer.status_code}: {answer.text[:200]}"
