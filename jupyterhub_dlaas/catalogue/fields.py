"""The kinds of text a catalogue is made of, each checked where it enters.

Every one refuses `{` and `}`: KubeSpawner expands them as templates in volumes, labels, environment and containers, so
a catalogue could name another user's volume with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

_SLUG = r"[a-z0-9]([a-z0-9_-]|\.(?!\.)){0,61}[a-z0-9]|[a-z0-9]"
_KEY = r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._@:/+=-]*"
_RSE_PATTERN = r"[A-Za-z0-9*?][A-Za-z0-9_.*?-]*"
_SUBDOMAIN = r"(?=[^/]{1,253}(/|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = rf"({_SUBDOMAIN}/)?{_LABEL}"
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]*:[0-9a-f:.]*")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)")
_MOST_BYTES = 2**60
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _text(value: str) -> str:
    if "{" in value or "}" in value:
        raise ValueError("may not contain { or }, because KubeSpawner would expand them as a template")
    if any((ord(c) < 32 and c not in "\n\t") or ord(c) == 127 for c in value):
        raise ValueError("contains a control character")
    return value


def _shaped(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return AfterValidator(check)


def is_within(path: str, parent: str) -> bool:
    """Whether the absolute path is `parent` or lies below it."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is not an absolute path: it has to begin with /")
    if any(part in {".", ".."} for part in value.split("/")):
        raise ValueError(f"{value!r} has a . or .. component: write the path out")
    if any(c.isspace() for c in value):
        raise ValueError(f"{value!r} contains white space")
    path = "/" + "/".join(part for part in value.split("/") if part)
    if path == "/":
        raise ValueError("/ is the whole file system: name a folder in it")
    return path


# `{mount_path}` in one of these would hide the server's tokens, its home or the image's own system.
_TAKEN = (
    "/run",
    "/var/run",
    "/home",
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
)


def _mount_path(path: str) -> str:
    for taken in _TAKEN:
        # A folder in somebody's home hides nothing; /home and /home/jovyan would.
        if is_within(path, taken) and not (taken == "/home" and path.count("/") > 2):
            why = (
                "the server's tokens"
                if taken in {"/run", "/var/run"}
                else "homes"
                if taken == "/home"
                else "the system"
            )
            raise ValueError(
                f"{path!r} collides with {taken}, which belongs to {why}: mount it elsewhere, such as /eos"
            )
    return path


def split_url(value: str) -> SplitResult:
    """The parts of an http(s) URL; ValueError, with a sentence, for anything else."""
    if any(c.isspace() or c in "\\\"'<>`" for c in value):
        raise ValueError(f"{value!r} contains white space, a quote or another character that a URL may not have")
    url = urlsplit(value)
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"{value!r} is not an http or https URL")
    if url.username is not None or url.password is not None:
        raise ValueError("may not contain a user name or password")
    if not url.hostname or not _HOST.fullmatch(url.hostname):
        raise ValueError(f"{value!r} names no host")
    _ = url.port  # ValueError for one out of range
    return url


def _link(value: str) -> str:
    split_url(value)
    return value


def _server_url(value: str) -> str:
    url = split_url(value)
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError(
            f"{value!r} has a path or query: give scheme, host and port alone (the JupyterLab extension drops the rest)"
        )
    return f"{url.scheme}://{url.netloc.lower()}"


def _below(value: str) -> str:
    parts = [part for part in value.split("/") if part]
    if any(part in {".", ".."} for part in parts):
        raise ValueError(f"{value!r} has a . or .. component: write the path out")
    if any(c.isspace() for c in value):
        raise ValueError(f"{value!r} contains white space")
    return "/".join(parts)


def _introspection(value: str) -> str:
    host, _, path = value.partition("/")
    if "://" in value:
        raise ValueError(f"{value!r} has a scheme: give host and path alone, such as iam.example.org/userinfo")
    if ":" in value:
        raise ValueError(f"{value!r} has a port: EOS would read it as the token's expiry")
    if not _HOST.fullmatch(host.lower()) or not path or any(c.isspace() for c in value):
        raise ValueError(f"{value!r} is not host/path, such as iam.example.org/userinfo")
    return value


def _group(value: str) -> str:
    group = value.strip("/")
    if not group or any(c.isspace() for c in group):
        raise ValueError(f"{value!r} is not a group, such as escape/cms")
    return group


