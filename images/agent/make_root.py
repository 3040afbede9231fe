"""Builds the root file system of the agent's image: an interpreter, what the agent imports, and nothing else.

    python3 make_root.py PACKAGE ROOT

PACKAGE is the folder jupyterhub_dlaas of the checkout. It runs in the image's first stage, with the interpreter that it
copies. Modules are found by following imports (those inside functions, too) and kept as byte code without docstrings,
which also saves memory in every pod; shared libraries are found with ldd.
"""

from __future__ import annotations

import modulefinder
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

STDLIB = Path(sysconfig.get_path("stdlib"))
# Where an interpreter in /usr/bin looks for its library, wherever it came from.
LIBRARY = f"usr/lib/python{sysconfig.get_python_version()}"
# Without `site` and `-m`: they take longer than what `ready` itself does.
PROGRAM = """\
#!/usr/bin/python3 -IS
import sys

from jupyterhub_dlaas.agent.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# Imported by name while the interpreter starts or a host name is looked up.
BY_NAME = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8")
# Followed from imports that the agent never gets to: tests, terminals, other systems, other protocols.
UNUSED = (
    *("asyncio", "bz2", "cmd", "code", "concurrent", "curses", "doctest", "ftplib", "lzma", "multiprocessing", "pdb"),
    *("pickle", "pydoc", "sqlite3", "subprocess", "tkinter", "unittest", "webbrowser", "xml", "xmlrpc", "zipfile"),
    *("csv", "decimal", "difflib", "dis", "fractions", "inspect", "logging", "readline", "rlcompleter", "statistics"),
    *("_pydecimal", "_pyio", "importlib.metadata", "importlib.resources", "sitecustomize", "tarfile", "threading"),
    *("apport_python_hook", "urllib.request"),
)


def main(package: Path, root: Path) -> None:
    """Fills `root`, which must not exist."""
    extensions = write_modules(package, root)
    interpreter = root / "usr/bin/python3"
    interpreter.parent.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), interpreter)
    program = root / "usr/bin/dlaas-agent"
    program.write_text(PROGRAM)
    program.chmod(0o555)
    for library in libraries([interpreter, *extensions]):
        # The loader is named in the binaries; it finds libraries in /usr/lib whatever the base's layout.
        copy(
            library, root / (library.relative_to("/") if library.name.startswith("ld-") else f"usr/lib/{library.name}")
        )
    copy(Path("/") / CERTIFICATES, root / CERTIFICATES)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    print(f"{len(list(root.rglob('*.pyc')))} modules, {len(extensions)} extensions, {size / 1e6:.1f} MB")


def write_modules(package: Path, root: Path) -> list[Path]:
    """The agent and the modules of the standard library that it needs; returns the extension modules written."""
    finder = modulefinder.ModuleFinder([str(package.parent), *sys.path[1:]], excludes=list(UNUSED))
    agent = [package / "__init__.py", *sorted((package / "agent").glob("*.py"))]
    for path in agent[1:]:
        finder.import_hook(f"{package.name}.agent" + ("" if path.stem == "__init__" else f".{path.stem}"))
    for name in BY_NAME:
        finder.import_hook(name)
    extensions = []
    for name, module in sorted(finder.modules.items()):
        if not module.__file__ or name.partition(".")[0] == package.name:
            continue
        source = Path(module.__file__)
        if source.suffix == ".py":
            compile_module(source, root / LIBRARY / source.relative_to(STDLIB))
        else:
            extensions.append(root / LIBRARY / "lib-dynload" / source.name)
            copy(source, extensions[-1])
    (root / LIBRARY / "lib-dynload").mkdir(exist_ok=True)
    for path in agent:
        compile_module(path, root / LIBRARY / path.relative_to(package.parent))
    return extensions


def compile_module(source: Path, target: Path) -> None:
    """Writes `target`, named .py, as .pyc in its place; the same source gives the same bytes."""
    py_compile.compile(
        str(source),
        str(target.with_suffix(".pyc")),
        dfile=str(Path("/") / LIBRARY / target.name),
        doraise=True,
        optimize=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def libraries(binaries: list[Path]) -> set[Path]:
    """The shared libraries and the loader of `binaries`, as absolute paths."""
    found = set()
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            if "not found" in line:
                raise SystemExit(f"{binary}: {line.strip()}")
            found.update(Path(word) for word in line.split() if word.startswith("/"))
    return found


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(source.stat().st_mode & 0o555)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
