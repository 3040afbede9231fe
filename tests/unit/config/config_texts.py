"""The example files for Kubernetes as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CONFIG = Path(__file__).resolve().parents[3] / "config"
HELM = CONFIG / "helm"
KUBERNETES = CONFIG / "kubernetes"
VALUES = sorted(HELM.glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    """All YAML documents of a file."""
    return [document for document in YAML(typ="safe", pure=True).load_all(path.read_text()) if document]


def values(*names: str) -> dict[str, Any]:
    """Values files merged as helm merges them: deeply, later ones win, lists whole."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = _merged(merged, documents(HELM / name)[0])
    return merged


def objects(folder: str, kind: str) -> list[dict[str, Any]]:
    """The Kubernetes objects of one kind in a folder's files."""
    found = [document for file in sorted((KUBERNETES / folder).glob("*.yaml")) for document in documents(file)]
    return [document for document in found if document.get("kind") == kind]


def keys(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every mapping key of a tree with its dotted path and value."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{path}{key}", value
            yield from keys(value, f"{path}{key}.")
    elif isinstance(tree, list):
        for value in tree:
            yield from keys(value, f"{path}[].")


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = {
        key for key in first.keys() & second.keys() if isinstance(first[key], dict) and isinstance(second[key], dict)
    }
    return {**first, **second, **{key: _merged(first[key], second[key]) for key in both}}
