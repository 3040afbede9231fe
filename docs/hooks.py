"""Fills the reference pages at build time: a line `<!-- generated: NAME -->` becomes what the code says about itself.

Nothing that is generated is in the repository, so it cannot differ from the code.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import prometheus_client
import traitlets
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from jupyterhub_dlaas import errors
from jupyterhub_dlaas.admin import cli as dlaas_cli
from jupyterhub_dlaas.catalogue import demands, fields, grants, models
from jupyterhub_dlaas.datalake import cli as datalake_cli
from jupyterhub_dlaas.hub import metrics
from jupyterhub_dlaas.hub.authenticator import IAMAuthenticator
from jupyterhub_dlaas.hub.config import DLaaSConfig
from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner
from jupyterhub_dlaas.hub.spawner_local import LocalDLaaSSpawner
from jupyterhub_dlaas.oidc.rules import REST, RULES, Rule

PAGES = Path(__file__).with_name("pages")
_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook. KeyError for a mark that nothing generates."""
    return _MARK.sub(lambda mark: GENERATORS[mark[1]](), markdown)


# ---------------------------------------------------------------------------------------------------------- settings


def settings() -> str:
    """Every trait of the classes that an administrator configures."""
    return "\n\n".join(_section(cls) for cls in (IAMAuthenticator, DLaaSConfig, DLaaSSpawner, LocalDLaaSSpawner))


def defaults() -> str:
    """The inherited settings whose default `IAMAuthenticator` changes."""
    config = traitlets.config.Config()
    config.IAMAuthenticator.issuer_url = "https://iam.example.org/"
    config.IAMAuthenticator.client_id = "unused"
    config.IAMAuthenticator.client_secret = "unused"  # noqa: S105 - IAM is not asked
    logging.disable(logging.WARNING)  # it would tell that nothing is offered
    try:
        made = IAMAuthenticator(config=config)
    finally:
        logging.disable(logging.NOTSET)
    own = [value.trait_name for value in vars(IAMAuthenticator).values() if isinstance(value, traitlets.DefaultHandler)]
    rows = []
    for name in sorted(own):
        value = getattr(made, name)
        shown = inspect.getdoc(value).partition(": ")[2] if callable(value) else f"`{value!r}`"
        rows.append((f"`{name}`", shown))
    return _table(("Setting", "Default here"), rows)


def _section(cls: type[traitlets.HasTraits]) -> str:
    parts = [f"## `c.{cls.__name__}` {{ #{cls.__name__.lower()} }}", inspect.getdoc(cls) or ""]
    for name, trait in cls.class_own_traits(config=True).items():
        parts.append(f"### `{name}` {{ #{cls.__name__.lower()}-{name} }}")
        parts.append(f"{_trait_type(trait)}{_trait_default(trait)}")
        parts.append(inspect.cleandoc(trait.help))
    return "\n\n".join(parts)


def _trait_type(trait: Any) -> str:
    if isinstance(trait, traitlets.Enum):
        return "One of " + ", ".join(f'`"{value}"`' for value in trait.values)
    words = {
        "Unicode": "Text",
        "Bool": "`True` or `False`",
        "Integer": "Whole number",
        "Int": "Whole number",
        "Float": "Number",
        "Dict": "Dict",
    }
    return words.get(type(trait).__name__, "Object")


def _trait_default(trait: Any) -> str:
    value = trait.default()
    return "" if value in ("", None, {}, traitlets.Undefined) else f", default `{value!r}`"


# --------------------------------------------------------------------------------------------------------- catalogue

_TITLES: dict[type[BaseModel], str] = {
    models.Catalogue: "The file",
    models.RucioInstance: "Rucio instance",
    models.RSEAccess: "RSE with a token of its own",
    models.EOSStorage: "Storage of type `eos`",
    models.ScratchStorage: "Storage of type `scratch`",
    models.CVMFSStorage: "Storage of type `cvmfs`",
    models.FUSEStorage: "Storage of type `fuse`",
    models.VolumeStorage: "Storage of type `volume`",
    models.NFS: "NFS export",
    models.CSI: "CSI volume",
    models.Basket: "Basket",
    models.Environment: "Environment",
    demands.Resources: "Resources",
    demands.Guarantee: "Guarantee",
    demands.Toleration: "Toleration",
    grants.Grant: "What a VO may be granted",
    grants.MaxResources: "Largest server",
}
_WORDS: list[tuple[Any, str]] = [
    (fields.Text, "text"),
    (fields.Title, "text"),
    (fields.Slug, "name (lower case)"),
    (fields.Key, "name"),
    (fields.Word, "word"),
    (fields.ObjectName, "name in Kubernetes"),
    (fields.LabelKey, "label key"),
    (fields.LabelValue, "label value"),
    (fields.GrantedLabel, "`key=value` or `key=*`"),
    (fields.GrantedTaint, "`key=value` or `key`"),
    (fields.RSEPattern, "RSE, or `*` pattern"),
    (fields.PathBelow, "relative path"),
    (fields.MountPath, "absolute path"),
    (fields.AbsolutePath, "absolute path"),
    (fields.Link, "http(s) URL"),
    (fields.ServerURL, "http(s) URL without path"),
    (fields.Introspection, "`host/path`"),
    (fields.GroupName, "group"),
    (fields.ImageReference, "container image"),
    (fields.Bytes, "size, such as `2G`"),
    (fields.Cores, "number"),
    (models.Storage, "[storage](#eosstorage)"),
    (str, "text"),
    (int, "whole number"),
    (bool, "`true` or `false`"),
]


def catalogue() -> str:
    """Every model of a catalogue file with its fields."""
    wanted = [model for model in _TITLES if model.__module__ != grants.__name__]
    return "\n\n".join(_model(model) for model in wanted)


