"""What is to become of the files, decided before anything is done: their names, datasets and physical file names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.names import NAME_PATTERN, did_name, problem_of_name, problem_of_path
from jupyterhub_dlaas.datalake.scan import Found

Place = Callable[[str, DID], tuple[str, str]]
_TOLD = 10  # problems that a message lists


@dataclass(frozen=True)
class Aim:
    """Where the files are to go in Rucio.

    With a `container` every folder becomes a dataset in it, else all files go into `dataset`. `template` makes names
    (`names.did_name`). `destination`: an RSE expression for `copies` more copies, "" for none.
    """

    scope: str
    dataset: str
    container: str = ""
    template: str = "{path}"
    safe_names: bool = False
    destination: str = ""
    copies: int = 1
    lifetime: int | None = None  # seconds, of the destination's rule
    pattern: str = NAME_PATTERN

    def dataset_of(self, found: Found) -> DID:
        """The dataset that the file belongs to."""
        if not self.container:
            return DID(self.scope, self.dataset)
        name = "/".join(part for part in (self.container, found.folder) if part)
        if name == self.container:
            name += "/files"  # files that were named themselves are in no folder
        return DID(self.scope, did_name(name, "{path}", "", safe=self.safe_names))

    def name_of(self, found: Found, dataset: DID) -> str:
        """The file's name; a ValueError for a template with an unknown field."""
        return did_name(found.relative, self.template, dataset.name, safe=self.safe_names)


@dataclass(frozen=True, slots=True)
class Planned:
    """A file and what it is to be: its name in the dataset's scope, and its PFN, "" where the storage decides."""

    found: Found
    name: str
    dataset: DID
    pfn: str


@dataclass
class Survey:
    """The sums of a plan. `problems`: the first files that cannot be registered, with the reason; `bad`: how many."""

    files: int = 0
    bytes: int = 0
    datasets: int = 0
    bad: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def refuse(self, path: str, why: str) -> None:
        self.bad += 1
        if len(self.problems) < _TOLD:
            self.problems.append((path, why))

    def check(self) -> None:
        """A Failure (USAGE) that lists what cannot be registered; nothing has been done then."""
        if not self.bad:
            return
        lines = [f"{ascii_path(path)}: {why}" for path, why in self.problems]
        more = [f"and {self.bad - len(self.problems)} more"] if self.bad > len(self.problems) else []
        raise Failure(
            f"{self.bad} of {self.files + self.bad} files cannot be registered; nothing was done.\n"
            + "\n".join(f"  {line}" for line in lines + more),
            "Rename them; or give other names to Rucio, with --safe-names or --name TEMPLATE.",
            Code.USAGE,
        )


def plan(files: Iterable[Found], aim: Aim, place: Place, refuse: Callable[[str, str], None]) -> Iterator[Planned]:
    """The files as they are to be registered, in their order; `refuse` gets a path and why it cannot be.

    `place` gives a file's physical name, "" where the storage has its own, and why it cannot be registered there.
    """
    try:
        did_name("file", aim.template, aim.dataset)
    except ValueError as error:
        raise Failure(f"{error}.", "Write for instance --name '{folder}/{stem}_v2{suffix}'.", Code.USAGE) from error
    for found in files:
        dataset = aim.dataset_of(found)
        name = aim.name_of(found, dataset)
        physical, elsewhere = place(found.path, DID(dataset.scope, name))
        why = problem_of_name(name, aim.pattern) or problem_of_name(dataset.name, aim.pattern)
        why = why or (problem_of_path(found.path) if physical else "")
        if not why and name == dataset.name:
            why = f"its name in Rucio would be the dataset's, {dataset}"
        why = why or elsewhere
        if why:
            refuse(found.path, why)
        else:
            yield Planned(found, name, dataset, physical)


def survey(files: Iterable[Found], aim: Aim, place: Place, show: Callable[[Planned], None] | None = None) -> Survey:
    """Counts what a plan would do, and finds two files that would get the same name. Half a million take 40 MB."""
    result = Survey()
    names: set[int] = set()
    last: DID | None = None
    seen: set[DID] = set()
    for planned in plan(files, aim, place, result.refuse):
        mark = hash(planned.name)
        if mark in names:
            result.refuse(planned.found.path, f"another file would have its name in Rucio, {planned.name}, too")
            continue
        names.add(mark)
        if planned.dataset != last:
            last = planned.dataset
            seen.add(last)
        result.files += 1
        result.bytes += planned.found.size
        if show:
            show(planned)
    result.datasets = len(seen)
    return result


def ascii_path(path: str) -> str:
    """A path on one line, in characters that any terminal shows."""
    return path if path.isprintable() else ascii(path).strip("'\"")
