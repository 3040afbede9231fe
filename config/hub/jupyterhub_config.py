"""A hub with the data lake, on one machine. Copy it to /etc/jupyterhub/, and ../catalogues/ to /etc/dlaas/catalogue.d/.

The hub also needs two variables: JUPYTERHUB_CRYPT_KEY (`openssl rand -hex 32`, made once) and OAUTH_CLIENT_SECRET.
`dlaas check --config /etc/jupyterhub/jupyterhub_config.py` tells what cannot work.
"""

import jupyterhub_dlaas

jupyterhub_dlaas.setup(c)
c.JupyterHub.authenticator_class = "dlaas"
c.JupyterHub.spawner_class = "dlaas-local"

# ---- The login

c.IAMAuthenticator.issuer_url = "https://iam.example.org/"
c.IAMAuthenticator.client_id = "dlaas-hub"
c.IAMAuthenticator.oauth_callback_url = "https://hub.example.org/hub/oauth_callback"
# Groups are compared without a leading slash. Without any allow_* setting nobody may log in.
c.IAMAuthenticator.allowed_groups = {"escape", "ska"}
c.IAMAuthenticator.admin_groups = {"escape/hub-admins"}

# One token is exchanged for each of these. The key is the name that catalogues, files and the status page use.
c.IAMAuthenticator.audiences = {
    "rucio": {"required_for": ["escape"]},  # members of this VO get no server without it
    "eos-eulake": {},  # audience = the key, scopes = openid profile
    "ska-rucio": {"audience": "https://rucio.ska.example.org", "required_for": ["ska"]},
}

# ---- What is offered

c.DLaaSConfig.catalogue = "/etc/dlaas/catalogue.d"  # a file per VO
c.DLaaSConfig.contact = "support@example.org"

# What each VO's catalogue may use. A catalogue that names anything beyond it closes its VO, and no other.
c.DLaaSConfig.vos = {
    "escape": {
        "groups": {"escape"},
        "audiences": ["rucio", "eos-eulake"],
        "hosts": ["rucio.example.org", "rucio-auth.example.org", "rucio-ui.example.org"],
        "images": ["registry.example.org/escape/*"],
        "host_paths": ["/var/eos", "/var/scratch", "/var/cvmfs"],
        "max_resources": {"cpu": 4, "memory": "16G"},
    },
    # What else can be granted on Kubernetes; catalogues/cta.yaml is within it.
    "cta": {
        "groups": {"cta"},
        "audiences": ["rucio"],
        "hosts": ["rucio.example.org"],
        "images": ["registry.example.org/cta/*"],
        "volumes": [
            "cta-calibration",
            "nfs:nfs.example.org:/export/cta/simulations",
            "csi:cvmfs.csi.cern.ch?repository=sw.cta-observatory.org",
        ],
        "max_resources": {"cpu": 8, "memory": "64G", "gpu": 1},
        "node_labels": ["nvidia.com/gpu.product=*", "example.org/pool="],  # a key with a value, or any value of it
        "tolerations": ["nvidia.com/gpu", "example.org/reserved-for=cta"],  # taints: with any value, or with this one
        "priority_classes": ["cta-interactive"],
        "pull_secrets": ["cta-registry"],
    },
    # A catalogue that the hub's administrators write themselves needs no limits.
    "ska": {"groups": {"ska"}, "trusted": True},
}

# ---- Servers on this machine

# The hub runs as root, and servers as the system users of the same name: members of this group, uid 1000 or more.
c.LocalDLaaSSpawner.system_group = "dlaas-users"
c.LocalDLaaSSpawner.default_url = "/lab"
# Servers and their agents survive a restart of the hub (with systemd set KillMode=process, too).
c.JupyterHub.cleanup_servers = False

# A database in memory would forget every session at a restart.
c.JupyterHub.db_url = "sqlite:////var/lib/jupyterhub/jupyterhub.sqlite"
