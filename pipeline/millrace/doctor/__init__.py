"""Checks of the services and measurements of this machine's limits, for ``millrace doctor``."""

from millrace.doctor.diagnosis import Check, diagnose
from millrace.doctor.hardware_limits import HardwareLimit, measure_limits

__all__ = [
    "Check",
    "HardwareLimit",
    "diagnose",
    "measure_limits",
]
