"""What happens between the code of a login and the user: everything that IAM is asked, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jupyterhub_dlaas.errors import IAMError, OperatorError
from jupyterhub_dlaas.hub.login import page
from jupyterhub_dlaas.hub.renewal import exchange
from jupyterhub_dlaas.hub.service import groups_of
from jupyterhub_dlaas.hub.session import KEY, Held, Session, new_generation
from jupyterhub_dlaas.oidc.model import Grant


class Login:
    """One login, from IAM's answer to the code on. `authenticator` is the IAMAuthenticator, `handler` its callback."""

    def __init__(self, authenticator: Any, handler: Any, grant: Grant) -> None:
        self.authenticator, self.handler, self.grant = authenticator, handler, grant
        self.dlaas = authenticator.dlaas

    async def auth_model(self) -> dict[str, Any]:
        """The auth model with the new session in its auth_state, and `dlaas_refused`: audiences that IAM refused.

        Exchanges run beside userinfo, so a login takes two round trips. If the user turns out not to be allowed, their
        tokens are in nobody's hands but this dict's. Raises `IAMError`, or HTTP 403 for another user's name.
        """
        keys = list(self.dlaas.audiences)
        exchanges = [asyncio.create_task(exchange(self.dlaas.means, self.grant.access_token, key)) for key in keys]
        questions = [asyncio.create_task(self._verified()), asyncio.create_task(self._who())]
        try:
            identity, auth_model = await asyncio.gather(*questions)
            answers = await asyncio.gather(*exchanges, return_exceptions=True)
        except BaseException:
            for task in [*exchanges, *questions]:
                task.cancel()
            await asyncio.gather(*exchanges, *questions, return_exceptions=True)
            raise
        return await self._finished(identity, auth_model, dict(zip(keys, answers, strict=True)))

    async def _verified(self) -> dict[str, Any]:
        if self.grant.id_token is None:
            raise OperatorError(
                "IAM sent no id_token.", hint="The scopes of the login need openid (c.IAMAuthenticator.scope)."
            )
        found: dict[str, Any] = await self.dlaas.issuer.verify_id_token(
            self.grant.id_token, client_id=self.authenticator.client_id, nonce=self.handler.login_nonce() or ""
        )
        return found

    async def _who(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.authenticator.auth_model_of(self.grant)
        return found

    async def _finished(
        self, identity: Mapping[str, Any], auth_model: dict[str, Any], answers: Mapping[str, Any]
    ) -> dict[str, Any]:
        info = auth_model["auth_state"].get(self.authenticator.user_auth_state_key) or {}
        if info.get("sub", identity["sub"]) != identity["sub"]:
            raise OperatorError("IAM's userinfo is about another user than its id_token.")
        pin = (str(identity["iss"]).removesuffix("/"), str(identity["sub"]))
        known = self.handler.find_user(auth_model["name"])
        if known is not None:
            refuse_other(auth_model["name"], await self.dlaas.keeper.subject(known), pin, self.authenticator)
        groups = auth_model.get("groups") if self.authenticator.manage_groups else groups_of(known) if known else ()
        entitled = self.dlaas.entitled_by(frozenset(groups or ()))
        tokens, problems = {}, {}
        for key, answer in answers.items():
            if isinstance(answer, Grant):
                tokens[key] = Held.of(answer)
            elif isinstance(answer, IAMError):
                problems[key] = answer
            else:
                raise answer
        session = self._session(pin, auth_model["auth_state"], {key: tokens[key] for key in entitled if key in tokens})
        auth_model["auth_state"] = session.to_auth_state()
        auth_model["dlaas_refused"] = {key: problems[key] for key in entitled if key in problems}
        return auth_model

    def _session(self, pin: tuple[str, str], auth_state: Mapping[str, Any], tokens: Mapping[str, Held]) -> Session:
        ours = ("access_token", "refresh_token", KEY)
        return Session(
            generation=new_generation(),
            issuer=pin[0],
            subject=pin[1],
            access=Held.of(self.grant),
            refresh_token=self.grant.refresh_token,
            refresh_expires_at=self.grant.refresh_expires_at,
            checked_at=self.grant.received_at,
            tokens=tokens,
            others={name: value for name, value in auth_state.items() if name not in ours},
        )


def refuse_other(name: str, before: tuple[str, str] | None, now: tuple[str, str], authenticator: Any) -> None:
    """HTTP 403 when the hub user belongs to somebody else at IAM: two people never become one hub user."""
    if before is not None and before != now:
        authenticator.log.error("user=%s login refused: the name belongs to another subject at IAM", name)
        raise page(
            403,
            f"The name {name!r} on this hub belongs to another account of IAM. "
            "An administrator of the hub has to rename or delete that user before this account can use the name.",
            authenticator,
        )
