"""``millrace train``: train the model of a declared training dataset."""

from __future__ import annotations

import traceback

import click

from millrace.cli.commands.load import run_id_option
from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_facts
from millrace.cli.reporting import reported
from millrace.errors import MillraceError
from millrace.names import new_run_id


@click.command(short_help="Train the model of a declared training dataset.")
@click.argument("name")
@click.option("--version", metavar="V", help="The version of the training dataset. Default: the latest.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the training.")
@click.option("--file", metavar="FILE", help="The file of declared training datasets. Default: that of the settings.")
@click.option("--force", is_flag=True, help="Train although a model of the same data, function and seed exists.")
@run_id_option
@store_command
def command(
    invocation: Invocation,
    /,
    name: str,
    version: str | None,
    seed: int,
    file: str | None,
    force: bool,
    run_id: str | None,
) -> None:
    """Train a model on the training dataset NAME by the function of its entry, and print its metrics.

    The function is the field train of the entry: see docs/prepare.md. It is imported from Python's path, to which the
    folder of the file is added. The model is a new version of the dataset NAME_model: the files of the function,
    recipe.json, metrics.json and report.md. Its tag best moves to the version if val_auc, or else val_score, is better
    than before. If a model of the same data, function and seed exists, none is trained, and the exit code is 0.

    JSON: the report of the training: dataset, version, run, data (the version it was trained on), function, seed,
    metrics, baseline, files, bytes, best (whether it has the tag), seconds, started, skipped ("unchanged" or empty),
    warnings.

    \b
    Example:
      millrace train late_arrivals
      millrace train late_arrivals --version 3 --seed 7
    """
    store, run = invocation.store, run_id or new_run_id(name)
    reference = None if version is None else f"{name}@{version}"
    invocation.interrupts.message = f"stopped; no model of {name} was written"
    with reported(
        store.settings.kafka, command="train", dataset=name, run=run, total=None, again=run_id is not None
    ) as progress:
        try:
            report = store.train(name, reference, seed=seed, force=force, run_id=run, file=file, task=progress.task)
        except MillraceError:
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise MillraceError(
                f"the training function of {name} failed at {frame.filename}:{frame.lineno} with "
                f"{type(error).__name__}: {error}",
                hint="MILLRACE_DEBUG=1 shows the calls",
            ) from error
    for warning in report.warnings:
        invocation.warn_once(warning)
    if report.degraded:
        invocation.note_degraded(f"{report.reference} is on one node only: millrace repair writes the other replica")
    invocation.answer(report.to_json(), lambda: print_facts(report.facts(), title=report.reference))
