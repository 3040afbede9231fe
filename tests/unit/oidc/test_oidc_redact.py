"""No token survives in text from IAM, and IAM's own words do."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import jwt
import pytest

from jupyterhub_dlaas.oidc.redact import LIMIT, redact
from jupyterhub_dlaas.oidc.secret import Secret


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


SIGNED = jwt.encode({"sub": "alice", "exp": 1}, "k" * 32, algorithm="HS256")
UNSIGNED = f"{part({'alg': 'none'})}.{part({'jti': '0a5c7a60', 'exp': 1})}."
OPAQUE = "7f0Zk3-Qa9LmX_2bTn8Rw5"
UUID = "0a5c7a60-3f6b-4b7e-9a43-2f1b7f0e2a11"
LETTERS = "qwertyuiopasdfghjklzxcvbnmqwertyuiopasdfghjkl"


@pytest.mark.parametrize("token", [SIGNED, UNSIGNED, OPAQUE, UUID, LETTERS])
@pytest.mark.parametrize("form", [str, lambda token: quote(token, safe=""), lambda token: token.replace(".", "%2E")])
@pytest.mark.parametrize(
    "around", ["Invalid token: {}", 'error_description="{}"', "token={}&x=1", "({})", "{}", "a\n{}\nb"]
)
def test_no_part_of_a_token_is_left(token, form, around):
    left = redact(around.format(form(token)))
    assert not any(piece in left for piece in token.replace("%2E", ".").split(".") if piece)


@pytest.mark.parametrize("unit", ["a", "aaaaaaaaaaaaaaaaa ", "ey", "a."])
def test_a_megabyte_from_iam_does_not_stop_the_hub(unit):
    # 1 MB took half an hour when the search went back in a long run.
    assert len(redact(unit * (1_000_000 // len(unit)))) <= LIMIT


@pytest.mark.parametrize("length", [LIMIT - 20, LIMIT - 5])
def test_a_token_cut_off_by_the_limit_leaves_nothing(length):
    assert "eyJ" not in redact("word " * (length // 5) + SIGNED)


@pytest.mark.parametrize(
    "text",
    [
        "Maximum allowed refresh token reuse exceeded",
        "Parameter 'subject_token_type' required for standard token exchange",
        "requested_token_type unsupported",
        "The scope parameter is required for a token exchange request!",
        "Requested audience not available: rucio",
        "User alice needs to sign AUP for this organization",
        "Unauthorized grant type: urn:ietf:params:oauth:grant-type:token-exchange",
        "https://iam-escape.cloud.cnaf.infn.it/",
        "user_session_not_found",
    ],
)
def test_iams_own_words_are_kept(text):
    assert redact(text) == text


def test_a_short_secret_that_is_known_is_removed_in_every_spelling():
    assert "a b/c" not in redact("got a b/c", hide=[Secret("a b/c")])
    assert "a%20b%2Fc" not in redact("got a%20b%2Fc", hide=[Secret("a b/c")])
    assert "a+b%2Fc" not in redact("got a+b%2Fc", hide=[Secret("a b/c")])


def test_text_is_one_short_line():
    found = redact("many words " * 1000 + "\x1b[31m\n")
    assert len(found) <= LIMIT
    assert found.isprintable()
