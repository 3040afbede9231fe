"""How long a token lasts, and which groups a user is in, in every spelling."""

from __future__ import annotations

import jwt
import pytest

from jupyterhub_dlaas.oidc.claims import ASSUMED_LIFETIME_SECONDS, expiry, groups, same_issuer, unverified_claims
from jupyterhub_dlaas.oidc.secret import Secret


def token(**claims: object) -> Secret:
    return Secret(jwt.encode(claims, "k" * 32, algorithm="HS256"))


@pytest.mark.parametrize("value", ["", "opaque", "a.b.c", "..", "eyJ.%%%.x", "W10.W10.W10", "é.é.é"])
def test_what_is_no_jwt_has_no_claims(value):
    assert unverified_claims(Secret(value)) == {}


@pytest.mark.parametrize(
    ("exp", "expires_in", "expected"),
    [
        (1060, 60, 1060),
        (1060, None, 1060),
        (1059, 60, 1059),
        (1090, 60, 1060),
        (None, 60, 1060),
        (900, 60, 1060),
        (900, None, 900),
        (1060, 0, 1060),
        (1060, -5, 1060),
        (None, None, 1000 + ASSUMED_LIFETIME_SECONDS),
        ("soon", None, 1000 + ASSUMED_LIFETIME_SECONDS),
        (True, 60, 1060),
    ],
)
def test_the_earlier_sane_end_counts(exp, expires_in, expected):
    claims = {} if exp is None else {"exp": exp}
    assert expiry(token(**claims), expires_in=expires_in, now=1000) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"groups": ["escape", "escape/cms"]}, {"escape", "escape/cms"}),
        ({"groups": ["/escape", "/escape/cms"]}, {"escape", "escape/cms"}),
        ({"wlcg.groups": ["/escape", "/escape/cms"]}, {"escape", "escape/cms"}),
        ({"groups": ["escape/cms"]}, {"escape/cms"}),
        ({"groups": []}, set()),
        ({}, set()),
        ({"groups": None, "wlcg.groups": 7, "entitlements": {"a": 1}}, set()),
        ({"groups": ["", "/", 7, None]}, set()),
        ({"groups": "escape"}, {"escape"}),
        ({"groups": ["a"], "wlcg.groups": ["/b"]}, {"a", "b"}),
    ],
)
def test_groups_are_full_paths_without_a_leading_slash(claims, expected):
    assert groups(claims) == expected


@pytest.mark.parametrize("claim", ["eduperson_entitlement", "eduPersonEntitlement", "entitlements"])
@pytest.mark.parametrize(
    ("entitlement", "expected"),
    [
        ("urn:geant:example.org:group:escape:cms#iam.example.org", {"escape/cms"}),
        ("urn:mace:egi.eu:group:vo.example.eu:role=member#aai.egi.eu", {"vo.example.eu"}),
        ("urn:geant:example.org:group:escape:cms:role=manager#iam", {"escape/cms"}),
        ("urn:geant:example.org:group:data%20lake", {"data lake"}),
        ("urn:geant:example.org:group:a%2Fb#iam", set()),
        ("urn:geant:example.org:res:storage#iam", set()),
        ("urn:geant:example.org:group:#iam", set()),
        ("https://example.org/:group:escape", set()),
    ],
)
def test_an_entitlement_names_a_group(claim, entitlement, expected):
    assert groups({claim: [entitlement]}) == expected


def test_issuers_are_the_same_but_for_one_trailing_slash():
    assert same_issuer("https://iam.example.org/", "https://iam.example.org")
    assert not same_issuer("https://iam.example.org//", "https://iam.example.org")
    assert not same_issuer(None, None)
