"""Catalogue files: what is read, and that everything wrong is told at once, where it is."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from jupyterhub_dlaas.catalogue.grants import Grant, exceeds
from jupyterhub_dlaas.catalogue.load import advice, load, parse, schema
from jupyterhub_dlaas.catalogue.models import Environment
from jupyterhub_dlaas.errors import CatalogueError

EXAMPLES = Path(__file__).parents[3] / "config" / "catalogues"
EXAMPLE_GRANTS = {
    "escape": Grant(
        groups={"escape"},
        audiences=["rucio", "eos-eulake"],
        hosts=["rucio.example.org", "rucio-auth.example.org", "rucio-ui.example.org"],
        images=["registry.example.org/escape/*"],
        host_paths=["/var/eos", "/var/scratch", "/var/cvmfs"],
        max_resources={"cpu": 8, "memory": "32G"},
    ),
    "cta": Grant(
        groups={"cta"},
        audiences=["rucio"],
        hosts=["rucio.example.org"],
        images=["registry.example.org/cta/*"],
        volumes=[
            "cta-calibration",
            "nfs:nfs.example.org:/export/cta/simulations",
            "csi:cvmfs.csi.cern.ch?repository=sw.cta-observatory.org",
        ],
        max_resources={"cpu": 8, "memory": "64G", "gpu": 1},
        node_labels=["nvidia.com/gpu.product=*", "example.org/pool="],
        tolerations=["nvidia.com/gpu", "example.org/reserved-for=cta"],
        priority_classes=["cta-interactive"],
        pull_secrets=["cta-registry"],
    ),
    "ska": Grant(
        groups={"ska"},
        audiences=["ska-rucio"],
        hosts=["rucio.ska.example.org"],
        images=["registry.example.org/ska/*"],
    ),
}
BASKET = "baskets: {b: {connector: esap, url: 'https://x.org/'}}\n"
ENVIRONMENT = "environments:\n- {name: root, image: 'x.org/root:1'}\n"


def problems(text: str) -> list[str]:
    return [str(problem) for problem in load(text, "f.yaml").problems]


@pytest.mark.parametrize("name", EXAMPLE_GRANTS)
def test_the_examples_are_sound_and_within_their_grants(name: str) -> None:
    catalogue = parse((EXAMPLES / f"{name}.yaml").read_text(), name)
    assert exceeds(catalogue, EXAMPLE_GRANTS[name]) == []
    assert advice(catalogue) == []


@pytest.mark.parametrize("name", EXAMPLE_GRANTS)
def test_the_examples_fit_the_json_schema(name: str) -> None:
    jsonschema.validate(YAML(typ="safe").load(EXAMPLES / f"{name}.yaml"), schema())


def test_an_example_shows_all_that_is_for_kubernetes() -> None:
    environments = parse((EXAMPLES / "cta.yaml").read_text(), "cta").environments
    used = {name for environment in environments for name in environment.model_fields_set}
    assert set(Environment.model_fields) - used == {"auth_types", "xcache_site", "xcache_tokens", "baskets"}


def test_defaults_are_filled_in() -> None:
    catalogue = parse((EXAMPLES / "ska.yaml").read_text(), "ska")
    instance = catalogue.rucio_instances["ska"]
    assert (instance.auth_host, instance.display_name) == ("https://rucio.ska.example.org", "SKA Data Lake")
    assert catalogue.environments[0].auth_types == ("oidc",)


def test_scratch_is_writable_and_everything_else_is_not() -> None:
    storages = parse((EXAMPLES / "escape.yaml").read_text(), "escape").storages
    assert {name: storage.read_only for name, storage in storages.items()} == {
        "eulake": True,
        "scratch": False,
        "cvmfs": True,
    }


def test_sizes_are_powers_of_1024_as_in_jupyterhub() -> None:
    text = "vo: x\nenvironments:\n- {name: a, image: 'a:1', resources: {s: {cpu: 0.5, memory: 1.5G}}}\n"
    assert parse(text, "f").environments[0].resources["s"].memory == 3 * 2**29


def test_anchors_and_merges_can_be_used() -> None:
    text = (
        "vo: x\nenvironments:\n- &a {name: a, image: 'a:1', description: A}\n- {<<: *a, name: b}\n"  # the usual idiom
    )
    assert [(env.name, env.description) for env in parse(text, "f").environments] == [("a", "A"), ("b", "A")]


def test_every_problem_of_a_file_is_told_at_once_with_its_line() -> None:
    text = """\