def vos() -> str:
    """The fields of one value of `DLaaSConfig.vos`."""
    return "\n\n".join(_model(model) for model in (grants.Grant, grants.MaxResources))


def _model(model: type[BaseModel]) -> str:
    hints = typing.get_type_hints(model, include_extras=True)
    rows = [
        (f"`{name}`", _type(hints[name]), _required(field), _one_line(field.description or ""))
        for name, field in model.model_fields.items()
    ]
    heading = f"## {_TITLES[model]} {{ #{model.__name__.lower()} }}"
    return "\n\n".join([heading, inspect.getdoc(model) or "", _table(("Field", "Type", "Default", "Meaning"), rows)])


def _required(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined or value in (None, "", (), {}, frozenset()) or isinstance(value, BaseModel):
        return ""
    listed = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"`{str(listed).lower() if isinstance(value, bool) else listed}`"


def _type(hint: Any) -> str:
    for known, words in _WORDS:
        if hint == known:
            return words
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin in (tuple, frozenset):
        return f"list of: {_type(arguments[0])}"
    if origin is dict:
        key = "name" if arguments[0] == fields.Slug else _type(arguments[0])
        return f"{key}: {_type(arguments[1])}"
    return f"[{_TITLES[hint].replace('`', '')}](#{hint.__name__.lower()})"


# ---------------------------------------------------------------------------------------------------------- commands


def commands() -> str:
    """`--help` of every command."""
    os.environ["COLUMNS"] = "100"
    parts = ["## dlaas"]
    for name, parser in dlaas_parsers():
        parts += [*([f"### {name}"] if name != "dlaas" else []), f"```text\n{parser.format_help().strip()}\n```"]
    parts.append("## datalake")
    for name, command in datalake_commands():
        text = command.get_help(click.Context(command, info_name=name))
        parts += [*([f"### {name}"] if name != "datalake" else []), f"```text\n{text}\n```"]
    return "\n\n".join(parts)


def dlaas_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """`dlaas` and all of its subcommands by their full names."""

    def walk(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for sub, below in action.choices.items():
                    yield from walk(f"{name} {sub}", below)

    return walk("dlaas", dlaas_cli.parser())


def datalake_commands() -> Iterator[tuple[str, click.Command]]:
    """`datalake` and its subcommands by their full names."""
    yield "datalake", datalake_cli.main
    context = click.Context(datalake_cli.main)
    for name in datalake_cli.main.list_commands(context):
        command = datalake_cli.main.get_command(context, name)
        if command is not None:
            yield f"datalake {name}", command


# ------------------------------------------------------------------------------------------------- metrics and errors


def metric_names() -> str:
    """Every `dlaas_*` metric as Prometheus sees it."""
    made = metrics.Metrics(prometheus_client.CollectorRegistry())
    rows = []
    for metric in vars(made).values():
        if isinstance(metric, MetricWrapperBase):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            rows.append((f"`{name}`", metric._type, labels, metric._documentation))
    for name, text in metrics.GAUGES.items():
        labels = ", ".join(f"`{label}`" for label in metrics._LABELS.get(name, ()))
        rows.append((f"`dlaas_{name}`", "gauge", labels, text))
    return _table(("Metric", "Type", "Labels", "Meaning"), rows)


def error_classes() -> str:
    """The classes of IAM's answers."""
    rows = [
        (f"[`{cls.label}`](#{cls.label})", _one_line(inspect.getdoc(cls) or ""), cls.for_whom.value)
        for cls in errors.IAMError.__subclasses__()
    ]
    return _table(("Class", "Meaning", "Who can mend it"), rows)


def iam_answers() -> str:
    """Every answer of IAM that is told apart, in the order in which it is looked for."""
    rows = [(_answer(rule), f"`{rule.cls.label}`", f"{rule.message} {rule.hint}") for rule in (*RULES, REST)]
    return _table(("IAM's answer", "Class", "What is shown"), [tuple(map(_escaped, row)) for row in rows])


def _answer(rule: Rule) -> str:
    status = ", ".join(f"{code}xx" if len(code) == 1 else code for code in rule.status.split())
    error = "" if rule.error == "*" else f" `{rule.error.replace(' ', '` or `')}`"
    words = re.sub(r"[\^()]|\\b", "", rule.text).replace("n.t", "n't").split("|")
    text = " with " + " or ".join(f'"{each}"' for each in words) if rule.text else ""
    return f"{'anything' if rule.operations == '*' else rule.operations.replace(' ', ', ')}: {status}{error}{text}"


# -------------------------------------------------------------------------------------------------------------- speed


def speed() -> str:
    """The table that `make bench` wrote, or a sentence where there is none."""
    return _measured("speed-table.md", "make bench")


def speed_lake() -> str:
    """The other one of `make bench`: the command `datalake`."""
    return _measured("speed-lake-table.md", "make bench")


def speed_cluster() -> str:
    """The same of `make bench-cluster`."""
    return _measured("speed-cluster-table.md", "make bench-cluster")


def _measured(file: str, command: str) -> str:
    table = PAGES / "reference" / file
    return table.read_text() if table.exists() else f"*This build has no figures: run `{command}`, then `make docs`.*"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    # In backticks a bar still ends a table's cell; braces are names of what is filled in.
    return re.sub(r"\{(\w+)(?:!r)?\}", r"<i>\1</i>", text).replace("|", "\\|")


GENERATORS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "defaults": defaults,
    "catalogue": catalogue,
    "vos": vos,
    "commands": commands,
    "metrics": metric_names,
    "error_classes": error_classes,
    "iam_answers": iam_answers,
    "speed": speed,
    "speed_lake": speed_lake,
    "speed_cluster": speed_cluster,
}
