"""Starts and ends of a pod, against an API server with every kind of bad day."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import orm
from kube_fakes import Scene, scene

from jupyterhub_dlaas.hub import kube_pod, kube_watch
from jupyterhub_dlaas.hub.kube_access import Cluster as Rights
from jupyterhub_dlaas.hub.kube_pod import ServerPod
from jupyterhub_dlaas.hub.kube_watch import StartWatch
from jupyterhub_dlaas.hub.pod_storages import StorageParts
from jupyterhub_dlaas.hub.progress import Progress
from jupyterhub_dlaas.hub.spawner_common import Refused

POD = "jupyter-alice"


@pytest.fixture
async def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async with scene(tmp_path, monkeypatch, k8s_api_request_retry_timeout=2) as made:
        yield made


async def refused(lake: Scene, environment: str = "root") -> Refused:
    with pytest.raises(Refused) as caught:
        await lake.start(environment)
    return caught.value


def agent(pod: dict[str, Any], message: str, *, code: int = 1) -> None:
    """kubelet starts an agent that ends at once, and will start it again."""
    ended = {"terminated": {"exitCode": code, "message": message}}
    pod["status"] = {
        "phase": "Pending",
        "initContainerStatuses": [{"name": "dlaas-agent", "state": {"waiting": {}}, "lastState": ended}],
        "containerStatuses": [{"name": "notebook", "state": {"waiting": {}}, "ready": False}],
    }


# ---- a start


async def test_a_server_starts(lake: Scene) -> None:
    assert await lake.start() == "http://10.0.0.7:8888"


async def test_the_secret_belongs_to_the_pod_and_holds_the_credential(lake: Scene) -> None:
    await lake.start()
    pod = lake.cluster.objects["pods"][POD]
    (secret,) = lake.cluster.objects["secrets"].values()
    assert secret["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": POD,
            "uid": pod["metadata"]["uid"],
            "controller": False,
            "blockOwnerDeletion": False,
        }
    ]
    token = base64.b64decode(secret["data"]["token"]).decode()
    assert lake.rig.dlaas.agents.get(lake.spawner).token_hash.startswith("sha512")
    assert token not in str(lake.cluster.objects["pods"])
    assert secret["metadata"]["labels"]["hub.jupyter.org/username"] == "alice"


async def test_a_pod_is_known_to_the_database_before_it_is_there(lake: Scene) -> None:
    """A hub that is killed in the middle of a start knows its pod, its paths and its agent's token again."""
    saved: list[dict[str, Any]] = []

    def look(pod: dict[str, Any]) -> None:
        lake.rig.db.expire_all()  # what was not committed is not there
        saved.append(lake.spawner.orm_spawner.state)
        lake.cluster.run(pod)

    lake.cluster.react = look
    await lake.start()
    (state,) = saved
    assert state["dlaas_secret"] == lake.spawner._pod.secret_name
    assert state["dlaas"]["files"] == lake.spawner.places.files_dir
    assert state["dlaas"]["token_id"] == lake.rig.dlaas.agents.token_id(lake.spawner)


async def test_a_token_of_a_start_that_a_killed_hub_has_forgotten_is_revoked_and_no_other(lake: Scene) -> None:
    await lake.start()
    agents, tokens = lake.rig.dlaas.agents, lake.rig.db.query(orm.APIToken)
    (forgotten,) = [row for row in tokens if row.id == agents.token_id(lake.spawner)]
    lake.rig.dlaas.agents = type(agents)()  # that of the next hub
    own = lake.user.new_api_token(note=forgotten.note)
    before = forgotten.hashed
    await lake.start()
    hashes = {row.hashed for row in tokens}
    assert before not in hashes
    assert hashes == {orm.APIToken.find(lake.rig.db, own).hashed, agent_row(lake).hashed}


def agent_row(lake: Scene) -> Any:
    return lake.rig.db.get(orm.APIToken, lake.rig.dlaas.agents.token_id(lake.spawner))


async def test_each_start_has_paths_and_a_secret_of_its_own(lake: Scene) -> None:
    await lake.start()
    before = (lake.spawner.places, lake.spawner._pod.secret_name)
    await lake.spawner.stop()
    lake.spawner.clear_state()
    await lake.start()
    after = (lake.spawner.places, lake.spawner._pod.secret_name)
    assert before[0].files_dir != after[0].files_dir
    assert before[1] != after[1]


