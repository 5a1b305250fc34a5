"""Benchmarks: ``./run bench NAME`` prints a table and writes ``.millrace/bench/NAME.json``.

Every contestant is a process of its own (its peak memory is its own), all of one benchmark run in turn (A B A B), and
the best of the runs counts: on a machine that is shared or drifts, only what ran side by side can be compared.
"""