def _size(value: Any) -> Any:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if not match:
            raise ValueError(
                f"{value!r} is not a size: give bytes or a number with K, M, G or T, such as 2G (G is 2^30)"
            )
        size = float(match[1]) * _UNITS[match[2]]
        if size > _MOST_BYTES:  # or infinite, which is no int
            raise ValueError(f"{value[:80]!r} is too large for a size")
        return int(size)
    return value


@dataclass(frozen=True)
class Image:
    """A container image in its full form: `registry/repository`, tag and digest."""

    name: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?P<registry>localhost(?::[0-9]+)?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+)/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def image(reference: str) -> Image:
    """The image that a container runtime would pull (`python` is `docker.io/library/python`); ValueError if none.

    The grammar is that of distribution/reference: no component can be `..`, so what matches a grant is what is pulled.
    """
    match = _IMAGE.fullmatch(reference) if len(reference) <= 512 else None
    if not match:
        raise ValueError(
            f"{reference!r} is not an image, such as registry.example.org/escape/root:6.32 or ...@sha256:..."
        )
    registry = (match["registry"] or "docker.io").lower().replace("index.docker.io", "docker.io")
    path = match["path"]
    if registry == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return Image(f"{registry}/{path}", match["tag"] or "", match["digest"] or "")


def _image(value: str) -> str:
    image(value)
    return value


Text = Annotated[str, Field(max_length=2000), AfterValidator(_text)]
Title = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_text)]
Slug = Annotated[
    str,
    AfterValidator(_text),
    _shaped(
        _SLUG,
        "a name: lower-case letters, digits, '-', '_' and '.', at most 63, beginning and ending with a letter or digit",
    ),
]
Key = Annotated[str, AfterValidator(_text), _shaped(_KEY, "a name of letters, digits, '.', '-' and '_'")]
Word = Annotated[
    str, Field(max_length=253), AfterValidator(_text), _shaped(_WORD, "one word of letters, digits and ._@:/+=-")
]
RSEPattern = Annotated[
    str,
    Field(max_length=253),
    AfterValidator(_text),
    _shaped(_RSE_PATTERN, "a name of RSEs, in which * stands for any characters and ? for one, such as CNAF-*"),
]
# Kubernetes: names of most objects; keys and values of labels, which taints share (k8s.io/apimachinery validation).
ObjectName = Annotated[
    str,
    AfterValidator(_text),
    _shaped(_SUBDOMAIN, "a name in Kubernetes: lower-case letters, digits, '-' and '.', such as escape-registry"),
]
LabelKey = Annotated[
    str,
    AfterValidator(_text),
    _shaped(_LABEL_KEY, "the key of a label in Kubernetes, such as disktype or example.org/gpu"),
]
LabelValue = Annotated[
    str,
    AfterValidator(_text),
    _shaped(
        rf"({_LABEL})?",
        "the value of a label in Kubernetes: letters, digits, '-', '_' and '.', at most 63, "
        "beginning and ending with a letter or digit",
    ),
]
GrantedLabel = Annotated[str, _shaped(rf"{_LABEL_KEY}=(\*|({_LABEL})?)", "key=value, or key=* for every value")]
GrantedTaint = Annotated[str, _shaped(rf"{_LABEL_KEY}(=({_LABEL})?)?", "key=value, or key for every value")]
AbsolutePath = Annotated[str, Field(max_length=1024), AfterValidator(_text), AfterValidator(_absolute)]
PathBelow = Annotated[str, Field(max_length=1024), AfterValidator(_text), AfterValidator(_below)]
MountPath = Annotated[AbsolutePath, AfterValidator(_mount_path)]
Link = Annotated[str, Field(max_length=1024), AfterValidator(_text), AfterValidator(_link)]
ServerURL = Annotated[str, Field(max_length=1024), AfterValidator(_text), AfterValidator(_server_url)]
Introspection = Annotated[str, Field(max_length=1024), AfterValidator(_text), AfterValidator(_introspection)]
GroupName = Annotated[str, Field(max_length=255), AfterValidator(_text), AfterValidator(_group)]
ImageReference = Annotated[str, AfterValidator(_text), AfterValidator(_image)]
Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0, le=_MOST_BYTES),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}
    ),
]
Cores = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
