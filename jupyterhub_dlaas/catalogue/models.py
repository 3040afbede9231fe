"""A VO's catalogue: Rucio instances, storages, and the environments that use them.

All models are frozen and refuse fields they do not know. What concerns several fields is in `consistency`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from jupyterhub_dlaas.catalogue.base import Model
from jupyterhub_dlaas.catalogue.consistency import inconsistencies
from jupyterhub_dlaas.catalogue.demands import Resources, Toleration
from jupyterhub_dlaas.catalogue.fields import (
    AbsolutePath,
    GroupName,
    ImageReference,
    Introspection,
    Key,
    LabelKey,
    LabelValue,
    Link,
    MountPath,
    ObjectName,
    PathBelow,
    RSEPattern,
    ServerURL,
    Slug,
    Text,
    Title,
    Word,
    is_within,
)

AuthType = Literal["oidc", "x509", "x509_proxy", "userpass"]


class RSEAccess(Model):
    """How the storage behind some RSEs is used: with a token of its own."""

    audience: Key
    """Key of the hub's `audiences` whose token this storage accepts."""


class RucioInstance(Model):
    """One Rucio server, as the JupyterLab extension and the clients see it."""

    display_name: Title = ""
    """Shown to users; the instance's name unless given."""
    rucio_host: ServerURL
    """Scheme, host and port of the Rucio server."""
    auth_host: ServerURL = ""
    """Scheme, host and port of its authentication server; `rucio_host` unless given."""
    rucio_ca_cert: AbsolutePath | None = None
    """CA bundle in the image, for a server whose certificate the system does not know."""
    vo: Word | None = None
    """Rucio's own VO name, on a multi-VO server."""
    app_id: Word | None = None
    """Sent to Rucio as the application's name."""
    rucio_webui_url: Link | None = None
    """Link to the web interface, shown in the extension."""
    audience: Key
    """Key of the hub's `audiences` whose token this server accepts."""
    mode: Literal["replica", "download"] = "replica"
    """`replica`: files appear at an RSE that is mounted here; `download`: they are copied into the server."""
    destination_rse: Word | None = None
    """Replica mode: the RSE that is mounted."""
    storage: Slug | None = None
    """Replica mode: the storage below through which it is mounted."""
    path_begins_at: Annotated[int, Field(ge=0, le=100)] = 0
    """How many leading components of a file's path at the RSE are missing below the mount."""
    replication_rule_lifetime_days: Annotated[int, Field(gt=0)] | None = None
    """How long a file that was made available stays; for ever unless given."""
    wildcard_enabled: bool = False
    """Whether users may search with wildcards."""
    rses: dict[RSEPattern, RSEAccess] = {}
    """Storage that wants a token of its own, by RSE: the first pattern that fits counts. Other storage is sent the one
    for Rucio, as by Rucio's own clients."""

    @model_validator(mode="after")
    def _mode(self) -> Self:
        if not self.auth_host:
            object.__setattr__(self, "auth_host", self.rucio_host)
        if self.mode == "replica":
            missing = [name for name in ("destination_rse", "storage") if getattr(self, name) is None]
            if missing:
                raise ValueError(
                    f"mode replica needs {' and '.join(missing)}: the RSE that is mounted, and through what"
                )
        elif self.destination_rse or self.storage:
            raise ValueError("destination_rse and storage belong to mode replica: remove them, or change the mode")
        return self


class _Mounted(Model):
    display_name: Title = ""
    """Shown to users; the storage's name unless given."""
    mount_path: MountPath
    """Where it is mounted in the server."""
    path: AbsolutePath = ""
    """Where users look, at or below `mount_path`; the same unless given."""
    required: bool = False
    """Whether a server may start without it."""
    read_only: bool = True
    """Whether users may only read."""

    @model_validator(mode="after")
    def _path_below(self) -> Self:
        if not self.path:
            object.__setattr__(self, "path", self.mount_path)
        if not is_within(self.path, self.mount_path):
            raise ValueError(f"path {self.path} does not lie below mount_path {self.mount_path}")
        return self


class EOSStorage(_Mounted):
    """EOS through the node's FUSE client."""

    type: Literal["eos"]
    host_path: AbsolutePath
    """The parent of the FUSE mount on the node, so that a restarted client is seen."""
    audience: Key | None = None
    """Key of the hub's `audiences` whose token EOS accepts; none: EOS is used without OAuth2."""
    introspection: Introspection | None = None
    """`host/path` where EOS asks about the token, exactly as `eos vid` has it: no scheme, no port."""

    @model_validator(mode="after")
    def _oauth2(self) -> Self:
        if (self.audience is None) != (self.introspection is None):
            raise ValueError("audience and introspection go together: give both (OAuth2) or neither")
        return self


class ScratchStorage(_Mounted):
    """Space on the node or a shared file system, writable."""

    type: Literal["scratch"]
    host_path: AbsolutePath
    """Its folder on the node."""
    per_user: bool = True
    """Whether each user gets a folder of their own in it."""
    rse: Word | None = None
    """The RSE that describes this space in Rucio, where one does."""
    rse_path: PathBelow = ""
    """Where the mounted folder lies below the prefix of `rse`; nothing: the prefix is this folder."""
    read_only: bool = False
    """Whether users may only read."""

    @model_validator(mode="after")
    def _below_rse(self) -> Self:
        if self.rse_path and self.rse is None:
            raise ValueError("rse_path is a path at an RSE: name it as rse, or leave rse_path out")
        return self


class CVMFSStorage(_Mounted):
    """CernVM-FS, mounted on the node."""

    type: Literal["cvmfs"]
    host_path: AbsolutePath = "/cvmfs"
    """The parent of the repositories on the node."""
    mount_path: MountPath = "/cvmfs"
    """Where it is mounted in the server."""


