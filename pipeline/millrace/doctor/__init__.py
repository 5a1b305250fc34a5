"""Checks of the services and measurements of this machine's limits, for ``millrace doctor``."""

from millrace.doctor.binding import BindingLimit, binding_limits
from millrace.doctor.diagnosis import Check, diagnose
from millrace.doctor.hardware_limits import HardwareLimit, measure_limits

__all__ = [
    "BindingLimit",
    "binding_limits",
    "Check",
    "HardwareLimit",
    "diagnose",
    "measure_limits",
]
