"""Everything of the data lake in one hub, held together."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Literal

from jupyterhub import orm

from jupyterhub_dlaas.catalogue.folder import Catalogues
from jupyterhub_dlaas.catalogue.grants import Grant as VOGrant
from jupyterhub_dlaas.catalogue.grants import parse_grants
from jupyterhub_dlaas.catalogue.offer import Offer, offered
from jupyterhub_dlaas.errors import ConfigError, IAMError, Outage
from jupyterhub_dlaas.hub.agents import AgentRegistry
from jupyterhub_dlaas.hub.config import DLaaSConfig
from jupyterhub_dlaas.hub.health import Health
from jupyterhub_dlaas.hub.keeper import TokenKeeper
from jupyterhub_dlaas.hub.metrics import Gauges, metrics
from jupyterhub_dlaas.hub.plan import Assessment, Timing
from jupyterhub_dlaas.hub.refresh import RefreshService
from jupyterhub_dlaas.hub.renewal import Means
from jupyterhub_dlaas.hub.session import Session
from jupyterhub_dlaas.hub.spawner_common import DLaaSSpawnerMixin
from jupyterhub_dlaas.hub.timing import Backoff, Lead
from jupyterhub_dlaas.oidc.client import IAMClient
from jupyterhub_dlaas.oidc.clock import Clock
from jupyterhub_dlaas.oidc.http import HTTP
from jupyterhub_dlaas.oidc.issuer import Issuer
from jupyterhub_dlaas.oidc.model import AudienceSpec, Grant
from jupyterhub_dlaas.oidc.secret import Secret

log = logging.getLogger(__name__)

_LOOK_AT_CATALOGUES_SECONDS = 2.0
_UNTIL_IAM_IS_THERE = Backoff(2.0, 60.0)

Assess = Callable[[Any, Grant, Mapping[str, Any], Session], Awaitable[Assessment]]


@dataclasses.dataclass(frozen=True)
class Client:
    """How the hub is known to its issuer. `overrides` are endpoints that the administrator set."""

    issuer_url: str
    client_id: str
    client_secret: Secret
    client_auth: Literal["basic", "post"] = "basic"
    ca_file: str | None = None
    timeout_seconds: float = 30.0
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)


class DLaaS:
    """One per JupyterHub: `authenticator.dlaas`, from a spawner `self.user.authenticator.dlaas`."""

    def __init__(
        self, config: DLaaSConfig, client: Client, audiences: Mapping[str, Mapping[str, Any]], assess: Assess
    ) -> None:
        self.config = config
        self.clock: Clock = config.clock
        self.audiences = {key: AudienceSpec.parse(key, settings) for key, settings in audiences.items()}
        self.vos: dict[str, VOGrant] = parse_grants(config.vos)
        self.catalogues = _catalogues(config, self.vos, self.audiences)
        self.http = HTTP(ca_file=client.ca_file, timeout_seconds=client.timeout_seconds)
        self.issuer = Issuer(client.issuer_url, self.http, self.clock, client.overrides)
        self.client = IAMClient(
            self.issuer,
            self.http,
            self.clock,
            client_id=client.client_id,
            client_secret=client.client_secret,
            client_auth=client.client_auth,
        )
        self.metrics = metrics()
        self.health = Health(self.clock)
        lead = Lead(config.lead_minimum_seconds, config.lead_share)
        self.means = Means(
            client=self.client,
            clock=self.clock,
            metrics=self.metrics,
            audiences=self.audiences,
            timing=Timing(lead, config.refresh_every_minutes * 60),
            entitled=self.entitled,
            assess=assess,
            health=self.health,
            lost=self._lost,
        )
        self.keeper = TokenKeeper(self.means)
        self.refresh = RefreshService(
            self.keeper, self.clock, self.health, has_servers=has_servers, max_renewals=int(config.max_renewals)
        )
        self.agents = AgentRegistry(self.clock.now)
        self.app: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- who may have what

    def offers(self, user: Any) -> tuple[Offer, ...]:
        """The environments that this user may start, by their groups in the hub's database."""
        return offered(self.catalogues, groups_of(user))

    def vos_of(self, groups: Collection[str]) -> list[str]:
        """The VOs that a member of these groups belongs to."""
        return [name for name, grant in self.vos.items() if not grant.groups.isdisjoint(groups)]

    def entitled(self, user: Any) -> tuple[str, ...]:
        """The audiences for which tokens are kept for this user: those that their VOs may use."""
        return self.entitled_by(groups_of(user))

    def entitled_by(self, groups: Collection[str]) -> tuple[str, ...]:
        """The same by groups. Where no VOs are set at all, every audience is for everybody who may log in."""
        if not self.vos:
            return tuple(self.audiences)
        mine = [self.vos[name] for name in self.vos_of(groups)]
        return tuple(key for key in self.audiences if any(grant.trusted or key in grant.audiences for grant in mine))

    # ---- life

    def start(self, app: Any) -> None:
        """Begins to work, called when JupyterHub collects its handlers. An IAM that is down does not matter.

        Raises ConfigError where the spawner's settings can never work.
        """
        self.app = app
        check = getattr(app.spawner_class, "check_settings", None)
        if check is not None:
            check(app)
        # Our lines go where JupyterHub's go, at its level.
        ours = logging.getLogger("jupyterhub_dlaas")
        ours.parent = app.log
        ours.setLevel(app.log.getEffectiveLevel())
        self.metrics.gauges(self._gauges)
        _before_cleanup(app, self.stop)
        self.refresh.start()
        self._spawn(self._discover())
        self._spawn(self._restore())
        self._spawn(self._follow_catalogues())
        if issubclass(app.spawner_class, DLaaSSpawnerMixin):
            self._spawn(app.spawner_class.in_background(app))

    async def stop(self) -> None:
        """Ends renewals in good order and closes the connections to IAM."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self.refresh.stop(), self.keeper.close())
        await self.http.close()

    async def _discover(self) -> None:
        """Fetches endpoints and keys, until it works."""
        failures = 0
        while True:
            try:
                await self.issuer.prefetch()
            except IAMError as error:
                failures += 1
                if isinstance(error, Outage):
                    self.health.failed(error)
                level = logging.WARNING if failures in (1, 10, 100) else logging.DEBUG
                log.log(level, "class=%s IAM is not ready, logins wait: %s", error.label, error.sentence())
                await self.clock.sleep(_UNTIL_IAM_IS_THERE.delay(failures, 0.0, error.retry_after))
            else:
                self.health.worked()
                log.info("IAM %s answers, logins are possible", self.issuer.url)
                return

    async def _follow_catalogues(self) -> None:
        """Takes up changed catalogue files; in a thread, because a large one is read for seconds."""
        while True:
            await asyncio.sleep(_LOOK_AT_CATALOGUES_SECONDS)
            await asyncio.to_thread(self.catalogues.reload)

    def _gauges(self) -> Gauges:
        counted: Counter[tuple[str, str]] = Counter()
        for server in self.agents.reporting():
            choice = server.spawner.current_choice()
            # Only names from the catalogue: what an agent calls a mount is not to become a label.
            known = {name for name, _ in choice.offer.storages} if choice else set()
            mounts = server.report.mounts if server.report else ()
            counted.update((mount.name, "alive" if mount.alive else "dead") for mount in mounts if mount.name in known)
        return {**self.refresh.gauges(), "mounts": {labels: float(count) for labels, count in counted.items()}}

    async def _restore(self) -> None:
        """Users whose servers ran when the hub went down; a server that is gone is noticed when its user falls due."""
        # JupyterHub collects the handlers before its users can be made.
        while "users" not in self.app.tornado_settings:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
        rows = self.app.db.query(orm.User).join(orm.Spawner).filter(orm.Spawner.server_id.is_not(None)).distinct()
        self.refresh.restore([self.app.users[row.id] for row in rows])

    # ---- a right that is lost

    def _lost(self, user: Any) -> None:
        if self.config.lost_entitlement == "stop":
            self._spawn(self._stop_servers(user))

    async def _stop_servers(self, user: Any) -> None:
        session = self.keeper.session(user.name)
        allowed = session is not None and session.allowed
        for name, spawner in list(user.spawners.items()):
            # Not `offers`: an environment that has left its catalogue, or is broken there, is no right that was lost.
            choice = spawner.current_choice() if isinstance(spawner, DLaaSSpawnerMixin) else None
            if spawner.ready and not (allowed and (choice is None or choice.offer.admits(groups_of(user)))):
                log.warning("user=%s server=%r is stopped: its user lost the right to it", user.name, name)
                await self.app.proxy.delete_user(user, name)
                await user.stop(name)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def groups_of(user: Any) -> frozenset[str]:
    """A hub user's groups, without leading slash."""
    return frozenset(group.name.strip("/") for group in user.groups)


