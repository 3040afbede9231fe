"""Third-party copies between XRootD servers: the bytes go from one server to the other, never through this process."""

from __future__ import annotations

import itertools
import subprocess
from urllib.parse import urlsplit

LIMIT_SECONDS = 300
ATTEMPTS = 4
# When many copies begin in the same moment a source server (5.5.3) sometimes forgets that the client has announced the
# destination, lets it wait for the time of `ofs.tpc ttl`, and says this.
FORGOTTEN = "tpc authorization expired"


def third_party_copy(source: str, destination: str, size: int, adler32: str | None) -> str:
    """Copies and asks the destination server what it has; returns the problem, if any, and then leaves no file there.

    `xrdcp --tpc only` fails rather than stream through us. Its own `--rm-bad-cksum` does nothing for such copies
    (5.5.3): bad bytes would stay at the destination.
    """
    expected = ["--cksum", f"adler32:{adler32}"] if adler32 else []
    for _ in range(ATTEMPTS):
        problem = _run("xrdcp", "--force", "--nopbar", "--tpc", "only", *expected, source, destination)
        if FORGOTTEN not in problem:
            break
    problem = problem or difference(destination, size, adler32)
    if problem:
        remove(destination)
    return problem


def difference(url: str, size: int, adler32: str | None) -> str:
    """How a file at a server differs from what the catalogue says of it, by what the server says; empty when not."""
    server, path = _split(url)
    # One connection for both questions.
    answer = subprocess.run(
        ["xrdfs", server],
        input=f"stat {path}\nquery checksum {path}\n",
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    words = answer.stdout.split()
    found = dict(itertools.pairwise(words))
    if "Size:" not in found:
        return f"{url} is not there"
    if int(found["Size:"]) != size:
        return f"{url} has {found['Size:']} bytes instead of {size}"
    if adler32 and found.get("adler32") != adler32:
        return f"{url} has adler32 {found.get('adler32')} instead of {adler32}"
    return ""


def remove(url: str) -> None:
    """Deletes a file at its server, if it is there."""
    server, path = _split(url)
    _run("xrdfs", server, "rm", path)


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.netloc, parts.path


def _run(*command: str) -> str:
    """The end of what a failed command says; empty when it worked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} had not ended after {LIMIT_SECONDS} s"
    if done.returncode == 0:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"{command[0]} ended with code {done.returncode}: {said[-1] if said else ''}"
