"""The agent's own credential: from an inherited pipe, a private file or a mounted Secret.

It is never an argument or a variable, which others can see.
"""

from __future__ import annotations

import os
import select
import stat
import time

from jupyterhub_dlaas.agent.trouble import AgentError, reason

_LARGEST_BYTES = 8192


def from_fd(fd: int, seconds: float) -> str:
    """Reads the pipe `fd` to its end within `seconds` and closes it. Raises AgentError."""
    deadline = time.monotonic() + seconds
    data = b""
    try:
        while len(data) <= _LARGEST_BYTES:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AgentError(f"The pipe of --credential-fd {fd} was not closed by its writer in time.")
            part = os.read(fd, 4096)
            if not part:
                break
            data += part
        os.close(fd)
    except (OSError, ValueError):
        raise AgentError(f"--credential-fd {fd} cannot be read: it has to be an inherited pipe.") from None
    return _checked(data, f"--credential-fd {fd}")


def from_file(path: str) -> str:
    """Reads a regular file that only its owner can read. Raises AgentError."""
    return _read(path, "--credential-file", os.O_NOFOLLOW, 0o077)


def from_secret(path: str) -> str:
    """Reads a file of a Secret that is mounted in this container alone. Raises AgentError.

    Such a file is a link to root's file behind another link, and a pod's fsGroup widens its mode, whatever was asked:
    who can read it is decided by who has the mount.
    """
    return _read(path, "--credential-secret", 0, 0)


def _read(path: str, option: str, flags: int, forbidden: int) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise AgentError(f"{option} {path} is not a regular file.")
            if status.st_mode & forbidden:
                raise AgentError(
                    f"{option} {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}); "
                    "it has to be 0600 or 0400."
                )
            data = os.read(fd, _LARGEST_BYTES + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise AgentError(f"{option} {path} cannot be read: {reason(error)}.") from None
    return _checked(data, f"{option} {path}")


def _checked(data: bytes, source: str) -> str:
    token = data.strip()
    # Anything else could end the header that it travels in.
    if not token or len(data) > _LARGEST_BYTES or not all(0x21 <= byte <= 0x7E for byte in token):
        raise AgentError(f"{source} does not hold a credential (one line of printable ASCII).")
    return token.decode("ascii")
