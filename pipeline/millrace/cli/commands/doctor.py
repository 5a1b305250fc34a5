"""``millrace doctor``: check every service and measure this machine."""

from __future__ import annotations

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
    be faster than these. Exit code 1 if loads and reads are affected: a Cassandra node is down, or the keyspace is
    missing or wrong.

    JSON: ok, checks (name, state: ok, warning or failed, found, advice, needed), ceilings (what, value, unit, note).

    \b
    Example:
      millrace doctor
      millrace doctor --no-measure --json
    """
    from millrace.doctor import diagnose, measure_ceilings
    from millrace.settings import load_settings

    settings = load_settings()
    checks = diagnose(settings)
    failed = [check for check in checks if check.needed and check.state == "failed"]
    if not invocation.json:
        print_table(
            ["", "checked", "found", "advice"],
            [(_WORDS[check.state], check.name, check.found, check.advice) for check in checks],
            folding=["found", "advice"],
        )
        if not no_measure:
            say("measuring, a few seconds ...")
    ceilings = [] if no_measure else list(measure_ceilings(settings))
    facts = {
        "ok": not failed,
        "checks": [check.to_json() for check in checks],
        "ceilings": [ceiling.to_json() for ceiling in ceilings],
    }

    def show() -> None:
        if ceilings:
            print()
            print_table(
                ["this machine's ceilings", "value", "unit", ""],
                [(c.what, "-" if c.value is None else f"{c.value:,.0f}", c.unit, c.note) for c in ceilings],
                right=["value"],
                folding=["this machine's ceilings", ""],
            )

    invocation.answer(facts, show)
    if failed:
        names = ", ".join(check.name for check in failed)
        say(f"millrace: loads and reads need the failed checks to pass: {names}")
        raise click.exceptions.Exit(1)