vo: Escape
vo: escape
rucio_instances:
  a: {rucio_host: 'ftp://x', audience: rucio, mode: download}
  b: {rucio_host: 'https://x.org', audience: rucio, mode: replica}
storages:
  s: {type: secret, mount_path: /s}
  t: {type: scratch, host_path: /var/t, mount_path: /t}
environments:
- name: root
  image: x.org/a/../root:1
- {name: ok, image: 'x.org/ok:1', rucio: [c], storages: [t, u], descripton: hello}
- {name: fine, image: 'x.org/ok:1', storages: [u]}
"""
    with pytest.raises(CatalogueError) as error:
        parse(text, "escape.yaml")
    assert [(problem.line, problem.field) for problem in error.value.problems] == [
        (1, "vo"),
        (2, "vo"),
        (4, "rucio_instances.a.rucio_host"),
        (5, "rucio_instances.b"),
        (7, "storages.s"),
        (11, "environments[0].image"),
        (12, "environments[1].descripton"),
        (13, "environments[2].storages[0]"),
    ]
    assert (
        "escape.yaml:12: environments[1].descripton: there is no field descripton here; did you mean description?"
        in (str(error.value))
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1: the file is empty"),
        ("just words", "f.yaml:1: has to be a mapping (name: value)"),
        ("vo: [", "this is not YAML"),
        ("vo: x\n---\nvo: y\n", "expected a single document"),
        ("vo: \x01", "this is not YAML"),
        ("vo: !!python/object/apply:os.system [id]\n", "f.yaml:1: vo: the tag tag:yaml.org,2002:python"),
        ("vo: !!python/name:os.system x\n", "is not allowed here"),
        ("vo: x\nvo: x\n" + ENVIRONMENT, "f.yaml:2: vo: vo appears twice; the first is in line 1"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("[" * 2000, "nested too deeply"),
        ("a: " + "1" * 5000, "this value cannot be read"),
        ("a: !!bool maybe", "this value cannot be read"),
        ("a: !!int ''", "this value cannot be read"),
        ("# " + "x" * 300_000, "larger than 256 KiB"),
        (
            "\n".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" if i else "a1: &a1 [x]" for i in range(9)),
            "aliases",
        ),
    ],
)
def test_yaml_that_cannot_be_read_is_said_so(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in problem for problem in found), found


def environment(fields: str) -> str:
    return f"vo: x\nenvironments:\n- {{name: e, image: 'x.org/e:1', {fields}}}\n"


def storage(fields: str) -> str:
    return f"vo: x\nstorages:\n  s: {{{fields}}}\n" + ENVIRONMENT


def rucio(fields: str) -> str:
    return f"vo: x\nrucio_instances:\n  r: {{audience: rucio, mode: download, {fields}}}\n" + ENVIRONMENT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (environment("description: 'claim-{username}'"), "may not contain { or }"),
        (environment("description: 'claim-}}'"), "may not contain { or }"),
        (environment("auth_types: []"), "needs at least one entry"),
        (environment("auth_types: [kerberos]"), "'kerberos' is not one of 'oidc'"),
        (environment("auth_types: [oidc, oidc]"), "names a type twice"),
        (environment("resources: {s: {memory: 2Gi}}"), "'2Gi' is not a size"),
        (environment("resources: {s: {memory: 0}}"), "greater than 0"),
        (environment(f"resources: {{s: {{memory: {'9' * 400}G}}}}"), "too large for a size"),
        (environment(f"resources: {{s: {{memory: {'9' * 400}}}}}"), "less than or equal to"),
        (environment("resources: {s: {cpu: .inf}}"), "finite"),
        (environment("resources: {s: {cpu: 1, guarantee: {cpu: 2}}}"), "guarantee.cpu is more than the limit"),
        (environment("resources: {'<b>': {cpu: 1}}"), "'<b>' is not a name"),
        (environment("rucio: [r]"), "no Rucio instance named r; there are none"),
        (environment("storages: [s]"), "no storage named s"),
        (environment("groups: ['']"), "is not a group"),
        (f"vo: x\n{ENVIRONMENT}- {{name: root, image: 'y:1'}}\n", "another environment named root"),
        ("vo: x/y\n" + ENVIRONMENT, "'x/y' is not a name"),
        ("vo: ../y\n" + ENVIRONMENT, "is not a name"),
        ("vo: x\nenvironments: []\n", "needs at least one entry"),
        (storage("mount_path: /s"), "type is missing"),
        (storage("type: secret, mount_path: /s"), "'secret' is no type of storage"),
        (storage("type: configMap, mount_path: /s"), "'configMap' is no type of storage"),
        (storage("type: hostPath, host_path: /s, mount_path: /s"), "'hostPath' is no type of storage"),
        (storage("type: fuse, host_path: var, mount_path: /s"), "not an absolute path"),
        (storage("type: fuse, host_path: /var/../etc, mount_path: /s"), ". or .. component"),
        (storage("type: fuse, host_path: /, mount_path: /s"), "whole file system"),
        (storage("type: fuse, host_path: /v, mount_path: /run/dlaas/x"), "collides with /run"),
        (storage("type: fuse, host_path: /v, mount_path: //run//dlaas"), "collides with /run"),
        (storage("type: fuse, host_path: /v, mount_path: /run"), "collides with /run"),
        (storage("type: fuse, host_path: /v, mount_path: /run/dlaas"), "collides with /run"),
        (storage("type: fuse, host_path: /v, mount_path: /run/dlaas-cache/rucio"), "collides with /run"),
        (storage("type: fuse, host_path: /v, mount_path: /var/run/dlaas-credential"), "collides with /var/run"),
        (storage("type: fuse, host_path: /v, mount_path: /s/../run"), ". or .. component"),
        (storage("type: fuse, host_path: /v, mount_path: home"), "not an absolute path"),
        (storage("type: fuse, host_path: /v, mount_path: /home"), "collides with /home"),
        (storage("type: fuse, host_path: /v, mount_path: /home/jovyan"), "collides with /home"),
        (storage("type: fuse, host_path: /v, mount_path: /"), "whole file system"),
        (storage("type: fuse, host_path: /v, mount_path: /s, path: /t"), "does not lie below mount_path"),
        (storage("type: eos, host_path: /v, mount_path: /s, audience: a"), "go together"),
        (
            storage("type: eos, host_path: /v, mount_path: /s, audience: a, introspection: 'https://i.org/u'"),
            "a scheme",
        ),
        (storage("type: eos, host_path: /v, mount_path: /s, audience: a, introspection: 'i.org:8443/u'"), "a port"),
        (storage("type: volume, mount_path: /s"), "exactly one of claim, nfs or csi"),
        (storage("type: volume, mount_path: /s, claim: c, secret: x"), "no field secret"),
        (storage("type: volume, mount_path: /s, claim: c, config_map: x"), "no field config_map"),
        (storage("type: volume, mount_path: /s, claim: c, projected: x"), "no field projected"),
        (storage("type: volume, mount_path: /s, claim: claim_1"), "'claim_1' is not a name in Kubernetes"),
        (
            storage("type: volume, mount_path: /s, csi: {driver: d, nodePublishSecretRef: {name: x}}"),
            "no field nodePublishSecretRef",
        ),
        (storage("type: volume, mount_path: /s, claim: c, nfs: {server: n, path: /x}"), "exactly one of"),
        (storage("type: scratch, host_path: /v, mount_path: /s, rse_path: a"), "name it as rse"),
        (storage("type: scratch, host_path: /v, mount_path: /s, rse: R, rse_path: a/../b"), ". or .. component"),
        (storage("type: fuse, host_path: /v, mount_path: /s, rse_path: a"), "no field rse_path"),
        (rucio("rucio_host: 'https://x.org', rses: {'A B': {audience: a}}"), "is not a name of RSEs"),
        (rucio("rucio_host: 'https://x.org', rses: {A: {}}"), "audience is missing"),
        (rucio("rucio_host: 'https://x.org', rses: {A: {audience: a, scope: b}}"), "no field scope here; known are"),
        (environment("baskets: [b]"), "no basket named b; there are none"),
        (environment("baskets: [b, b]").replace("environ", BASKET + "environ"), "names b twice"),
        ("vo: x\nbaskets: {b: {connector: esap, url: 'ftp://x'}}\n" + ENVIRONMENT, "not an http or https URL"),
        ("vo: x\nbaskets: {b: {connector: esap, url: 'https://x/?a=b'}}\n" + ENVIRONMENT, "query or fragment"),
        ("vo: x\nbaskets: {b: {url: 'https://x'}}\n" + ENVIRONMENT, "connector is missing"),
        (rucio("rucio_host: 'https://user:pw@x.org'"), "user name or password"),
        (rucio("rucio_host: 'https://x.org/prefix'"), "path or query"),
        (rucio("rucio_host: 'https://x.org\\@y.org'"), "quote or another character"),
        (rucio("rucio_host: 'https://x.org:99999'"), "Port out of range"),
        (rucio("rucio_host: 'https://x.org', rucio_webui_url: 'javascript:alert(1)'"), "not an http or https URL"),
        (rucio("rucio_host: 'https://x.org', destination_rse: A"), "belong to mode replica"),
        (rucio("rucio_host: null"), "valid string, it is nothing"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(text: str, said: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert said in found[0]
    assert found[0].startswith("f.yaml:")


TWO = """\
vo: x
rucio_instances:
  r: {rucio_host: 'https://x.org', audience: r, destination_rse: R, storage: a}
