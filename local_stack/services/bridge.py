"""The bridge: progress from Kafka to browsers, on gunicorn's gevent worker."""

from __future__ import annotations

from local_stack.ports import Port
from local_stack.services.base import Service
from local_stack.services.python import SCRIPTS, python_env
from local_stack.settings import CHECKOUT, ENV_PREFIX

CONFIGURATION = "python:sse_bridge.gunicorn_conf"
"""Where the bridge itself says how it is served; address and port are among the product's settings."""


class Bridge(Service):
    """The bridge's server. It is ready when its consumer has caught up with Kafka."""

    name = "bridge"
    grace_s = 6.0

    @property
    def address(self) -> str:
        """Where to point a browser."""
        return f"http://127.0.0.1:{self.place.settings.port('bridge')}"

    @property
    def memory_mb(self) -> int:
        """With 2,000 clients."""
        return 200

    def ports(self) -> list[Port]:
        """The one port."""
        return [Port("127.0.0.1", self.place.settings.port("bridge"), f"{ENV_PREFIX}BRIDGE_PORT")]

    def prepare(self) -> None:
        """Make its folder for temporary files."""
        self.place.folder("tmp")

    def command(self) -> list[str]:
        """Gunicorn, told to leave nothing outside the stack's home."""
        return [
            str(SCRIPTS / "gunicorn"),
            *("-c", CONFIGURATION),
            *("--worker-tmp-dir", str(self.place.folder("tmp"))),
            *("--chdir", str(CHECKOUT)),
        ]

    def env(self) -> dict[str, str]:
        """The product finds its settings below ``MILLRACE_HOME``; where it listens is not left to the caller's."""
        listen = {"MILLRACE_BRIDGE__HOST": "127.0.0.1", "MILLRACE_BRIDGE__PORT": str(self.ports()[0].number)}
        return {**python_env(self.place), **listen}

    def not_ready(self) -> str | None:
        """Ask whether the consumer caught up."""
        import httpx

        try:
            with httpx.Client(timeout=5, trust_env=False) as client:
                answer = client.get(f"{self.address}/readyz")
        except httpx.HTTPError as error:
            return f"no answer ({error})"
        return None if answer.status_code == 200 else f"/readyz says {answer.status_code}: {answer.text[:200]}"
