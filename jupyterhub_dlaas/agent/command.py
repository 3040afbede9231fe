"""The command line of an agent, for the spawners that start one."""

from __future__ import annotations

import sys

AGENT_PYTHON = "/usr/bin/python3"  # where images/agent has its interpreter


def command(
    *,
    hub_url: str,
    files: str,
    cache: str,
    credential_fd: int | None = None,
    credential_file: str | None = None,
    credential_secret: str | None = None,
    ready_fd: int | None = None,
    ca_file: str | None = None,
    start_timeout_seconds: float | None = None,
    python: str | None = None,
) -> list[str]:
    """The arguments of an agent; exactly one of the three credentials is given.

    `credential_secret` is a file of a Secret that only the agent's container mounts. `python` is the interpreter, this
    one unless given (AGENT_PYTHON in a pod). It runs isolated (`-I`), so that
    neither `PYTHON*` variables nor files in the current folder, both in a user's hands, decide what code it runs.
    """
    if [credential_fd, credential_file, credential_secret].count(None) != 2:
        raise ValueError("exactly one of credential_fd, credential_file and credential_secret has to be given")
    options = {
        "--hub-url": hub_url,
        "--files": files,
        "--cache": cache,
        "--credential-fd": credential_fd,
        "--credential-file": credential_file,
        "--credential-secret": credential_secret,
        "--ready-fd": ready_fd,
        "--ca-file": ca_file,
        "--start-timeout": start_timeout_seconds,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    return [python or sys.executable, "-I", "-m", "jupyterhub_dlaas.agent", *given]


def ready_command(*, files: str, python: str | None = None, wait_seconds: float | None = None) -> list[str]:
    """The arguments of the question whether an agent's first write is complete: exit 0, or 1 with a sentence.

    It is answered at once, or waits up to `wait_seconds` for the 0.
    """
    wait = [] if wait_seconds is None else ["--wait", str(wait_seconds)]
    return [python or sys.executable, "-I", "-m", "jupyterhub_dlaas.agent", "ready", "--files", files, *wait]
