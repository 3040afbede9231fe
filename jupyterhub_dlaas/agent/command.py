"""The command line of an agent, for the spawners that start one."""

from __future__ import annotations

import sys

AGENT_PROGRAM = "/usr/bin/dlaas-agent"  # of images/agent: its interpreter, as isolated as here


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
    program: str | None = None,
) -> list[str]:
    """The arguments of an agent; exactly one of the three credentials is given.

    `credential_secret` is a file of a Secret that only the agent's container mounts. `program` is an agent of its own
    (AGENT_PROGRAM in a pod); otherwise this interpreter runs it, isolated (`-I`), so that neither `PYTHON*` variables
    nor files in the current folder, both in a user's hands, decide what code it runs.
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
    return [*_agent(program), *given]


def ready_command(*, files: str, program: str | None = None, wait_seconds: float | None = None) -> list[str]:
    """The arguments of the question whether an agent's first write is complete: exit 0, or 1 with a sentence.

    It is answered at once, or waits up to `wait_seconds` for the 0.
    """
    wait = [] if wait_seconds is None else ["--wait", str(wait_seconds)]
    return [*_agent(program), "ready", "--files", files, *wait]


def _agent(program: str | None) -> list[str]:
    return [program] if program else [sys.executable, "-I", "-m", "jupyterhub_dlaas.agent"]
