"""What a user may name: the architecture or the cell of a run or a file."""

from pathlib import Path

from nas.architecture import Architecture, of_genotype, read_architecture
from nas.cells.genotype import Genotype, from_document, read
from nas.errors import UsageError
from nas.files import read_text
from nas.run.folder import find, runs_root
from nas.settings import SIZES


def architecture_of(target: str, runs: Path | None = None, preset: str = "paper") -> Architecture:
    """The architecture a user names: a run, a genotype file or an architecture file.

    A bare genotype gets the size of the preset.

    Raises:
        UsageError: none of these.
    """
    path = Path(target)
    if path.is_file():
        if '"nas/architecture/' in read_text(path):
            return read_architecture(path)
        return of_genotype(
            read(read_text(path), target), channels=SIZES[preset]["channels"], cells=SIZES[preset]["cells"]
        )
    run = find(target, runs_root(runs))
    if not (run.path / "architecture.json").is_file():
        raise UsageError(f"run {run.path} has no architecture.json yet: finish it with --resume {run.path}")
    return read_architecture(run.path / "architecture.json")


def genotype_of(target: str, runs: Path | None = None) -> Genotype:
    """The cell a user names: a genotype file, or a run that has found or retrained one.

    Raises:
        UsageError: none of these.
    """
    path = Path(target)
    if not path.is_file():
        run = find(target, runs_root(runs))
        log = run.log()
        if (run.path / "genotype.json").is_file():
            path = run.path / "genotype.json"
        elif (run.path / "architecture.json").is_file():
            path = run.path / "architecture.json"
        elif log and "genotype" in log[-1]:
            return from_document(log[-1]["genotype"], f"{run.path}/log.jsonl")
        else:
            raise UsageError(f"run {run.path} has found no cell yet")
    text = read_text(path)
    if '"nas/architecture/' in text:
        genotype = read_architecture(path).genotype
        if genotype is None:
            raise UsageError(f"{path} is a macro network: it has no cell to show")
        return genotype
    return read(text, str(path))
