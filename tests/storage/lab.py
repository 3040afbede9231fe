"""`PYTHONPATH=tests python -m storage.lab up | down | status`: two storage sites, a token-protected one, caches, a FUSE
mount and a Rucio that copies between them, on this machine.

`up` runs until Ctrl-C (`--background`: until `down`) and prints what is where. Every start is a fresh one, and stopping
leaves nothing: no process, no mount, no folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from storage.daemons import LabError
from storage.layout import Layout
from storage.mount import unmount
from storage.plane import Lab, Say, remove
from storage.welcome import furnish, welcome

START_SECONDS = 120
STOP_SECONDS = 60
DEFAULT_FOLDER = f"{tempfile.gettempdir()}/dlaas-testbed-storage-{os.geteuid()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="storage.lab", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "status"))
    parser.add_argument("--folder", type=Path, default=Path(DEFAULT_FOLDER), help="default: %(default)s")
    parser.add_argument("--background", action="store_true", help="with up: come back when it is up")
    options = parser.parse_args()
    folder = options.folder.absolute()
    try:
        if options.what == "down":
            down(folder)
        elif options.what == "status":
            print(status(folder))
        elif options.background:
            print(background(folder))
        else:
            foreground(folder)
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def foreground(folder: Path) -> None:
    """A lab until SIGINT or SIGTERM."""
    clear(folder)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if stopping.is_set():
            return
        stopping.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    say = _progress()
    lab = Lab(folder, say)
    try:
        lab.start()
        furnish(lab)
        print(welcome(lab.layout), flush=True)
        while not stopping.wait(1):
            dead = [name for name, daemon in lab.daemons.items() if not daemon.running and name != "filling"]
            if dead:
                raise LabError(f"{', '.join(dead)} ended by itself; the logs stay in {lab.layout.logs}.")
    except KeyboardInterrupt:
        stopping.set()
        say("stopping ...")
        lab.stop()
        remove(folder)
        say("stopped; nothing is left")
    finally:
        lab.stop()


def background(folder: Path) -> str:
    """Starts a lab in a process of its own; returns what is where when it is up."""
    clear(folder)
    log = folder.with_name(f"{folder.name}.out")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "storage.lab", "up", "--folder", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "welcome.txt").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                raise LabError(f"The lab did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
    finally:
        log.unlink()
    return (folder / "welcome.txt").read_text()


def down(folder: Path) -> None:
    """Ends the lab in this folder; what a killed one has left, too."""
    pid = running(folder)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _alive(pid):
            if time.monotonic() > deadline:
                raise LabError(f"The lab in {folder} (process {pid}) has not ended within {STOP_SECONDS} s.")
            time.sleep(0.1)
    clear(folder)


def status(folder: Path) -> str:
    """What is where, if a lab runs there."""
    if not running(folder):
        return f"No lab runs in {folder}."
    text = folder / "welcome.txt"
    return text.read_text() if text.exists() else f"The lab in {folder} is still starting."


def running(folder: Path) -> int | None:
    """The process of the lab in this folder."""
    with suppress(OSError, ValueError):
        pid = int((folder / "lab.pid").read_text())
        return pid if _alive(pid) else None
    return None


def _alive(pid: int) -> bool:
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")  # a zombie has none
        return b"storage.lab" in command
    return False


def clear(folder: Path) -> None:
    """Makes sure that nothing is there. LabError if a lab runs, or if the folder is not a lab's."""
    if pid := running(folder):
        raise LabError(f"A lab runs in {folder} already (process {pid}); end it with `down`, or give another --folder.")
    if not folder.exists():
        return
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise LabError(f"{folder} is not ours; give another --folder.")
    if any(folder.iterdir()) and not (folder / "layout.json").exists():
        raise LabError(f"{folder} has files that are not a lab's; give another --folder.")
    # Its servers have ended with it (see `launch`); a mount may have outlived it.
    unmount(Layout(folder).mount)
    remove(folder)


def _progress() -> Say:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {line}", flush=True)

    return say


if __name__ == "__main__":
    main()
