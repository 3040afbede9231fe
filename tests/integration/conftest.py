"""What all tests of a whole hub have: a scene for each module, and a look for leaked secrets after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.hub import RunningHub
from support.leaks import Leaks, LogReader, children
from support.scene import Scene, scene

_logs = LogReader()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """After every test no token or client secret is in any log, process environment or argument that it made."""
    yield
    leaks = Leaks(secret for hub in RunningHub.every for secret in hub.known_secrets)
    for hub in RunningHub.every:
        _logs.look(leaks, hub.folder)
    leaks.processes(children())
    assert not leaks.found, leaks.found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """What servers and agents said on their standard error is in no file, but in the report."""
    report = yield
    leaks = Leaks(secret for hub in RunningHub.every for secret in hub.known_secrets)
    leaks.text("standard output and error of the test", report.capstdout + report.capstderr + report.caplog)
    if leaks.found and report.passed:
        report.outcome, report.longrepr = "failed", str(leaks.found)
    return report


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """One hub for the module. A module's `configure(c)` may change its configuration."""
    folder: Path = tmp_path_factory.mktemp("scene")
    async with scene(folder, getattr(request.module, "configure", lambda c: None)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lake(stage: Scene) -> AsyncIterator[Scene]:
    """The module's scene, with nobody in it."""
    yield stage
    await stage.clear()