storages:
  a: {type: eos, host_path: /var/eos, mount_path: /eos, path: /eos/a, audience: a, introspection: i.org/u}
  b: {type: eos, host_path: /var/eos, mount_path: /eos, path: /eos/b, audience: b, introspection: i.org/u}
  c: {type: eos, host_path: /var/eos, mount_path: /eos, path: /eos/c}
  d: {type: fuse, host_path: /var/d, mount_path: /eos/d}
environments:
- {name: e, image: 'x:1', rucio: [%s], storages: [%s]}
"""


def test_two_eos_instances_may_share_the_nodes_mount() -> None:
    assert problems(TWO % ("r", "a, c")) == []


def test_only_one_eos_storage_with_oauth2_per_environment() -> None:
    assert problems(TWO % ("", "a, b")) == [
        "f.yaml:10: environments[0].storages: uses 2 EOS storages with OAuth2 (a, b): EOS reads one token per server"
    ]


def test_replica_mode_needs_the_storage_in_the_environment() -> None:
    assert "r is in replica mode through the storage a" in problems(TWO % ("r", "c"))[0]


def test_mounts_inside_each_other_are_refused() -> None:
    assert problems(TWO % ("", "d, c")) == ["f.yaml:10: environments[0].storages[0]: d is mounted on or in c (/eos)"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("type: volume, mount_path: /d, claim: a", "type: volume, mount_path: /d, claim: b"),
        ("type: volume, mount_path: /d, claim: a", "type: volume, mount_path: /d, claim: a"),
        ("type: volume, mount_path: /d/x, claim: a", "type: volume, mount_path: /d, claim: b"),
        ("type: scratch, host_path: /v, mount_path: /d", "type: scratch, host_path: /v, mount_path: /d"),
        (
            "type: scratch, host_path: /v, mount_path: /d",
            "type: scratch, host_path: /v, mount_path: /d, per_user: false",
        ),
        ("type: cvmfs", "type: fuse, host_path: /v, mount_path: /cvmfs/x"),
        ("type: eos, host_path: /v, mount_path: /d", "type: eos, host_path: /w, mount_path: /d"),
        ("type: eos, host_path: /v, mount_path: /d", "type: eos, host_path: /v, mount_path: /d, read_only: false"),
    ],
)
def test_two_storages_at_one_place_are_refused(one: str, other: str) -> None:
    text = "vo: x\nstorages: {s: {%s}, t: {%s}}\nenvironments:\n- {name: e, image: 'x:1', storages: [s, t]}\n"
    (problem,) = problems(text % (one, other))
    assert "is mounted on or in" in problem


@pytest.mark.parametrize("image", ["x.org/root", "x.org/root:latest"])
def test_an_image_that_can_change_by_itself_is_warned_of(image: str) -> None:
    catalogue = parse(f"vo: x\nenvironments:\n- {{name: e, image: '{image}'}}\n", "f")
    assert [problem.field for problem in advice(catalogue)] == ["environments[0].image"]


def test_plain_http_to_another_host_is_warned_of() -> None:
    loaded = load(rucio("rucio_host: 'http://x.org', auth_host: 'http://127.0.0.1:80'"), "f")
    assert loaded.catalogue
    assert [problem.field for problem in advice(loaded.catalogue)] == ["rucio_instances.r.rucio_host"]
