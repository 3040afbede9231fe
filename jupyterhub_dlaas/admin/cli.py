"""`dlaas`, the operator's command. Subcommands of higher rooms are found by the entry point group `dlaas.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from jupyterhub_dlaas import __version__
from jupyterhub_dlaas.admin import catalogue_command, check_command, scratch
from jupyterhub_dlaas.errors import DLaaSError

EXAMPLES = """examples:
  dlaas check --config /srv/jupyterhub/jupyterhub_config.py
  dlaas catalogue check /etc/dlaas/catalogue.d
  dlaas scratch clean --path /var/scratch --rse ESCAPE-SCRATCHDISK --older-than 30d
  dlaas COMMAND --help

exit status: 0 all well, 1 something is wrong, 2 the command was not understood
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except DLaaSError as error:
        print(f"dlaas: {error.sentence()}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output, `head` perhaps, has enough. Nothing may be flushed into the pipe at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line. A command sets `run`, a function of the parsed arguments that returns the exit status."""
    top = argparse.ArgumentParser(
        prog="dlaas",
        description="Checks and looks after a Data Lake as a Service hub.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"jupyterhub-dlaas {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check_command.register(commands)
    catalogue_command.register(commands)
    scratch.register(commands)
    for entry in sorted(entry_points(group="dlaas.commands"), key=lambda entry: entry.name):
        try:
            register = entry.load()
        except ImportError as error:
            # Its packages are an extra that is not installed here, as in the hub's image.
            _absent(commands, entry.name, error)
        else:
            register(commands)
    return top


def _absent(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, error: ImportError) -> None:
    def run(args: argparse.Namespace) -> int:
        print(f"dlaas: {name} is not installed here ({error}).", file=sys.stderr)
        print(f"Install it with: pip install 'jupyterhub-dlaas[{name}]'", file=sys.stderr)
        return 1

    commands.add_parser(name, help="not installed here").set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
