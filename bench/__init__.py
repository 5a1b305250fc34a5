"""Benchmarks: ``./run bench NAME`` prints a table and writes ``.millrace/bench/NAME.json``.

Every contestant is a process of its own, so its peak memory is its own. The contestants of one benchmark run in turn (A
B A B), and the best run of each counts. On a machine that is shared or drifts, only runs made side by side can be
compared.
"""
