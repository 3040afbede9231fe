"""`dlaas scratch clean`: makes room on a scratch area, without what Rucio knows."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from dataclasses import asdict
from datetime import datetime

from jupyterhub_dlaas.admin import hub_config, scratch_metrics
from jupyterhub_dlaas.admin.scratch_area import Area
from jupyterhub_dlaas.admin.scratch_clean import Counts, Rules, Tell, clean
from jupyterhub_dlaas.admin.scratch_rucio import NotAsked, Replicas
from jupyterhub_dlaas.admin.scratch_uploads import Uploads, uploads

EXAMPLES = """examples:
  dlaas scratch clean --path /var/scratch --rse ESCAPE-SCRATCHDISK --older-than 30d          what would go
  dlaas scratch clean --path /var/scratch --rse ESCAPE-SCRATCHDISK --older-than 30d --yes    removes it
  dlaas scratch clean ... --yes --summary --metrics /var/lib/node_exporter/scratch.prom      in a CronJob

A file goes when it was neither written, changed nor read for so long and Rucio has no replica at its path; a folder
when it is empty and nothing came or went for so long. Links are not followed, and other file systems not entered.
Rucio is asked with your own rucio.cfg (RUCIO_HOME): any account will do, and every file DID is asked for.

exit status: 0 done, 1 something could not be read or removed, 2 the command was not understood,
3 Rucio could not be asked, gave half an answer, or does not speak of this folder: nothing was removed after that,
130 interrupted
"""
NOT_ASKED = 3
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its subcommand."""
    parser = commands.add_parser("scratch", help="look after a scratch area")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "remove what is old and what Rucio does not know"
    cleaned = actions.add_parser(
        "clean",
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cleaned.add_argument("--path", required=True, metavar="FOLDER", help="the scratch area as it is mounted here")
    cleaned.add_argument("--rse", required=True, metavar="NAME", help="the RSE that describes it in Rucio")
    cleaned.add_argument(
        "--rse-path",
        default="",
        metavar="PATH",
        help="where FOLDER lies below the prefix of the RSE's protocols; default: it is what the prefix names",
    )
    cleaned.add_argument(
        "--older-than", required=True, type=_seconds, metavar="AGE", help="such as 30d (s, m, h, d or w)"
    )
    cleaned.add_argument(
        "--keep-levels",
        type=_levels,
        default=1,
        metavar="N",
        help="folders so deep are never removed, though empty; default: 1, as users' own folders may be mounted",
    )
    cleaned.add_argument(
        "--journals",
        metavar="PATTERN",
        help="where journals of uploads are, such as '/home/{user}/.local/state/datalake', with {user} for the name of "
        "a user's own folder in FOLDER: what an unfinished upload names is spared",
    )
    cleaned.add_argument(
        "--seen-as",
        default="/scratch",
        metavar="PATH",
        help="where users' servers have their own folder, as journals name it; default: %(default)s",
    )
    cleaned.add_argument("--yes", action="store_true", help="remove; without it, only what would go is said")
    cleaned.add_argument("--summary", action="store_true", help="do not print each path")
    cleaned.add_argument("--metrics", metavar="FILE", help="write the numbers for Prometheus, as a textfile (*.prom)")
    cleaned.add_argument("--json", action="store_true", help="print the numbers as one JSON object, for scripts")
    cleaned.set_defaults(run=_clean)


def _clean(args: argparse.Namespace) -> int:
    """Runs it, and writes the metrics whatever comes of it."""
    counts: Counts | None = None
    status, why = 1, ""
    try:
        counts = run(args, now=time.time())
        status = 1 if counts.failed else 0
    except NotAsked as error:
        status, why = NOT_ASKED, error.sentence()
        print(f"dlaas: {why}", file=sys.stderr)
    finally:
        if args.metrics:
            ok, dry = status == 0, not args.yes
            scratch_metrics.write(args.metrics, path=args.path, rse=args.rse, counts=counts, dry_run=dry, ok=ok)
    if args.json:
        done = asdict(counts) if counts else {}
        print(json.dumps({"ok": status == 0, "error": why, "dry_run": not args.yes, **done}))
    elif counts:
        _tell(args, counts)
    return status


def run(args: argparse.Namespace, *, now: float) -> Counts:
    """One cleaning as the options say. Raises NotAsked; ConfigError for a folder that cannot be opened."""
    with hub_config.quiet(), contextlib.closing(Area(args.path)) as area:
        rucio = Replicas(args.rse, args.rse_path)
        before = now - args.older_than
        rules = Rules(before, args.keep_levels, _uploads(args, area, before))
        quiet = args.summary or args.json
        return clean(area, rucio, rules, remove=args.yes, tell=Tell(_hush if quiet else _gone, _failed))


def _uploads(args: argparse.Namespace, area: Area, before: float) -> Uploads:
    if not args.journals:
        return Uploads()
    users = [entry.name for entry in area.entries(b"") if entry.kind == "folder"]
    return uploads(args.journals, users, area=area.path, seen_as=args.seen_as, since=before)


def _gone(path: bytes, number: int | None) -> None:
    from jupyterhub_dlaas.datalake.console import size  # which needs an extra that the hub's image does not have

    print(f"{'folder' if number is None else size(number):>9}  {_shown(path)}")


def _hush(path: bytes, number: int | None) -> None:
    pass


def _failed(path: bytes, why: str) -> None:
    print(f"dlaas: {_shown(path) or '.'}: {why}", file=sys.stderr)


def _shown(path: bytes) -> str:
    from jupyterhub_dlaas.datalake.console import printable

    return printable(os.fsdecode(path))


def _tell(args: argparse.Namespace, counts: Counts) -> None:
    from jupyterhub_dlaas.datalake.console import size

    before = datetime.fromtimestamp(time.time() - args.older_than)
    print(f"{args.path}, {args.rse}, not used since {before:%Y-%m-%d %H:%M}")
    rows = [
        ("looked at", counts.files, None, f"in {counts.folders:,} folders"),
        ("used since", counts.young, counts.young_bytes, "kept"),
        ("known to Rucio", counts.known, counts.known_bytes, "kept"),
        ("spared", counts.spared, None, "being uploaded, or no file"),
        ("changed", counts.changed, None, "while this ran: kept"),
        ("failed", counts.failed, None, "could not be read or removed, see above"),
        ("missing", counts.missing, None, "known to Rucio, and not there: tell its managers"),
        ("removed" if args.yes else "would remove", counts.removed, counts.removed_bytes, ""),
        ("", counts.removed_folders, None, "folders"),
    ]
    for what, number, space, remark in rows:
        if number or what in {"looked at", "removed", "would remove"}:
            print(f"{what:>14} {number:>12,}  {'' if space is None else size(space):>9}  {remark}".rstrip())
    if not args.yes and (counts.removed or counts.removed_folders):
        print("Nothing was removed: add --yes to remove it.")


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not an age: a number with s, m, h, d or w, such as 30d")
    return int(match[1]) * _UNITS[match[2]]


def _levels(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of levels")
    return int(text)
