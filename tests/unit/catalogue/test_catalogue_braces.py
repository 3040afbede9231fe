"""No text of a catalogue reaches KubeSpawner with braces, which it expands."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from jupyterhub_dlaas.catalogue.load import load, schema

EVERYTHING = """\
vo: x
display_name: X
rucio_instances:
  r: {display_name: R, rucio_host: 'https://x.org', auth_host: 'https://x.org', rucio_ca_cert: /ca, vo: x, app_id: a,
      rucio_webui_url: 'https://x.org', audience: r, mode: replica, destination_rse: R, storage: e,
      rses: {A-*: {audience: a}}}
storages:
  e: {display_name: E, type: eos, host_path: /v, mount_path: /e, path: /e/p, audience: e, introspection: i.org/u}
  s: {type: scratch, host_path: /v, mount_path: /s, rse: S, rse_path: a}
  c: {type: cvmfs, host_path: /v, mount_path: /c}
  f: {type: fuse, host_path: /v, mount_path: /f}
  n: {type: volume, mount_path: /n, nfs: {server: n.org, path: /n}}
  d: {type: volume, mount_path: /d, csi: {driver: d, attributes: {k: v}}}
  p: {type: volume, mount_path: /p, claim: p}
baskets:
  b: {display_name: B, connector: esap, url: 'https://x.org/', audience: b}
environments:
- {name: e, display_name: E, description: E, image: 'x.org/e:1', groups: [g], rucio: [r], storages: [e], baskets: [b],
   xcache_site: X, auth_types: [oidc], resources: {small: {display_name: S, memory: 1G, guarantee: {memory: 1G}}},
   node_selector: {k: v}, tolerations: [{key: k, operator: Equal, value: v, effect: NoSchedule}],
   priority_class: p, image_pull_policy: Always, image_pull_secrets: [s]}
"""


DATA = YAML(typ="safe").load(EVERYTHING)


def texts_of(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every text in the data."""
    if isinstance(data, str):
        yield place
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from texts_of(value, (*place, key))


def test_without_braces_all_of_it_is_sound() -> None:
    assert load(EVERYTHING, "f").problems == ()


@pytest.mark.parametrize("place", list(texts_of(DATA)), ids=lambda place: ".".join(map(str, place)))
def test_no_text_of_a_catalogue_can_be_a_template(place: tuple[Any, ...]) -> None:
    """KubeSpawner would put another user's name, or a path of their choice, for what stands in braces."""
    data = holder = copy.deepcopy(DATA)
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] += "{username}"
    assert any("{" in problem.message for problem in load(json.dumps(data), "f").problems)


def test_what_is_tried_with_braces_is_every_field() -> None:
    read = {part for place in texts_of(DATA) for part in place}
    named = {name for model in schema()["$defs"].values() for name in model.get("properties", {})}
    flags = {"wildcard_enabled", "required", "read_only", "per_user", "xcache_tokens"}
    assert named - read == flags | {"path_begins_at", "replication_rule_lifetime_days", "cpu", "gpu"}
