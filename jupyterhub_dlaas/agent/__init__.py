"""The agent beside every notebook: fetches this server's files from the hub, writes them whole, keeps them fresh.

    python -m jupyterhub_dlaas.agent --hub-url URL --files DIR --cache DIR CREDENTIAL

CREDENTIAL is `--credential-fd N`, `--credential-file PATH` or `--credential-secret PATH`. The agent is the standard
library alone and small in memory, because there is one for each running server. Whatever may hang or needs much memory
(name servers, TLS, a dead mount) is done by a short-lived child that can be killed; the agent itself only waits, and
writes. See `renew.py` for what it does in which order.
"""
