"""What docs/pages/how-to/other-languages.md shows works, in the kernel of each language."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.lake_user import LakeUser

from jupyterhub_dlaas.datalake.dids import DID

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "how-to" / "other-languages.md"
KERNELS = {
    "python": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "bash": [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"],
    "r": ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"],
}
RUN = """
import json, sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name=sys.argv[1])
def show(message):
    content = message["content"]
    print(content.get("text") or content.get("data", {}).get("text/plain") or "\\n".join(content.get("traceback", [])))
try:
    for cell in json.loads(sys.argv[2]):
        client.execute_interactive(cell, output_hook=show, timeout=60)
finally:
    manager.shutdown_kernel(now=True)
"""


def kernel(alice: LakeUser, language: str, *cells: str) -> str:
    """What the cells print in a kernel of the user's server."""
    place = alice.folder / "jupyter" / "kernels" / language
    place.mkdir(parents=True, exist_ok=True)
    spec = {"argv": KERNELS[language], "display_name": language, "language": language}
    (place / "kernel.json").write_text(json.dumps(spec))
    environ = {**alice.environ, "JUPYTER_PATH": str(place.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", RUN, language, json.dumps(cells)]
    done = subprocess.run(command, env=environ, cwd=alice.workplace(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(language: str, did: DID) -> str:
    """The page's first example in this language, with another dataset in it."""
    (code, *_) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "cta:gps-crab" in code
    return str(code).replace("cta:gps-crab", str(did))


@pytest.fixture
def here(alice: LakeUser) -> DID:
    """Three files of 1,000 bytes on the mounted storage."""
    return alice.make_dataset(3, 1000, alice.lake.mounted)  # type: ignore[attr-defined]


def test_python_gets_paths_as_texts(alice: LakeUser, here: DID) -> None:
    assert kernel(alice, "python", example("ipython", here)).split() == ["3", "3000"]


def test_bash_gets_paths(alice: LakeUser, here: DID) -> None:
    pytest.importorskip("bash_kernel")
    assert kernel(alice, "bash", example("bash", here)).split() == ["3000"]


def test_r_gets_paths(alice: LakeUser, here: DID) -> None:
    if shutil.which("R") is None:
        pytest.skip("R is not installed (r-base-core and r-cran-irkernel of Debian)")
    assert re.findall(r"[0-9]+$", kernel(alice, "r", example("r", here)), re.MULTILINE)[-1] == "3000"


def test_a_program_in_cpp_gets_paths(alice: LakeUser, here: DID) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    place = alice.workplace()
    (place / "main.cpp").write_text(example("cpp", here))
    subprocess.run(["g++", "-o", "main", "main.cpp"], cwd=place, check=True)
    done = subprocess.run(["./main"], env=alice.environ, cwd=place, capture_output=True, text=True, check=True)
    assert [Path(path).stat().st_size for path in done.stdout.split()] == [1000, 1000, 1000], done.stderr


def test_python_is_told_what_to_do_when_it_is_not_here(alice: LakeUser) -> None:
    said = kernel(alice, "python", f"paths = %datalake path {alice.make_dataset(2)}", "print('paths' in globals())")
    assert "files are not here" in said
    assert "datalake path --wait" in said
    assert "Traceback" not in said
    assert said.split()[-1] == "False"


def test_python_waits_until_it_is_here(alice: LakeUser) -> None:
    did = alice.make_dataset(2)
    said = kernel(alice, "python", f"did = '{did}'", "paths = %datalake path {did} --wait", "print(len(paths))")
    assert said.split()[-1] == "2", said


def test_other_commands_show_themselves_in_the_notebook(alice: LakeUser, here: DID) -> None:
    assert here.name in kernel(alice, "python", f"%datalake ls {here.scope}:{here.name}")
