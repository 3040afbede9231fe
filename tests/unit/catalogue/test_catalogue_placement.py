"""On which nodes a server may run, and with whose registry credentials: Kubernetes' rules and the VO's grant."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from jupyterhub_dlaas.catalogue.demands import Toleration
from jupyterhub_dlaas.catalogue.grants import Grant, exceeds, parse_grants
from jupyterhub_dlaas.catalogue.load import load, parse, schema
from jupyterhub_dlaas.errors import ConfigError

TEXT = """\
vo: escape
environments:
- name: e
  image: x.org/e:1
  node_selector: {disktype: ssd, example.org/gpu.model: A_100, example.org/pool: ''}
  tolerations:
  - {key: example.org/gpu, operator: Exists, effect: NoSchedule}
  - {key: dedicated, value: escape}
  priority_class: batch.low
  image_pull_policy: IfNotPresent
  image_pull_secrets: [escape-registry, other]
"""
ALL: dict[str, Any] = {
    "images": ["x.org/e"],
    "node_labels": ["disktype=ssd", "example.org/gpu.model=*", "example.org/pool="],
    "tolerations": ["example.org/gpu", "dedicated=escape"],
    "priority_classes": ["batch.low"],
    "pull_secrets": ["escape-registry", "other"],
}


def environment(field: str) -> str:
    return f"vo: x\nenvironments:\n- {{name: e, image: 'x.org/e:1', {field}}}\n"


def beyond(**changed: Any) -> list[str]:
    return [problem.field for problem in exceeds(parse(TEXT, "f"), Grant(**{**ALL, **changed}))]


def test_what_is_read() -> None:
    (read,) = parse(TEXT, "f").environments
    assert read.node_selector == {"disktype": "ssd", "example.org/gpu.model": "A_100", "example.org/pool": ""}
    assert read.tolerations == (
        Toleration(key="example.org/gpu", operator="Exists", effect="NoSchedule"),
        Toleration(key="dedicated", operator="Equal", value="escape", effect=None),
    )
    assert (read.priority_class, read.image_pull_policy) == ("batch.low", "IfNotPresent")
    assert read.image_pull_secrets == ("escape-registry", "other")


def test_it_fits_the_json_schema() -> None:
    jsonschema.validate(YAML(typ="safe").load(TEXT), schema())


def test_an_environment_asks_for_no_node_unless_it_says_so() -> None:
    (read,) = parse("vo: x\nenvironments:\n- {name: e, image: 'x.org/e:1'}\n", "f").environments
    assert (read.node_selector, read.tolerations, read.image_pull_secrets) == ({}, (), ())
    assert (read.priority_class, read.image_pull_policy) == (None, None)


def test_all_of_it_can_be_granted() -> None:
    assert beyond() == []


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        (
            {"node_labels": []},
            [
                f"environments[0].node_selector.{key}"
                for key in ("disktype", "example.org/gpu.model", "example.org/pool")
            ],
        ),
        ({"node_labels": ["disktype=hdd", *ALL["node_labels"][1:]]}, ["environments[0].node_selector.disktype"]),
        ({"node_labels": ["disktype=*", *ALL["node_labels"][1:]]}, []),
        ({"tolerations": []}, ["environments[0].tolerations[0]", "environments[0].tolerations[1]"]),
        ({"tolerations": ["example.org/gpu=", "dedicated"]}, ["environments[0].tolerations[0]"]),
        ({"tolerations": ["example.org/gpu", "dedicated=ska"]}, ["environments[0].tolerations[1]"]),
        ({"priority_classes": []}, ["environments[0].priority_class"]),
        ({"priority_classes": ["batch"]}, ["environments[0].priority_class"]),
        ({"pull_secrets": ["other"]}, ["environments[0].image_pull_secrets[0]"]),
    ],
)
def test_whatever_is_not_granted_is_named(changed: dict[str, Any], fields: list[str]) -> None:
    assert beyond(**changed) == fields


def test_nothing_of_it_is_granted_by_default() -> None:
    assert len(beyond(node_labels=[], tolerations=[], priority_classes=[], pull_secrets=[])) == 8


def test_a_trusted_vo_may_use_all_of_it() -> None:
    assert exceeds(parse(TEXT, "f"), Grant(trusted=True)) == []


def test_only_a_trusted_vo_bears_every_taint() -> None:
    catalogue = parse(environment("tolerations: [{operator: Exists}]"), "f")
    (problem,) = exceeds(catalogue, Grant(**ALL))
    assert problem.message == "a toleration without a key is for every taint: only a trusted VO may have it"
    assert exceeds(catalogue, Grant(trusted=True)) == []


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            "node_selector: {a: b}",
            "the node label a=b is not granted to this VO (c.DLaaSConfig.vos['x']['node_labels'])",
        ),
        (
            "tolerations: [{key: a}]",
            "the toleration a= is not granted to this VO (c.DLaaSConfig.vos['x']['tolerations'])",
        ),
        (
            "priority_class: a",
            "the priority class a is not granted to this VO (c.DLaaSConfig.vos['x']['priority_classes'])",
        ),
        (
            "image_pull_secrets: [a]",
            "the pull secret a is not granted to this VO (c.DLaaSConfig.vos['x']['pull_secrets'])",
        ),
    ],
)
def test_a_problem_names_the_setting_that_would_grant_it(field: str, said: str) -> None:
    assert [problem.message for problem in exceeds(parse(environment(field), "f"), Grant(**ALL))] == [said]


LONG = "a" * 64


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("node_selector: {'{username}': a}", "may not contain { or }"),
        ("node_selector: {a: '{username}'}", "may not contain { or }"),
        ("tolerations: [{key: '{username}'}]", "may not contain { or }"),
        ("tolerations: [{key: a, value: '{username}'}]", "may not contain { or }"),
        ("priority_class: 'a{b}'", "may not contain { or }"),
        ("image_pull_secrets: ['a-{username}']", "may not contain { or }"),
        ("node_selector: {'a b': c}", "'a b' is not the key of a label"),
        ('node_selector: {"a\\n": c}', "is not the key of a label"),
        ("node_selector: {a/b/c: d}", "is not the key of a label"),
        ("node_selector: {/a: d}", "is not the key of a label"),
        ("node_selector: {a/: d}", "is not the key of a label"),
        ("node_selector: {Example.org/a: d}", "is not the key of a label"),
        ("node_selector: {example..org/a: d}", "is not the key of a label"),
        (f"node_selector: {{{LONG}: d}}", "is not the key of a label"),
        (f"node_selector: {{'{'a' * 254}/b': d}}", "is not the key of a label"),
        ("node_selector: {a_: b}", "is not the key of a label"),
        ("node_selector: {a: 'b c'}", "'b c' is not the value of a label"),
        ("node_selector: {a: -b}", "is not the value of a label"),
        ("node_selector: {a: b/c}", "is not the value of a label"),
        (f"node_selector: {{a: {LONG}}}", "is not the value of a label"),
        ("node_selector: {a: '*'}", "is not the value of a label"),
        ("node_selector: {a: true}", "valid string, it is True"),
        ("node_selector: {a: 1}", "valid string, it is 1"),
        ("node_selector: [a]", "has to be a mapping"),
        ("tolerations: {key: a}", "has to be a list"),
        ("tolerations: [{key: a, operator: Exists, value: b}]", "leave value out, or use the operator Equal"),
        ("tolerations: [{value: b}]", "operator Equal needs a key"),
        ("tolerations: [{}]", "operator Equal needs a key"),
        ("tolerations: [{key: a, operator: exists}]", "'exists' is not one of 'Equal', 'Exists'"),
        ("tolerations: [{key: a, effect: NoStart}]", "is not one of 'NoSchedule', 'PreferNoSchedule', 'NoExecute'"),
        ("tolerations: [{key: a, effect: ''}]", "is not one of"),
        ("tolerations: [{key: a, tolerationSeconds: 5}]", "there is no field tolerationSeconds"),
        ("priority_class: High", "'High' is not a name in Kubernetes"),
        ("priority_class: ''", "is not a name in Kubernetes"),
        ("image_pull_secrets: [a_b]", "'a_b' is not a name in Kubernetes"),
        ("image_pull_secrets: [a/b]", "'a/b' is not a name in Kubernetes"),
        ("image_pull_policy: always", "'always' is not one of 'Always', 'IfNotPresent', 'Never'"),
        ("nodeSelector: {a: b}", "did you mean node_selector?"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_with_a_sentence(field: str, said: str) -> None:
    (problem,) = load(environment(field), "f.yaml").problems
    assert said in problem.message
    assert problem.line == 3


@pytest.mark.parametrize(
    "field",
    [
        f"node_selector: {{{'a' * 63}: {'b' * 63}}}",
        f"node_selector: {{'{'a' * 253}/b': d}}",
        "tolerations: [{key: a, operator: Exists}]",
        "tolerations: [{operator: Exists, effect: NoExecute}]",
        "tolerations: [{key: a, value: ''}]",
    ],
)
def test_what_kubernetes_takes_is_taken(field: str) -> None:
    assert load(environment(field), "f").problems == ()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"node_labels": ["*"]}, r"\['node_labels'\]\[0\] cannot be used: '\*' is not key=value, or key=\*"),
        ({"node_labels": ["disktype"]}, "'disktype' is not key=value"),
        ({"node_labels": ["*=ssd"]}, "is not key=value"),
        ({"node_labels": ["disktype=s*"]}, "is not key=value"),
        ({"tolerations": ["*"]}, "is not key=value, or key for every value"),
        ({"tolerations": ["key=*"]}, "is not key=value, or key for every value"),
        ({"tolerations": [""]}, "is not key=value"),
        ({"priority_classes": ["*"]}, "is not a name in Kubernetes"),
        ({"pull_secrets": ["escape/*"]}, "is not a name in Kubernetes"),
    ],
)
def test_there_is_no_grant_for_everything(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_grants({"x": settings})
