"""pyarrow: workarounds of its faults, and the structure of its expressions.

The modules are imported directly, because this face would import ``pyarrow.parquet`` for every user. All were tested
with the range ``PYARROW`` of ``millrace.compat.versions``. Except ``expressions`` they use public interfaces only and
stay in use outside the range: with a version that has no such fault a workaround is superfluous and never wrong.
"""
