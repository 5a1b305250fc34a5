"""Gunicorn's settings for the bridge: ``gunicorn -c python:sse_bridge.gunicorn_conf``. Given options override them."""

import contextlib
import resource

from millrace.settings import load_settings
from sse_bridge.security import check_exposure

_settings = load_settings().bridge
check_exposure(_settings)

# Every stream needs a file descriptor; the soft limit is often 1,024.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))

wsgi_app = "sse_bridge.app:create_app()"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "sse_bridge.worker.BridgeWorker"
# One process: each further process would read the topic again and have limits of its own.
workers = 1
# The bridge itself refuses streams above its own limit, so that /healthz always gets a connection.
worker_connections = _settings.max_streams + 256
backlog = 4096
keepalive = 5
timeout = 60
# The bridge ends its streams itself at SIGTERM.
graceful_timeout = 3
control_socket_disable = True
# Requests carry cookies, including Airflow's (cookies ignore ports), so no request is logged.
accesslog = None