async def test_a_stop_leaves_nothing(lake: Scene) -> None:
    await lake.start()
    assert lake.tokens() == 1
    await lake.spawner.stop()
    lake.spawner.clear_state()
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


async def test_events_and_our_own_steps_are_one_list_in_words(lake: Scene) -> None:
    lake.cluster.react = lake.cluster.wait
    start = asyncio.ensure_future(lake.start())
    await lake.cluster.until(lambda: POD in lake.cluster.objects["pods"] and lake.spawner._pod.uid)
    lake.cluster.event(POD, "Pulling", 'Pulling image "registry.example.org/escape/root:1"', "notebook")
    lake.cluster.event(POD, "Novel", "Something that nobody knew of")
    await lake.cluster.until(lambda: "Something that nobody knew of" in lake.steps())
    pod = lake.cluster.objects["pods"][POD]
    lake.cluster.run(pod)
    lake.cluster.put("pods", pod)
    lake.cluster.event(POD, "Started", "Started container notebook", "notebook")
    await start
    assert lake.steps() == [
        "Preparing root",
        "Access to rucio until 09:00 UTC",
        "The image registry.example.org/escape/root:1 is being pulled",
        "Something that nobody knew of",
        "The server was started",
    ]


async def test_what_another_pod_of_the_name_did_is_no_step(lake: Scene) -> None:
    lake.cluster.put("pods", {"metadata": {"name": POD, "labels": {}}, "spec": {}, "status": {"phase": "Running"}})
    lake.cluster.event(POD, "Novel", "of the one before")
    await lake.start()
    assert "of the one before" not in lake.steps()


async def test_events_of_one_pod_among_those_of_many_are_told_once_and_in_order() -> None:
    def event(uid: str, message: str) -> dict[str, Any]:
        about = {"involvedObject": {"kind": "Pod", "uid": uid}, "metadata": {}, "reason": "Novel"}
        return {**about, "message": message, "lastTimestamp": "2027-01-15T08:00:00Z"}

    known = {"n/other.1": event("other", "of another pod")}
    steps, mine = Progress(), ServerPod(None, "n", "mine", "secret", 1.0)
    watch = StartWatch(mine, steps, pods=dict, events=lambda: known, storages=StorageParts, hide=())
    mine.uid = "mine"
    for key, uid in (("n/mine.1", "mine"), ("n/other.2", "other"), ("n/mine.2", "mine")):
        known[key] = event(uid, f"event {key}")
        watch.tell()
    known["n/mine.1"] = {**known["n/mine.1"], "count": 2}
    del known["n/mine.2"]  # the newest, which cannot be found any more
    watch.tell()
    # KubeSpawner has asked for all of them, which come in the order of their names.
    known = dict(sorted({**known, "n/mine.15": event("mine", "in the middle")}.items()))
    watch.tell()
    assert [step["message"] for step in steps.events] == ["event n/mine.1", "event n/mine.2", "in the middle"]


# ---- the agent


async def test_the_agents_last_sentence_is_why_the_start_failed(lake: Scene) -> None:
    lake.cluster.react = lambda pod: agent(pod, "dlaas-agent: once\ndlaas-agent: rucio: you are not a member.\n")
    error = await refused(lake)
    assert error.jupyterhub_message == "rucio: you are not a member."
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


async def test_a_token_in_the_agents_last_words_is_not_shown(lake: Scene) -> None:
    def tell(pod: dict[str, Any]) -> None:
        agent(pod, f"dlaas-agent: {lake.spawner._credential.reveal()} and {lake.spawner.api_token}")

    lake.cluster.react = tell
    assert (await refused(lake)).jupyterhub_message == "<redacted> and <redacted>"


async def test_junk_of_an_agent_is_not_shown(lake: Scene) -> None:
    lake.cluster.react = lambda pod: agent(pod, "Traceback (most recent call last): secret", code=137)
    said = (await refused(lake)).jupyterhub_message
    assert "exit code 137" in said
    assert f"kubectl logs {POD} -c dlaas-agent" in said
    assert "secret" not in said


async def test_a_pod_that_is_deleted_while_it_starts_fails_the_start(lake: Scene) -> None:
    lake.cluster.react = lake.cluster.wait
    start = asyncio.ensure_future(refused(lake))
    await lake.cluster.until(lambda: lake.spawner.pod_reflector and lake.cluster.objects["secrets"])
    await lake.cluster.until(lambda: lake.spawner.pod_reflector.pods)
    await asyncio.sleep(0.05)
    lake.cluster.remove("pods", POD)
    assert "deleted while it was starting" in (await start).jupyterhub_message
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


