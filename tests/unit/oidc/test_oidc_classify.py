"""Every answer of INDIGO IAM and Keycloak that was ever seen, and the class it has to fall into."""

from __future__ import annotations

import json

import pytest

from jupyterhub_dlaas.errors import (
    AccountDisabled,
    Audience,
    DeadSession,
    IAMError,
    NoEntitlement,
    OperatorError,
    Outage,
    StaleSubject,
    UserAction,
)
from jupyterhub_dlaas.oidc.classify import classify
from jupyterhub_dlaas.oidc.http import Answer
from jupyterhub_dlaas.oidc.secret import Secret

INDIGO = [
    ("exchange", 401, "invalid_token", "Access token not found", StaleSubject),
    ("userinfo", 401, "invalid_token", "Invalid access token: eyJh", StaleSubject),
    ("refresh", 401, "invalid_token", "Invalid refresh token: eyJhbGciOiJub25lIn0", DeadSession),
    ("refresh", 401, "unauthorized", "User alice is not active.", AccountDisabled),
    ("refresh", 401, "unauthorized", "Bad credentials", OperatorError),
    ("exchange", 401, "unauthorized", "Bad credentials", OperatorError),
    ("code", 401, "unauthorized", "Bad credentials", OperatorError),
    ("refresh", 401, "invalid_client", "Bad client credentials", OperatorError),
    ("exchange", 401, "invalid_client", "Unauthorized grant type: urn:ietf:params", OperatorError),
    ("refresh", 400, "invalid_grant", "User alice needs to sign AUP for this organization", UserAction),
    ("exchange", 400, "invalid_grant", "User alice needs to sign AUP for this organization", UserAction),
    ("exchange", 403, "access_denied", "offline_access is not allowed", OperatorError),
    ("exchange", 400, "invalid_scope", "Invalid scope: storage.read:/", OperatorError),
    (
        "exchange",
        400,
        "invalid_request",
        "The scope parameter is required for a token exchange request!",
        OperatorError,
    ),
    ("code", 400, "invalid_grant", "AuthorizationCodeServices: no authorization code found", DeadSession),
    ("code", 400, "invalid_request", "Code challenge and verifier do not match", OperatorError),
    ("exchange", 500, "server_error", "", Outage),
    ("refresh", 503, "", "", Outage),
    ("userinfo", 502, "", "", Outage),
    ("exchange", 429, "", "", Outage),
]

KEYCLOAK = [
    ("exchange", 400, "invalid_request", "Invalid token", StaleSubject),
    ("refresh", 400, "invalid_grant", "Session not active", DeadSession),
    ("refresh", 400, "invalid_grant", "Offline user session not found", DeadSession),
    ("refresh", 400, "invalid_grant", "Session doesn't have required client", DeadSession),
    ("refresh", 400, "invalid_grant", "Maximum allowed refresh token reuse exceeded", DeadSession),
    ("refresh", 400, "invalid_grant", "Stale token", DeadSession),
    ("refresh", 400, "invalid_grant", "Token is not active", DeadSession),
    ("refresh", 400, "invalid_grant", "Invalid refresh token", DeadSession),
    (
        "refresh",
        400,
        "invalid_grant",
        "Invalid refresh token. Token client and authorized client don't match",
        OperatorError,
    ),
    ("refresh", 400, "invalid_grant", "User disabled", AccountDisabled),
    ("exchange", 401, "unauthorized_client", "Invalid client or Invalid client credentials", OperatorError),
    ("refresh", 401, "unauthorized_client", "Invalid client or Invalid client credentials", OperatorError),
    ("exchange", 401, "invalid_client", "Invalid client or Invalid client credentials", OperatorError),
    ("exchange", 400, "invalid_client", "Audience not found", OperatorError),
    ("exchange", 400, "invalid_client", "Client disabled", OperatorError),
    ("exchange", 400, "invalid_request", "Requested audience not available: rucio", NoEntitlement),
    (
        "exchange",
        400,
        "invalid_request",
        "Standard token exchange is not enabled for the requested client",
        OperatorError,
    ),
    (
        "exchange",
        400,
        "invalid_request",
        "Parameter 'subject_token_type' required for standard token exchange",
        OperatorError,
    ),
    ("exchange", 400, "invalid_request", "Parameter 'subject_token' supports access tokens only", OperatorError),
    ("exchange", 400, "invalid_request", "requested_token_type unsupported", OperatorError),
    ("exchange", 400, "invalid_scope", "Invalid scopes: rucio nosuch", OperatorError),
    ("exchange", 400, "invalid_scope", "Missing consents for Token Exchange in client dlaas", UserAction),
    ("refresh", 400, "invalid_scope", "Client no longer has requested consent from user", UserAction),
    ("exchange", 403, "access_denied", "Client is not within the token audience", OperatorError),
    ("exchange", 403, "access_denied", "Realm not enabled", OperatorError),
    ("refresh", 403, "access_denied", "Realm not enabled", OperatorError),
    ("discovery", 404, "Realm does not exist", "", OperatorError),
    ("exchange", 400, "unsupported_grant_type", "Unsupported grant_type", OperatorError),
    ("code", 400, "invalid_grant", "Code not valid", DeadSession),
    ("userinfo", 401, "invalid_token", "user_session_not_found", StaleSubject),
    ("userinfo", 403, "insufficient_scope", "Missing openid scope", OperatorError),
    ("exchange", 503, "", "", Outage),
]