class FUSEStorage(_Mounted):
    """Any other FUSE file system, mounted on the node (xrootdfs, rclone)."""

    type: Literal["fuse"]
    host_path: AbsolutePath
    """The parent of the FUSE mount on the node, so that a restarted client is seen."""


class NFS(Model):
    """An NFS export."""

    server: Word
    """Host name or address."""
    path: AbsolutePath
    """The exported path."""


class CSI(Model):
    """An inline volume of a CSI driver."""

    driver: Word
    """The driver's name."""
    attributes: dict[Word, Word] = {}
    """What the driver is told (`volumeAttributes`)."""


class VolumeStorage(_Mounted):
    """A volume of the cluster that the VO was granted: a claim, an NFS export or a CSI volume. No secrets."""

    type: Literal["volume"]
    claim: ObjectName | None = None
    """Name of a PersistentVolumeClaim."""
    nfs: NFS | None = None
    """An NFS export."""
    csi: CSI | None = None
    """An inline volume of a CSI driver."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(volume is not None for volume in (self.claim, self.nfs, self.csi)) != 1:
            raise ValueError("a volume is exactly one of claim, nfs or csi")
        return self

    @property
    def reference(self) -> str:
        """The volume as a grant names it: `claim`, `nfs:server:/path` or `csi:driver?key=value&key=value`."""
        if self.nfs:
            return f"nfs:{self.nfs.server}:{self.nfs.path}"
        if self.csi:
            attributes = "&".join(f"{key}={value}" for key, value in sorted(self.csi.attributes.items()))
            return f"csi:{self.csi.driver}" + (f"?{attributes}" if attributes else "")
        return self.claim or ""


Storage = Annotated[
    EOSStorage | ScratchStorage | CVMFSStorage | FUSEStorage | VolumeStorage,
    Field(discriminator="type"),
]
STORAGE_TYPES = ("eos", "scratch", "cvmfs", "fuse", "volume")


class Basket(Model):
    """A service in which users collect references to data, such as the shopping basket of ESAP."""

    display_name: Title = ""
    """Shown to users; the basket's name unless given."""
    connector: Key
    """What reads it: `esap`, or the name of another connector that is installed in the image."""
    url: Link
    """Where the service is."""
    audience: Key | None = None
    """Key of the hub's `audiences` whose token it accepts; none: it is asked without a token."""

    @model_validator(mode="after")
    def _no_query(self) -> Self:
        if any(c in self.url for c in "?#"):
            raise ValueError("url has a query or fragment: give the address of the service alone")
        return self


class Environment(Model):
    """What a user starts: an image and the data it brings."""

    name: Slug
    """Its name in options and files."""
    display_name: Title = ""
    """Shown to users; the name unless given."""
    description: Text = ""
    """One or two sentences for users."""
    image: ImageReference
    """The container image; a digest or at least a tag, so that it does not change by itself."""
    groups: tuple[GroupName, ...] = ()
    """Groups whose members see it; nobody listed: every member of the VO."""
    rucio: tuple[Slug, ...] = ()
    """Names of Rucio instances above; the first is the default."""
    storages: tuple[Slug, ...] = ()
    """Names of storages above."""
    baskets: tuple[Slug, ...] = ()
    """Names of baskets above."""
    xcache_site: Word | None = None
    """The site whose XCache serves downloads."""
    xcache_tokens: bool = False
    """Whether that cache asks for tokens itself, as one in front of protected storage has to."""
    auth_types: Annotated[tuple[AuthType, ...], Field(min_length=1)] = ("oidc",)
    """How users may sign in to Rucio; the first is the default."""
    resources: dict[Slug, Resources] = {}
    """Sizes to choose from; the first is the default, none: the hub's own."""
    node_selector: dict[LabelKey, LabelValue] = {}
    """Kubernetes: labels that a node needs to have."""
    tolerations: tuple[Toleration, ...] = ()
    """Kubernetes: taints of nodes on which it may run all the same."""
    priority_class: ObjectName | None = None
    """Kubernetes: name of a PriorityClass."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Kubernetes: when the image is pulled; the hub's setting unless given."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    """Kubernetes: names of Secrets with the registry's credentials, beside the hub's own."""

    @model_validator(mode="before")
    @classmethod
    def _display_name(cls, data: Any) -> Any:
        return _titled(data, data.get("name")) if isinstance(data, dict) else data


class Catalogue(Model):
    """One VO's file."""

    vo: Slug
    """The VO, as the hub's `DLaaSConfig.vos` names it."""
    display_name: Title = ""
    """Shown to users; the VO's name unless given."""
    rucio_instances: dict[Slug, RucioInstance] = {}
    """Rucio servers by name."""
    storages: dict[Slug, Storage] = {}
    """What can be mounted, by name."""
    baskets: dict[Slug, Basket] = {}
    """Where users collect references to data, by name."""
    environments: Annotated[tuple[Environment, ...], Field(min_length=1)]
    """In the order in which users see them."""

    @model_validator(mode="before")
    @classmethod
    def _display_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = _titled(data, data.get("vo"))
        for section in ("rucio_instances", "storages", "baskets"):
            if isinstance(data.get(section), dict):
                data[section] = {name: _titled(entry, name) for name, entry in data[section].items()}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = inconsistencies(self.rucio_instances, self.storages, self.baskets, self.environments)
        if problems:
            sentences = "; ".join(message for _, message in problems)
            raise PydanticCustomError("inconsistent", "{sentences}", {"sentences": sentences, "problems": problems})
        return self


def _titled(entry: Any, name: Any) -> Any:
    """The entry with its name as `display_name` where it has none."""
    if isinstance(entry, dict) and not entry.get("display_name") and isinstance(name, str):
        return {**entry, "display_name": name}
    return entry