async def test_a_required_mount_that_does_not_come_fails_the_start(
    lake: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_watch.StartWatch, "mount_seconds", 0.05)
    lake.cluster.react = lake.cluster.wait
    start = asyncio.ensure_future(refused(lake, "needy"))
    await lake.cluster.until(lambda: lake.spawner._pod and lake.spawner._pod.uid)
    lack = (
        'MountVolume.SetUp failed for volume "dlaas-storage-0" : hostPath type check failed: /var/needed is not a dir'
    )
    lake.cluster.event(POD, "FailedMount", lack)
    assert (await start).jupyterhub_message.startswith("needed is not there on the node")
    assert "Waiting for needed: hostPath type check failed: /var/needed is not a dir" in lake.steps()
    assert lake.cluster.left() == []


async def test_a_pod_that_does_not_come_up_in_time_says_what_it_waited_for(lake: Scene) -> None:
    lake.spawner.start_timeout = 1
    lake.cluster.react = lake.cluster.wait
    start = asyncio.ensure_future(refused(lake))
    await lake.cluster.until(lambda: lake.spawner._pod and lake.spawner._pod.uid)
    lake.cluster.event(POD, "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.")
    said = (await start).jupyterhub_message
    assert said.endswith("The last step was: Waiting for a node: 0/1 nodes are available: 1 Insufficient cpu.")
    assert lake.cluster.left() == []


# ---- the API server's bad days


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_api_server_is_asked_again(lake: Scene, status: int) -> None:
    for verb, kind in (("post", "pods"), ("get", "pods"), ("post", "secrets")):
        lake.cluster.fail(verb, kind, status)
    await lake.start()
    assert len(lake.cluster.left()) == 2


async def test_a_pod_of_the_name_is_removed_first(lake: Scene) -> None:
    lake.cluster.put(
        "pods",
        {"metadata": {"name": POD, "labels": {}}, "spec": {"volumes": []}, "status": {"phase": "Running"}},
    )
    old = lake.cluster.objects["pods"][POD]["metadata"]["uid"]
    await lake.start()
    assert lake.cluster.objects["pods"][POD]["metadata"]["uid"] != old
    assert len(lake.cluster.objects["secrets"]) == 1


async def test_a_hub_that_may_not_create_secrets_says_which_rule_is_missing(lake: Scene) -> None:
    lake.cluster.fail("post", "secrets", 403, message="secrets is forbidden")
    error = await refused(lake)
    assert 'resources: ["secrets"], verbs: ["create"]' in error.jupyterhub_message
    assert "secrets is forbidden" in error.jupyterhub_message
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


async def test_what_kubernetes_refuses_is_said(lake: Scene) -> None:
    lake.cluster.fail("post", "pods", 403, message='pods "x" is forbidden: exceeded quota: compute-resources')
    assert "exceeded quota: compute-resources" in (await refused(lake)).jupyterhub_message
    assert lake.tokens() == 0


async def test_when_the_api_server_comes_back_nothing_is_left(lake: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_pod, "_FIRST_PAUSE_SECONDS", 0.02)
    lake.spawner.k8s_api_request_retry_timeout = 0

    def vanish(pod: dict[str, Any]) -> None:
        lake.cluster.away = True

    lake.cluster.react = vanish
    error = await refused(lake)
    assert "did not answer" in error.jupyterhub_message
    assert lake.tokens() == 0
    lake.cluster.away = False
    await lake.cluster.until(lambda: not lake.cluster.left())


async def test_cleaning_up_late_never_takes_the_pod_of_a_later_start(lake: Scene) -> None:
    await lake.start()
    doomed = lake.spawner._pod_of("another-secret")
    assert await doomed.delete() is False
    assert POD in lake.cluster.objects["pods"]


async def test_a_start_that_is_given_up_leaves_nothing(lake: Scene) -> None:
    lake.cluster.react = lake.cluster.wait
    start = asyncio.ensure_future(lake.start())
    await lake.cluster.until(lambda: lake.cluster.objects["secrets"])
    lake.spawner._start_future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


async def test_a_watch_that_gave_up_is_begun_anew(lake: Scene) -> None:
    await lake.start()
    reflector = lake.spawner.pod_reflector
    reflector.watch_task.cancel()
    await asyncio.gather(reflector.watch_task, return_exceptions=True)
    assert await lake.spawner.poll() is None
    assert lake.spawner.pod_reflector is not reflector


