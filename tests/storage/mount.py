"""SITE-A as a folder: xrootdfs, with the settings that keep a mount alive when its server is not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from storage.configs import IMPATIENT
from storage.daemons import Daemon
from storage.layout import SITE_A, Layout, rse


def mount_daemon(layout: Layout, environment: Mapping[str, str]) -> Daemon:
    """Read-only, for everybody on this machine where root mounts it; else for ourselves alone."""
    options = [f"rdr={layout.pfn(SITE_A, '').rstrip('/')}", "ro", f"fsname={rse(SITE_A).folder}"]
    if layout.user:
        # It stays root, who mounts: with `uid=` it would outlive the lab, as a change of account ends what `launch`
        # has asked of the kernel.
        options.append("allow_other")
    return Daemon(
        name="mount",
        command=["xrootdfs", str(layout.mount), "-f", "-o", ",".join(options)],
        environment={**environment, **IMPATIENT},
        folder=layout.folder,
        log=layout.logs / "mount.log",
        ready=lambda daemon: is_mounted(layout.mount),
        names=True,  # mounted in a namespace of its own nobody else would see it
        limit_seconds=20,
    )


def is_mounted(folder: Path) -> bool:
    """Whether the kernel has a mount there, dead or alive; asking the folder itself may hang."""
    target = str(folder).replace(" ", "\\040")
    return any(line.split(" ")[1] == target for line in Path("/proc/mounts").read_text().splitlines())


def unmount(folder: Path) -> None:
    """Takes a mount away whatever its state."""
    if is_mounted(folder):
        command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount", "-u", "-z"]
        subprocess.run([*command, str(folder)], check=False, timeout=20)
