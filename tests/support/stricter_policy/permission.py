"""alice: the generic policy. bob: as at some large sites, a rule's owner may change its lifetime, not its successor."""

from typing import Any

from rucio.core.rule import get_rule


def has_permission(issuer: Any, action: str, kwargs: dict[str, Any], session: Any) -> "bool | None":
    if action == "update_rule" and issuer.external == "bob" and kwargs["options"].keys() <= {"lifetime"}:
        return bool(get_rule(kwargs["rule_id"], session=session)["account"] == issuer) or None
    return None
