"""What Millrace adds to Airflow: reports of task states, and the way to the live page. Declarations only.

Airflow executes this file twice in some processes: whatever holds state is in ``millrace.airflow``.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from millrace.airflow.links import LiveProgressLink, external_views
from millrace.airflow.listener import LISTENER


class MillracePlugin(AirflowPlugin):
    """Listener, link and tabs."""

    name = "millrace"
    listeners = [LISTENER]  # noqa: RUF012 - the shape that Airflow reads
    global_operator_extra_links = [LiveProgressLink()]  # noqa: RUF012
    external_views = external_views()
