"""Gives the child processes of rucio-jupyterlab the tokens of their Rucio instance, for Rucio and for storage.

rucio-jupyterlab 41.0.0 downloads and uploads in a child with a `rucio.cfg` of its own, and does not pass the instance's
`oidc_file_name` on. The clients in that child would search for a bearer token, of which there is one for all
instances: the token for one Rucio would be sent to another. Storage that wants a token of its own would be sent that
for Rucio, too.
"""

from __future__ import annotations

import functools
import inspect
from types import SimpleNamespace
from typing import Any

_MARK = "_dlaas_wrapped"
_PROBE = SimpleNamespace(
    instance_config={"oidc_auth": "file", "oidc_file_name": "/dlaas/probe"},
    base_url="https://rucio.invalid",
    auth_url="https://auth.invalid",
    auth_type="oidc",
    auth_config={"account": "probe"},
)


def install() -> str:
    """Wraps `RucioClientEnvironment`, once. The reason why not, as a sentence, or "" when it is done."""
    try:
        from rucio_jupyterlab.rucio.client_environment import RucioClientEnvironment
    except ImportError as error:
        return f"rucio-jupyterlab cannot be imported ({error})."
    original = getattr(RucioClientEnvironment, "_get_config", None)
    if getattr(original, _MARK, False):
        return ""
    if not callable(original) or not _is_known(RucioClientEnvironment, original):
        return "this release of rucio-jupyterlab writes its rucio.cfg in another way."
    RucioClientEnvironment._get_config = _wrapped(original)
    RucioClientEnvironment.__enter__ = _with_storage_tokens(RucioClientEnvironment.__enter__)
    return ""


def with_token_file(config: dict[str, Any], instance: dict[str, Any]) -> dict[str, Any]:
    """The `[client]` section with the instance's token file, where the instance signs in with a file."""
    path = instance.get("oidc_file_name")
    if config.get("auth_type") != "oidc" or instance.get("oidc_auth") != "file" or not path:
        return config
    # The clients read the file with interpolation.
    return {"auth_token_file_path": path.replace("%", "%%"), **config}


def _wrapped(original: Any) -> Any:
    @functools.wraps(original)
    def get_config(self: Any) -> dict[str, Any]:
        return with_token_file(original(self), self.instance_config)

    setattr(get_config, _MARK, True)
    return get_config


def _with_storage_tokens(original: Any) -> Any:
    """After the original, which puts rucio.cfg where Rucio's modules look for it when they are imported."""

    @functools.wraps(original)
    def enter(self: Any) -> Any:
        entered = original(self)
        send_storage_tokens(self.instance_config.get("name"))
        _register_after_upload()
        return entered

    return enter


def send_storage_tokens(name: str | None) -> None:
    """From now on this process sends storage of the instance its own tokens, where the catalogue names any."""
    from jupyterhub_dlaas.datalake import lake, storage_tokens
    from jupyterhub_dlaas.datalake.failure import Failure

    try:
        instance = lake.load().instance(name)
    except Failure:  # the hub is of a release that writes no datalake.json: nothing changes
        return
    if instance.storage_tokens:
        storage_tokens.install(instance)


def _register_after_upload() -> None:
    """Uploads of this process are registered when the file is there.

    Otherwise Rucio's client registers it first and then asks for a right, to change the state of replicas, that the
    generic policy of Rucio gives to administrators only: the file is at the storage, and the upload has failed.
    """
    from rucio.client.uploadclient import UploadClient

    original = UploadClient.upload
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def upload(self: Any, items: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, [{"register_after_upload": True, **item} for item in items], *args, **kwargs)

    setattr(upload, _MARK, True)
    UploadClient.upload = upload


def _is_known(environment: Any, original: Any) -> bool:
    """Whether the method, tried on a made-up instance, answers with the section that we know how to complete."""
    try:
        entering = environment.__enter__
        if any(list(inspect.signature(method).parameters) != ["self"] for method in (original, entering)):
            return False
        config = original(environment(_PROBE))
    except (TypeError, ValueError, AttributeError, KeyError):
        return False
    return (
        isinstance(config, dict) and config.get("rucio_host") == _PROBE.base_url and config.get("auth_type") == "oidc"
    )
