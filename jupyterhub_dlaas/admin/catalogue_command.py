"""`dlaas catalogue`: check files before they are put in place, the schema for editors, the images to pull ahead."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.admin import cache_check, hub_config
from jupyterhub_dlaas.admin.report import Level, Report
from jupyterhub_dlaas.catalogue.caches import reads_through_cache
from jupyterhub_dlaas.catalogue.fields import image
from jupyterhub_dlaas.catalogue.folder import Catalogues, files
from jupyterhub_dlaas.catalogue.load import Loaded, advice, load, schema
from jupyterhub_dlaas.catalogue.models import Catalogue, RucioInstance
from jupyterhub_dlaas.errors import ConfigError

CHECK_EXAMPLES = """examples:
  dlaas catalogue check escape.yaml
  dlaas catalogue check /etc/dlaas/catalogue.d --config jupyterhub_config.py    within what the hub grants, too
  dlaas catalogue check escape.yaml --strict --json
  dlaas catalogue check escape.yaml --ask-rucio         what an XCache would break; with your own rucio.cfg (RUCIO_HOME)

exit status: 0 every file can be used, 1 one cannot (or, with --strict, has a warning)
"""
IMAGES_EXAMPLES = """examples:
  dlaas catalogue images --helm /etc/dlaas/catalogue.d > pull.yaml
  helm upgrade ... --values values.yaml --values pull.yaml
  dlaas catalogue images --config jupyterhub_config.py --list | xargs -n1 crictl pull

The chart pulls with its own pull secrets (imagePullSecrets), on the nodes of singleuser.nodeSelector; for nodes with
taints of their own give prePuller.extraTolerations.

