"""The settings of the data lake, `c.DLaaSConfig`."""

from __future__ import annotations

from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, Enum, Float, Int, Unicode, validate
from traitlets.config import Configurable

from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.oidc.clock import Clock


class DLaaSConfig(Configurable):
    """What the hub offers and how it keeps tokens alive."""

    catalogue = Unicode(
        config=True,
        help="""A catalogue file, or a folder of them with one file per VO. Example: `"/etc/dlaas/catalogue.d"`.

        A folder is read again when a file in it changes. Empty: no environments are offered.""",
    )
    vos = Dict(
        config=True,
        help="""What the catalogue of each VO may use: `{"escape": {"groups": {"escape"}, "audiences": ["rucio"],
        "hosts": ["rucio.example.org"], "images": ["registry.example.org/escape/*"], "host_paths": ["/var/eos"],
        "volumes": [], "max_resources": {"cpu": 8, "memory": "32G"}}}`. A catalogue that names anything beyond it closes
        that VO. `"trusted": True` is for a catalogue that the hub's administrators write themselves.""",
    )
    shared_servers = Enum(
        ("withhold", "allow"),
        "withhold",
        config=True,
        help="""What a server gets that its owner shares with other users: `"withhold"` removes its token files,
        `"allow"` leaves them, and then everybody it is shared with can act as the owner.""",
    )
    refresh_every_minutes = Float(
        15.0,
        config=True,
        help="""How often IAM is asked for a refresh, and so for the user's groups, while one of their servers runs.
        Only a refresh tells that an account is disabled, so this is how late the hub may notice.""",
    )
    lead_minimum_seconds = Float(
        120.0, config=True, help="Tokens are renewed at least so long before they expire (at most half their lifetime)."
    )
    lead_share = Float(
        0.2, config=True, help="Tokens are renewed when this share of their lifetime is left, as kubelet does at 80 %."
    )
    agent_poll_seconds = Float(
        45.0, config=True, help="The agents of running servers ask for new files at least so often; at most 45 seconds."
    )
    lost_entitlement = Enum(
        ("keep", "stop"),
        "keep",
        config=True,
        help="""What happens to a running server when IAM says that its user has lost the VO or may no longer log in:
        `"keep"` leaves it running with no new tokens, `"stop"` stops it. Neither lets them start another.""",
    )
    strict = Bool(
        False,
        config=True,
        help="What is merely inadvisable in a catalogue closes its VO, too.",
    )
    contact = Unicode(
        "the administrators of this hub",
        config=True,
        help='Whom users are told to ask when IAM refuses them. Example: `"support@example.org"`.',
    )
    max_renewals = Int(24, config=True, help="How many users' tokens the background service renews at the same time.")
    clock = AnyTrait(help="The clock that everything about tokens goes by; tests set one that they can move.").tag(
        config=True
    )

    def _clock_default(self) -> Clock:
        return Clock()

    @validate("refresh_every_minutes", "lead_minimum_seconds", "lead_share", "agent_poll_seconds", "max_renewals")
    def _positive(self, proposal: dict[str, Any]) -> Any:
        value, name = proposal["value"], proposal["trait"].name
        if value <= 0 or (name == "lead_share" and value > 0.5) or (name == "agent_poll_seconds" and value > 45):
            raise ConfigError(
                f"c.DLaaSConfig.{name} cannot be {value:g}.",
                hint={"lead_share": "Use a share of at most 0.5.", "agent_poll_seconds": "Use 1 to 45 seconds."}.get(
                    name, "Use a number above 0."
                ),
            )
        return value
