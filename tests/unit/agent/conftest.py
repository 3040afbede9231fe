from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_fakes import AgentProcess, FakeHub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    yield hub
    hub.stop()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Starts agents whose folders are below `tmp_path`, and ends those that a test leaves running."""
    started: list[AgentProcess] = []

    def start(hub: FakeHub, folder: Path = tmp_path, **options: Any) -> AgentProcess:
        started.append(AgentProcess(hub.url, folder, **options))
        return started[-1]

    yield start
    for agent in started:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.communicate()
        agent.pipe.close()
