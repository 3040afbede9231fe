"""A keeper over a real JupyterHub database and the stand-in IAM, on a clock that only moves when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.crypto import CryptKeeper
from jupyterhub.user import User
from traitlets.config import Config

from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.demo.iam import Settings, StandInIAM
from jupyterhub_dlaas.hub.authenticator import IAMAuthenticator
from jupyterhub_dlaas.hub.keeper import NewSession
from jupyterhub_dlaas.hub.session import Held, Session, new_generation, session_of
from jupyterhub_dlaas.oidc import claims
from jupyterhub_dlaas.oidc.clock import ManualClock
from jupyterhub_dlaas.oidc.secret import Secret

START = 1_800_000_000.0
VOS = {"escape": {"groups": {"escape"}, "trusted": True}, "ska": {"groups": {"ska"}, "audiences": ["rucio"]}}


class Rig:
    def __init__(self, iam: StandInIAM, clock: ManualClock, config: Config) -> None:
        self.iam, self.clock, self.config = iam, clock, config
        self.hubs: list[Any] = []
        self.db = orm.new_session_factory("sqlite:///:memory:")()
        for role in roles.get_default_roles():
            roles.create_role(self.db, role)
        self.restart_hub()

    def restart_hub(self) -> None:
        """Memory is gone, the database stays."""
        self.authenticator = IAMAuthenticator(config=self.config)
        self.dlaas = self.authenticator.dlaas
        self.hubs.append(self.dlaas)
        self.keeper = self.dlaas.keeper
        self._users: dict[str, Any] = {}

    def user(self, name: str = "alice") -> Any:
        if name not in self._users:
            row = orm.User.find(self.db, name)
            if row is None:
                row = orm.User(name=name)
                self.db.add(row)
                self.db.commit()
            self._users[name] = User(row, {"authenticator": self.authenticator}, self.db)
        return self._users[name]

    def new_session(self, name: str = "alice") -> Session:
        """What a login of this user at IAM ends in."""
        answer, now = self.iam.log_in(name), self.clock.now()
        refresh = Secret(answer["refresh_token"])
        return Session(
            generation=new_generation(),
            subject=self.iam.users[name].sub,
            issuer=self.iam.issuer_url.rstrip("/"),
            access=Held(Secret(answer["access_token"]), now + answer["expires_in"], now),
            refresh_token=refresh,
            refresh_expires_at=claims.number(claims.unverified_claims(refresh).get("exp")),
            checked_at=now,
        )

    async def login(self, name: str = "alice", *, exchange: bool = True) -> Any:
        user, session = self.user(name), self.new_session(name)
        user.sync_groups(self.iam.users[name].groups)
        async with self.keeper.opening(name):
            await user.save_auth_state(session.to_auth_state())
            await self.keeper.login(name, NewSession(session))
        if exchange:
            await self.keeper.tokens(user, ["rucio"])
        self.iam.counters.clear()
        return user

    async def token(self, name: str = "alice", **options: Any) -> TokenState:
        return (await self.keeper.tokens(self.user(name), ["rucio"], **options))["rucio"]

    async def stored(self, name: str = "alice") -> Session | None:
        return session_of(await self.user(name).get_auth_state())

    def seconds_left(self, name: str = "alice") -> float:
        state = (self.keeper.peek(name, ["rucio"]) or {})["rucio"]
        assert state.expires_at is not None
        return state.expires_at - self.clock.now()

    @property
    def granted(self) -> Any:
        return self.iam.counters.granted

    @property
    def asked(self) -> Any:
        return self.iam.counters.requests

    async def until_asked(self, endpoint: str) -> None:
        """Until IAM works on such a request."""
        for _ in range(500):
            if self.iam.counters.now[endpoint]:
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"{endpoint} was never asked")


@asynccontextmanager
async def rig(
    *, audiences: Iterable[str] = ("rucio",), keys: int = 1, tick: bool = False, **settings: Any
) -> AsyncIterator[Rig]:
    """`settings` of the stand-in IAM; those that begin with `hub_` are DLaaSConfig's."""
    clock = ManualClock(START, tick=tick)
    CryptKeeper.clear_instance()
    CryptKeeper.instance(keys=[bytes([65 + number]) * 32 for number in range(keys)])
    hub = {name[4:]: settings.pop(name) for name in list(settings) if name.startswith("hub_")}
    async with StandInIAM(clock=clock, settings=Settings(key_type="EC", **settings)) as iam:
        config = Config()
        config.IAMAuthenticator.issuer_url = iam.issuer_url
        config.IAMAuthenticator.client_id, config.IAMAuthenticator.client_secret = "dlaas", "dlaas-secret"
        config.IAMAuthenticator.audiences = {key: {} for key in audiences}
        config.IAMAuthenticator.allowed_groups = {"/escape", "ska"}
        config.DLaaSConfig.clock = clock
        for name, value in hub.items():
            setattr(config.DLaaSConfig, name, value)
        made = Rig(iam, clock, config)
        try:
            yield made
        finally:
            for dlaas in made.hubs:
                await dlaas.stop()
            made.db.close()
            CryptKeeper.clear_instance()
