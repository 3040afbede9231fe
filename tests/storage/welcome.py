"""What a lab says when it is up, and the files with which a person becomes one of its scientists."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from storage.lake import StorageLake, StorageUser
from storage.layout import (
    CACHE,
    CACHE_SITE,
    PEOPLE,
    RSES,
    SCRATCH,
    SITE_A,
    STORAGE_AUDIENCE,
    TOKEN_CACHE,
    TOKEN_CACHE_SITE,
    TOKEN_ORIGIN,
    Layout,
)
from storage.plane import Lab
from storage.tokens import DAY

SHOWN = ("USER", "DLAAS_DIR", "RUCIO_HOME", "RUCIO_CONFIG", "X509_CERT_DIR", "HOME", "TMPDIR", "SCRATCH", "PATH")


def furnish(lab: Lab) -> None:
    """Writes `people/NAME/env` (to be sourced) with everything that it points to, and `welcome.txt`."""
    lake = StorageLake(lab)
    for name in PEOPLE:
        person = StorageUser(lake, name, lab.layout.folder / "people" / name)
        person.token_seconds = 7 * DAY
        person.renew()
        lines = [
            f"export {key}={shlex.quote(value)}"
            for key, value in sorted(person.environ.items())
            if key in SHOWN or value.startswith(str(lab.layout.folder))
        ]
        _env(lab.layout, name).write_text("\n".join(lines) + "\n")
    text = welcome(lab.layout)
    partial = lab.layout.folder / ".welcome.part"
    partial.write_text(text)
    partial.replace(lab.layout.folder / "welcome.txt")


def welcome(layout: Layout) -> str:
    """What is where, and what to do now."""
    servers = [f"    {rse.name:22} {rse.qos:8} {layout.pfn(rse.name, '')}" for rse in RSES]
    rule = "=" * 100
    rucio = Path(sys.executable).with_name("rucio")
    return "\n".join(
        [
            rule,
            "",
            "  The storage lab is up. RSE, quality of service, address:",
            "",
            *servers,
            "",
            f"  {SITE_A} is mounted at {layout.mount}",
            f"  {SCRATCH} is the folder {layout.scratch}",
            f"  {TOKEN_ORIGIN} wants a token for the audience {STORAGE_AUDIENCE}; the others let everybody in",
            f"  XCache {layout.address(CACHE)}: SITE_NAME={CACHE_SITE}; with tokens in front "
            f"{layout.address(TOKEN_CACHE)}: SITE_NAME={TOKEN_CACHE_SITE}",
            f"  Rucio {layout.rucio_url}, IAM {layout.issuer}",
            "",
            "  As a scientist (bash, in another terminal; tokens live for a week)",
            f"    source {_env(layout, PEOPLE[0])}    (or {', '.join(PEOPLE[1:])})",
            "    datalake status",
            "    head -c 1M /dev/urandom > $SCRATCH/image.dat",
            "    datalake upload $SCRATCH/image.dat --dataset first-light --qos SAFE --wait",
            "    datalake path user.$USER:first-light --wait",
            "",
            "  As Rucio's administrator",
            f"    RUCIO_CONFIG={layout.folder / 'rucio' / 'etc' / 'rucio.cfg'} {rucio} rse list",
            "",
            "  As the storage itself",
            f"    xrdfs {layout.address('site-a')} ls -R /",
            f"    find {layout.data(CACHE)} -name '*.cinfo' -exec xrdpfc_print -v {{}} +",
            "",
            f"  Logs: {layout.logs}",
            "  Ctrl-C, or `PYTHONPATH=tests .venv/bin/python -m storage.lab down`, ends it and removes everything.",
            "",
            rule,
        ]
    )


def _env(layout: Layout, name: str) -> Path:
    return layout.folder / "people" / name / "env"
