"""Rucio's daemons over real third-party copies. `python -m storage.conveyor --lock FILE`, RUCIO_CONFIG set.

The tool hands copies to a few threads and answers at once: server and daemons take turns on SQLite, and nobody could
ask Rucio anything while a copy runs.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rucio.core import transfer as rucio_transfer

from jupyterhub_dlaas.demo.lake.sqlite import look_up_less_at_once
from jupyterhub_dlaas.demo.lake.transfers import Daemons
from jupyterhub_dlaas.demo.lake.verified_copy import Report, VerifiedCopy
from storage.catalogue import TRANSFER_TOOL
from storage.tpc import third_party_copy

log = logging.getLogger("conveyor")

AT_ONCE = 24  # xrdcp looks every 2.5 s whether a third-party copy has ended: hardly any of them does something
_copying = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy")


class ThirdPartyCopy(VerifiedCopy):
    """`submit` begins copies, `bulk_query` tells of those that have ended (`third_party_copy` has verified them)."""

    external_name = TRANSFER_TOOL
    supported_schemes = {"root"}
    _jobs: dict[str, dict[str, Future[str]]] = {}  # external id -> request id -> its problem

    def submit(self, transfers: Iterable[Any], job_params: Mapping[str, str], timeout: int | None = None) -> str:
        job = str(uuid.uuid4())
        self._jobs[job] = {
            hop.rws.request_id: _copying.submit(
                third_party_copy, hop.source_url(hop.src), hop.dest_url, hop.rws.byte_count, hop.rws.adler32
            )
            for hop in transfers
        }
        return job

    def bulk_query(
        self, requests_by_eid: Mapping[str, Mapping[str, Any]], timeout: int | None = None
    ) -> dict[str, Any]:
        # None: the job was lost, as another process had begun it. Nothing for a request: it still copies.
        return {job: self._ended(job) if job in self._jobs else None for job in requests_by_eid}

    def _ended(self, job: str) -> dict[str, Report]:
        ended = {request: copy for request, copy in self._jobs[job].items() if copy.done()}
        for request, copy in ended.items():
            log.info("%s %s", request, copy.result() or "copied and verified")
        return {request: Report(request, job, copy.result()) for request, copy in ended.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", required=True)
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    log.setLevel(logging.INFO)
    rucio_transfer.TRANSFERTOOL_CLASSES_BY_NAME[TRANSFER_TOOL] = ThirdPartyCopy
    look_up_less_at_once()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with open(options.lock, "w") as turn, Daemons(turn, repair_seconds=1, tool=TRANSFER_TOOL) as daemons:
        log.info("ready")
        while not over.wait(options.every):
            daemons.round()
    _copying.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
