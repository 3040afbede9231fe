"""Servers on the hub's own machine, with the same bundle and the same agent as in a pod."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub.spawner import LocalProcessSpawner
from sqlalchemy.exc import SQLAlchemyError
from traitlets import Bool, Integer, Unicode

from jupyterhub_dlaas.agent.command import command
from jupyterhub_dlaas.bundle.environment import UNSET, environment
from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.errors import ConfigError, DLaaSError
from jupyterhub_dlaas.hub import local_agent, local_places
from jupyterhub_dlaas.hub.local_agent import AgentProcess
from jupyterhub_dlaas.hub.local_places import Account
from jupyterhub_dlaas.hub.spawner_common import DLaaSSpawnerMixin, refusal
from jupyterhub_dlaas.oidc.secret import Secret

_STATE = "dlaas_agent"
_LONGEST_PAUSE_SECONDS = 60.0
_HEALTHY_SECONDS = 60.0
_LATER_SECONDS = 5.0  # than the agent gives up, so that its reason is the one that is shown
_CLEAR_UP_SECONDS = 60.0


class LocalDLaaSSpawner(DLaaSSpawnerMixin, LocalProcessSpawner):
    """Starts servers as processes of this machine.

    Run by root, a server belongs to the system user of the same name, who has to be in `system_group`. Otherwise
    all servers share the hub's own user, which `allow_shared_uid` has to allow.
    """

    allow_shared_uid = Bool(
        False,
        config=True,
        help="""
        Let the servers of all users run as the user that runs the hub.

        Every user can then read every other user's files and tokens. That is right for a demonstration or for a hub of
        one person, and for nothing else.

        Example: `c.LocalDLaaSSpawner.allow_shared_uid = True`
        """,
    )
    system_group = Unicode(
        "",
        config=True,
        help="""
        Run by root: the system group whose members may have servers.

        A user needs a system account of the same name with a uid of at least 1000 that is a member of this group.

        Example: `c.LocalDLaaSSpawner.system_group = "dlaas-users"`
        """,
    )
    places_dir = Unicode(
        "",
        config=True,
        help="""
        Where the private folders of running servers are made.

        By default `/run/dlaas` when servers belong to system users, else `$XDG_RUNTIME_DIR/dlaas` or
        `~/.local/share/jupyterhub-dlaas/run`. Its path may hold neither `&` nor `=`.

        Example: `c.LocalDLaaSSpawner.places_dir = "/dev/shm/dlaas"`
        """,
    )
    shared_home_dir = Unicode(
        "~/.local/share/jupyterhub-dlaas/homes/{username}",
        config=True,
        help="""
        With `allow_shared_uid`: the home folder of a user's servers; it is made where it does not exist.

        Example: `c.LocalDLaaSSpawner.shared_home_dir = "/srv/homes/{username}"`
        """,
    )
    agent_timeout = Integer(
        45,
        config=True,
        help="""
        How many seconds the agent may take to write a server's first files before the start fails.

        Keep it below `start_timeout`. Example: `c.LocalDLaaSSpawner.agent_timeout = 90`
        """,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._agent: AgentProcess | None = None
        self._credential: Secret | None = None
        self._watch: asyncio.Task[None] | None = None
        self._starting = False
        self._clearing = asyncio.Lock()
        super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------ start

    async def start(self) -> Any:
        """Writes the data lake's files, then starts the notebook. Fails with the reason if the files cannot be had."""
        self._starting = True
        try:
            account = self._account()
            self._credential = await self.open_data_lake()
            base = local_places.prepare_base(self._base(), shared_uid=self.allow_shared_uid)
            self.places = local_places.create(base, account)
            self._warn_about(self.places, account)
            self.save_state()
            ready_fd = self._launch(self._credential, account)
            self.save_state()
            self.steps.add("Writing the data lake's files", 30)
            await local_agent.ready(ready_fd, self.agent_timeout + _LATER_SECONDS)
            self.steps.add("Starting the server", 60)
            where = await super().start()
        except DLaaSError as error:
            self.log.error("%s's server %r was not started: %s", self.user.name, self.name, error)
            self._end()
            raise refusal(error) from error
        except BaseException:
            self._end()
            raise
        finally:
            self._starting = False
        return where

    @classmethod
    def check_settings(cls, app: Any) -> None:
        """Called when the hub starts. Raises ConfigError for settings with which no server can ever start."""
        settings = cls(config=app.config, user=None)
        if app.internal_ssl:
            raise ConfigError(
                "c.JupyterHub.internal_ssl does not work with LocalDLaaSSpawner: agents have no client certificate.",
                hint="Turn it off; on one machine the hub listens on the loopback interface.",
            )
        if settings.allow_shared_uid:
            return
        local_places.need_root()
        local_places.members_of(settings.system_group)
        local_places.prepare_base(settings._base(), shared_uid=False)

    def _base(self) -> str:
        return self.places_dir or local_places.default_base(shared_uid=self.allow_shared_uid)

    def _account(self) -> Account | None:
        """Whom the server runs as; None is the hub's own user."""
        if self.allow_shared_uid:
            return None
        local_places.need_root()
        return local_places.account_of(self.user.name, self.system_group)

    def _launch(self, credential: Secret, account: Account | None) -> int:
        places, hub_url = self.places, self._hub_url()
        assert places is not None

        def argv(credential_fd: int, ready_fd: int) -> list[str]:
            return command(
                hub_url=hub_url,
                files=places.files_dir,
                cache=places.cache_dir,
                credential_fd=credential_fd,
                ready_fd=ready_fd,
                start_timeout_seconds=float(self.agent_timeout),
            )

        self._agent, ready_fd = local_agent.launch(argv, credential, account)
        return ready_fd

    def _warn_about(self, places: Places, account: Account | None) -> None:
        uid, gid = (account.uid, account.gid) if account else (os.geteuid(), os.getegid())
        if why := local_places.why_eos_refuses(places.files_dir, uid=uid, gid=gid):
            self.log.warning("EOS will not take tokens from %s: %s", places.files_dir, why)

    def get_env(self) -> dict[str, str]:
        """JupyterHub's environment, the data lake's over it, and nothing that would outrank a token file."""
        env = {key: value for key, value in super().get_env().items() if key not in UNSET}
        if self.choice is not None and self.places is not None:
            env.update(environment(self.choice, self.places, env))
        return env

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """USER, HOME and SHELL."""
        if not self.allow_shared_uid:
            return dict(super().user_env(env))
        return {**env, "USER": self.user.name, "HOME": str(self._shared_home()), "SHELL": "/bin/bash"}

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Becomes the system user, or only goes to the home folder where all share one."""
        if not self.allow_shared_uid:
            become: Callable[[], None] = super().make_preexec_fn(name)
            return become
        home = self._shared_home()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return lambda: os.chdir(home)

    def _shared_home(self) -> Path:
        return Path(self.shared_home_dir.format(username=quote(self.user.name, safe="@ "))).expanduser()

    # ------------------------------------------------------------------ while it runs

    async def poll(self) -> int | None:
        """As JupyterHub's, but a server whose files are being written has not ended."""
        if self._starting:
            return None
        if self.proc is None and self.pid:
            local_agent.reap(self.pid)  # where the hub is everybody's parent (pid 1), a dead server stays as a zombie
        if self._has_ended():
            await self._clear_up()
        status: int | None = await super().poll()
        return status

    def _has_ended(self) -> bool:
        if self.proc is not None:
            return self.proc.poll() is not None
        return bool(self.pid) and not AgentProcess.of(self.pid).alive

    async def _clear_up(self) -> None:
        """Ahead of JupyterHub's `poll`, off its loop: how much there is to remove is up to the user."""
        self._end_agent()
        async with self._clearing:
            if self.places is not None:
                await asyncio.to_thread(self._remove, self.places, _CLEAR_UP_SECONDS)
                self.places = None

    async def stop(self, now: bool = False) -> None:
        """As JupyterHub's; a start given up before there was a notebook has no process to signal."""
        if self.pid:
            await super().stop(now=now)
        else:
            self._end()  # signalling pid 0 would end the hub's own process group

    def start_polling(self) -> None:
        """The agent is watched as long as the server is."""
        super().start_polling()
        self._watch_agent()

    def stop_polling(self) -> None:
        """The end of `start_polling`."""
        super().stop_polling()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _watch_agent(self) -> None:
        if self.places is not None and (self._watch is None or self._watch.done()):
            self._watch = asyncio.ensure_future(self._keep_agent())

    async def _keep_agent(self) -> None:
        """Starts the agent again whenever it has died, faster after a long life than after a short one."""
        loop = asyncio.get_running_loop()
        pause = 1.0
        while self.places is not None:
            since = loop.time()
            if self._agent is not None:
                await self._agent.ended()
            if loop.time() - since > _HEALTHY_SECONDS:
                pause = 1.0
            self.log.warning("The agent of %s's server %r ended; starting another", self.user.name, self.name)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
            try:
                # After a hub restart nobody has the old token any more, only its id: the new agent gets a new one.
                if self._credential is None:
                    self._credential = await self.dlaas.agents.mint(self)
                ready_fd = self._launch(self._credential, self._account())
                self.save_state()
                await local_agent.ready(ready_fd, self.agent_timeout + _LATER_SECONDS)
            except SQLAlchemyError as error:
                self.user.db.rollback()  # the hub's one session would stay unusable
                name = type(error).__name__
                self.log.error("The agent of %s's server %r cannot start: %s", self.user.name, self.name, name)
            except (DLaaSError, OSError) as error:
                self.log.error("The agent of %s's server %r cannot start: %s", self.user.name, self.name, error)

    # ------------------------------------------------------------------ end and state

    def clear_state(self) -> None:
        """The end of the server: what is still there goes, before JupyterHub forgets about it."""
        self._end()
        super().clear_state()

    def _end(self) -> None:
        self._end_agent()
        if self.places is not None:
            self._remove(self.places, _LATER_SECONDS)
            self.places = None

    def _end_agent(self) -> None:
        self.stop_polling()
        if self._agent is not None and not self._agent.kill():
            self.log.error("The agent %d of %s's server %r does not end", self._agent.pid, self.user.name, self.name)
        self._agent = self._credential = None
        self.close_data_lake()

    def _remove(self, places: Places, seconds: float) -> None:
        for path in local_places.remove(places, None if self.allow_shared_uid else self.user.name, seconds=seconds):
            self.log.warning("The folder %s of %s's server could not be removed", path, self.user.name)

    def get_state(self) -> dict[str, Any]:
        """Adds the agent's pid and when it began."""
        state = super().get_state()
        if self._agent is not None:
            state[_STATE] = {"pid": self._agent.pid, "began": self._agent.began}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """After a hub restart the agent that runs on is kept: its token is still valid."""
        super().load_state(state)
        agent = state.get(_STATE)
        if agent:
            self._agent = AgentProcess(agent["pid"], agent["began"])
