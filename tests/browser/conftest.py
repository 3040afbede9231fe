"""A real Chromium before the whole demo: one demo and one browser for all tests, a fresh profile for each visitor."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright
from support.story import pytest_runtest_makereport as pytest_runtest_makereport
from support.story import steps_so_far as steps_so_far
from visitor import Demo, Visitor

PATIENCE = 20_000  # milliseconds, for what takes a moment on a busy machine
expect.set_options(timeout=PATIENCE)

# No other host can be reached, whatever a page asks for; what it asked for is recorded all the same.
ARGUMENTS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`dlaas demo` as a person starts it; addresses, users and passwords are those that it prints."""
    folder = tmp_path_factory.mktemp("demo")  # a short path, for the sockets of Jupyter
    command = [sys.executable, "-m", "jupyterhub_dlaas.admin.cli", "demo", "--state", str(folder / "s")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            printed += line
            if "Ctrl-C stops everything" in line:
                break
        else:
            pytest.fail(f"the demo did not start:\n{printed}")
        yield _read(printed)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _read(printed: str) -> Demo:
    hub, iam = re.search(r"ready:\s+(\S+)", printed), re.search(r"(http://\S+)/control/", printed)
    assert hub, printed
    assert iam, printed
    return Demo(hub[1], iam[1], dict(re.findall(r"^ +(\w+) +password (\S+)", printed, re.MULTILINE)))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    path = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
    browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def visit(demo: Demo, chromium: Browser) -> Iterator[Callable[..., Visitor]]:
    """`visit("alice")`: somebody who has logged in; `visit(None)`: who has not. Options are those of a new context."""
    contexts = []

    def begin(name: str | None, password: str | None = None, **options: Any) -> Visitor:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        visitor = Visitor(demo, context.new_page())
        if name is not None:
            visitor.log_in(name, password or demo.passwords[name])
        return visitor

    yield begin
    for context in contexts:
        context.close()