async def test_an_outage_is_no_end_of_running_servers(lake: Scene) -> None:
    await lake.start()
    reflector = lake.spawner.pod_reflector
    reflector.watch_task.cancel()
    await asyncio.gather(reflector.watch_task, return_exceptions=True)
    lake.cluster.away = True
    assert await lake.spawner.poll() is None


@pytest.mark.parametrize("status", [403, 503])
async def test_a_hub_that_starts_in_an_outage_does_not_take_servers_for_ended(lake: Scene, status: int) -> None:
    lake.cluster.fail("list", "pods", status, times=2)
    assert [await lake.spawner.poll() for _ in range(3)] == [None, None, 1]


async def test_nor_does_one_that_reaches_no_api_server(lake: Scene) -> None:
    lake.cluster.away = True
    assert await asyncio.gather(*(lake.spawner.poll() for _ in range(3))) == [None, None, None]
    lake.cluster.away = False
    assert await lake.spawner.poll() == 1


# ---- behind the hub's back


async def test_an_evicted_pod_goes_with_its_secret(lake: Scene) -> None:
    await lake.start()
    lake.cluster.status(POD, phase="Failed", containerStatuses=None)
    await lake.cluster.until(
        lambda: next(iter(lake.spawner.pod_reflector.pods.values()))["status"]["phase"] == "Failed"
    )
    assert await lake.spawner.poll() == 1
    assert lake.cluster.left() == []


async def test_a_pod_deleted_by_somebody_has_ended(lake: Scene) -> None:
    await lake.start()
    lake.cluster.remove("pods", POD)
    await lake.cluster.until(lambda: not lake.spawner.pod_reflector.pods)
    assert await lake.spawner.poll() == 1
    lake.spawner.clear_state()
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


async def test_after_a_hub_restart_the_agent_is_known_and_a_stop_leaves_nothing(lake: Scene) -> None:
    await lake.start()
    state = lake.spawner.get_state()
    lake.user.spawners.pop("")
    lake.rig.dlaas.agents.__init__(lake.rig.clock.now)
    lake.spawner.load_state(state)
    assert lake.rig.dlaas.agents.get(lake.spawner) is not None
    assert lake.spawner._pod.secret_name in lake.cluster.objects["secrets"]
    await lake.spawner.stop()
    lake.spawner.clear_state()
    assert (lake.cluster.left(), lake.tokens()) == ([], 0)


# ---- settings


async def test_a_profile_list_refuses_every_start(lake: Scene) -> None:
    lake.spawner.profile_list = [{"display_name": "x"}]
    assert "profile_list" in (await refused(lake)).jupyterhub_message
    assert lake.cluster.requests["post", "pods"] == 0


async def test_a_missing_right_refuses_starts_until_it_is_there(lake: Scene) -> None:
    lake.cluster.denied.add(("create", "secrets"))
    type(lake.spawner).cluster = rights = Rights(lake.spawner.api.api_client, "jhub", [("secrets", ("create",))])
    await rights.ask()
    error = await refused(lake)
    assert error.status_code == 500
    assert "The hub may not create secrets in the namespace jhub." in error.jupyterhub_message
    assert lake.tokens() == 0
    lake.cluster.denied.clear()
    await lake.start()


async def test_the_hook_after_creation_still_runs(lake: Scene) -> None:
    seen: list[str] = []
    lake.spawner.after_pod_created_hook = lambda spawner, pod: seen.append(pod["metadata"]["name"])
    await lake.start()
    assert seen == [POD]


async def test_values_of_a_choice_do_not_linger(lake: Scene) -> None:
    own = {name: getattr(lake.spawner, name) for name in ("image", "node_selector", "tolerations", "mem_limit")}
    await lake.start("picky")
    assert lake.spawner.image == "registry.example.org/escape/picky:1"
    lake.spawner.clear_state()
    assert {name: getattr(lake.spawner, name) for name in own} == own


async def test_a_pod_that_lets_others_see_the_credential_is_not_created(lake: Scene) -> None:
    lake.spawner.extra_pod_config = {"shareProcessNamespace": True}
    assert "shareProcessNamespace" in (await refused(lake)).jupyterhub_message
    assert lake.cluster.requests["post", "pods"] == 0
    assert lake.tokens() == 0
