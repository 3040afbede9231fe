"""The lake in the cluster: deployed once, or found as an earlier run left it, and nobody's server in it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.story import pytest_runtest_makereport as pytest_runtest_makereport
from support.story import steps_so_far as steps_so_far

from cluster import leaks
from cluster.kubectl import ClusterError, ask_inside, kubectl, wait_until
from cluster.lake import Deployment, up
from cluster.people import Visitor, visitor

Say = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for everything: a visitor's session is used by many tests."""
    mine = (item for item in items if item.path.is_relative_to(Path(__file__).parent))
    for item in mine:
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """A line that is seen although pytest captures what tests print."""
    manager = request.config.pluginmanager.getplugin("capturemanager")

    def speak(text: str) -> None:
        with manager.global_and_fixture_disabled():
            print(f"\n    {text}", end="", flush=True)

    return speak


@pytest.fixture(scope="session")
def lake(say: Say) -> Deployment:
    """Everything is up, and no server runs."""
    try:
        running = up(say)
    except ClusterError as problem:
        pytest.fail(str(problem), pytrace=False)
    return running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def visit(lake: Deployment) -> AsyncIterator[Callable[..., Any]]:
    """`await visit("alice")`: somebody who has logged in and has no server; the same one for all tests."""
    async with AsyncExitStack() as stack:
        people: dict[str, Visitor] = {}

        async def come(name: str) -> Visitor:
            if name not in people:
                people[name] = await stack.enter_async_context(visitor(lake.url, name))
                await people[name].leave_nothing()
            return people[name]

        yield come
        for person in people.values():
            await person.leave_nothing()


@pytest.fixture(autouse=True)
def no_leaks(lake: Deployment) -> Iterator[None]:
    """After each test, while its servers still run."""
    leaks.remember()
    yield
    found = leaks.look().found
    assert not found, found


@pytest.fixture(scope="session")
def iam(lake: Deployment) -> Callable[[str, dict[str, Any]], Any]:
    """`iam("faults", {"endpoint": "refresh", "status": 503})`: the stand-in's switches, which only loopback may use."""

    def control(path: str, body: dict[str, Any]) -> Any:
        return ask_inside("deployment/iam", "POST", f"http://127.0.0.1:8080/control/{path}", body)

    return control


@pytest.fixture(scope="session")
def again(say: Say) -> Callable[..., float]:
    """`again("hub", ...)`: waits until a workload is complete again."""

    def wait(workload: str) -> float:
        def ready() -> bool:
            return kubectl("rollout", "status", workload, "--timeout=1s", seconds=30).endswith(
                "successfully rolled out\n"
            )

        def calm() -> bool:
            try:
                return ready()
            except ClusterError:
                return False

        return wait_until(workload, calm, say=say)

    return wait
