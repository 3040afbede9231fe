"""A stand-in for INDIGO IAM: an OpenID provider on loopback, misleading error codes and switches for faults included.

>>> async with StandInIAM() as iam:
...     iam.issuer_url                                        # http://127.0.0.1:<free port>/
...     iam.faults.set("exchange", audience="rucio", status=503, times=2)
...     iam.users["alice"].active = False
...     iam.clock.advance(3600)
...     iam.counters.granted["refresh"]
"""

from jupyterhub_dlaas.demo.iam.faults import Counters, Fault, Faults
from jupyterhub_dlaas.demo.iam.model import Client, Settings, User, demo_clients, demo_users
from jupyterhub_dlaas.demo.iam.server import StandInIAM

__all__ = ["Client", "Counters", "Fault", "Faults", "Settings", "StandInIAM", "User", "demo_clients", "demo_users"]
