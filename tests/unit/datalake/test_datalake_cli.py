"""The command's frame: its commands are a folder, and listing them loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from jupyterhub_dlaas.datalake.cli import main

CONTEXT = click.Context(main)
COMMANDS = [
    (name, command) for name in main.list_commands(CONTEXT) if (command := main.get_command(CONTEXT, name)) is not None
]


def test_commands_are_those_of_the_folder():
    names = [name for name, _ in COMMANDS]
    assert {"status", "ls", "find", "info", "path", "pfn", "make-available"} <= set(names)
    assert [name for name in names if name.startswith(("_", "-")) or "_" in name] == []


def test_unknown_command_is_said_with_code_2():
    result = CliRunner().invoke(main, ["pth"])
    assert (result.exit_code, "No such command 'pth'" in result.output) == (2, True)


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_help_has_examples_and_exit_codes(name, command):
    text = command.help or ""
    assert "Examples:" in text or "Example:" in text
    assert isinstance(command, click.Group) or "Exit codes:" in text
    assert f"datalake {name}" in text


def test_every_command_is_listed_with_a_whole_sentence():
    shown = CliRunner().invoke(main, ["--help"]).output.partition("Commands:")[2]
    assert [name for name, _ in COMMANDS if f"\n  {name} " not in shown] == []
    assert "..." not in shown


def test_listing_all_commands_loads_no_client_of_rucio():
    code = "import sys; from click import Context; from jupyterhub_dlaas.datalake.cli import main\n"
    code += "for name in main.list_commands(Context(main)): main.get_command(Context(main), name)\n"
    code += "print(sorted({'rucio', 'requests', 'rich', 'pydantic', 'jupyterhub'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
