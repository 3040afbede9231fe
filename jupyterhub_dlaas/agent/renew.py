"""What the agent does, in order: ask, write, look at the mounts, report, wait; first in a hurry, then for days."""

from __future__ import annotations

import os
import time
from typing import Any

from jupyterhub_dlaas.agent import bundle, mounts
from jupyterhub_dlaas.agent.bundle import Bundle
from jupyterhub_dlaas.agent.child import Children
from jupyterhub_dlaas.agent.files import Root
from jupyterhub_dlaas.agent.hub import REQUEST_SECONDS, Hub
from jupyterhub_dlaas.agent.trouble import AgentError, one_line, say

# Back-off while the hub is away: soon again at first, and often enough later that files heal within a minute.
FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 30.0
# After a refusal that time alone does not mend.
SLOW_RETRY_SECONDS = 120.0
WRITE_RETRY_SECONDS = 5.0
# In case a hub has forgotten what it was told and nothing shows it.
REPORT_AGAIN_SECONDS = 600.0
MOST_PROBLEMS = 20  # in one report; a hub refuses one that is too long


class Agent:
    """Keeps two folders as the hub wants them. Waits by durations alone, so a clock that jumps does not matter."""

    def __init__(self, hub: Hub, files: Root, cache: Root, children: Children) -> None:
        self._hub = hub
        self._roots = {"files": files, "cache": cache}
        self._children = children
        self._etag: str | None = None
        self._bundle: Bundle | None = None
        self._dead: dict[str, str] = {}
        self._problems: list[str] = []
        self._asked_at = 0.0
        self._failures = 0
        self._failed_writes = 0
        self._said = ""
        self._reported: tuple[dict[str, Any], float] | None = None

    def start(self, timeout_seconds: float) -> None:
        """Returns once everything is written and required mounts answer; AgentError with the reason otherwise."""
        deadline = time.monotonic() + timeout_seconds
        self._roots["files"].mark(False)
        while True:
            try:
                self._renew(max(deadline - time.monotonic(), 1.0))
                missing = self._missing()
                if not missing:
                    break
                self._report()
                raise AgentError(missing, hopeless=self._bundle is not None and not self._bundle.ready)
            except AgentError as error:
                wait = self._retry_seconds(error)
                if error.hopeless or time.monotonic() + wait > deadline:
                    raise
                self._say_once(str(error))
            time.sleep(wait)
        self._failures = 0
        self._say_once("")
        self._roots["files"].mark(True)
        # The server need not wait for this; and where many start at once, what says nothing is not said.
        if self._bundle and self._bundle.mounts:
            self._report()

    def stay(self) -> None:
        """Renews for as long as the process lives. Nothing that a hub, a disk or a mount does ends it."""
        while True:
            time.sleep(self.wait_seconds())
            self.again()

    def wait_seconds(self) -> float:
        """Until the next question after a success: what the hub said or a little less, so that agents spread."""
        seconds = self._bundle.ask_again_seconds if self._bundle else bundle.DEFAULT_ASK_AGAIN_SECONDS
        if self._failed_writes:
            seconds = min(seconds, WRITE_RETRY_SECONDS * 2.0 ** min(self._failed_writes - 1, 10))
        already = time.monotonic() - self._asked_at  # a dead mount takes its seconds before it is given up
        return max(seconds * (1 - 0.1 * _fraction()) - already, seconds / 10)

    def again(self) -> None:
        """One renewal with the retries that it needs."""
        while True:
            try:
                self._renew()
                self._report()
            except AgentError as error:
                self._say_once(f"{error} The files stay as they are.")
                time.sleep(self._retry_seconds(error))
            else:
                if self._failures:
                    say("The hub answers again.")
                self._failures = 0
                self._say_once(self._missing())
                return

    def _renew(self, seconds: float = REQUEST_SECONDS) -> None:
        self._asked_at = time.monotonic()
        etag = self._etag if all(root.intact() for root in self._roots.values()) else None
        answer = self._hub.bundle(etag, min(seconds, REQUEST_SECONDS))
        if answer.status == 304 and self._bundle is not None:
            self._problems = []
            asked = answer.headers.get("dlaas-ask-again", self._bundle.ask_again_seconds)
            self._bundle = self._bundle._replace(ask_again_seconds=bundle.ask_again(asked))
        else:
            try:
                new = bundle.parse(answer.body)
            except AgentError as error:
                self._problems = [str(error)]
                self._report()
                raise
            self._etag = None
            self._reported = None  # a hub that restarted has forgotten what it was told, and answers anew
            self._problems = self._write(new)
            self._bundle = new
            self._failed_writes = self._failed_writes + 1 if self._problems else 0
            if not self._problems:
                self._etag = answer.headers.get("etag")
        self._dead = mounts.probe(self._bundle.mounts, self._children)

    def _write(self, new: Bundle) -> list[str]:
        problems = []
        for name, root in self._roots.items():
            try:
                problems += root.write([file for file in new.files if file.root == name])
            except AgentError as error:
                problems.append(str(error))
        return problems

    def _missing(self) -> str:
        """Why the server cannot work as it is, or an empty text."""
        known = self._bundle
        if known and not known.ready:
            return known.not_ready_because or "The hub has no access to a data source that is required."
        dead = [
            f"{mount.path} is required and does not work: {self._dead[mount.name]}"
            for mount in (known.mounts if known else ())
            if mount.required and self._dead.get(mount.name)
        ]
        return " ".join(self._problems + dead)

    def _report(self) -> None:
        """Tells the hub what changed. What cannot be told now is told with the next renewal."""
        known = self._bundle
        content = {
            "version": bundle.VERSION,
            "files": sum(root.in_place for root in self._roots.values()),
            "mounts": [
                {
                    "name": mount.name,
                    "path": mount.path,
                    "alive": not self._dead.get(mount.name),
                    "problem": self._dead.get(mount.name, ""),
                }
                for mount in (known.mounts if known else ())
            ],
            "problems": [one_line(problem) for problem in self._problems[:MOST_PROBLEMS]],
        }
        now = time.monotonic()
        if self._reported and self._reported[0] == content and now - self._reported[1] < REPORT_AGAIN_SECONDS:
            return
        try:
            self._hub.report(content)
        except AgentError as error:
            say(f"The report did not reach the hub: {error}")
        else:
            self._reported = content, now

    def _retry_seconds(self, error: AgentError) -> float:
        self._failures += 1
        self._reported = None
        return retry_seconds(error, self._failures, _fraction())

    def _say_once(self, sentence: str) -> None:
        if sentence and sentence != self._said:
            say(sentence)
        self._said = sentence


def retry_seconds(error: AgentError, failures: int, fraction: float) -> float:
    """How long to wait after the `failures`-th failure in a row; `fraction` in [0, 1) spreads the agents of a hub."""
    if error.retry_after is not None:
        return error.retry_after + 3 * fraction
    if error.hopeless:
        return SLOW_RETRY_SECONDS * (1 - 0.5 * fraction)
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_SECONDS) * (1 - 0.5 * fraction)


def _fraction() -> float:
    # The module `random` costs half a megabyte for this one number.
    return int.from_bytes(os.urandom(4), "big") / 2**32
