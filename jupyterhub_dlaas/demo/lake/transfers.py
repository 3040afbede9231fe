"""Rucio's daemons for one machine: transfers, rules, deletion and counters, one round after another in one process.

`python -m jupyterhub_dlaas.demo.lake.transfers` (with `RUCIO_CONFIG` set) runs them until SIGTERM. The code of each
round is Rucio's own; files are moved by `verified_copy` and deleted by Rucio's reaper.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, TextIO

from rucio.daemons.abacus import account as abacus_account
from rucio.daemons.abacus import collection_replica as abacus_collection
from rucio.daemons.abacus import rse as abacus_rse
from rucio.daemons.common import HeartbeatHandler
from rucio.daemons.conveyor.finisher import finisher
from rucio.daemons.conveyor.poller import poller
from rucio.daemons.conveyor.submitter import submitter
from rucio.daemons.judge import cleaner, evaluator, injector, repairer
from rucio.daemons.reaper import reaper
from rucio.daemons.undertaker import undertaker

from jupyterhub_dlaas.demo.lake.config import TRANSFER_TOOL
from jupyterhub_dlaas.demo.lake.sqlite import leave_writing_to_the_system, look_up_less_at_once
from jupyterhub_dlaas.demo.lake.verified_copy import VerifiedCopy, register

log = logging.getLogger("transfers")

_HEARTBEAT_SECONDS = 60
_FILES_AT_ONCE = 250  # about a second, in which the server cannot answer
_SHORT_PAUSE_SECONDS = 0.05


class Daemons:
    """Everything that Rucio does in the background. `with Daemons(turn) as daemons: daemons.round()`.

    `turn` is a file by whose lock server and daemons take turns on SQLite; `repair_seconds`: how long a rule is left
    STUCK before it is tried again; `tool`: the transfer tool, registered with Rucio.
    """

    def __init__(self, turn: TextIO, *, repair_seconds: float = 30, tool: str = TRANSFER_TOOL) -> None:
        self._turn, self._repair_seconds, self._tool = turn, repair_seconds, tool
        self._alive = ExitStack()
        self._steps: list[Callable[[], Any]] = []

    def __enter__(self) -> Daemons:
        with self._my_turn():
            self._steps = [*self._transfers(), *self._rules(), *self._deletion(), *self._counters()]
        return self

    def __exit__(self, *_: object) -> None:
        with self._my_turn():
            self._alive.close()

    def round(self) -> None:
        """Each daemon once. Between two of them the server may answer a request."""
        for step in self._steps:
            with self._my_turn():
                step()

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _transfers(self) -> Iterator[Callable[[], Any]]:
        """Submits, verifies and finishes whatever waits."""
        once: dict[str, Any] = {"once": True, "partition_wait_time": 0}
        yield functools.partial(submitter, **once, bulk=_FILES_AT_ONCE, transfertools=[self._tool])
        yield functools.partial(poller, **once, transfertool=self._tool, older_than=0)
        yield functools.partial(finisher, **once, bulk=_FILES_AT_ONCE)

    def _rules(self) -> Iterator[Callable[[], Any]]:
        """Rules reach files added to a dataset, and datasets of 10,000; stuck ones are tried again, expired ones go."""
        yield self._daemon(evaluator, did_limit=_FILES_AT_ONCE, paused_dids={})
        yield self._daemon(injector, paused_rules={})
        yield self._daemon(repairer, delta=self._repair_seconds, paused_rules={})
        yield self._daemon(cleaner, paused_rules={})

    def _deletion(self) -> Iterator[Callable[[], Any]]:
        """DIDs past their lifetime go, then what no rule protects any more: from the storage first."""
        yield self._daemon(undertaker, paused_dids={}, chunk_size=100)
        yield self._daemon(
            reaper,
            rses=[],
            include_rses=None,
            exclude_rses=None,
            vos=None,
            chunk_size=_FILES_AT_ONCE,
            greedy=False,
            scheme=None,
            delay_seconds=60,
            auto_exclude_threshold=100,
            auto_exclude_timeout=60,
        )

    def _counters(self) -> Iterator[Callable[[], Any]]:
        """What accounts and RSEs use, which quotas are held against, and how much of a dataset is where."""
        yield self._daemon(abacus_account)
        yield self._daemon(abacus_rse)
        yield self._daemon(abacus_collection, limit=_FILES_AT_ONCE)

    def _daemon(self, module: Any, **settings: Any) -> Callable[[], Any]:
        # Not the daemon's own loop, which waits a second for other workers at each start.
        heartbeat = self._alive.enter_context(HeartbeatHandler(module.DAEMON_NAME, _HEARTBEAT_SECONDS))
        return functools.partial(module.run_once, heartbeat_handler=heartbeat, **settings)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Do on this machine what Rucio's daemons do: move, verify, delete.")
    parser.add_argument("--lock", required=True, help="file by which server and daemons take turns on SQLite")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="pause between rounds (%(default)s)"
    )
    parser.add_argument(
        "--repair-after",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long a rule is left STUCK before it is tried again (%(default)s)",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    log.setLevel(logging.INFO)
    leave_writing_to_the_system()
    look_up_less_at_once()
    register()

    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        over.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with open(options.lock, "w") as turn, Daemons(turn, repair_seconds=options.repair_after) as daemons:
        log.info("ready")
        pause = options.every
        while not over.wait(pause):
            before = VerifiedCopy.copied
            daemons.round()
            pause = _SHORT_PAUSE_SECONDS if VerifiedCopy.copied > before else options.every


if __name__ == "__main__":
    main()
