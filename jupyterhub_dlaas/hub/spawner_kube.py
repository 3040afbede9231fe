"""Servers as pods: KubeSpawner, with one environment of the catalogue and the agent beside the notebook."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Self

from kubernetes_asyncio.client import ApiException
from kubernetes_asyncio.config import ConfigException
from kubespawner.slugs import safe_slug
from traitlets import Dict, Enum, Integer, Unicode
from traitlets.config import Configurable

from jupyterhub_dlaas.errors import BundleError, ConfigError, DLaaSError
from jupyterhub_dlaas.hub import pod, pod_rules
from jupyterhub_dlaas.hub.agents import Report
from jupyterhub_dlaas.hub.kube_access import Cluster
from jupyterhub_dlaas.hub.kube_api import NO_ANSWER, Passing, said
from jupyterhub_dlaas.hub.kube_choice import overrides
from jupyterhub_dlaas.hub.kube_patience import PatientKubeSpawner
from jupyterhub_dlaas.hub.kube_pod import ServerPod
from jupyterhub_dlaas.hub.kube_watch import StartWatch
from jupyterhub_dlaas.hub.pod_storages import StorageParts, storage_parts
from jupyterhub_dlaas.hub.spawner_common import DLaaSSpawnerMixin, Refused, refusal
from jupyterhub_dlaas.oidc.secret import Secret

_STATE = "dlaas_secret"
_SHARE_OF_TIMEOUT = 0.97
_FOLDER_LENGTH = 48  # of a scratch folder's name, as of the {username} in KubeSpawner's own templates


class DLaaSSpawner(DLaaSSpawnerMixin, PatientKubeSpawner):
    """Starts servers as pods. Everything of KubeSpawner's applies, except `profile_list` and `internal_ssl`."""

    agent_image = Unicode(
        "",
        config=True,
        help="""
        The image of the agent that runs beside each notebook; it has to be set.

        Example: `c.DLaaSSpawner.agent_image = "ghcr.io/example/dlaas-agent:0.1.0"`
        """,
    )
    agent_image_pull_policy = Enum(
        ("Always", "IfNotPresent", "Never"),
        "IfNotPresent",
        config=True,
        help="""
        When the agent's image is pulled.

        Example: `c.DLaaSSpawner.agent_image_pull_policy = "Always"`
        """,
    )
    agent_resources = Dict(
        {"requests": {"cpu": "5m", "memory": "24Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        config=True,
        help="""
        What the agent's container requests and is limited to, as in a pod's specification.

        Example: `c.DLaaSSpawner.agent_resources = {"requests": {"cpu": "10m", "memory": "32Mi"}}`
        """,
    )
    agent_timeout = Integer(
        45,
        config=True,
        help="""
        How many seconds the agent may take to write a server's first files before the start fails.

        Keep it below `start_timeout`. Example: `c.DLaaSSpawner.agent_timeout = 90`
        """,
    )
    files_size_limit = Unicode(
        "16Mi",
        config=True,
        help="""
        The size of the volume, in memory, with a server's data lake files.

        Example: `c.DLaaSSpawner.files_size_limit = "32Mi"`
        """,
    )
    cache_size_limit = Unicode(
        "64Mi",
        config=True,
        help="""
        The size of the volume, in memory, with the cache of the Rucio extension.

        Example: `c.DLaaSSpawner.cache_size_limit = "128Mi"`
        """,
    )
    gpu_resource = Unicode(
        "nvidia.com/gpu",
        config=True,
        help="""
        What the GPUs of a catalogue's sizes are called in the cluster.

        Example: `c.DLaaSSpawner.gpu_resource = "amd.com/gpu"`
        """,
    )

    cluster: ClassVar[Cluster | None] = None
    _being_deleted: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pod: ServerPod | None = None
        self._watch: StartWatch | None = None
        self._addition: pod.Addition | None = None
        self._credential: Secret | None = None
        self._overridden: dict[str, tuple[Any, Any]] = {}
        self._wire: dict[str, Any] | None = None
        self._created = False
        super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------ when the hub starts

    @classmethod
    def settings(cls, config: Any) -> Self:
        """The settings as each spawner has them, without the cluster that KubeSpawner's own `__init__` looks for."""
        made = cls.__new__(cls)
        Configurable.__init__(made, config=config)
        return made

    @classmethod
    def check_settings(cls, app: Any) -> None:
        """Called when the hub starts. Raises ConfigError for settings with which no server can ever start."""
        settings = cls.settings(app.config)
        if app.internal_ssl:
            raise ConfigError(
                "c.JupyterHub.internal_ssl does not work with DLaaSSpawner: agents have no client certificate.",
                hint="Turn it off; network policies and the cluster's own encryption keep that traffic apart.",
            )
        if not settings.agent_image:
            raise ConfigError(
                "c.DLaaSSpawner.agent_image is not set, so no server could have the data lake.",
                hint="Set it to the image that images/agent builds, with a tag or digest.",
            )
        settings._refuse_profiles()

    @classmethod
    async def in_background(cls, app: Any) -> None:
        """Runs from the hub's start on: asks the cluster what the hub may do in it, and logs what is missing."""
        try:
            cls.cluster = Cluster.of(cls.settings(app.config))
        except ConfigException as error:
            app.log.error("No server can start: there is no Kubernetes configuration (%s)", error)
            return
        await cls.cluster.ask_until_answered()

    def _refuse_profiles(self) -> None:
        if self.profile_list:
            raise ConfigError(
                "c.KubeSpawner.profile_list (singleuser.profileList) is set, but the catalogues say what is offered.",
                hint="Take it out and describe its entries in a catalogue, see c.DLaaSConfig.catalogue.",
            )

    # ------------------------------------------------------------------ start

    async def _start(self) -> str:
        self._wire, self._created = None, False
        # Just before JupyterHub gives up, which would not say why.
        until = asyncio.get_running_loop().time() + _SHARE_OF_TIMEOUT * self.start_timeout
        try:
            self._refuse_profiles()
            await self._need_rights()
            self.places = pod.new_places()
            self._pod = self._pod_of(pod.new_secret_name(self.pod_name))
            self._credential = await self.open_data_lake()  # which saves all of it
            return await self._until_up(self._pod, until)
        except DLaaSError as error:
            self.log.error("%s's server %r was not started: %s", self.user.name, self.name, error)
            await self._undo()
            raise refusal(error) from error
        except TimeoutError:
            await self._undo()
            raise Refused(503, self._why_late()) from None
        except BaseException:
            await self._undo()
            raise
        finally:
            self._credential = self._wire = None

    def _why_late(self) -> str:
        if not self._created:
            return "Kubernetes did not answer or create the server's pod. Try again in a minute."
        last = self.steps.events[-1]["message"]
        return f"The server was not up after {self.start_timeout} seconds. The last step was: {last}"

    async def _need_rights(self) -> None:
        problems = [] if self.cluster is None else await self.cluster.ask_again()
        if problems:
            raise ConfigError(" ".join(problems))

    def _pod_of(self, secret_name: str) -> ServerPod:
        return ServerPod(self.api, self.namespace, self.pod_name, secret_name, self.k8s_api_request_timeout)

    async def _until_up(self, mine: ServerPod, until: float) -> str:
        """KubeSpawner's start, over as soon as the pod is up, or cannot come up any more.

        KubeSpawner itself looks at the pod after pauses that grow to 5 seconds.
        """
        watch = self._watch = StartWatch(
            mine,
            self.steps,
            pods=lambda: self.pod_reflector.pods if self.pod_reflector else {},
            events=lambda: self.event_reflector.resources if self.event_reflector else {},
            storages=lambda: self._addition.storages if self._addition else StorageParts(),
            hide=self._secrets(),
        )
        # These come after the pod, in KubeSpawner's start.
        more_to_do = self.services_enabled or self.after_pod_created_hook

        def is_up(pod: dict[str, Any]) -> bool:
            return mine.has_credential and not more_to_do and bool(self.is_pod_running(pod))

        work = asyncio.ensure_future(super()._start())
        up = asyncio.ensure_future(watch.until_up(is_up))
        try:
            await asyncio.wait(
                {work, up}, return_when=asyncio.FIRST_COMPLETED, timeout=until - asyncio.get_running_loop().time()
            )
            watch.tell()
            if work.done():
                return str(work.result())
            if not up.done():
                raise TimeoutError
            self.pod_id = up.result()["metadata"]["uid"]
            return str(self._get_pod_url(up.result()))
        finally:
            self._watch = None
            work.cancel()
            up.cancel()
            await asyncio.gather(work, up, return_exceptions=True)

    def agent_reported(self, report: Report) -> None:
        """Before its words, what Kubernetes said until then."""
        if self._watch is not None:
            self._watch.tell()
        super().agent_reported(report)

    async def load_user_options(self) -> None:
        """Sets what the choice asks for, over the hub's own values. KubeSpawner's profiles are not looked at."""
        self._restore()
        assert self.choice is not None
        for name, value in overrides(self.choice, self, gpu_resource=self.gpu_resource).items():
            before = getattr(self, name)
            setattr(self, name, value)
            self._overridden[name] = (before, getattr(self, name))

    def _restore(self) -> None:
        """The hub's own values again, except where a hook has set others since."""
        for name, (before, ours) in self._overridden.items():
            if getattr(self, name) == ours:
                setattr(self, name, before)
        self._overridden = {}

    def get_env(self) -> dict[str, Any]:
        """KubeSpawner's environment, the data lake's over it, and nothing that would outrank a token file."""
        env: dict[str, Any] = super().get_env()
        if self.choice is None or self.places is None:
            return env
        env, dropped = pod.server_environment(env, self.choice, self.places, self.environment)
        if dropped:
            self.log.warning("Not in servers, because it outranks the data lake's files: %s", ", ".join(dropped))
        return env

    def scratch_folder(self) -> str:
        """The user's name as a folder of the node; kubelet makes it and the pod sees nothing but it."""
        return str(safe_slug(self.user.name, max_length=_FOLDER_LENGTH))

    async def get_pod_manifest(self) -> Any:
        """KubeSpawner's pod with storages, the agent and its volumes."""
        manifest = await super().get_pod_manifest()
        choice, places, mine = self.choice, self.places, self._pod
        assert choice is not None and places is not None and mine is not None
        self._addition = pod.addition(
            self._as_json(manifest),
            pod.AgentSettings(
                image=self.agent_image,
                pull_policy=self.agent_image_pull_policy,
                resources=self.agent_resources,
                files_size_limit=self.files_size_limit,
                cache_size_limit=self.cache_size_limit,
                timeout_seconds=float(self.agent_timeout),
            ),
            places=places,
            secret_name=mine.secret_name,
            hub_url=self._hub_url(),
            storages=storage_parts(choice.offer.storages, self.scratch_folder()),
        )
        return pod.add(manifest, self._addition)

    async def _make_create_pod_request(self, manifest: Any, request_timeout: float) -> bool:
        """Repeated while it is False. The manifest, which has JupyterHub's own token, is never logged."""
        mine = self._pod
        assert mine is not None
        if self._wire is None:
            self._wire = self._checked(manifest)
        try:
            self._created = await mine.create(self._wire, request_timeout)
        except Passing:
            return False
        except ApiException as error:
            raise BundleError(f"Kubernetes refuses the server's pod: {self._without_tokens(said(error))}") from None
        if self._created:
            await self._give_credential(mine)
        else:
            self.log.info("Another pod is called %s; it is deleted first", self.pod_name)
            await self.stop(True)
        return self._created

    def _checked(self, manifest: Any) -> dict[str, Any]:
        """The manifest as it is sent, after every hook. Raises ConfigError where it breaks the token path."""
        assert self._addition is not None
        wire = self._as_json(manifest)
        problems = pod_rules.problems(wire, self._addition)
        if problems:
            raise ConfigError(" ".join(problems))
        return wire

    async def _give_credential(self, mine: ServerPod) -> None:
        assert mine.uid is not None and self._credential is not None
        secret = pod.secret(
            mine.secret_name,
            self._credential.reveal(),
            pod_name=mine.name,
            pod_uid=mine.uid,
            labels=self._build_common_labels(self._expand_all(self.extra_labels)),
            annotations=self._build_common_annotations({}),
        )
        await mine.give(secret, self.k8s_api_request_retry_timeout)

    def _secrets(self) -> list[Secret]:
        return [secret for secret in (self._credential, Secret(self.api_token or "")) if secret]

    def _without_tokens(self, text: str) -> str:
        for secret in self._secrets():
            text = text.replace(secret.reveal(), "<redacted>")
        return text

    def _as_json(self, manifest: Any) -> dict[str, Any]:
        wire: dict[str, Any] = self.api.api_client.sanitize_for_serialization(manifest)
        return wire

    # ------------------------------------------------------------------ end and state

    async def stop(self, now: bool = False) -> None:
        """As KubeSpawner's; a pod that cannot be deleted now is deleted later."""
        try:
            await super().stop(now)
        except (*NO_ANSWER, ApiException):
            if self._pod is not None:
                self._delete_later(self._pod)
            raise

    async def _undo(self) -> None:
        """A start has failed: no pod, no Secret, no token is left, now or when the API server is there again."""
        self.close_data_lake()
        if self._pod is None or self._wire is None:
            return  # nothing was asked of Kubernetes
        try:
            await self._pod.delete()
        except (Passing, ApiException):
            self._delete_later(self._pod)

    def _delete_later(self, doomed: ServerPod) -> None:
        task = asyncio.ensure_future(doomed.delete_in_the_end())
        self._being_deleted.add(task)
        task.add_done_callback(self._being_deleted.discard)

    def get_state(self) -> dict[str, Any]:
        """Adds the name of the pod's Secret, by which the pod is known."""
        state = super().get_state()
        if self._pod is not None:
            state[_STATE] = self._pod.secret_name
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """After a hub restart."""
        super().load_state(state)
        if _STATE in state:
            self._pod = self._pod_of(state[_STATE])

    def clear_state(self) -> None:
        """The end of a server: its Secret goes with the pod, and the hub's own settings hold again."""
        super().clear_state()
        self._pod = self._addition = None
        self._restore()
