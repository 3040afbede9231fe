"""What a VO was granted, and what is beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterhub_dlaas.catalogue.grants import Grant, exceeds, image_granted, parse_grants
from jupyterhub_dlaas.catalogue.load import parse
from jupyterhub_dlaas.errors import ConfigError

DIGEST = "sha256:" + "0" * 64
TEXT = """\
vo: escape
rucio_instances:
  r: {rucio_host: 'https://rucio.example.org', rucio_webui_url: 'https://ui.example.org', audience: rucio,
      mode: download}
storages:
  e: {type: eos, host_path: /var/eos, mount_path: /eos, audience: eos, introspection: i.org/u}
  c: {type: volume, mount_path: /c, claim: shared}
  n: {type: volume, mount_path: /n, nfs: {server: nfs.org, path: /x}}
  s: {type: volume, mount_path: /s, csi: {driver: cvmfs.csi, attributes: {b: '2', a: '1'}}}
environments:
- {name: e, image: 'registry.example.org/escape/root:6', resources: {s: {cpu: 4, memory: 16G, gpu: 1}}}
"""
ALL: dict[str, Any] = {
    "audiences": ["rucio", "eos"],
    "hosts": ["rucio.example.org", "ui.example.org"],
    "images": ["registry.example.org/escape/*"],
    "host_paths": ["/var/eos"],
    "volumes": ["shared", "nfs:nfs.org:/x", "csi:cvmfs.csi?a=1&b=2"],
    "max_resources": {"cpu": 4, "memory": "16G", "gpu": 1},
}
CATALOGUE = parse(TEXT, "f")


def beyond(**changed: Any) -> list[str]:
    return [problem.field for problem in exceeds(CATALOGUE, Grant(**{**ALL, **changed}))]


def test_a_catalogue_within_its_grant_has_no_problems() -> None:
    assert beyond() == []


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"audiences": ["rucio"]}, ["storages.e.audience"]),
        ({"audiences": ["eos"]}, ["rucio_instances.r.audience"]),
        ({"hosts": ["rucio.example.org"]}, ["rucio_instances.r.rucio_webui_url"]),
        (
            {"hosts": ["ui.example.org", "example.org"]},
            ["rucio_instances.r.rucio_host", "rucio_instances.r.auth_host"],
        ),
        (
            {"hosts": ["ui.example.org", "rucio.example.org:8443"]},
            ["rucio_instances.r.rucio_host", "rucio_instances.r.auth_host"],
        ),
        ({"hosts": ["UI.example.org", "rucio.example.org:443"]}, []),
        ({"images": []}, ["environments[0].image"]),
        ({"host_paths": ["/var/eo"]}, ["storages.e.host_path"]),
        ({"host_paths": ["/var"]}, ["storages.e.host_path"]),
        ({"host_paths": ["//var/eos/"]}, []),
        ({"volumes": ["shared", "nfs:nfs.org:/", "csi:cvmfs.csi"]}, ["storages.n", "storages.s"]),
        ({"max_resources": {"cpu": 2, "memory": "16G", "gpu": 1}}, ["environments[0].resources.s.cpu"]),
        (
            {"max_resources": {"cpu": 4, "memory": "15G"}},
            ["environments[0].resources.s.memory", "environments[0].resources.s.gpu"],
        ),
        ({"max_resources": {"memory": "16G", "gpu": 1}}, ["environments[0].resources.s.cpu"]),
    ],
)
def test_what_is_beyond_the_grant_is_named(changed: dict[str, Any], fields: list[str]) -> None:
    assert beyond(**changed) == fields


def test_a_trusted_vo_may_use_everything() -> None:
    assert exceeds(CATALOGUE, Grant(trusted=True)) == []


def test_a_problem_says_what_is_granted_and_where() -> None:
    (problem,) = exceeds(CATALOGUE, Grant(**{**ALL, "max_resources": {"cpu": 2, "memory": "16G", "gpu": 1}}))
    assert problem.message == "4 is more than the hub grants this VO: the most is 2"
    (problem,) = exceeds(CATALOGUE, Grant(**{**ALL, "host_paths": []}))
    assert (
        problem.message
        == "the host path /var/eos is not granted to this VO (c.DLaaSConfig.vos['escape']['host_paths'])"
    )


@pytest.mark.parametrize("path", ["/var/eos/users/alice/link", "/var", "/run/containerd", "/var/lib/kubelet/pods"])
def test_a_folder_in_which_a_user_may_have_put_a_link_is_not_granted(path: str) -> None:
    """kubelet follows it on the node: `link -> /` in a user's own folder would be the node's file system."""
    catalogue = parse(TEXT.replace("host_path: /var/eos", f"host_path: {path}"), "f")
    assert [problem.field for problem in exceeds(catalogue, Grant(**ALL))] == ["storages.e.host_path"]


@pytest.mark.parametrize(
    ("image", "patterns"),
    [
        ("registry.example.org/escape/root:6", ["registry.example.org/escape/*"]),
        (f"registry.example.org/escape/root@{DIGEST}", ["registry.example.org/escape/*"]),
        (f"registry.example.org/escape/root:6@{DIGEST}", ["registry.example.org/escape/root"]),
        (f"registry.example.org/escape/root:6@{DIGEST}", ["registry.example.org/escape/root:6@sha256:*"]),
        ("registry.example.org/escape/root:6.32", ["registry.example.org/escape/root:6.*"]),
        ("registry.example.org/escape/root", ["registry.example.org/escape/root"]),
        ("REGISTRY.example.org/escape/root", ["registry.example.org/escape/root"]),
        ("jupyter/base:1", ["docker.io/jupyter/*"]),
        ("docker.io/jupyter/base:1", ["jupyter/*"]),
        ("python:3", ["python"]),
        ("localhost:5000/a:1", ["localhost:5000/a"]),
    ],
)
def test_granted_images(image: str, patterns: list[str]) -> None:
    assert image_granted(image, tuple(patterns))


@pytest.mark.parametrize(
    ("image", "patterns"),
    [
        ("registry.example.org/escape/deep/root:6", ["registry.example.org/escape/*"]),
        ("evil.org/registry.example.org/escape/root:6", ["registry.example.org/escape/*"]),
        ("registry.example.org.evil.org/escape/root:6", ["registry.example.org/escape/*"]),
        ("registry.example.org/escape/root:7", ["registry.example.org/escape/root:6"]),
        (f"registry.example.org/escape/root:6@{DIGEST}", ["registry.example.org/escape/root:6"]),
        ("registry.example.org/escape", ["registry.example.org/escape/*"]),
        ("registry.example.org/ska/root:6", ["registry.example.org/escape/*"]),
        ("evil/python:3", ["python"]),
    ],
)
def test_images_that_are_not_granted(image: str, patterns: list[str]) -> None:
    assert not image_granted(image, tuple(patterns))


@pytest.mark.parametrize(
    "image",
    ["registry.example.org/escape/../x:1", "a//b", "a b", "A/b", "x@sha256:00", "x:", "../x", "http://x/y", "x:1\n"],
)
def test_what_is_no_image_matches_nothing(image: str) -> None:
    with pytest.raises(ValueError, match="is not an image"):
        image_granted(image, ("*", "*/*", "*/*/*", "*/*/*/*"))


def test_groups_are_compared_without_a_leading_slash() -> None:
    assert parse_grants({"x": {"groups": {"/escape/cms"}}})["x"].groups == {"escape/cms"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"group": {"x"}}, r"vos\['x'\]\['group'\] cannot be used"),
        ({"host_paths": ["var"]}, r"vos\['x'\]\['host_paths'\]\[0\].*not an absolute path"),
        ({"max_resources": {"memory": "2Gi"}}, "not a size"),
        ({"groups": "escape"}, "groups"),
    ],
)
def test_a_grant_that_cannot_be_used_names_its_setting(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_grants({"x": settings})
