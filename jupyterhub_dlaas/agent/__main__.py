"""The agent's command line: `ready`, or the agent itself. Each imports what it needs and no more."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Runs the agent, or answers `ready`. Returns the exit code."""
    if arguments[:1] == ["ready"]:
        # It runs beside the agent's own start, in the same few millicores of a pod.
        from jupyterhub_dlaas.agent.ready import ready

        return ready(arguments[1:])
    from jupyterhub_dlaas.agent.start import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
