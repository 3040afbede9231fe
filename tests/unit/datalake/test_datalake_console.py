"""What commands print, and how they end."""

from __future__ import annotations

import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from jupyterhub_dlaas.datalake import console
from jupyterhub_dlaas.datalake.failure import Code, Failure


def run(function):
    return CliRunner().invoke(click.command()(console.command_errors(function)))


def test_failure_is_a_sentence_its_advice_and_its_code():
    def fails():
        raise Failure("The sky fell.", "Wear a hat.", Code.NO_SPACE)

    result = run(fails)
    assert (result.exit_code, result.stdout, result.stderr) == (5, "", "The sky fell.\n  -> Wear a hat.\n")


def test_bug_is_raised():
    def fails():
        raise ZeroDivisionError

    assert isinstance(run(fails).exception, ZeroDivisionError)


def test_interrupt_ends_with_130_and_a_sentence():
    def fails():
        raise KeyboardInterrupt

    result = run(fails)
    assert (result.exit_code, "Interrupted." in result.stderr) == (130, True)


def test_reader_that_goes_away_ends_it_quietly():
    code = "import click\nfrom jupyterhub_dlaas.datalake import console\n"
    code += "@click.command()\n@console.command_errors\ndef main():\n    while True: console.out('x' * 1000)\nmain()"
    done = subprocess.run(f'"{sys.executable}" -c "{code}" | head -1', shell=True, capture_output=True, text=True)
    assert (len(done.stdout), done.stderr) == (1001, "")


def test_table_lines_up_and_wide_characters_too(capsys):
    console.table(("NAME", "SIZE"), [("a", 1), ("日本", 22), ("long name", 3)])
    assert capsys.readouterr().out == "NAME       SIZE\na          1\n日本       22\nlong name  3\n"


def test_table_of_nothing_is_nothing(capsys):
    console.table(("NAME",), [])
    assert capsys.readouterr().out == ""


def test_table_takes_rows_as_they_come(capsys):
    taken = 0

    def rows():
        nonlocal taken
        for number in range(5000):
            taken = number
            yield (number,)

    class Stop(Exception):
        pass

    def stopping():
        for row in rows():
            if taken > 2000:
                raise Stop
            yield row

    with pytest.raises(Stop):
        console.table(("N",), stopping())
    assert capsys.readouterr().out.splitlines()[-1] == "2000"


def test_control_characters_are_written_out():
    assert console.printable("a\nb\x1b[31m ü 日") == "a\\nb\\x1b[31m ü 日"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (450e9, "450.0 GB"), (2e15, "2.0 PB"), (None, "-")],
)
def test_sizes_are_read_by_people(count, words):
    assert console.size(count) == words


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys):
    with console.progress("Checked", 3000, unit="bytes", every_seconds=0) as advance:
        advance(1000)
        advance(500)
    assert capsys.readouterr() == ("", "Checked: 1.0 kB of 3.0 kB\nChecked: 1.5 kB of 3.0 kB\n")


def test_line_break_is_refused_where_lines_are_data():
    with pytest.raises(Failure, match="Use --json"):
        console.one_line("a\nb")


def test_interrupted_process_ends_with_130():
    code = "import click, signal, os\nfrom jupyterhub_dlaas.datalake import console\n"
    code += "@click.command()\n@console.command_errors\ndef main():\n    os.kill(os.getpid(), signal.SIGINT)\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, signal.SIGINT.name in done.stderr) == (130, False)
