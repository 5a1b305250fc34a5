"""The commands behind ``./run`` that start, stop and show the local stack."""

from __future__ import annotations

import json
import os
import sys

import click

from local_stack.artifacts import ENVIRONMENTS, write_lock
from local_stack.compose import COMPOSE_FILE, compose_file, is_current
from local_stack.services.airflow import Airflow
from local_stack.stack import DATA, Stack
from millrace.errors import MillraceError, StackError, UsageError

_SERVICES = click.argument("services", nargs=-1, metavar="[SERVICE]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Manage the real services of Millrace on this machine: cassandra-1, cassandra-2, kafka, redis, airflow, bridge.

    Example: ./run up cassandra kafka redis
    """


@main.command()
@_SERVICES
def up(services: tuple[str, ...]) -> None:
    """Start services (all by default) and wait until they are ready.

    Example: ./run up cassandra redis
    """
    Stack().up(services)


@main.command()
@_SERVICES
def down(services: tuple[str, ...]) -> None:
    """Stop services (all by default) and keep their data.

    Example: ./run down airflow
    """
    Stack().down(services)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="for machines")
def status(as_json: bool) -> None:
    """Show the state, process id, start time and address of each service.

    Example: ./run status --json
    """
    rows = Stack().status()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['service']:<12} {row['state']:<8} {row['pid'] or '':<8} {row['since'] or '':<26} {row['address']}")


@main.command()
@click.option("--check", is_flag=True, help="only check whether the file is current")
def compose(check: bool) -> None:
    """Render docker-compose.yml from the same templates as the local stack.

    Example: ./run compose --check
    """
    if not check:
        COMPOSE_FILE.write_text(compose_file())
    elif not is_current():
        raise StackError(f"{COMPOSE_FILE.name} differs from the rendered file", hint="./run compose")


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(sorted(ENVIRONMENTS)))
def lock(names: tuple[str, ...]) -> None:
    """Resolve the jars anew and write local_stack/locks; needed after a version was changed.

    Example: python -m local_stack lock kafka
    """
    for name in names or sorted(ENVIRONMENTS):
        print(f"{name}: {write_lock(name, Stack().settings.maven_repository)} jars locked")


@main.command()
@click.argument("service")
def kill(service: str) -> None:
    """Kill a service (SIGKILL), to see how the others handle its end.

    Example: ./run kill cassandra-2
    """
    Stack().kill(service)


@main.command()
@click.argument("service")
def freeze(service: str) -> None:
    """Freeze a service (SIGSTOP), to see how the others handle a hang.

    Example: ./run freeze cassandra-2
    """
    Stack().freeze(service)


@main.command()
@click.argument("service")
def thaw(service: str) -> None:
    """Resume a frozen service (SIGCONT).

    Example: ./run thaw cassandra-2
    """
    Stack().thaw(service)


@main.command()
@click.argument("service")
@click.option("-f", "--follow", is_flag=True, help="follow new lines")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=200, show_default=True)
def logs(service: str, follow: bool, lines: int) -> None:
    """Show the log of a service.

    Example: ./run logs cassandra-1 -f
    """
    log = Stack().one(service).log
    if not log.exists():
        raise StackError(f"{service} has not written anything yet ({log})", hint=f"./run up {service}")
    tail = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(log)]
    os.execvp(tail[0], tail)  # noqa: S606  tail replaces this process, so Ctrl-C ends it


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("node", type=int)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def nodetool(node: int, arguments: tuple[str, ...]) -> None:
    """Run Cassandra's nodetool against node NODE.

    Example: ./run nodetool 1 status
    """
    from local_stack.nodetool import nodetool as run_nodetool

    sys.exit(run_nodetool(Stack().node(node), list(arguments) or ["help"]).returncode)


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def airflow(arguments: tuple[str, ...]) -> None:
    """Run any command of Airflow with the stack's environment: its database, DAGs, connections and settings.

    Example: ./run airflow dags test ingest_dataset --conf '{"dataset": "flights", "source": "/a/flights.csv"}'
    """
    service = Airflow(Stack().place)
    service.prepare()
    if arguments and arguments[0] not in ("db", "version", "-h", "--help"):
        service.make_database()
    os.execvpe(service.program, [service.program, *arguments], service.env())  # noqa: S606  the exit code is Airflow's


@main.command()
@click.option("--yes", is_flag=True, help="skip the confirmation")
def reset(yes: bool) -> None:
    """Stop everything and delete local data, after asking. Jars, the inbox and benchmark results stay.

    Example: ./run reset --yes
    """
    stack = Stack()
    if not yes:
        home = stack.place.home
        try:
            agreed = click.confirm(f"Stop all services and delete their data below {home} ({', '.join(DATA)})?")
        except click.Abort:  # no answer: standard input ended, or Ctrl-C
            agreed = False
        if not agreed:
            raise StackError("nothing was deleted", hint="--yes does not ask")
    stack.reset()
    print("all data of the services is deleted; jars, the inbox and benchmark results stay")


def run() -> None:
    """Run the command line; an error of the project is one message and exit code 1 or 2."""
    try:
        main(prog_name="./run", standalone_mode=False)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except MillraceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)


if __name__ == "__main__":
    run()
