"""Checks of the services and measurements of this machine's limits, for ``millrace doctor``."""

from millrace.doctor.diagnosis import Check, diagnose
from millrace.doctor.hardware_limits import Ceiling, measure_ceilings

__all__ = [
    "Ceiling",
    "Check",
    "diagnose",
    "measure_ceilings",
]
