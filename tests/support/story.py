"""Tests that are the steps of one story. A conftest imports both names as they are; a module uses `steps_so_far`."""

from __future__ import annotations

from collections.abc import Generator

import pytest

_FAILED = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.parent is not None:
        item.parent.stash.setdefault(_FAILED, item.name)
    return report


@pytest.fixture
def steps_so_far(request: pytest.FixtureRequest) -> None:
    """Without the earlier steps a later one means nothing."""
    failed = request.node.parent.stash.get(_FAILED, None)
    if failed:
        pytest.skip(f"an earlier step failed: {failed}")
