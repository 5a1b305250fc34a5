"""The Airflow plugin of Millrace: it reports task states and links to the live page. Declarations only.

Airflow executes this file twice in some processes, so all state is in ``millrace.airflow``.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from millrace.airflow.links import LiveProgressLink, external_views
from millrace.airflow.listener import LISTENER


class MillracePlugin(AirflowPlugin):
    """The plugin with Millrace's listener, link and tabs."""

    name = "millrace"
    listeners = [LISTENER]  # noqa: RUF012 - the type that Airflow expects
    global_operator_extra_links = [LiveProgressLink()]  # noqa: RUF012
    external_views = external_views()