def has_servers(user: Any) -> bool:
    """Whether a server of this user is running or starting, named ones too."""
    if any(spawner.active for spawner in user.spawners.values()):
        return True
    # At hub start the database knows of servers for which JupyterHub has made no spawner yet.
    return any(row.server_id is not None for row in user.orm_user.orm_spawners.values())


def _before_cleanup(app: Any, stop: Callable[[], Awaitable[None]]) -> None:
    """Calls `stop` when the hub ends.

    JupyterHub cancels every task after its clean-up: a renewal between IAM's answer and the save would lose the rotated
    refresh token, and so the user their session, at each restart.
    """
    cleanup = app.cleanup

    async def stop_first() -> None:
        await stop()
        await cleanup()

    app.cleanup = stop_first


class _NoCatalogues(Catalogues):
    """Nothing is offered: no catalogue is set."""

    def __init__(self, vos: Mapping[str, VOGrant], audiences: Collection[str]) -> None:
        self.vos, self.audiences = dict(vos), frozenset(audiences)
        self.revision, self.open, self.closed, self.problems, self.warnings = 1, {}, {}, {}, {}

    def reload(self) -> bool:
        return False


def _catalogues(config: DLaaSConfig, vos: Mapping[str, VOGrant], audiences: Collection[str]) -> Catalogues:
    if config.catalogue:
        return Catalogues(config.catalogue, vos, audiences, strict=config.strict)
    if vos:
        raise ConfigError(
            "c.DLaaSConfig.vos is set but c.DLaaSConfig.catalogue is not.",
            hint="Name the catalogue file, or the folder with one file per VO.",
        )
    log.warning("c.DLaaSConfig.catalogue is not set: no environments are offered")
    return _NoCatalogues(vos, audiences)