exit status: 0 all images are printed, 1 some are left out (stderr says which)
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its subcommands."""
    parser = commands.add_parser("catalogue", help="check catalogues, print their schema or images")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    checked = _add(actions, "check", "tell everything that is wrong with a file or folder", CHECK_EXAMPLES)
    checked.add_argument("path", metavar="FILE_OR_FOLDER")
    checked.add_argument("--config", metavar="FILE", help="the hub's configuration, to compare with what it grants")
    checked.add_argument("--strict", action="store_true", help="count warnings as errors")
    checked.add_argument(
        "--ask-rucio", action="store_true", help="where an environment has an xcache_site, ask Rucio for its RSEs"
    )
    checked.add_argument("--json", action="store_true", help="for scripts")
    checked.set_defaults(run=_quietly(_check))

    example = "example:\n  dlaas catalogue schema > catalogue.schema.json\n"
    printed = _add(actions, "schema", "print the JSON Schema, by which editors help to write a catalogue", example)
    printed.set_defaults(run=lambda args: print(json.dumps(schema(), indent=2)))

    pulled = _add(actions, "images", "print the images, to be pulled to every node ahead of their use", IMAGES_EXAMPLES)
    pulled.add_argument("path", metavar="FILE_OR_FOLDER", nargs="?", help="default: the catalogues of the hub")
    pulled.add_argument(
        "--config", metavar="FILE", help=f"the hub's configuration; default without a path: {hub_config.DEFAULT}"
    )
    shape = pulled.add_mutually_exclusive_group()
    shape.add_argument("--helm", action="store_true", help="values for the pre-puller of the Helm chart (the default)")
    shape.add_argument("--list", action="store_true", help="one image per line")
    shape.add_argument("--json", action="store_true", help="for scripts")
    pulled.set_defaults(run=_quietly(_images))


def _quietly(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        with hub_config.quiet():
            return command(args)

    return run


def _add(actions: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _check(args: argparse.Namespace) -> int:
    report = _with_grants(args.path, args.config) if args.config else _alone(args.path)
    _caches(report, args.path, ask=args.ask_rucio)
    if args.strict:
        report.findings = [_strict(finding) for finding in report.findings]
    return report.print(as_json=args.json)


def _strict(finding: Any) -> Any:
    return dataclasses.replace(finding, level="error") if finding.level == "warning" else finding


def _alone(path: str) -> Report:
    """Each file by itself."""
    report = Report()
    claims: dict[str, str] = {}
    for name, loaded in _load(path):
        for problem in loaded.problems:
            report.problem("error", name, problem)
        if loaded.catalogue is None:
            continue
        for problem in advice(loaded.catalogue, loaded.document):
            report.problem("warning", name, problem)
        vo = loaded.catalogue.vo
        if vo in claims:
            report.error(name, f"claims the VO {vo}, as {claims[vo]} does: the hub would close it")
        claims[vo] = name
        report.ok(name, f"VO {vo}, {len(loaded.catalogue.environments)} environments")
    return report


def _with_grants(path: str, config: str) -> Report:
    """As the hub will see it."""
    from jupyterhub_dlaas.admin.check_command import report_catalogues

    _, vos, audiences = hub_config.catalogue_settings(hub_config.load(config).config)
    if Path(path).is_file():
        # The other VOs have their own files.
        claimed = {loaded.catalogue.vo if loaded.catalogue else Path(name).stem for name, loaded in _load(path)}
        vos = {vo: grant for vo, grant in vos.items() if vo in claimed}
    report = Report()
    report_catalogues(report, Catalogues(path, vos, audiences))
    return report


def _caches(report: Report, path: str, *, ask: bool) -> None:
    """Environments that read through an XCache: what Rucio says of its RSEs, or what to look out for."""
    for source, loaded in _load(path):
        catalogue = loaded.catalogue
        for index, environment in enumerate(catalogue.environments if catalogue else ()):
            if catalogue is None or not environment.xcache_site:
                continue
            at: tuple[str | int, ...] = ("environments", index, "xcache_site")
            if not ask:
                report.problem("hint", source, loaded.document.problem(at, reads_through_cache(environment)))
                continue
            for name in environment.rucio:
                for level, sentence in _broken(environment.xcache_site, catalogue.rucio_instances[name]):
                    report.problem(level, source, loaded.document.problem(at, f"{name}: {sentence}"))


def _broken(site: str, instance: RucioInstance) -> list[tuple[Level, str]]:
    try:
        rses = cache_check.ask(instance)
    except cache_check.RucioNotAsked as error:
        return [("warning", f"{instance.rucio_host} could not be asked: {error.sentence()}")]
    return [("warning", sentence) for sentence in cache_check.broken_by_cache(site, rses)]


def _load(path: str) -> Iterable[tuple[str, Loaded]]:
    if not Path(path).exists():
        raise ConfigError(f"There is no file or folder {path}.")
    found = files(Path(path))
    if not found:
        raise ConfigError(f"There is no catalogue (*.yaml) in {path}.")
    for file in found:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        yield str(file), load(text, str(file))


def _images(args: argparse.Namespace) -> int:
    status = 0
    if args.path and not args.config:
        catalogues = []
        for _, loaded in _load(args.path):
            for problem in loaded.problems:
                print(f"dlaas: {problem}", file=sys.stderr)
                status = 1
            if loaded.catalogue:
                catalogues.append(loaded.catalogue)
    else:
        path, vos, audiences = hub_config.catalogue_settings(hub_config.load(args.config or hub_config.DEFAULT).config)
        hub = Catalogues(args.path or path, vos, audiences)
        # Nothing that was not granted is pulled to the nodes.
        catalogues = list(hub.open.values())
        for vo, closed in hub.closed.items():
            print(f"dlaas: the images of VO {vo} are left out: {closed.problems[0]}", file=sys.stderr)
            status = 1
    found = images(catalogues)
    if args.json:
        print(json.dumps(sorted(found), indent=2))
    elif args.list:
        print("\n".join(sorted(found)))
    else:
        for reference, users in found.items():
            if not _pinned(reference):
                remedy = "name a version in the catalogue, or better a digest"
                print(
                    f"dlaas: {reference} of {users[0]} is left out, without tag and digest: {remedy}", file=sys.stderr
                )
                status = 1
        print(extra_images(found), end="")
    return status


def images(catalogues: Iterable[Catalogue]) -> dict[str, list[str]]:
    """The distinct images in their full form, each with the environments that use it."""
    found: dict[str, list[str]] = {}
    for catalogue in catalogues:
        for environment in catalogue.environments:
            found.setdefault(str(image(environment.image)), []).append(f"{catalogue.vo}/{environment.name}")
    return found


def extra_images(found: Mapping[str, Sequence[str]]) -> str:
    """Values for Zero-to-JupyterHub's pre-puller. The chart joins name and tag with a colon, digests included.

    A key becomes the container `image-pull-<key>`. It depends on the image alone: as long as the images are the same,
    an upgrade with `pullOnlyOnChanges` pulls nothing, whatever else a VO changes.
    """
    lines = []
    for reference, users in sorted(found.items()):
        parts = image(reference)
        if not _pinned(reference):
            continue
        name, tag = f"{parts.name}@sha256" if parts.digest else parts.name, parts.digest[len("sha256:") :] or parts.tag
        last = re.sub(r"[^a-z0-9]+", "-", parts.name.rpartition("/")[2])[:40].strip("-")
        lines += [
            f"    # {', '.join(users)}",
            f"    {last}-{hashlib.sha256(reference.encode()).hexdigest()[:8]}:",
            f"      name: {json.dumps(name)}",
            f"      tag: {json.dumps(tag)}",
        ]
    return "\n".join(["prePuller:", "  extraImages:" + ("" if lines else " {}"), *lines]) + "\n"


def _pinned(reference: str) -> bool:
    parts = image(reference)
    return bool(parts.tag or parts.digest)
