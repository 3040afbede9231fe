"""Every answer of INDIGO IAM (1.8 and later) and Keycloak (26) that has a meaning of its own, as one table.

The first rule that fits counts, so a description comes before the error it explains, and that before the status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jupyterhub_dlaas.errors import (
    AccountDisabled,
    DeadSession,
    IAMError,
    NoEntitlement,
    OperatorError,
    Outage,
    StaleSubject,
    UserAction,
)


@dataclass(frozen=True)
class Rule:
    """One row: the answer it speaks of, its class, and what a person is told.

    `operations` and `error` are names, or "*" for any; `status` are codes or first digits ("5"); `text` is searched in
    the description. `message` and `hint` may use {audience}, {what}, {status}, {reason} and {issuer}; with
    `act_at_issuer` the error carries the issuer's address for the user to go to.
    """

    operations: str
    status: str
    error: str
    text: str
    cls: type[IAMError]
    message: str
    hint: str
    act_at_issuer: bool = False

    def fits(self, operation: str, status: int, error: str, description: str) -> bool:
        """Whether the rule speaks of this answer."""
        return (
            (self.operations == "*" or operation in self.operations.split())
            and any(str(status) == each or (len(each) == 1 and str(status)[0] == each) for each in self.status.split())
            and (self.error == "*" or error in self.error.split())
            and re.search(self.text, description, re.IGNORECASE) is not None
        )


_WAIT = "Nothing is lost. This is tried again by itself; if it lasts, ask the administrators of IAM."
_ADMIN = "Ask the administrators of the hub: "
_SUSPENDED = "Ask the administrators of your VO in IAM ({issuer}); logging in again does not help."
_LOGIN = "Log in again. Running servers go on and get new tokens by themselves."
_AGAIN = "The hub renews the session once and asks again by itself; if it stays, log out and in again."
_SECRET = (
    _ADMIN
    + "client_id, client_secret and the client authentication (basic or post) have to be those of IAM's registration."
)
_AUDIENCE_HINT = _ADMIN + "they should check audiences[{audience!r}], its scopes, and what IAM's client may do."
_BUG = _ADMIN + "this is a fault of the hub's software and should be reported with this sentence."
_GRANT = _ADMIN + "an administrator of IAM has to give the grant type to the hub's client; self-registration cannot."

_NOT_KNOWN = "IAM does not accept the hub's client id and secret."
_REFUSED = "IAM refused {what}: {reason}."
_CONSENT = "IAM wants your consent before it gives {what}."
_STALE = "IAM does not accept the session's access token any more."
_DEAD = "Your session at IAM has ended: {reason}."

RULES = (
    # -- outages: whatever the operation. A 500 is also INDIGO IAM's answer to a missing subject_token or PKCE verifier,
    #    but the hub always sends both.
    Rule("*", "5 429 408", "*", "", Outage, "IAM cannot answer now (HTTP {status}).", _WAIT),
    Rule("*", "2", "*", "", Outage, "IAM answered {what} with something that is no answer.", _WAIT),
    # -- the user has something to do at IAM
    Rule("refresh exchange code", "400", "invalid_grant", r"\bAUP\b", UserAction,
         "IAM wants you to sign its acceptable use policy before it gives {what}.",
         "Sign it at {issuer}, then try again; nothing else is needed.", act_at_issuer=True),
    Rule("exchange", "400", "invalid_scope", "consent", UserAction, _CONSENT,
         "Log out and in again and agree to what IAM asks for {audience}.", act_at_issuer=True),
    Rule("refresh", "400", "invalid_scope", "consent", UserAction, _CONSENT,
         "Log out and in again and agree on IAM's page.", act_at_issuer=True),
    # -- the account is suspended: the refresh token is good again as soon as it is not
    Rule("refresh code exchange", "401", "unauthorized", "is not active", AccountDisabled,
         "IAM says that your account is suspended.", _SUSPENDED),
    Rule("refresh", "400", "invalid_grant", "^User disabled", AccountDisabled,
         "IAM says that your account is suspended.", _SUSPENDED),
    # -- refresh: the only answers that prove a dead session
    Rule("refresh", "400", "invalid_grant", "Token client and authorized client don.t match", OperatorError,
         "Your session was begun with another client of IAM than the hub uses now.",
         "Log out and in again. If the client_id was not changed on purpose, ask the administrators of the hub."),
    Rule("refresh", "400", "invalid_grant", "^Maximum allowed refresh token reuse exceeded", DeadSession,
         "Your session at IAM has ended, because a refresh token was used twice.",
         f"{_LOGIN} Ask the administrators of the hub whether two hubs share one database or client."),
    Rule("refresh", "400", "invalid_grant", "", DeadSession, _DEAD, _LOGIN),
    Rule("refresh", "401", "invalid_token", "", DeadSession, _DEAD, _LOGIN),
    # -- a login's code: spent, too old, or of another login
    Rule("code", "400", "invalid_grant", "", DeadSession,
         "This login was used already or took too long.", "Log in again."),
    Rule("code", "400", "invalid_request", "", OperatorError, _REFUSED, _BUG),
    # -- the hub's own client
    Rule("*", "401", "unauthorized", "Bad credentials", OperatorError, _NOT_KNOWN, _SECRET),
    Rule("*", "401", "invalid_client unauthorized_client", "Unauthorized grant type", OperatorError,
         "IAM does not let the hub's client use this grant.", _GRANT),
    Rule("*", "401", "unauthorized_client", "", OperatorError, _NOT_KNOWN, _SECRET),
    Rule("code refresh exchange revoke", "401", "invalid_client", "", OperatorError, _NOT_KNOWN, _SECRET),
    Rule("*", "400", "unsupported_grant_type", "", OperatorError, _REFUSED, _GRANT),
    # -- exchange: entitlement and audience
    Rule("exchange", "400", "invalid_request", "^Requested audience not available", NoEntitlement,
         "IAM does not give you access to {audience}.",
         "Ask the administrators of your VO whether your account is entitled to {audience}. If nobody gets it, the "
         "administrators of the hub should check the scopes of audiences[{audience!r}]."),
    Rule("exchange", "400", "invalid_client", "^(Audience not found|Client disabled)", OperatorError,
         "IAM does not know the audience {audience}, or it is switched off there.", _AUDIENCE_HINT),
    Rule("exchange", "400", "invalid_request", "exchange is not enabled", OperatorError,
         "IAM does not let the hub's client exchange tokens.", _GRANT),
    Rule("exchange", "400", "invalid_request", "subject_token|requested_token_type|actor.token",
         OperatorError, _REFUSED, _BUG),
    Rule("exchange", "400", "invalid_request", "scope", OperatorError, _REFUSED, _AUDIENCE_HINT),
    Rule("exchange", "400", "invalid_scope invalid_target", "", OperatorError, _REFUSED, _AUDIENCE_HINT),
    Rule("*", "403", "access_denied", "^Realm not enabled", OperatorError,
         "The realm is switched off at IAM.", "Ask the administrators of IAM; the hub tries again by itself."),
    Rule("exchange", "403", "access_denied", "", OperatorError, _REFUSED, _AUDIENCE_HINT),
    # -- the subject. Keycloak's "Invalid token" may also be a dead session: the refresh that follows tells. The same is
    #    done for what is not known, because one refresh harms nothing.
    Rule("exchange", "401", "invalid_token", "", StaleSubject, _STALE, _AGAIN),
    Rule("exchange", "400", "invalid_request invalid_grant", "", StaleSubject, _STALE, _AGAIN),
    Rule("userinfo", "401", "*", "", StaleSubject, _STALE, _AGAIN),
    Rule("userinfo", "403", "insufficient_scope", "", OperatorError, _REFUSED,
         _ADMIN + "the login has to ask for the scope openid."),
    # -- addresses
    Rule("*", "404", "*", "", OperatorError, "There is no IAM where the hub looks for it (HTTP 404).",
         _ADMIN + "they should check issuer_url ({issuer})."),
    Rule("*", "3", "*", "", OperatorError,
         "IAM sends the hub to another address (HTTP {status}), and the hub does not follow.",
         _ADMIN + "issuer_url ({issuer}) has to be the final address, https included."),
)  # fmt: skip

REST = Rule("*", "4", "*", "", OperatorError, "IAM refused {what} (HTTP {status}): {reason}.",
            _ADMIN + "they should look this answer up in IAM's log.")  # fmt: skip
"""What is not known: nothing is thrown away for it."""
