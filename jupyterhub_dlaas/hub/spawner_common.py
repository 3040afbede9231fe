"""What every spawner of the data lake does, wherever its servers run: choose, get access, pin a token, tell the steps.

A spawner is `class X(DLaaSSpawnerMixin, SomeSpawner)`. Its `start` calls `open_data_lake()` and hands the credential to
the agent; `clear_state`, which JupyterHub calls at every end of a server, closes everything again.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import inspect
from tornado import web

from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.catalogue.offer import Choice, choose
from jupyterhub_dlaas.errors import ConfigError, DLaaSError, OptionsError
from jupyterhub_dlaas.hub import options
from jupyterhub_dlaas.hub.agents import Report
from jupyterhub_dlaas.hub.bundles import lacks, why_missing
from jupyterhub_dlaas.hub.chosen import as_it_was, find_offer, saved_offer
from jupyterhub_dlaas.hub.progress import Progress, mount_step, token_step
from jupyterhub_dlaas.oidc.secret import Secret

_STATE = "dlaas"
_PREVIOUS = "dlaas_previous"


class Refused(web.HTTPError):
    """No server, and a sentence that says why: shown by the spawn page, its progress, and the REST API alike."""

    def __init__(self, status: int, sentence: str, *, retry_after: float | None = None) -> None:
        super().__init__(status, sentence.replace("%", "%%"))
        self.jupyterhub_message = sentence
        # JupyterHub's error writers send these.
        self.headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}


class DLaaSSpawnerMixin:
    """Adds the data lake to a `jupyterhub.spawner.Spawner`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.choice: Choice | None = None
        self.previous: dict[str, str] = {}
        self.places: Places | None = None
        self.steps = Progress()
        self.own_tokens: str | None = None
        """Why not each Rucio instance's downloads use its own token; empty: they do, None: the server has not said."""
        self._options: dict[str, str] = {}
        self._choice_revision = -1
        super().__init__(*args, **kwargs)

    # What JupyterHub's classes give.
    user: Any
    name: str
    authenticator: Any
    orm_spawner: Any
    ready: bool
    log: Any
    user_options: dict[str, Any]
    apply_user_options: Any

    @property
    def dlaas(self) -> Any:
        """The data lake service of this hub. ConfigError under another authenticator."""
        dlaas = getattr(self.authenticator, "dlaas", None)
        if dlaas is None:
            raise ConfigError(
                f"c.JupyterHub.spawner_class = {type(self).__name__} works with our authenticator only.",
                hint='Set c.JupyterHub.authenticator_class = "dlaas".',
            )
        return dlaas

    @classmethod
    def check_settings(cls, app: Any) -> None:
        """Called when the hub starts. Raises ConfigError for settings with which no server can ever start."""

    @classmethod
    async def in_background(cls, app: Any) -> None:
        """Runs from the hub's start on."""

    # ------------------------------------------------------------------ choosing

    def _options_form_default(self) -> Callable[[Any], Any]:
        return DLaaSSpawnerMixin.render_options_form

    async def render_options_form(self) -> str:
        """The Server Options page's form; empty where there is nothing to choose or nothing is offered."""
        offers = self.dlaas.offers(self.user)
        if not options.needs_page(offers):
            return ""
        try:
            return options.render_form(offers, self.previous)
        except OptionsError as error:
            raise Refused(error.status, error.sentence()) from None

    def run_options_from_form(self, form_data: Mapping[str, list[Any]]) -> dict[str, str]:
        """User options of the posted form, as REST has them. Raises Refused (400) for fields it does not have."""
        try:
            return options.from_form(form_data)
        except OptionsError as error:
            raise Refused(error.status, error.sentence()) from None

    def options_from_query(self, query_data: Mapping[str, list[Any]]) -> dict[str, str]:
        """Options in the address of the spawn page pass the same way."""
        return self.run_options_from_form(query_data)

    async def _run_apply_user_options(self, user_options: dict[str, Any]) -> None:
        self.choose(user_options)
        if self.apply_user_options:  # an administrator's own hook, after the gate
            await super()._run_apply_user_options(user_options)  # type: ignore[misc]

    def choose(self, user_options: Mapping[str, Any]) -> Choice:
        """The one gate for form, REST and remembered options. Raises Refused (400 or 403) with what is allowed."""
        # JupyterHub stored the options before anybody checked them and would use them again at every later start
        # without options. What is remembered is the last choice that passed, in our own state.
        self.orm_spawner.user_options = {}  # it commits, whether the start goes on or ends here
        try:
            choice = choose(self.dlaas.offers(self.user), user_options, self.previous)
        except OptionsError as error:
            raise Refused(error.status, error.sentence()) from None
        self._set_choice(choice)
        self.user_options = self.previous = choice.as_options()
        return choice

    def current_choice(self) -> Choice | None:
        """What the running server was started with, as its catalogue is now, or was when it last had it; else None.

        The user's groups do not matter here: who loses one keeps the running server (but gets no new tokens).
        """
        catalogues = self.dlaas.catalogues
        if self._choice_revision != catalogues.revision and self._options:
            offer = find_offer(catalogues, self._options["environment"])
            if offer is not None:
                self.choice = as_it_was(offer, self._options)
            self._choice_revision = catalogues.revision
        return self.choice

    def switch_auth_type(self, auth_type: str) -> None:
        """Another Rucio auth type for the running server; its next bundle has it. Refused (400) if not offered."""
        choice = self.current_choice()
        if choice is None:
            raise Refused(409, "This server's environment is not in the catalogue any more; restart the server.")
        allowed = choice.offer.environment.auth_types
        if auth_type not in allowed:
            raise Refused(400, f"The auth type cannot be {auth_type[:80]!r}. It is one of: {', '.join(allowed)}.")
        self._set_choice(replace(choice, auth_type=auth_type))
        self.save_state()

    def required_audiences(self, choice: Choice) -> list[str]:
        """The audiences without which members of the choice's VO cannot work."""
        known = self.dlaas.audiences
        return [key for key in choice.offer.audiences if key in known and choice.offer.vo in known[key].required_for]

    def rucio_account(self) -> str:
        """The Rucio account of the user; a subclass may map it."""
        return str(self.user.name)

    def scratch_folder(self) -> str:
        """The user's own folder in a scratch space with `per_user`; "" where the server sees the space itself."""
        return ""

    # ------------------------------------------------------------------ start and end

    def _hub_url(self) -> str:
        """Where this server's agent asks the hub, ending in `/hub/`."""
        return str(super().get_env()["JUPYTERHUB_API_URL"]).rstrip("/").removesuffix("api")  # type: ignore[misc]

    async def open_data_lake(self) -> Secret:
        """Access for the chosen environment and the credential of the server's agent.

        Raises Refused when a required audience refuses, with the audience, IAM's reason and whom to ask.
        """
        choice = self.choice or self.choose(self.user_options)
        self.steps.add(f"Preparing {choice.offer.environment.display_name or choice.offer.id}", 5)
        states = await self.dlaas.keeper.tokens(self.user, choice.offer.audiences, at_least=60)
        if self.dlaas.keeper.needs_login(self.user.name):
            raise Refused(403, "Your login at IAM has ended. Log out and in again, then start the server.")
        for key in choice.offer.audiences:
            self.steps.add(token_step(key, states.get(key)), 15)
        self._refuse_without(choice, states)
        self.dlaas.refresh.watch(self.user)
        credential: Secret = await self.dlaas.agents.mint(self)
        self.save_state()
        return credential

    def _refuse_without(self, choice: Choice, states: Mapping[str, TokenState]) -> None:
        now = self.dlaas.clock.now()
        lacking = {key: state for key in self.required_audiences(choice) if lacks(state := states.get(key), now)}
        if not lacking:
            return
        problems = [state.problem for state in lacking.values() if state is not None and state.problem is not None]
        reasons = " ".join(f"{key}: {why_missing(state)}" for key, state in lacking.items())
        raise Refused(
            503 if problems and all(problem.label == "outage" for problem in problems) else 403,
            f"{choice.offer.environment.display_name or choice.offer.id} cannot work without access to "
            f"{', '.join(lacking)}. {reasons}",
        )

    def close_data_lake(self) -> None:
        """Revokes the agent's token; when this was the user's last server, renewal ends, too."""
        dlaas = getattr(self.authenticator, "dlaas", None)
        if dlaas is None:
            return
        dlaas.agents.revoke(self)
        if not self._has_other_servers():
            dlaas.refresh.unwatch(self.user.name)

    def _has_other_servers(self) -> bool:
        if any(other is not self and other.active for other in self.user.spawners.values()):
            return True
        # When the hub starts, the database knows of running servers that have no spawner yet.
        return any(row.server_id is not None for name, row in self.user.orm_spawners.items() if name != self.name)

    def agent_reported(self, report: Report) -> None:
        """Called when the agent says something new: while the server starts, it becomes steps."""
        if self.ready:
            return
        for mount in report.mounts:
            self.steps.add(mount_step(mount))
        for problem in report.problems:
            self.steps.add(problem)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps of the start in words, see `jupyterhub.spawner.Spawner.progress`."""
        async for event in self.steps.follow():
            yield event

    # ------------------------------------------------------------------ state

    def get_state(self) -> dict[str, Any]:
        """JupyterHub's state and ours: the pinned token's id and hash (never the token), the choice, the paths."""
        state: dict[str, Any] = super().get_state()  # type: ignore[misc]
        dlaas = getattr(self.authenticator, "dlaas", None)
        server = None if dlaas is None else dlaas.agents.get(self)
        if server is not None:
            state[_STATE] = {"token_id": server.token_id, "token_hash": server.token_hash}
            state[_STATE]["options"] = dict(self._options)
            if self.choice is not None:
                # The environment may leave the catalogue, or the VO be closed, while the server goes on.
                used = self.choice.offer.alone()
                state[_STATE]["catalogue"] = used.model_dump(mode="json", exclude_defaults=True)
            if self.own_tokens is not None:
                state[_STATE]["own_tokens"] = self.own_tokens
            if self.places is not None:
                state[_STATE]["files"], state[_STATE]["cache"] = self.places.files_dir, self.places.cache_dir
        if self.previous:
            state[_PREVIOUS] = dict(self.previous)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """After a hub restart: the running server's agent token is pinned again."""
        super().load_state(state)  # type: ignore[misc]
        self.previous = dict(state.get(_PREVIOUS) or {})
        mine = state.get(_STATE) or {}
        dlaas = getattr(self.authenticator, "dlaas", None)
        if dlaas is None or "token_hash" not in mine:
            return
        self._options = dict(mine.get("options") or {})
        self.own_tokens = mine.get("own_tokens")
        if "files" in mine:
            self.places = Places(mine["files"], mine["cache"])
        if self._options:
            self.user_options = dict(self._options)
            offer = saved_offer(dlaas.catalogues, mine.get("catalogue"))
            self.choice = None if offer is None else as_it_was(offer, self._options)
        dlaas.agents.adopt(self, mine["token_id"], mine["token_hash"])

    def clear_state(self) -> None:
        """The end of a server, whatever ended it."""
        super().clear_state()  # type: ignore[misc]
        self.close_data_lake()
        self.places = None
        self.choice = None
        self.own_tokens = None
        self._options = {}
        self.steps = Progress()

    def save_state(self) -> None:
        """Writes the state now: JupyterHub itself does so only after `start` has returned."""
        self.orm_spawner.state = self.get_state()
        inspect(self.orm_spawner).session.commit()

    def _set_choice(self, choice: Choice) -> None:
        self.choice = choice
        self._options = choice.as_options()
        self._choice_revision = self.dlaas.catalogues.revision


def refusal(error: DLaaSError) -> Refused:
    """What a failed start shows for one of our own errors: 500 where the hub is set up wrongly."""
    if isinstance(error, OptionsError):
        return Refused(error.status, error.sentence())
    return Refused(500 if isinstance(error, ConfigError) else 503, error.sentence())
