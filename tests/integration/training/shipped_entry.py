"""The shipped file of training data, with names of its own, so that tests in one keyspace do not share datasets."""

from __future__ import annotations

from millrace.settings import checkout


def shipped(prefix: str) -> str:
    """Return the shipped file with datasets of these names, and the entry under a name of its own."""
    folder = checkout()
    assert folder is not None
    text = (folder / "conf" / "training.yaml").read_text()
    inputs = "{flights: flights, weather: weather, past: flights}"
    assert inputs in text
    own = f"{{flights: {prefix}_flights, weather: {prefix}_weather, past: {prefix}_flights}}"
    return text.replace(inputs, own).replace("  late_arrivals:\n", f"  {prefix}_late:\n")
