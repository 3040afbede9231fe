"""What Kubernetes says, in words."""

from typing import Any

import pytest

from jupyterhub_dlaas.catalogue.models import Catalogue
from jupyterhub_dlaas.hub.kube_events import agent_said, in_words, lacking_volume, why_failed
from jupyterhub_dlaas.hub.pod_storages import storage_parts
from jupyterhub_dlaas.oidc.secret import Secret


def event(reason: str, message: str, container: str = "") -> dict[str, Any]:
    path = {"fieldPath": f"spec.initContainers{{{container}}}"} if container else {}
    return {"reason": reason, "message": message, "involvedObject": {"kind": "Pod", **path}, "metadata": {"uid": "1"}}


@pytest.mark.parametrize(
    ("reason", "message", "container", "words"),
    [
        ("Scheduled", "Successfully assigned jhub/jupyter-alice to node1", "", "A node was found"),
        (
            "FailedScheduling",
            "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available: 3 No victims found.",
            "",
            "Waiting for a node: 0/3 nodes are available: 3 Insufficient memory.",
        ),
        (
            "TriggeredScaleUp",
            "pod triggered scale-up: [{pool 1->2}]",
            "",
            "Another node is being started, which takes some minutes",
        ),
        ("Pulling", 'Pulling image "r.example.org/a:1"', "notebook", "The image r.example.org/a:1 is being pulled"),
        ("Pulled", 'Successfully pulled image "r.example.org/a:1" in 2.1s', "", "The image r.example.org/a:1 is there"),
        ("Pulled", 'Container image "a:1" already present on machine', "notebook", None),
        (
            "Failed",
            'Failed to pull image "a:1": rpc error: code = NotFound desc = not found',
            "notebook",
            "The image a:1 cannot be pulled: rpc error: code = NotFound desc = not found",
        ),
        ("Failed", "Error: ErrImagePull", "notebook", None),
        ("BackOff", 'Back-off pulling image "a:1"', "notebook", "The image a:1 cannot be pulled; another try follows"),
        ("BackOff", "Back-off restarting failed container dlaas-agent in pod x", "dlaas-agent", None),
        ("Created", "Created container: notebook", "notebook", None),
        ("Started", "Started container dlaas-agent", "dlaas-agent", "The agent was started"),
        ("Started", "Started container notebook", "notebook", "The server was started"),
        ("Started", "Started container block-cloud-metadata", "block-cloud-metadata", None),
        ("FailedMount", 'MountVolume.SetUp failed for volume "dlaas-credential" : secret "x" not found', "", None),
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "dlaas-storage-0" : hostPath type check failed: /eos is no folder',
            "",
            "Waiting for eulake: hostPath type check failed: /eos is no folder",
        ),
        (
            "FailedAttachVolume",
            'AttachVolume.Attach failed for volume "pvc-1" : timed out',
            "",
            'Waiting for volumes: AttachVolume.Attach failed for volume "pvc-1" : timed out',
        ),
        ("Preempted", "Preempted by a pod\non node1", "", "Preempted by a pod on node1"),
        ("Novel", "", "", "Novel"),
    ],
)
def test_an_event_in_words(reason: str, message: str, container: str, words: str | None) -> None:
    assert in_words(event(reason, message, container), {"dlaas-storage-0": "eulake"}) == words


def test_a_long_message_is_cut() -> None:
    assert len(in_words(event("Novel", "x" * 5000)) or "") == 300


def test_only_a_folder_that_is_not_there_is_lacking() -> None:
    missing = (
        'MountVolume.SetUp failed for volume "dlaas-storage-0" : hostPath type check failed: /eos is not a directory'
    )
    assert lacking_volume(event("FailedMount", missing)) == "dlaas-storage-0"
    assert lacking_volume(event("FailedMount", 'MountVolume.SetUp failed for volume "v" : timed out')) is None


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("dlaas-agent: one\ndlaas-agent: The hub refused.\n", "The hub refused."),
        ("dlaas-agent: The hub refused.\nTraceback: x\n", "The hub refused."),
        ("dlaas-agent: token opaque-secret is bad", "token <redacted> is bad"),
        ("dlaas-agent: eyJhbGciOiJub25lIn0.eyJhIjoxfQ.x is bad", "<redacted> is bad"),
        ('{"ok": false}', None),
        ("\x00\xff junk", None),
        ("dlaas-agent: ", None),
        ("", None),
    ],
)
def test_only_the_agents_own_sentence_is_passed_on(log: str, said: str | None) -> None:
    assert agent_said(log, [Secret("opaque-secret")]) == said


