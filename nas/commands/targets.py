"""What a user may name: the architecture or the cell of a run or a file."""

from pathlib import Path

from nas.architecture import Architecture, of_genotype, read_architecture
from nas.cells.genotype import Genotype, from_document, read
from nas.cells.graph import FORMAT as GRAPH
from nas.cells.graph import read_graph
from nas.errors import UsageError
from nas.files import read_text
from nas.run import names
from nas.run.folder import Run, find, runs_root
from nas.run.log import SearchEpoch
from nas.settings import final_size


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
        genotype = _read_genotype(path)
        channels, cells = final_size(preset, genotype.skeleton)
        return of_genotype(genotype, channels=channels, cells=cells)
    run = find(target, runs_root(runs))
    if not (run.path / names.ARCHITECTURE).is_file():
        _refuse_several(run)
        raise UsageError(f"run {run.path} has no {names.ARCHITECTURE} yet: finish it with --resume {run.path}")
    return read_architecture(run.path / names.ARCHITECTURE)


def genotype_of(target: str, runs: Path | None = None) -> Genotype:
    """The cell a user names: a genotype file, or a run that has searched or retrained one.

    Raises:
        UsageError: none of these.
    """
    path = Path(target)
    if not path.is_file():
        run = find(target, runs_root(runs))
        log = run.log(SearchEpoch)
        if (run.path / names.GENOTYPE).is_file():
            path = run.path / names.GENOTYPE
        elif (run.path / names.ARCHITECTURE).is_file():
            path = run.path / names.ARCHITECTURE
        elif log:
            return from_document(log[-1].genotype, f"{run.path}/{names.LOG}")
        else:
            _refuse_several(run)
            raise UsageError(f"run {run.path} has found no cell yet")
    if '"nas/architecture/' in read_text(path):
        genotype = read_architecture(path).genotype
        if genotype is None:
            raise UsageError(f"{path} is a macro network: it has no cell to show")
        return genotype
    return _read_genotype(path)


def _refuse_several(run: Run) -> None:
    """Raises UsageError where the run has several cells: a derivation's selections, a study's searches."""
    if run.command == "study" and run.children:
        raise UsageError(f"run {run.path} is a study: name a run in it, such as {run.children[0].path}")
    if cells := sorted(run.path.glob("genotype-*.json")):
        raise UsageError(f"run {run.path} has {len(cells)} cells: name one, such as {cells[0]}")


def _read_genotype(path: Path) -> Genotype:
    """The genotype in a file: its document, its published text, or its graph as ``nas show`` writes it."""
    text = read_text(path)
    is_graph = text.lstrip().startswith("<") or f'"{GRAPH}"' in text
    return read_graph(text, str(path)) if is_graph else read(text, str(path))
