"""What a user may name: the architecture or the cell of a run or a file."""

from dataclasses import replace
from pathlib import Path

from nas import plugins
from nas.architecture import Architecture, of_genotype, read_architecture
from nas.cells.genotype import Genotype, from_document, read
from nas.cells.graph import FORMAT as GRAPH
from nas.cells.graph import read_graph
from nas.errors import UsageError
from nas.files import read_text
from nas.presets import final_size
from nas.run import names
from nas.run.folder import Run, around, find, runs_root
from nas.run.hints import resumption
from nas.run.log import SearchEpoch
from nas.run.spec import DeriveSpec, OpsFile, SearchSpec, Spec, TrainSpec
from nas.tuning.spec import TuneSpec

SPECS: dict[str, type[Spec]] = {
    "search": SearchSpec,
    "derive": DeriveSpec,
    "tune": TuneSpec,
    **dict.fromkeys(("retrain", "rank", "trial"), TrainSpec),
}
"""What runs were to do that networks come of."""


def file_of(target: str, runs: Path | None = None) -> Path:
    """The genotype or architecture file that a user names, or that of a run.

    Raises:
        UsageError: no such run, or it has none, or several.
    """
    if Path(target).is_file():
        return Path(target)
    run = find(target, runs_root(runs))
    if not (run.path / names.ARCHITECTURE).is_file():
        _refuse_several(run)
        raise UsageError(f"run {run.path} has no network{'' if run.finished else f' yet: {resumption(run)}'}")
    return run.path / names.ARCHITECTURE


def spec_around(path: Path) -> Spec | None:
    """What the run was to do that a path is, or lies in; None: it lies in none that networks come of."""
    run = next(iter(around(path.resolve())), None)
    return run.spec(SPECS[run.command]) if run and run.command in SPECS else None


def allow_ops(path: Path, ops: Path | None) -> OpsFile | None:
    """Registers a user's own operations for what lies at a path, see :func:`nas.plugins.allow`."""
    spec = spec_around(path)
    return plugins.allow(spec.ops if spec else None, ops)


def architecture_of(
    target: str, runs: Path | None = None, preset: str | None = None, ops: Path | None = None
) -> Architecture:
    """The architecture a user names, with its origin: a run, a genotype file or an architecture file.

    A genotype gets the size of the preset, else that which its run meant it for, else the paper's.

    Raises:
        UsageError: none of these; operations whose file is neither named nor trusted.
    """
    path = file_of(target, runs)
    allow_ops(path, ops)
    spec = spec_around(path)
    origin = spec.origin if spec else None
    if _is_architecture(path):
        architecture = read_architecture(path)
        return replace(architecture, origin=architecture.origin or origin)
    genotype = _read_genotype(path)
    channels, cells = final_size(preset or "paper", genotype.skeleton)
    if origin and origin.final and not preset:
        channels, cells = origin.final.channels, origin.final.cells
    return replace(of_genotype(genotype, channels=channels, cells=cells), origin=origin)


def genotype_of(target: str, runs: Path | None = None, ops: Path | None = None) -> Genotype:
    """The cell a user names: a genotype file, or a run that has searched or retrained one.

    Args:
        ops: a file of the user's own operations; a cell is read without them too.

    Raises:
        UsageError: none of these.
    """
    if ops:
        plugins.register(ops)
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
    if _is_architecture(path):
        genotype = read_architecture(path, known=False).genotype
        if genotype is None:
            raise UsageError(f"{path} is a macro network: it has no cell to show")
        return genotype
    return _read_genotype(path)


def _is_architecture(path: Path) -> bool:
    return path.name == names.ARCHITECTURE or '"nas/architecture/' in read_text(path)


def _refuse_several(run: Run) -> None:
    """Raises UsageError where the run has several cells: a derivation's selections, a study's searches."""
    if run.command == "study" and run.children:
        raise UsageError(f"run {run.path} is a study: name a run in it, such as {run.children[0].path}")
    if cells := sorted(run.path.glob("genotype-*.json")):
        raise UsageError(f"run {run.path} has {len(cells)} cells: name one, such as {cells[0]}")
    if networks := sorted([*run.path.glob("winners/*/architecture.json"), *run.path.glob("architecture-*.json")]):
        raise UsageError(f"run {run.path} has {len(networks)} networks: name one, such as {networks[0]}")


def _read_genotype(path: Path) -> Genotype:
    """The genotype in a file: its document, its published text, or its graph as ``nas show`` writes it."""
    text = read_text(path)
    is_graph = text.lstrip().startswith("<") or f'"{GRAPH}"' in text
    return read_graph(text, str(path)) if is_graph else read(text, str(path))