def answer(status: int, error: str = "", description: str = "", headers: dict[str, str] | None = None) -> Answer:
    said = {"error": error, "error_description": description}
    body = json.dumps({name: text for name, text in said.items() if text}).encode() if error else b""
    return Answer(status, headers or {}, body)


@pytest.mark.parametrize(("operation", "status", "error", "description", "expected"), INDIGO)
def test_indigo_iam_answer_falls_into_its_class(operation, status, error, description, expected):
    assert type(classify(operation, answer(status, error, description))) is expected


@pytest.mark.parametrize(("operation", "status", "error", "description", "expected"), KEYCLOAK)
def test_keycloak_answer_falls_into_its_class(operation, status, error, description, expected):
    assert type(classify(operation, answer(status, error, description))) is expected


@pytest.mark.parametrize(
    "error", ["", "invalid_request", "invalid_client", "invalid_scope", "unauthorized", "nonsense"]
)
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 418, 429, 500, 503])
def test_an_unknown_answer_to_a_refresh_keeps_the_session(status, error):
    assert not isinstance(classify("refresh", answer(status, error, "no words that are known")), DeadSession)


def test_an_unknown_invalid_request_at_an_exchange_is_tried_with_a_new_subject():
    assert isinstance(classify("exchange", answer(400, "invalid_request", "something new")), StaleSubject)


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b'{"error": 7}', b"[]", b'{"error": "inv', b"\xff"])
def test_a_body_that_is_no_error_of_oauth_does_not_end_the_session(body):
    assert type(classify("refresh", Answer(400, {}, body))) is OperatorError


def test_the_challenge_of_userinfo_is_read_where_there_is_no_body():
    headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope", error_description="Missing openid scope"'}
    assert "Missing openid scope" in classify("userinfo", Answer(403, headers, b"")).reason


def test_an_aup_sends_the_user_to_the_issuer():
    said = answer(400, "invalid_grant", "User alice needs to sign AUP for this organization")
    error = classify("refresh", said, issuer_url="https://iam.example.org/")
    assert (error.url, error.for_whom) == ("https://iam.example.org/", Audience.USER)
    assert "https://iam.example.org/" in error.hint


def test_a_refused_audience_is_named_with_whom_to_ask():
    error = classify(
        "exchange", answer(400, "invalid_request", "Requested audience not available: rucio"), audience="rucio"
    )
    assert error.audience == "rucio"
    assert "rucio" in error.message
    assert "administrators of your VO" in error.hint


@pytest.mark.parametrize(("operation", "status", "error", "description", "_"), INDIGO + KEYCLOAK)
def test_every_class_has_a_sentence_and_a_hint_without_a_gap(operation, status, error, description, _):
    found = classify(operation, answer(status, error, description), audience="rucio", issuer_url="https://iam/")
    assert found.message.endswith(".")
    assert found.hint.endswith(".")
    assert "{" not in found.sentence()
    assert "None" not in found.sentence()


def test_braces_in_iams_words_are_left_alone():
    assert (
        "{audience}" in classify("exchange", answer(403, "access_denied", "no {audience} {0}"), audience="rucio").reason
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:00 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 23),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0),
        ({"Retry-After": "999999999"}, 3600),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    assert classify("refresh", answer(429, headers=headers), now=10).retry_after == seconds


def test_a_reason_never_holds_the_token_that_iam_quotes():
    opaque = Secret("short1")
    found: IAMError = classify("exchange", answer(401, "invalid_token", "Invalid token: short1"), hide=[opaque])
    assert "short1" not in found.reason + found.sentence()
