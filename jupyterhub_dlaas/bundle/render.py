"""All files of one server, from its environment and the user's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jupyterhub_dlaas.bundle import paths
from jupyterhub_dlaas.bundle.datalake import datalake_json
from jupyterhub_dlaas.bundle.environment import eos_storage
from jupyterhub_dlaas.bundle.files import BundleFile
from jupyterhub_dlaas.bundle.jupyter import LAB_DEFAULTS, PYTHON_STARTUP, cache_db, jupyter_server_config
from jupyterhub_dlaas.bundle.mounts import MountState
from jupyterhub_dlaas.bundle.mounts import mounts as mounts_of
from jupyterhub_dlaas.bundle.rucio import rucio_cfg
from jupyterhub_dlaas.bundle.status import status_json
from jupyterhub_dlaas.bundle.token import TokenState

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice

PRIVATE = 0o600


def render(
    choice: Choice,
    tokens: Mapping[str, TokenState],
    places: paths.Places,
    *,
    user: str,
    account: str,
    auth_type: str,
    server: str,
    mounts: Sequence[MountState] = (),
    folder: str = "",
    withheld: str = "",
    now: float | None = None,
) -> tuple[BundleFile, ...]:
    """The whole bundle, sorted by path; the same bytes for the same input.

    `tokens` of audiences that the environment does not use are ignored. With a `withheld` sentence (a server that its
    owner shares with others) nothing that carries a token is in the bundle. `now`, in epoch seconds, leaves out tokens
    that have expired. `folder` is the user's own one in a scratch space, as the spawner names it.
    """
    files = [
        BundleFile(paths.JUPYTER_CONFIG, PRIVATE, jupyter_server_config(choice, places, auth_type=auth_type)),
        BundleFile(
            paths.STATUS,
            PRIVATE,
            status_json(
                choice,
                tokens,
                user=user,
                account=account,
                auth_type=auth_type,
                server=server,
                mounts=mounts_of(choice, user),
                probed=mounts,
                withheld=withheld,
            ),
        ),
    ]
    if choice.offer.rucio:
        instance = choice.offer.rucio[0][1]
        cfg = rucio_cfg(instance, places, user=user, account=account, auth_type=auth_type)
        lake = datalake_json(
            choice, places, user=user, account=account, auth_type=auth_type, folder=folder, withheld=withheld
        )
        files += [
            BundleFile(paths.DATALAKE, PRIVATE, lake),
            BundleFile(paths.RUCIO_CFG, PRIVATE, cfg),
            BundleFile(paths.LAB_DEFAULTS, PRIVATE, LAB_DEFAULTS),
            BundleFile(paths.PYTHON_STARTUP, PRIVATE, PYTHON_STARTUP),
            BundleFile(paths.CACHE_DB, PRIVATE, cache_db(choice, account=account), "once", "cache"),
        ]
    if not withheld:
        files += _token_files(choice, tokens, now)
    return tuple(sorted(files, key=lambda file: (file.root, file.path)))


def _token_files(choice: Choice, tokens: Mapping[str, TokenState], now: float | None) -> list[BundleFile]:
    """Bare tokens without a newline: rucio-clients send a newline on, and the extension fails at it."""
    valued = {key: value for key in choice.offer.audiences if key in tokens and (value := tokens[key].value())}
    files = [
        BundleFile(paths.token(key), PRIVATE, value.encode())
        for key, value in valued.items()
        if not _expired(tokens[key], now)
    ]
    eos = eos_storage(choice)
    if eos and eos.audience in valued:
        # Exactly three fields, no newline: EOS splits at colons and reads a fourth as expiry. An expired one stays
        # until it is renewed: without its file a process falls back to its unix identity for minutes, up to a day,
        # but a new mtime is a new login at once.
        files.append(
            BundleFile(paths.EOS_TOKEN, PRIVATE, f"oauth2:{valued[eos.audience]}:{eos.introspection}".encode())
        )
    return files


def _expired(state: TokenState, now: float | None) -> bool:
    return now is not None and state.expires_at is not None and state.expires_at <= now
