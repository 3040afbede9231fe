"""The images of the lake: built from the checkout, and loaded into the cluster where it does not have them yet.

Those that the project ships are built by `images/build`, the tests' own ones here with the same settings.
`DLAAS_CLUSTER_LOAD` is the command that loads an image archive (a docker-archive) into the cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cluster.kubectl import ClusterError, get, kubectl

ROOT = Path(__file__).resolve().parents[2]
TAG = "dev"
ANNOTATION = "dlaas.test/images"  # on the node: what is there does not go with the namespace
PACKAGE = ("jupyterhub_dlaas", "constraints.txt", "pyproject.toml")
SHIPPED: Mapping[str, Sequence[str]] = {  # what each is made from
    "agent": ("images/agent", "jupyterhub_dlaas/__init__.py", "jupyterhub_dlaas/agent"),
    "hub": ("images/hub", *PACKAGE),
    "singleuser": ("images/singleuser", *PACKAGE),
}
OURS: Mapping[str, Sequence[str]] = {
    "storage": ("tests/cluster/images/storage",),
    "lake": ("tests/cluster/images/lake", "jupyterhub_dlaas", "constraints.txt"),
}
Say = Callable[[str], None]


def name_of(image: str) -> str:
    """`hub` -> `localhost/dlaas-hub:dev`."""
    return f"localhost/dlaas-{'test-' if image in OURS else ''}{image}:{TAG}"


def provide(say: Say) -> dict[str, str]:
    """Gives the cluster every image as the checkout has it; image name -> what tells its versions apart."""
    wanted = {image: digest(sources) for image, sources in {**SHIPPED, **OURS}.items()}
    node = get("nodes", namespace=None)[0]["metadata"]
    there = json.loads(node.get("annotations", {}).get(ANNOTATION, "{}"))
    stale = [image for image in wanted if there.get(image) != wanted[image]]
    if not stale:
        say("The cluster has all images already")
    for image in stale:
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="dlaas-images-") as folder:
            archive = _build(image, Path(folder), say)
            _load(archive, say)
        there[image] = wanted[image]
        kubectl("annotate", "node", node["name"], "--overwrite", f"{ANNOTATION}={json.dumps(there)}", namespace=None)
    return {name_of(image): value for image, value in wanted.items()}


def digest(sources: Iterable[str]) -> str:
    """Of the files that an image is made from, and of the settings of its build."""
    total = hashlib.sha256(os.environ.get("BASE_IMAGE", "").encode())
    for source in sources:
        place = ROOT / source
        files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def _build(image: str, folder: Path, say: Say) -> Path:
    if image in SHIPPED:
        settings = {"IMAGES": image, "IMAGE_TAG": TAG, "IMAGE_PREFIX": "localhost/dlaas", "IMAGES_OUT": str(folder)}
        settings["IMAGES_COMPRESSED"] = "no"
        run(f"Building {name_of(image)}", [str(ROOT / "images" / "build")], say, environment=settings)
        return folder / f"{image}.tar"
    builder = builder_command()
    folder_of_image = f"tests/cluster/images/{image}"
    options = ["--tag", name_of(image), "--file", f"{folder_of_image}/Dockerfile"]
    base, certificates = _base_image(builder, say), os.environ.get("PIP_CERT")
    if base:
        options += ["--build-arg", f"BASE_IMAGE={base}"]
    if Path(builder[0]).name != "docker":
        options += ["--layers", "--ignorefile", "tests/cluster/images/dockerignore"]
        if certificates:
            options += ["--volume", f"{certificates}:/etc/ssl/certs/host-ca.crt:ro"]
            options += ["--build-arg", "PIP_CERT=/etc/ssl/certs/host-ca.crt"]
    options += shlex.split(os.environ.get("DLAAS_BUILD_ARGS", ""))
    run(f"Building {name_of(image)}", [*builder, "build", *options, "."], say)
    archive = folder / f"{image}.tar"
    save = ["push", name_of(image), f"docker-archive:{archive}:{name_of(image)}"]
    if Path(builder[0]).name != "buildah":
        save = ["save", "--output", str(archive), name_of(image)]
    run(f"Saving {name_of(image)}", [*builder, *save], say)
    return archive


def builder_command() -> list[str]:
    """buildah, docker or podman, as `images/build` finds it."""
    named = os.environ.get("DLAAS_BUILDER")
    found = named or next((name for name in ("buildah", "docker", "podman") if shutil.which(name)), None)
    if found is None:
        raise ClusterError("Building images needs buildah, podman or docker; DLAAS_BUILDER names one.")
    return [found, *shlex.split(os.environ.get("DLAAS_BUILDER_ARGS", ""))]


def _base_image(builder: list[str], say: Say) -> str:
    archive = os.environ.get("DLAAS_BASE_ARCHIVE")
    if not archive:
        return os.environ.get("BASE_IMAGE", "")
    load = ["pull", f"docker-archive:{archive}"] if Path(builder[0]).name == "buildah" else ["load", "-i", archive]
    run("Taking up the base image", [*builder, *load], say)
    listing = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, text=True, check=True)
    return str(json.loads(listing.stdout)[0]["RepoTags"][0])


def _load(archive: Path, say: Say) -> None:
    command = os.environ.get("DLAAS_CLUSTER_LOAD")
    if not command:
        raise ClusterError(
            "The cluster lacks images of this checkout, and DLAAS_CLUSTER_LOAD is not set: the command that "
            "loads an image archive into it, for example `kind load image-archive`."
        )
    run(f"Loading {archive.name} into the cluster", [*shlex.split(command), str(archive)], say)


def run(what: str, command: list[str], say: Say, *, environment: Mapping[str, str] | None = None) -> None:
    """Runs something that takes a while, with a line every 8 s. ClusterError with the end of what it said."""
    say(what)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
        began = said = time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - said >= 8:
                said = time.monotonic()
                say(f"  {what}: {said - began:.0f} s")
        if process.returncode:
            log.seek(0)
            raise ClusterError(f"{what} failed:\n{log.read()[-3000:]}")
