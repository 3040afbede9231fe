"""What can go wrong in the agent, as sentences, and where they are said."""

from __future__ import annotations

import os


class AgentError(Exception):
    """A sentence for a person; it never carries a token.

    `hopeless`: asking again within the next minute does not help, so a start gives up at once and a running agent asks
    slowly. `retry_after`: seconds that the hub asked to wait.
    """

    def __init__(self, sentence: str, *, hopeless: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.hopeless = hopeless
        self.retry_after = retry_after


def say(sentence: str) -> None:
    """Writes one line on stderr. Nobody may be reading it any more, which is no reason to stop renewing."""
    try:
        os.write(2, f"dlaas-agent: {one_line(sentence)}\n".encode(errors="replace"))
    except OSError:
        return


def one_line(text: str, limit: int = 500) -> str:
    """`text` with nothing unprintable in it, at most `limit` characters long."""
    line = "".join(char if char.isprintable() else " " for char in text[:limit])
    return " ".join(line.split())


def reason(error: OSError) -> str:
    """What the operating system said, without the path."""
    return error.strerror or type(error).__name__
