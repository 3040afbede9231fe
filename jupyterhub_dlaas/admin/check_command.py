"""`dlaas check`: can this hub's configuration work? Meant for before an upgrade, in CI or as a pre-upgrade hook."""

from __future__ import annotations

import argparse
import asyncio
import difflib
from typing import Any

from traitlets import TraitError

from jupyterhub_dlaas.admin import hub_config
from jupyterhub_dlaas.admin.report import Report
from jupyterhub_dlaas.errors import DLaaSError, IAMError, Outage

EXAMPLES = """examples:
  dlaas check                                            jupyterhub_config.py of this folder
  dlaas check --config /usr/local/etc/jupyterhub/jupyterhub_config.py --json
  dlaas check --offline                                  without asking the issuer and the cluster

exit status: 0 it can work (warnings or not), 1 something in it cannot
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "check",
        help="tell everything in a hub's configuration that cannot work",
        description="Loads the hub's configuration as JupyterHub does, and tells every setting that cannot work, "
        "whether the issuer answers, every problem of every VO's catalogue, and whether the hub may do in its "
        "cluster what it has to.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", default=hub_config.DEFAULT, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--offline", action="store_true", help="do not ask the issuer and the cluster")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(run=lambda args: check(args.config, offline=args.offline).print(as_json=args.json))


def check(path: str, *, offline: bool = False) -> Report:
    """Everything about the configuration file at `path`."""
    with hub_config.quiet():
        return _report(path, offline)


def _report(path: str, offline: bool) -> Report:
    report = Report()
    try:
        app = hub_config.load(path)
    except DLaaSError as error:
        report.error(path, error)
        return report
    report.ok(path, "loaded")
    _names(report, app.config)
    _encryption(report, app)
    _hub(report, app)
    dlaas = _service(report, app)
    if dlaas is None:
        return report
    _audiences(report, dlaas)
    report_catalogues(report, dlaas.catalogues)
    if not offline:
        asyncio.run(_issuer(report, dlaas))
        if _makes_pods(app):
            _cluster(report, app)
    return report


def _names(report: Report, config: Any) -> None:
    """Settings that nothing reads: traitlets only mentions them in the log."""
    from jupyterhub_dlaas.hub.config import DLaaSConfig

    classes = {"DLaaSConfig": DLaaSConfig}
    try:
        from jupyterhub_dlaas.hub.authenticator import IAMAuthenticator
    except ImportError as error:
        report.error("IAMAuthenticator", f"cannot be imported: {error}")
    else:
        classes["IAMAuthenticator"] = IAMAuthenticator
    for section, cls in classes.items():
        known = cls.class_trait_names(config=True)
        for name in config[section]:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                report.error(f"c.{section}.{name}", f"there is no such setting, so it has no effect.{hint}")


def _encryption(report: Report, app: Any) -> None:
    from jupyterhub.crypto import CryptKeeper, EncryptionUnavailable

    subject = "c.CryptKeeper.keys"
    try:
        CryptKeeper(parent=app, config=app.config).check_available()
    except EncryptionUnavailable:
        remedy = "set it, or $JUPYTERHUB_CRYPT_KEY, to the output of: openssl rand -hex 32"
        report.error(subject, f"there is no key to encrypt users' tokens with: {remedy}")
    except (TraitError, ValueError, TypeError):  # TypeError: what JupyterHub makes of a key that is too short
        report.error(
            subject, "a key cannot be used: each has to be 32 bytes in hex, the output of openssl rand -hex 32"
        )
    else:
        report.ok(subject, "users' tokens are stored encrypted")


def _hub(report: Report, app: Any) -> None:
    if app.db_url in {"sqlite://", "sqlite:///:memory:"}:
        report.warning(
            "c.JupyterHub.db_url", "a database in memory forgets everybody's login at each restart of the hub"
        )
    try:
        spawner = app.spawner_class
    except (TraitError, ImportError) as error:
        report.error("c.JupyterHub.spawner_class", f"cannot be loaded: {error}")
        return
    if not hasattr(spawner, "dlaas"):
        remedy = 'use "dlaas-kube" or "dlaas-local"'
        report.error("c.JupyterHub.spawner_class", f"{spawner.__name__} brings no data lake into servers: {remedy}")
        return
    report.ok("c.JupyterHub.spawner_class", spawner.__name__)
    if _makes_pods(app):
        try:
            spawner.check_settings(app)
        except DLaaSError as error:
            report.error("c.JupyterHub.spawner_class", error)


def _makes_pods(app: Any) -> bool:
    from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner

    try:
        return issubclass(app.spawner_class, DLaaSSpawner)
    except (TraitError, ImportError):
        return False


def _cluster(report: Report, app: Any) -> None:
    """What a hub whose servers are pods may do there: with the rights of whoever runs this."""
    from jupyterhub_dlaas.hub.kube_access import lacking
    from jupyterhub_dlaas.hub.kube_api import Unreachable

    try:
        problems = asyncio.run(lacking(app.spawner_class.settings(app.config)))
    except Unreachable as error:
        report.warning("Kubernetes", f"cannot be asked from here: {error}")
        return
    for problem in problems:
        report.error("Kubernetes", problem)
    if not problems:
        report.ok("Kubernetes", "is new enough, and the hub may do in it what it has to")


def _service(report: Report, app: Any) -> Any:
    """The data lake service, made by the authenticator as in the hub; None, and an error reported, if it cannot be."""
    subject = "c.JupyterHub.authenticator_class"
    try:
        authenticator = app.authenticator_class(parent=app)
        dlaas = getattr(authenticator, "dlaas", None)
    except DLaaSError as error:
        report.error("configuration", error)
        return None
    except (TraitError, ImportError, ValueError) as error:
        report.error(subject, f"cannot be set up: {error}")
        return None
    if dlaas is None:
        report.error(subject, f'{type(authenticator).__name__} knows no data lake: use "dlaas"')
        return None
    if not authenticator.enable_auth_state:
        report.error("c.IAMAuthenticator.enable_auth_state", "has to be True: the hub keeps users' tokens there")
    report.ok(subject, type(authenticator).__name__)
    return dlaas


def _audiences(report: Report, dlaas: Any) -> None:
    for key, spec in dlaas.audiences.items():
        for vo in sorted(spec.required_for - set(dlaas.vos)):
            where = f"c.IAMAuthenticator.audiences[{key!r}]['required_for']"
            report.warning(where, f"{vo} is no VO of c.DLaaSConfig.vos")
    for vo, grant in dlaas.vos.items():
        if not grant.groups:
            report.warning(f"c.DLaaSConfig.vos[{vo!r}]['groups']", "is empty, so the VO has no members")
        for key in grant.audiences:
            if key not in dlaas.audiences:
                where = f"c.DLaaSConfig.vos[{vo!r}]['audiences']"
                report.warning(where, f"{key} is not an entry of c.IAMAuthenticator.audiences")


def report_catalogues(report: Report, catalogues: Any) -> None:
    """Every VO of the hub's `Catalogues`."""
    for vo in sorted({*catalogues.open, *catalogues.closed}):
        subject = f"VO {vo}"
        for problem in catalogues.problems.get(vo, ()):
            report.problem("error", subject, problem)
        for problem in catalogues.warnings.get(vo, ()):
            report.problem("warning", subject, problem)
        if vo in catalogues.open:
            count = len(catalogues.open[vo].environments)
            report.ok(subject, f"offers {count} environment{'' if count == 1 else 's'}")
    if not catalogues.open and not catalogues.closed:
        report.warning("c.DLaaSConfig.catalogue", "no VO has a catalogue: the hub offers nothing")


async def _issuer(report: Report, dlaas: Any) -> None:
    subject = "c.IAMAuthenticator.issuer_url"
    try:
        await dlaas.issuer.prefetch()
        endpoints = await dlaas.issuer.endpoints()
    except Outage as error:
        report.error(subject, f"{error.sentence()} (The hub would start all the same, and logins would wait.)")
    except IAMError as error:
        report.error(subject, error)
    else:
        report.ok(subject, f"{endpoints.issuer} answers; its keys can be read")
        if endpoints.token.startswith("http://"):
            report.warning(subject, "is not https: tokens and the client secret travel readable on the network")
    finally:
        await dlaas.http.close()
