"""An audience's settings are read once, and what can never work is refused with the field's name."""

from __future__ import annotations

import pytest

from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.oidc.model import AudienceSpec


def test_an_empty_entry_means_the_key_and_openid_profile():
    assert AudienceSpec.parse("rucio", {}) == AudienceSpec("rucio", "rucio", ("openid", "profile"), frozenset())


def test_a_full_entry_is_taken_as_written():
    settings = {"audience": "https://s.example.org", "scopes": ["openid", "storage.read:/"], "required_for": ["escape"]}
    expected = AudienceSpec("cnaf", "https://s.example.org", ("openid", "storage.read:/"), frozenset({"escape"}))
    assert AudienceSpec.parse("cnaf", settings) == expected


@pytest.mark.parametrize(
    ("key", "settings", "named"),
    [
        ("rucio", {"scopes": ["openid", "offline_access"]}, "audiences['rucio']['scopes']"),
        ("rucio", {"scopes": []}, "audiences['rucio']['scopes']"),
        ("rucio", {"scopes": "openid profile"}, "audiences['rucio']['scopes']"),
        ("rucio", {"scopes": ["openid profile"]}, "audiences['rucio']['scopes']"),
        ("rucio", {"audience": "a b"}, "audiences['rucio']['audience']"),
        ("rucio", {"audience": ""}, "audiences['rucio']['audience']"),
        ("rucio", {"audience": None}, "audiences['rucio']['audience']"),
        ("rucio", {"required_for": "escape"}, "audiences['rucio']['required_for']"),
        ("rucio", {"required_by": ["escape"]}, "audiences['rucio']['required_by']"),
        ("../etc", {}, "audiences['../etc']"),
        ("", {}, "audiences['']"),
        ("rucio", None, "audiences['rucio']"),
    ],
)
def test_a_setting_that_cannot_work_is_named(key, settings, named):
    with pytest.raises(ConfigError) as caught:
        AudienceSpec.parse(key, settings)
    assert named in caught.value.message
