"""Permissions beyond Rucio's generic policy: changing and deleting a rule of one's own.

The generic policy lets everybody make rules, but only administrators change them. `datalake upload` and
`datalake rules --qos` need to say of a rule of the user's own "delete this one when that one is OK" (`child_rule_id`,
`lifetime`); whoever may make a rule may also end it.
"""

from typing import Any

from rucio.common.exception import RuleNotFound
from rucio.core.rule import get_rule

OPTIONS = {"child_rule_id", "lifetime", "comment", "boost_rule", "purge_replicas"}
"""What the owner of a rule may change. Not `locked`, `account`, `state`, `priority` or `activity`."""


def has_permission(issuer: Any, action: str, kwargs: dict[str, Any], session: Any) -> "bool | None":
    """True: allowed. None: Rucio asks its generic policy, which lets administrators do it."""
    if action == "update_rule":
        return (kwargs["options"].keys() <= OPTIONS and _owns(issuer, kwargs["rule_id"], session)) or None
    if action == "del_rule":
        return _owns(issuer, kwargs["rule_id"], session) or None
    return None


def _owns(issuer: Any, rule_id: str, session: Any) -> bool:
    try:
        rule = get_rule(rule_id, session=session)
    except RuleNotFound:
        return True  # Rucio itself then says that there is none
    return rule["account"] == issuer and not rule["locked"]
