"""Entry point of the command: every call of ``millrace`` ends with an exit code and at most one line of error."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

import millrace
from millrace.cli.interrupts import EXIT_INTERRUPTED, Interrupts
from millrace.cli.invocation import Invocation
from millrace.cli.output import one_line, print_json, say, warn
from millrace.errors import LoadInterruptedError, MillraceError, UsageError

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEGRADED: Final = 3

COMPLETE_VARIABLE: Final = "_MILLRACE_COMPLETE"
"""The script of ``millrace completion`` sets it when it asks for completions."""

COMMANDS: Final = {
    "init": "millrace.cli.commands.init",
    "load": "millrace.cli.commands.load",
    "ingest": "millrace.cli.commands.ingest",
    "prepare": "millrace.cli.commands.prepare",
    "ls": "millrace.cli.commands.ls",
    "versions": "millrace.cli.commands.versions",
    "show": "millrace.cli.commands.show",
    "lineage": "millrace.cli.commands.lineage",
    "diff": "millrace.cli.commands.diff",
    "tag": "millrace.cli.commands.tag",
    "untag": "millrace.cli.commands.untag",
    "read": "millrace.cli.commands.read",
    "verify": "millrace.cli.commands.verify",
    "replay": "millrace.cli.commands.replay",
    "repair": "millrace.cli.commands.repair",
    "delete": "millrace.cli.commands.delete",
    "undelete": "millrace.cli.commands.undelete",
    "prune": "millrace.cli.commands.prune",
    "fsck": "millrace.cli.commands.fsck",
    "warm": "millrace.cli.commands.warm",
    "evict": "millrace.cli.commands.evict",
    "cache": "millrace.cli.commands.cache",
    "plan": "millrace.cli.commands.plan",
    "train": "millrace.cli.commands.train",
    "report": "millrace.cli.commands.report",
    "sources": "millrace.cli.commands.sources",
    "watch": "millrace.cli.commands.watch",
    "doctor": "millrace.cli.commands.doctor",
    "config": "millrace.cli.commands.config",
    "completion": "millrace.cli.commands.completion",
}
"""Each module holds one click command named ``command``; it is imported when the command is used."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(millrace.__version__, prog_name="millrace", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Print the traceback of an error (also MILLRACE_DEBUG=1).")
@click.pass_obj
def cli(invocation: Invocation, debug: bool) -> None:
    """Store datasets in Cassandra and read them in training jobs, with live progress.

    Settings come from MILLRACE_* variables or millrace.toml; without any, the local stack of this checkout is used.

    \b
    Example:
      millrace load flights flights.csv --null-value NA
      millrace show flights
      millrace read flights --columns carrier,arr_delay --filter "month = 1" --output january.parquet
    """
    invocation.debug = invocation.debug or debug


class _Warnings(logging.Handler):
    """Log handler that prints the warnings of Millrace's own loggers as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command as ``millrace.cli.main`` does, which imports this module first."""
    args = list(sys.argv[1:] if argv is None else argv)
    options = args[: args.index("--")] if "--" in args else args
    is_debugging = os.environ.get("MILLRACE_DEBUG", "").lower() not in ("", "0", "false", "no")
    invocation = Invocation(tuple(args), Interrupts(), json="--json" in options, debug=is_debugging)
    invocation.interrupts.json = invocation.json
    logger = logging.getLogger("millrace")
    handler = _Warnings(logging.WARNING)
    logger.addHandler(handler)
    try:
        with invocation.interrupts:
            return _run(args, invocation)
    finally:
        logger.removeHandler(handler)


def _run(args: list[str], invocation: Invocation) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {"obj": invocation}, "millrace", COMPLETE_VARIABLE, instruction)
    try:
        # Not cli.main(), which ends the process itself when a pipe breaks.
        with cli.make_context("millrace", args, obj=invocation) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except BrokenPipeError:
        return _close_quietly()
    except (KeyboardInterrupt, click.Abort):
        invocation.interrupts.leave()
    except click.exceptions.Exit as error:
        sys.stdout.flush()
        if error.exit_code:
            return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 - the last handler: the user gets a line, not a traceback
        return _failed(error, invocation)
    return EXIT_DEGRADED if invocation.strict and invocation.degraded else EXIT_DONE


def _failed(error: Exception, invocation: Invocation) -> int:
    if invocation.debug:
        traceback.print_exception(error)
    code, line, facts = _described(error, invocation)
    if code == EXIT_INTERRUPTED:
        invocation.interrupts.leave()
    try:
        if invocation.json:
            print_json(facts)
    except BrokenPipeError:
        _close_quietly()
    say(f"millrace: {one_line(line)}")
    return code


def _described(error: Exception, invocation: Invocation) -> tuple[int, str, dict[str, Any]]:
    """Return the exit code of an error, its line for the user and its facts for the JSON document."""
    name = type(error).__name__
    if isinstance(error, MillraceError):
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
        if isinstance(error, LoadInterruptedError):
            code = EXIT_INTERRUPTED
        facts = {**error.context, "error": name, "message": error.message, "hint": error.hint}
        return code, str(error), {**facts, "retriable": error.retriable}
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "millrace"
        message = error.format_message().strip().rstrip(".")
        hint = f"see {path} --help"
        facts = {"error": "UsageError", "message": message, "hint": hint}
        return EXIT_USAGE if isinstance(error, click.UsageError) else EXIT_FAILED, f"{message}: {hint}", facts
    message = f"{name}: {error}"
    hint = "" if invocation.debug else "this should not happen: MILLRACE_DEBUG=1 shows where"
    line = f"{message} ({hint})" if hint else message
    return EXIT_FAILED, line, {"error": name, "message": str(error), "hint": hint}


def _close_quietly() -> int:
    """Discard further output after the reader of standard output has closed the pipe.

    The interpreter flushes standard output at exit, which would fail otherwise.
    """
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), sys.stdout.fileno())
    return EXIT_DONE
