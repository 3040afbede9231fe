"""What all tests of a whole hub have: a scene for each module, and a look for leaked secrets after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.leaks import assert_no_leaks, no_leaks, pytest_runtest_makereport
from support.scene import Scene, scene

__all__ = ["no_leaks", "pytest_runtest_makereport"]


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
    try:
        assert_no_leaks()  # while the servers still run
    finally:
        await stage.clear()
