"""A replication rule: Rucio's promise to keep data in a place, and how far it is with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `ok`, `replicating` and `stuck` count its files (times `copies`) that are there, on their way, and not.

    `state` is Rucio's: OK, REPLICATING, STUCK, SUSPENDED, WAITING_APPROVAL or INJECT. `error` are Rucio's own words
    where it is stuck. `replaced_by`: the rule that has to be OK before this one may end.
    """

    id: str
    did: DID
    rse_expression: str
    copies: int
    state: str
    ok: int
    replicating: int
    stuck: int
    expires_at: datetime | None
    error: str
    account: str = ""
    replaced_by: str | None = None

    @property
    def files(self) -> int:
        """All that the rule is about; 0 for an empty dataset, and before Rucio has looked."""
        return self.ok + self.replicating + self.stuck

    @property
    def words(self) -> str:
        """The state as a person says it: "3 of 10 files there, 7 on the way"."""
        if self.state == "INJECT":
            return "accepted, not begun yet"
        if self.state == "WAITING_APPROVAL":
            return "waits for the approval of the data managers"
        if not self.files:
            return "no files in it"
        noun = "file" if self.copies == 1 else "copy" if self.files == 1 else "copies"
        if self.ok == self.files:
            return f"{self.ok} {noun if self.ok == 1 or self.copies > 1 else 'files'} there"
        plural = noun if self.files == 1 or self.copies > 1 else "files"
        parts = [f"{self.ok} of {self.files} {plural} there"]
        if self.replicating:
            parts.append(f"{self.replicating} on the way")
        if self.stuck:
            parts.append(f"{self.stuck} {'given up' if self.state == 'SUSPENDED' else 'stuck'}")
        return ", ".join(parts)

    @property
    def is_settled(self) -> bool:
        """Whether waiting changes nothing soon: all is there, or Rucio met something that it cannot mend by itself."""
        return self.state in ("OK", "STUCK", "SUSPENDED")

    def lasts(self, now: datetime) -> bool:
        """Whether it has not ended yet: Rucio removes ended rules some minutes later."""
        return self.expires_at is None or self.expires_at > now

    def as_json(self) -> dict[str, Any]:
        """For `--json`: the instant as ISO 8601 in UTC."""
        return {
            "id": self.id,
            "did": str(self.did),
            "rse_expression": self.rse_expression,
            "copies": self.copies,
            "state": self.state,
            "words": self.words,
            "ok": self.ok,
            "replicating": self.replicating,
            "stuck": self.stuck,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "error": self.error,
            "account": self.account,
            "replaced_by": self.replaced_by,
        }


def rule_of(entry: Mapping[str, Any]) -> Rule:
    """From what Rucio's clients answer, whose instants are UTC without saying so."""
    expires = entry.get("expires_at")
    return Rule(
        id=entry["id"],
        did=DID(entry["scope"], entry["name"]),
        rse_expression=entry["rse_expression"],
        copies=entry["copies"],
        state=str(entry["state"]),
        ok=entry["locks_ok_cnt"] or 0,
        replicating=entry["locks_replicating_cnt"] or 0,
        stuck=entry["locks_stuck_cnt"] or 0,
        expires_at=expires.replace(tzinfo=UTC) if expires else None,
        error=" ".join((entry.get("error") or "").split()),
        account=str(entry.get("account") or ""),
        replaced_by=entry.get("child_rule_id"),
    )


# What Rucio, FTS and storages write, and what it means; the first that is found counts.
_MEANINGS: Sequence[tuple[str, str]] = (
    (r"checksum|adler32|md5|corrupt|has \d+ bytes instead|size mismatch", "a copy arrived damaged"),
    (r"MissingSourceReplica|NO_SOURCES|no sources", "no storage has a copy that can be read"),
    (r"no such file|not found|does not exist|is not there|ENOENT", "the file is gone at the storage that has it"),
    (r"insufficient ?quota|AccountLimit", "your quota there is used up"),
    (r"RSEWriteBlocked|blocked for writing|not available for writ", "the storage takes no data at the moment"),
    (r"no space|disk full|ENOSPC", "the storage there is full"),
    (r"permission|denied|unauthori[sz]ed|forbidden|EACCES|40[13]", "a storage refused the copy"),
    (r"SCHEME", "the two storages have no protocol in common"),
    (r"timed? ?out|lost", "the copy took too long"),
)
_PREFIX = re.compile(r"(?:RequestErrMsg\.)?(?:TRANSFER_FAILED|SUBMISSION_FAILED|OTHER):\s*")


def reason(error: str) -> str:
    """Why a rule is stuck, in words, with Rucio's own in brackets."""
    own = _PREFIX.sub("", error).strip()
    if own in ("", "None"):
        return "Rucio does not say why"
    meaning = next((words for pattern, words in _MEANINGS if re.search(pattern, own, re.IGNORECASE)), "")
    return f"{meaning} (Rucio says: {own})" if meaning else f"Rucio says: {own}"
