"""``millrace doctor``: check every service and measure this machine."""

from __future__ import annotations

from dataclasses import asdict

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation
from millrace.cli.output import print_table, say

_WORDS = {"ok": "ok", "warning": "note", "failed": "wrong"}


@click.command(short_help="Check every service and measure the speed limits of this machine.")
@click.option("--no-measure", is_flag=True, help="Check the services; measure nothing.")
@json_option
@pass_invocation
def command(invocation: Invocation, /, no_measure: bool) -> None:
    """Check Cassandra (each node), Redis, Kafka, the bridge, Airflow, disk and memory, and advise on each fault.

    Then measure the speed of gzip, checksums, disk, Redis and the Cassandra driver on this machine. No load or read can
    be faster than these, and for each way of the data the limit is named that binds it. Exit code 1 if loads and reads
    are affected: a Cassandra node is down, or the keyspace is missing or wrong.

    JSON: ok, checks (name, state: ok, warning or failed, result, advice, needed: whether loads and reads need the
    service), limits (name, value, unit, note), binding (way, limit, raw_mb_per_s).

    \b
    Example:
      millrace doctor
      millrace doctor --no-measure --json
    """
    from millrace.doctor import binding_limits, diagnose, measure_limits
    from millrace.settings import load_settings

    settings = load_settings()
    checks = diagnose(settings)
    failed = [check for check in checks if check.needed and check.state == "failed"]
    if not invocation.json:
        print_table(
            ["", "checked", "result", "advice"],
            [(_WORDS[check.state], check.name, check.result, check.advice) for check in checks],
            folding=["result", "advice"],
        )
        if not no_measure:
            say("measuring, a few seconds ...")
    limits = [] if no_measure else list(measure_limits(settings))
    binding = binding_limits(limits)
    facts = {
        "ok": not failed,
        "checks": [*map(asdict, checks)],
        "limits": [*map(asdict, limits)],
        "binding": [*map(asdict, binding)],
    }

    def show() -> None:
        if limits:
            print()
            print_table(
                ["limits of this machine", "value", "unit", ""],
                [(limit.name, _number(limit.value), limit.unit, limit.note) for limit in limits],
                right=["value"],
                folding=["limits of this machine", ""],
            )
        if binding:
            print()
            print_table(
                ["way of the data", "bound by", "raw MB/s at most"],
                [(each.way, each.limit, f"{each.raw_mb_per_s:,.0f}") for each in binding],
                right=["raw MB/s at most"],
            )

    invocation.answer(facts, show)
    if failed:
        names = ", ".join(check.name for check in failed)
        say(f"millrace: loads and reads need the failed checks to pass: {names}")
        raise click.exceptions.Exit(1)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
