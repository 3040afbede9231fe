"""Fills the lab's empty Rucio: RSEs on the XRootD servers, accounts. `python -m storage.filling`, RUCIO_CONFIG set."""

from __future__ import annotations

import os
from pathlib import Path

from rucio.common.types import InternalAccount, InternalScope
from rucio.core.account import add_account
from rucio.core.account_limit import set_local_account_limit
from rucio.core.distance import add_distance
from rucio.core.identity import add_account_identity
from rucio.core.rse import add_protocol, add_rse, add_rse_attribute
from rucio.core.scope import add_scope
from rucio.db.sqla.constants import AccountType, DatabaseOperationType, IdentityType
from rucio.db.sqla.session import db_session
from rucio.db.sqla.util import build_database, create_base_vo, create_root_account

from jupyterhub_dlaas.demo.iam.model import demo_users
from storage.layout import PEOPLE, RSE, RSES, Layout

ROOT = InternalAccount("root")
SCOPE = "test"
QUOTA_BYTES = 10 * 2**30
EVERYTHING = {"read": 1, "write": 1, "delete": 1}


def main() -> None:
    layout = Layout.from_json(Path(os.environ["STORAGE_LAB"]).read_text())
    build_database()
    create_base_vo()
    create_root_account()
    with db_session(DatabaseOperationType.WRITE) as session:
        add_scope(InternalScope(SCOPE), ROOT, session=session)
    for name in PEOPLE:
        _person(name, layout)
    ids = {rse.name: _rse(rse, layout) for rse in RSES}
    # Without a distance Rucio sees no way from one to the other.
    for rse in RSES:
        for other in RSES:
            if rse is not other and rse.copies and other.copies:
                add_distance(ids[rse.name], ids[other.name], distance=1)
    print("filled", flush=True)


def _rse(rse: RSE, layout: Layout) -> str:
    rse_id = str(add_rse(rse.name, deterministic=rse.deterministic))
    copies = {"third_party_copy_read": 1, "third_party_copy_write": 1} if rse.copies else {}
    add_protocol(
        rse_id,
        {
            "scheme": rse.scheme,
            "hostname": rse.host,
            "port": layout.ports[rse.server],
            "prefix": rse.prefix,
            "impl": rse.implementation,
            "domains": {"lan": EVERYTHING, "wan": {**EVERYTHING, **copies}},
        },
    )
    # `greedyDeletion`: without it the reaper keeps what nobody has a rule for until the space is needed.
    for key, value in (("site", rse.site), ("QOS", rse.qos), ("greedyDeletion", True)):
        add_rse_attribute(rse_id, key, value)
    with db_session(DatabaseOperationType.WRITE) as session:
        for account in ("root", *PEOPLE):
            set_local_account_limit(InternalAccount(account), rse_id, QUOTA_BYTES, session=session)
    return rse_id


def _person(name: str, layout: Layout) -> None:
    user, account = demo_users()[name], InternalAccount(name)
    with db_session(DatabaseOperationType.WRITE) as session:
        add_account(account, AccountType.USER, user.email, session=session)
        add_scope(InternalScope(f"user.{name}"), account, session=session)
        who = f"SUB={user.sub}, ISS={layout.issuer}"
        add_account_identity(who, IdentityType.OIDC, account, user.email, default=True, session=session)


if __name__ == "__main__":
    main()
