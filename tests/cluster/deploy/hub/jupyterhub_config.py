"""The hub of the cluster tests."""

import os

import jupyterhub_dlaas

c = get_config()  # noqa: F821
jupyterhub_dlaas.setup(c)

c.JupyterHub.authenticator_class = "dlaas"
c.JupyterHub.spawner_class = "dlaas-kube"
c.JupyterHub.allow_named_servers = True

c.IAMAuthenticator.issuer_url = os.environ["ISSUER_URL"]
c.IAMAuthenticator.client_id = "dlaas"
c.IAMAuthenticator.client_secret_file = "/etc/dlaas/secrets/client_secret"
c.IAMAuthenticator.oauth_callback_url = os.environ["HUB_URL"] + "/hub/oauth_callback"
c.IAMAuthenticator.allow_all = True  # somebody in no VO may log in, and is told so
c.IAMAuthenticator.audiences = {"rucio": {"required_for": ["escape", "ska"]}, "eos-eulake": {}, "ska-storage": {}}

c.DLaaSConfig.catalogue = "/etc/dlaas/catalogue.d"
c.DLaaSConfig.vos = {
    "escape": {
        "groups": {"escape"},
        "audiences": ["rucio", "eos-eulake"],
        "hosts": ["rucio.dlaas-test.svc:8080"],
        "images": ["localhost/dlaas-singleuser"],
        "host_paths": ["/var/xrootd", "/var/lib/dlaas-test/scratch", "/var/lib/dlaas-test/absent"],
        "max_resources": {"cpu": 2, "memory": "2G"},
    },
    "ska": {
        "groups": {"ska"},
        "audiences": ["rucio"],
        "hosts": ["rucio.dlaas-test.svc:8080"],
        "images": ["localhost/dlaas-singleuser"],
        "host_paths": ["/var/xrootd"],
        "max_resources": {"cpu": 1, "memory": "1G"},
    },
}
# VOs whose maintainers are hostile in the tests. Granted as little as a VO gets, to people who are there.
for trick in ("runtime-socket", "kubelet", "secret", "audience", "rucio-host", "script", "image", "claim", "other-vo"):
    c.DLaaSConfig.vos[f"hostile-{trick}"] = {
        "groups": {"escape"},
        "audiences": ["rucio"],
        "hosts": ["rucio.dlaas-test.svc"],
        "images": ["localhost/hostile"],
        "host_paths": ["/var/lib/dlaas-test/scratch/hostile"],
    }

c.DLaaSSpawner.agent_image = "localhost/dlaas-agent:dev"

# --- what Zero-to-JupyterHub would set --------------------------------------------------------------------------------

c.JupyterHub.cleanup_servers = False
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/srv/jupyterhub/cookie_secret"
c.JupyterHub.bind_url = os.environ["HUB_URL"]
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.Spawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.poll_interval = 5
c.KubeSpawner.k8s_api_host = os.environ["API_SERVER"]
c.KubeSpawner.uid = 1000
c.KubeSpawner.fs_gid = 100
c.KubeSpawner.start_timeout = 120
c.KubeSpawner.http_timeout = 60
c.KubeSpawner.delete_grace_period = 1
c.KubeSpawner.cpu_guarantee = 0.05
c.KubeSpawner.mem_guarantee = "64M"
c.KubeSpawner.common_labels = {"app": "dlaas-test", "dlaas.test/part": "lake"}
c.KubeSpawner.enable_user_namespaces = False
c.KubeSpawner.environment = {"SET_BY_THE_ADMINISTRATOR": "yes"}
# Homes as an administrator sets them up: the data lake's own volumes come beside.
c.KubeSpawner.volumes = [{"name": "homes", "persistentVolumeClaim": {"claimName": "homes"}}]
c.KubeSpawner.volume_mounts = [{"name": "homes", "mountPath": "/home/jovyan", "subPath": "{user_server}"}]
c.KubeSpawner.working_dir = "/home/jovyan"


def meet_restricted(spawner):
    """The settings with which a whole pod meets the Pod Security level `restricted`."""
    if spawner.user_options.get("environment") == "escape/restricted":
        spawner.container_security_context = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


c.Spawner.pre_spawn_hook = meet_restricted
