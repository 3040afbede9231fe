"""How INDIGO IAM says no: its statuses and codes, misleading ones included.

The descriptions and `WWW-Authenticate` quote the whole token on purpose: who shows or logs them has to redact.
"""

from __future__ import annotations

from aiohttp import web


class RefusalError(Exception):
    """An OAuth error that becomes the answer (RFC 6749 section 5.2, RFC 6750 section 3)."""

    def __init__(self, status: int, error: str, description: str = "", *, challenge: str | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.description, self.challenge = status, error, description, challenge

    def response(self) -> web.Response:
        headers = {"Cache-Control": "no-store"}
        if self.challenge:
            headers["WWW-Authenticate"] = (
                f'{self.challenge} error="{self.error}", error_description="{self.description}"'
            )
        body = {"error": self.error, "error_description": self.description}
        return web.json_response(body, status=self.status, headers=headers)


def bad_access_token(token: str) -> RefusalError:
    return RefusalError(401, "invalid_token", f"Invalid access token: {token}", challenge="Bearer")


def bad_refresh_token(token: str) -> RefusalError:
    # Not 400 invalid_grant, as RFC 6749 has it.
    return RefusalError(401, "invalid_token", f"Invalid refresh token: {token}", challenge="Bearer")


def inactive_user(name: str) -> RefusalError:
    return RefusalError(401, "unauthorized", f"User {name} is not active.")


def aup_unsigned(name: str) -> RefusalError:
    return RefusalError(
        400, "invalid_grant", f"User {name} needs to sign AUP for this organization in order to proceed."
    )


def bad_credentials(method: str, client_id: str) -> RefusalError:
    """An unknown client or a wrong secret, which INDIGO IAM words by the method of authentication."""
    if method == "basic":
        return RefusalError(401, "unauthorized", "Bad credentials", challenge='Basic realm="oauth"')
    return RefusalError(401, "invalid_client", f"Bad client credentials: {client_id}")


def grant_missing(grant: str) -> RefusalError:
    return RefusalError(401, "invalid_client", f"Unauthorized grant type: {grant}")


def crash(path: str) -> web.Response:
    """The 500 that INDIGO IAM gives where it should say 400."""
    return web.json_response({"status": 500, "error": "Internal Server Error", "path": path}, status=500)
