"""pyarrow: workarounds for its faults, and the structure of its expressions.

The modules are imported directly, because this face would import ``pyarrow.parquet`` for every user. All were tested
with the range ``PYARROW`` of ``millrace.compat.versions``. Only ``expressions`` uses a private interface. The other
modules use public interfaces and stay in use outside the range. If a version of pyarrow has no such fault, a workaround
is superfluous, but its result is right.
"""
