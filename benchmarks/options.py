"""The Server Options page and the gate of a start, beside KubeSpawner's `profile_list` with as many profiles.

Both are what the hub's one thread does for a user who may start every environment: the form's HTML, and posted options
to what a server is started with. Ours checks what the VO was granted again.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import kubespawner.spawner
from traitlets.config import Config

from benchmarks.rows import Row
from jupyterhub_dlaas.catalogue.folder import Catalogues
from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.offer import choose, offered
from jupyterhub_dlaas.hub.options import from_form, render_form

VO = """\
vo: {vo}
display_name: VO {vo}
rucio_instances:
  lake: {{rucio_host: 'https://rucio.example.org', audience: rucio, destination_rse: LAKE, storage: lake}}
storages:
  lake: {{type: eos, host_path: /var/eos, mount_path: /eos, audience: eos, introspection: iam.example.org/userinfo}}
  scratch: {{type: scratch, host_path: /var/scratch, mount_path: /scratch}}
environments:
"""
ENVIRONMENT = """\
- name: e{number}
  display_name: Environment {number}
  description: {description}
  image: registry.example.org/{vo}/e{number}:2026.1
  rucio: [lake]
  storages: [lake, scratch]
  auth_types: [oidc, x509_proxy]
  resources: {{small: {{cpu: 1, memory: 2G}}, large: {{cpu: 4, memory: 16G}}}}
"""
DESCRIPTION = "Python with Astropy, NumPy and the Rucio tools. A good place to begin."


def rows(vos: int = 50, each: int = 10, rounds: int = 21) -> list[Row]:
    """Form and gate, rounds taking turns, each the median."""
    with tempfile.TemporaryDirectory(prefix="dlaas-bench-") as folder, asyncio.Runner() as runner:
        ours = _Ours(Path(folder), vos, each)
        stock = _Stock(runner, vos, each)
        form = _medians(rounds, stock.form, ours.form)
        gate = _medians(rounds, stock.gate, ours.gate)
    return [
        _row(f"Options form, {vos * each} environments in {vos} VOs", *form, 100),
        _row("the same, gate of a start", *gate, 5),
    ]


class _Ours:
    def __init__(self, folder: Path, vos: int, each: int) -> None:
        for name in _names(vos):
            environments = [ENVIRONMENT.format(vo=name, number=n, description=DESCRIPTION) for n in range(each)]
            (folder / f"{name}.yaml").write_text(VO.format(vo=name) + "".join(environments))
        grant = {
            "audiences": ("rucio", "eos"),
            "hosts": ("rucio.example.org",),
            "host_paths": ("/var/eos", "/var/scratch"),
            "max_resources": {"cpu": 4, "memory": "16G"},
        }
        grants = {
            name: Grant(groups={name}, images=(f"registry.example.org/{name}/*",), **grant) for name in _names(vos)
        }
        self.catalogues = Catalogues(str(folder), grants, ("rucio", "eos"))
        self.groups = frozenset(_names(vos))
        last = f"{_names(vos)[-1]}/e{each - 1}"
        self.posted = {
            "_xsrf": ["x"],
            "environment": [last],
            f"resources:{last}": ["large"],
            f"auth_type:{last}": ["x509_proxy"],
        }
        assert self.form().count("dlaas-card") >= vos * each
        assert self.gate().offer.id == last

    def form(self) -> str:
        return render_form(offered(self.catalogues, self.groups))

    def gate(self) -> Any:
        return choose(offered(self.catalogues, self.groups), from_form(self.posted))


class _Stock:
    def __init__(self, runner: asyncio.Runner, vos: int, each: int) -> None:
        self.runner = runner
        sizes = {"small": (1, "2G"), "large": (4, "16G")}
        profiles = [
            {
                "slug": f"{name}-e{number}",
                "display_name": f"VO {name}: Environment {number}",
                "description": DESCRIPTION,
                "kubespawner_override": {"image": f"registry.example.org/{name}/e{number}:2026.1"},
                "profile_options": {
                    "resources": {
                        "display_name": "Size",
                        "choices": {
                            size: {
                                "display_name": f"{size} ({cpu} cores, {memory})",
                                "kubespawner_override": {"cpu_limit": cpu, "mem_limit": memory},
                            }
                            for size, (cpu, memory) in sizes.items()
                        },
                    },
                    "auth_type": {
                        "display_name": "Sign in to Rucio with",
                        "choices": {
                            kind: {"display_name": kind, "kubespawner_override": {"environment": {"AUTH_TYPE": kind}}}
                            for kind in ("oidc", "x509_proxy")
                        },
                    },
                },
            }
            for name in _names(vos)
            for number in range(each)
        ]
        # A function, because what is offered depends on the user.
        config = Config({"KubeSpawner": {"profile_list": lambda _: profiles}})
        self.spawner: Any = runner.run(_without_cluster(config))
        last = profiles[-1]["slug"]
        self.posted = {
            "profile": [last],
            f"profile-option-{last}--resources": ["large"],
            f"profile-option-{last}--auth_type": ["x509_proxy"],
        }
        assert self.form().count("js-profile-label") >= vos * each
        self.gate()
        assert (self.spawner.image, self.spawner.cpu_limit) == (profiles[-1]["kubespawner_override"]["image"], 4)

    def form(self) -> str:
        self.spawner.user_options = {}
        return str(self.runner.run(self.spawner.get_options_form()))

    def gate(self) -> None:
        self.spawner.user_options = self.spawner.options_from_form(self.posted)
        self.runner.run(self.spawner.load_user_options())


async def _without_cluster(config: Config) -> Any:
    """A KubeSpawner for what needs no cluster; it wants an event loop all the same."""
    with mock.patch.object(kubespawner.spawner, "load_config"):
        return kubespawner.KubeSpawner(config=config, _mock=True)


def _names(vos: int) -> list[str]:
    return [f"vo{number:02}" for number in range(vos)]


def _medians(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Milliseconds of each, in turns."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, taken, strict=True):
            started = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - started))
    return [statistics.median(times) for times in taken]


def _row(what: str, stock: float, ours: float, most: float) -> Row:
    met = ours <= most
    return Row(what, f"{stock:.1f} ms (profile_list)", f"{ours:.1f} ms", f"{ours / stock:.2f}", f"<= {most:g} ms", met)
