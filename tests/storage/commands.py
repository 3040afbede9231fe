"""What tests and people type: XRootD's commands, Rucio's own client, and curl's kind of requests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import requests
from support.lake_user import Done

from storage.layout import TOKEN_ORIGIN, Layout
from storage.pki import write_private

NO_LOGIN = 52
NOT_ALLOWED = 54
"""Exit codes of xrdcp: the server does not know who asks, or does not let them (or has no such file)."""


def run(*command: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """A command with its output, after at most a minute."""
    done = subprocess.run(
        [str(word) for word in command], env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def adler32_at(address: str, path: str) -> str:
    """The checksum that a server computes of a file of its own."""
    done = run("xrdfs", address, "query", "checksum", path)
    assert done.code == 0, done.err
    kind, value = done.out.split()
    assert kind == "adler32"
    return value


def rucio(environment: Mapping[str, str], *args: object, cwd: Path | None = None) -> Done:
    """Rucio's own client. Its exit code says nothing: upload and download end with 0 whatever happened."""
    return run(Path(sys.executable).with_name("rucio"), *args, env=environment, cwd=cwd)


def xrootd_environment(layout: Layout, folder: Path, token: str | None) -> dict[str, str]:
    """The environment of an XRootD client with this token in a file (closed to others, or it is not used)."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "X509_CERT_DIR": str(layout.certificates)}
    if token is None:
        return environment
    path = folder / "bearer.token"
    write_private(path, token.encode())
    return environment | {"BEARER_TOKEN_FILE": str(path)}


def https(layout: Layout, method: str, path: str, token: str | None, content: bytes | None = None) -> int:
    """The status of a request to the token-protected server."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with requests.Session() as session:
        session.trust_env = False  # no proxy, no netrc
        url = f"https://{layout.address(TOKEN_ORIGIN)}{path}"
        answer = session.request(
            method, url, headers=headers, data=content, verify=str(layout.pki / "ca.crt"), timeout=30
        )
        return int(answer.status_code)


def checksums_at(address: str, paths: Iterable[str]) -> dict[str, str]:
    """adler32 by path (as it was given), computed by the server; all of them over one connection."""
    wanted = list(paths)
    done = subprocess.run(
        ["xrdfs", address],
        input="".join(f"query checksum {path}\n" for path in wanted),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.findall(r"\badler32 ([0-9a-f]{8})\b", done.stdout)
    assert len(found) == len(wanted), done.stdout[-500:] + done.stderr[-500:]
    return dict(zip(wanted, found, strict=True))
