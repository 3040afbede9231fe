"""Names each Rucio instance's own token file in the configuration that rucio-jupyterlab writes for its child processes.

rucio-jupyterlab 41.0.0 downloads and uploads in a child with a `rucio.cfg` of its own, and does not pass the instance's
`oidc_file_name` on. The clients in that child would search for a bearer token, of which there is one for all
instances: the token for one Rucio would be sent to another.
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
    """Wraps `RucioClientEnvironment._get_config`, once. The reason why not, as a sentence, or "" when it is done."""
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


def _is_known(environment: Any, original: Any) -> bool:
    """Whether the method, tried on a made-up instance, answers with the section that we know how to complete."""
    try:
        if list(inspect.signature(original).parameters) != ["self"]:
            return False
        config = original(environment(_PROBE))
    except (TypeError, ValueError, AttributeError, KeyError):
        return False
    return (
        isinstance(config, dict) and config.get("rucio_host") == _PROBE.base_url and config.get("auth_type") == "oidc"
    )
