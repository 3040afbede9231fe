#!/usr/bin/env python3
"""`launch.py [--user NAME] [--port PORT] -- COMMAND...`: becomes COMMAND, which ends when its parent does.

XRootD cannot be told on which address to listen: it would be open to the network. But it takes over a socket that it is
given as systemd does (LISTEN_FDS), if the port is the one that it wants; here it is bound to 127.0.0.1. `--user`: root
gives up its rights first (XRootD refuses to run as root).

Standard library alone, run by its path: importing nothing else keeps a start at a few hundredths of a second.
"""

import argparse
import ctypes
import os
import pwd
import signal
import socket

FIRST_PASSED = 3
PR_SET_PDEATHSIG = 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--port", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    parent = os.getppid()
    if options.port:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", options.port))
        listener.listen(255)
        if listener.fileno() == FIRST_PASSED:
            os.set_inheritable(FIRST_PASSED, True)
        else:
            os.dup2(listener.fileno(), FIRST_PASSED, inheritable=True)
        os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    if options.user:
        account = pwd.getpwnam(options.user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    # Last, because a change of user clears it. Even `kill -9` of the lab leaves no server behind.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the lab has gone")
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    main()
