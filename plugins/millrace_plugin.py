"""The Airflow plugin of Millrace, for an Airflow that finds no entry point of an installed package.

Airflow executes this file twice in some processes, so the plugin and all state are in ``millrace.airflow``.
"""

from __future__ import annotations

from millrace.airflow import plugin

if not plugin.is_entry_point():
    MillracePlugin = plugin.MillracePlugin
