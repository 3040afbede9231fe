"""What a check found, for a person or a script."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from jupyterhub_dlaas.errors import DLaaSError, Problem

Level = Literal["ok", "hint", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `subject` is a setting, a VO or a file."""

    level: Level
    subject: str
    message: str
    file: str = ""
    line: int | None = None
    field: str = ""


@dataclass
class Report:
    """All findings, in the order in which they were made."""

    findings: list[Finding] = field(default_factory=list)

    def ok(self, subject: str, message: str) -> None:
        """It is as it should be."""
        self.findings.append(Finding("ok", subject, message))

    def warning(self, subject: str, message: str) -> None:
        """It works, but should not stay so."""
        self.findings.append(Finding("warning", subject, message))

    def error(self, subject: str, error: DLaaSError | str) -> None:
        """It cannot work."""
        message = error if isinstance(error, str) else error.sentence()
        self.findings.append(Finding("error", subject, message))

    def problem(self, level: Level, subject: str, problem: Problem) -> None:
        """Something in a catalogue."""
        self.findings.append(Finding(level, subject, problem.message, problem.source, problem.line, problem.field))

    def count(self, level: Level) -> int:
        """How many findings of this level."""
        return sum(finding.level == level for finding in self.findings)

    def print(self, *, as_json: bool) -> int:
        """Prints to standard output and returns the exit status, 1 with any error."""
        errors, warnings = self.count("error"), self.count("warning")
        if as_json:
            findings = [asdict(finding) for finding in self.findings]
            print(
                json.dumps({"ok": not errors, "errors": errors, "warnings": warnings, "findings": findings}, indent=2)
            )
            return 1 if errors else 0
        for finding in self.findings:
            print(f"{finding.level:8} {_sentence(finding)}")
        print(f"\n{_number(errors, 'error')}, {_number(warnings, 'warning')}")
        return 1 if errors else 0


def _sentence(finding: Finding) -> str:
    place = str(Problem(finding.message, finding.field, finding.line, finding.file))
    return place if finding.file else f"{finding.subject}: {place}"


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
