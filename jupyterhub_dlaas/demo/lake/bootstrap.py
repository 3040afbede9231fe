"""Fills an empty Rucio once: database, RSEs, accounts, sample data; afterwards only adds what is new.

`python -m jupyterhub_dlaas.demo.lake.bootstrap` with `RUCIO_CONFIG` set, before the server starts. The last
line on stdout says what was done.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

from rucio.common.types import InternalAccount, InternalScope
from rucio.core.account import account_exists, add_account
from rucio.core.account_limit import set_local_account_limit
from rucio.core.did import add_did, attach_dids
from rucio.core.distance import add_distance
from rucio.core.identity import add_account_identity, exist_identity_account
from rucio.core.replica import add_replicas
from rucio.core.rse import add_protocol, add_rse, add_rse_attribute, get_rse_id, rse_exists
from rucio.core.rule import add_rule
from rucio.core.scope import add_scope
from rucio.db.sqla.constants import AccountType, DatabaseOperationType, DIDType, IdentityType
from rucio.db.sqla.session import db_session
from rucio.db.sqla.util import build_database, create_base_vo, create_root_account
from rucio.rse import rsemanager

from jupyterhub_dlaas.demo.lake.config import REMOTE_RSE, Account, Lake, Site
from jupyterhub_dlaas.demo.lake.copying import checksum, path_of
from jupyterhub_dlaas.demo.lake.samples import COLLECTIONS, Sample, samples
from jupyterhub_dlaas.demo.lake.sqlite import leave_writing_to_the_system

ROOT = InternalAccount("root")
QUOTA_BYTES = 10 * 2**30


def main() -> None:
    lake = Lake.from_json((Path(os.environ["RUCIO_CONFIG"]).parent / "lake.json").read_text())
    leave_writing_to_the_system()
    first = not lake.filled.exists()
    if first:
        _say("making Rucio's database")
        build_database()
        create_base_vo()
        create_root_account()
    for site in lake.sites:
        _storage(lake, site)
    if first and lake.samples:
        _data()
    for account in lake.accounts:
        _person(account, lake)
    lake.filled.write_text(lake.people)
    made = f"{len(samples())} files in {REMOTE_RSE}" if lake.samples else "no files yet"
    _say(made if first else "found again as it was left, and brought up to date")


def _storage(lake: Lake, site: Site) -> None:
    if not rse_exists(site.rse):
        rse_id = add_rse(site.rse, deterministic=site.deterministic)
        everything = {"read": 1, "write": 1, "delete": 1}
        add_protocol(
            rse_id,
            {
                "scheme": "file",
                "hostname": "localhost",
                "port": 0,
                "prefix": f"{site.folder}/",
                "impl": "rucio.rse.protocols.posix.Default",
                "domains": {
                    "lan": everything,
                    "wan": {**everything, "third_party_copy_read": 1, "third_party_copy_write": 1},
                },
            },
        )
        for other in lake.sites:
            if other.rse != site.rse and rse_exists(other.rse):
                add_distance(rse_id, get_rse_id(other.rse), distance=1, bidirectional=True)
    rse_id = get_rse_id(site.rse)
    add_rse_attribute(rse_id, "QOS", site.qos)
    # Without it the reaper would keep what nobody has a rule for until the space is needed.
    add_rse_attribute(rse_id, "greedyDeletion", True)
    with db_session(DatabaseOperationType.WRITE) as session:
        set_local_account_limit(ROOT, rse_id, QUOTA_BYTES, session=session)


def _data() -> None:
    everything = samples()
    for number, scope in enumerate(dict.fromkeys(sample.scope for sample in everything)):
        _say(f"making sample data {number + 1}: {scope}")
        with db_session(DatabaseOperationType.WRITE) as session:
            add_scope(InternalScope(scope), ROOT, session=session)
        _scope_data(scope, [sample for sample in everything if sample.scope == scope])
    for collection in COLLECTIONS:
        scope_ = InternalScope(collection.scope)
        add_did(scope_, collection.name, DIDType.CONTAINER, ROOT)
        attach_dids(scope_, collection.name, [{"scope": scope_, "name": name} for name in collection.datasets], ROOT)


def _scope_data(scope: str, files: list[Sample]) -> None:
    rse_id, internal = get_rse_id(REMOTE_RSE), InternalScope(scope)
    settings = rsemanager.get_rse_info(rse_id=rse_id)
    replicas = {}
    for sample in files:
        lfn = {"scope": scope, "name": sample.name}
        pfn = rsemanager.lfns2pfns(settings, [lfn], operation="write", scheme="file")[f"{scope}:{sample.name}"]
        path, content = path_of(pfn), sample.make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        replicas[sample.name] = {"scope": internal, "name": sample.name, "bytes": len(content), "md5": md5}
        replicas[sample.name]["adler32"] = checksum(path)
    add_replicas(rse_id, list(replicas.values()), ROOT)
    for dataset in dict.fromkeys(sample.dataset for sample in files):
        members = [replicas[sample.name] for sample in files if sample.dataset == dataset]
        add_did(internal, dataset, DIDType.DATASET, ROOT)
        attach_dids(internal, dataset, [{"scope": internal, "name": member["name"]} for member in members], ROOT)
        # A rule that never ends keeps the remote copy whatever users do.
        add_rule(
            dids=[{"scope": internal, "name": dataset}],
            account=ROOT,
            copies=1,
            rse_expression=REMOTE_RSE,
            grouping="DATASET",
            weight=None,
            lifetime=None,
            locked=False,
            subscription_id=None,
        )


def _person(person: Account, lake: Lake) -> None:
    account = InternalAccount(person.name)
    with db_session(DatabaseOperationType.WRITE) as session:
        if not account_exists(account, session=session):
            add_account(account, AccountType.USER, person.email, session=session)
            add_scope(InternalScope(f"user.{person.name}"), account, session=session)
        for site in lake.sites:
            quota = person.quotas.get(site.rse, QUOTA_BYTES)
            set_local_account_limit(account, get_rse_id(site.rse, session=session), quota, session=session)
        # The trailing slash counts to Rucio, and IAM's tokens may carry either form.
        for form in (lake.issuer.rstrip("/"), lake.issuer.rstrip("/") + "/"):
            who = f"SUB={person.subject}, ISS={form}"
            if not exist_identity_account(who, IdentityType.OIDC, account, session=session):
                add_account_identity(who, IdentityType.OIDC, account, person.email, default=True, session=session)


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
