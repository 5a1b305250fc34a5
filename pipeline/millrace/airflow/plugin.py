"""The Airflow plugin of Millrace: it reports task states and links to the live page. Declarations only.

Airflow finds it by the entry point of the installed package, or by a file in its folder of plugins.
"""

from __future__ import annotations

from importlib.metadata import distributions

from airflow.plugins_manager import AirflowPlugin

from millrace.airflow.links import LiveProgressLink, external_views
from millrace.airflow.listener import LISTENER


class MillracePlugin(AirflowPlugin):
    """The plugin with Millrace's listener, link and tabs."""

    name = "millrace"
    listeners = [LISTENER]  # noqa: RUF012 - the type that Airflow expects
    global_operator_extra_links = [LiveProgressLink()]  # noqa: RUF012
    external_views = external_views()


def is_entry_point() -> bool:
    """Return whether Airflow finds the plugin by its entry point.

    Airflow reports a second plugin of the same name as an import error.
    """
    return any(
        point.value == f"{__name__}:MillracePlugin" for package in distributions() for point in package.entry_points
    )
