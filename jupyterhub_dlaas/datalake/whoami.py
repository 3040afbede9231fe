"""Asks one Rucio server who the user is, with the real client, in a process of its own.

A process, because the client does not give up by itself: when its token is refused it prints a link, waits for a code
on standard input, and its commands exit 0 all the same. The child, `python -m jupyterhub_dlaas.datalake.whoami`, gets
an empty standard input and a limit, and answers with one JSON object.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_TOKEN = re.compile(r"eyJ[A-Za-z0-9._-]+")
Outcome = Literal["ok", "refused", "unreachable", "error"]


@dataclass(frozen=True)
class Answer:
    """`account` when the outcome is `ok`; else `detail` has the client's own words, which may be empty."""

    outcome: Outcome
    account: str = ""
    detail: str = ""


def whoami(client: dict[str, str] | None = None, *, limit_seconds: float) -> Answer:
    """Who Rucio says the user is; never takes longer than `limit_seconds`.

    Without `client` the answer is what the `rucio` command gets, from the server's own rucio.cfg; with it, these are
    the keys of its section `[client]` instead.
    """
    request = json.dumps({"client": client, "timeout_seconds": limit_seconds * 0.8})
    command = [sys.executable, "-m", "jupyterhub_dlaas.datalake.whoami", request]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("unreachable", detail=f"no answer in {limit_seconds:.0f} s")
    try:
        return Answer(**json.loads(done.stdout))
    except (ValueError, TypeError):
        return Answer("error", detail=f"the client ended with code {done.returncode}")


def main(request: dict[str, Any]) -> Answer:
    """The child's work: one call with the client's own configuration and error handling."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            if request["client"] is not None:
                _use(request["client"], Path(folder))
            from rucio.client.accountclient import AccountClient

            account = AccountClient(timeout=request["timeout_seconds"]).whoami()
    except EOFError:
        return Answer("refused")  # it asked for a code that nobody can type
    except Exception as error:  # noqa: BLE001  whatever the client raises is its answer
        return _failure(error)
    return Answer("ok", account=str(account.get("account", "")))


def _use(client: dict[str, str], folder: Path) -> None:
    """Makes this process read the given section instead of the server's own rucio.cfg."""
    from configparser import ConfigParser

    config = ConfigParser()
    config.read_dict({"client": {key: value.replace("%", "%%") for key, value in client.items()}})
    (folder / "etc").mkdir()
    with (folder / "etc" / "rucio.cfg").open("w") as file:
        config.write(file)
    os.environ["RUCIO_HOME"] = str(folder)


def _failure(error: Exception) -> Answer:
    from rucio.common.exception import (
        AccessDenied,
        CannotAuthenticate,
        IdentityError,
        IdentityNotFound,
        ServerConnectionException,
    )

    words = _TOKEN.sub("<token>", " ".join(str(error).split()))
    detail = f"{type(error).__name__}: {words[:200]}"
    if isinstance(error, CannotAuthenticate | AccessDenied | IdentityError | IdentityNotFound):
        return Answer("refused", detail=detail)
    if isinstance(error, OSError | ServerConnectionException):
        return Answer("unreachable", detail=detail)  # requests' own exceptions are OSErrors
    return Answer("error", detail=detail)


if __name__ == "__main__":
    # The client prints its questions to standard output; the answer alone may go there.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(vars(main(json.loads(sys.argv[1]))), out)
    out.flush()