def pod(agent: dict[str, Any], notebook: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p"},
        "status": {
            "initContainerStatuses": [{"name": "dlaas-agent", **agent}],
            "containerStatuses": [{"name": "notebook", "state": {"waiting": {}}, **(notebook or {})}],
            **more,
        },
    }


ENDED = {"terminated": {"exitCode": 1, "message": "dlaas-agent: no."}}


def test_an_agent_that_works_has_not_failed() -> None:
    assert why_failed(pod({"state": {"running": {}}})) is None


@pytest.mark.parametrize("agent", [{"state": ENDED}, {"state": {"waiting": {}}, "lastState": ENDED}])
def test_an_agent_that_ended_before_the_notebook_failed_the_start(agent: dict[str, Any]) -> None:
    assert why_failed(pod(agent)) == "no."


def test_an_agent_that_is_started_again_beside_a_running_notebook_has_not() -> None:
    assert why_failed(pod({"state": {"running": {}}, "lastState": ENDED}, {"state": {"running": {}}})) is None


def test_an_evicted_pod_says_why() -> None:
    said = why_failed(pod({}, phase="Failed", reason="Evicted", message="The node was low on resource: memory."))
    assert said == (
        "Kubernetes ended the server's pod while it was starting. Evicted: The node was low on resource: memory."
    )


# ---- storages


def test_every_kind_of_storage_becomes_a_volume() -> None:
    catalogue = Catalogue.model_validate(
        {
            "vo": "escape",
            "storages": {
                "eulake": {"type": "eos", "host_path": "/var/eos", "mount_path": "/eos", "required": True},
                "eudemo": {"type": "eos", "host_path": "/var/eos", "mount_path": "/eos", "path": "/eos/demo"},
                "shared": {"type": "scratch", "host_path": "/s", "mount_path": "/shared", "per_user": False},
                "own": {"type": "scratch", "host_path": "/s", "mount_path": "/own"},
                "cvmfs": {"type": "cvmfs"},
                "claim": {"type": "volume", "claim": "data", "mount_path": "/claim", "read_only": False},
                "nfs": {"type": "volume", "nfs": {"server": "n.example.org", "path": "/x"}, "mount_path": "/nfs"},
                "csi": {
                    "type": "volume",
                    "csi": {"driver": "cvmfs.csi.cern.ch", "attributes": {"repository": "atlas.cern.ch"}},
                    "mount_path": "/csi",
                },
            },
            "environments": [{"name": "a", "image": "a:1"}],
        }
    )
    parts = storage_parts(list(catalogue.storages.items()), "alice")
    assert parts.volumes == (
        {"name": "dlaas-storage-0", "hostPath": {"path": "/var/eos", "type": "Directory"}},
        {"name": "dlaas-storage-2", "hostPath": {"path": "/s", "type": "DirectoryOrCreate"}},
        {"name": "dlaas-storage-3", "hostPath": {"path": "/s", "type": "DirectoryOrCreate"}},
        {"name": "dlaas-storage-4", "hostPath": {"path": "/cvmfs", "type": "DirectoryOrCreate"}},
        {"name": "dlaas-storage-5", "persistentVolumeClaim": {"claimName": "data", "readOnly": False}},
        {"name": "dlaas-storage-6", "nfs": {"server": "n.example.org", "path": "/x", "readOnly": True}},
        {
            "name": "dlaas-storage-7",
            "csi": {
                "driver": "cvmfs.csi.cern.ch",
                "readOnly": True,
                "volumeAttributes": {"repository": "atlas.cern.ch"},
            },
        },
    )
    down = {"mountPropagation": "HostToContainer"}
    assert parts.mounts == (
        {"name": "dlaas-storage-0", "mountPath": "/eos", "readOnly": True, **down},
        {"name": "dlaas-storage-2", "mountPath": "/shared", "readOnly": False, **down},
        {"name": "dlaas-storage-3", "mountPath": "/own", "readOnly": False, "subPath": "alice"},
        {"name": "dlaas-storage-4", "mountPath": "/cvmfs", "readOnly": True, **down},
        {"name": "dlaas-storage-5", "mountPath": "/claim", "readOnly": False},
        {"name": "dlaas-storage-6", "mountPath": "/nfs", "readOnly": True},
        {"name": "dlaas-storage-7", "mountPath": "/csi", "readOnly": True},
    )
    assert all(mount["readOnly"] for mount in parts.probed)
    assert parts.required == {"dlaas-storage-0"}
