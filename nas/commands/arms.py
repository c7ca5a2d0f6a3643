"""The runs inside of a study: an arm's searches, and the trainings of its cells, found or random; as rows too."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from nas.architecture import Architecture, read_architecture
from nas.bilevel.controls import Controls, Window
from nas.commands.begin import check_data
from nas.commands.children import make_child
from nas.commands.deriving import costs_of, space_of
from nas.commands.found_cell import network_of_cell
from nas.commands.retraining import fitted
from nas.execution import Execution
from nas.reports.studies import Role, StudyRow
from nas.rng import number
from nas.run import names
from nas.run.folder import Run
from nas.run.results import Figures, SearchResult
from nas.run.spec import Arm, SearchSpec, StudySpec, TrainSpec


@dataclass(frozen=True)
class StudyCell:
    """A cell of an arm: what a search has found, or a random one that costs as much.

    Args:
        name: in the folders' names.
        search: the folder of that search.
        seed: of that search.
        control: number of the random cell; None: it is the found one.
    """

    name: str
    search: str
    seed: int
    control: int | None = None

    @property
    def role(self) -> Role:
        """Of its trainings."""
        return "retrain" if self.control is None else "control"


def space_file(arm: Arm) -> str:
    """The file of an arm's space in the study's folder."""
    return f"space-{arm.name}.toml"


class ArmRuns:
    """The runs of one arm.

    Args:
        run: the study's.
        execution: where its data is.
    """

    def __init__(self, run: Run, spec: StudySpec, arm: Arm, execution: Execution) -> None:
        self.run, self.spec, self.arm = run, spec, arm
        self.search_cells = [StudyCell(f"{arm.name}-s{seed}", f"{arm.name}-s{seed}", seed) for seed in spec.seeds]
        self.random_cells = [
            replace(self.search_cells[each % len(self.search_cells)], name=f"{arm.name}-c{each}", control=each)
            for each in range(spec.controls)
        ]
        self.search_data, self.training_data = (check_data(each, execution) for each in (arm.search, spec.settings))

    def searches(self) -> list[Run]:
        """Its searches, made where they are not there."""
        return [self._search(cell) for cell in self.search_cells]

    def _search(self, cell: StudyCell) -> Run:
        spec = SearchSpec(
            settings=replace(self.arm.search, seed=cell.seed),
            execution=self.spec.execution,
            preset=self.spec.preset,
            ops=self.spec.ops,
            final=self.arm.final,
        )
        return make_child(self.run, cell.name, spec, names.SPACE, space_file(self.arm))

    def trainings(self) -> list[Run]:
        """Its trainings, made where they are not there; the searches are done."""
        cells = [*self.search_cells, *(cell for cell in self.random_cells if self.window(cell))]
        return [self._training(*each) for each in product(cells, self.spec.retrain_seeds)]

    def _training(self, cell: StudyCell, seed: int) -> Run:
        name = f"{cell.name}-r{seed}"
        spec = TrainSpec(
            settings=replace(self.spec.settings, seed=seed),
            execution=self.spec.execution,
            preset=self.spec.preset,
            ops=self.spec.ops,
            source=str(self.run.path / cell.search),
            title=name,
        )
        if (self.run.path / name / names.SETTINGS).is_file():
            return Run(self.run.path / name)
        return self.run.child(name, spec, {names.ARCHITECTURE: self._network(cell).document()})

    def _network(self, cell: StudyCell) -> Architecture:
        """What is trained of a cell, fitted to the trainings' images."""
        network = read_architecture(self.run.path / cell.search / names.ARCHITECTURE)
        if cell.control is not None and (window := self.window(cell)):
            genotype = self._controls.draw(window, number(cell.seed, "control", cell.control))
            network = network_of_cell(genotype, self.arm.final, self.search_data)
        return fitted(network, self.training_data.shape, len(self.training_data.classes), self.spec.settings)

    def window(self, cell: StudyCell) -> Window | None:
        """What a random cell may cost; None: there are too few such cells."""
        return self._controls.window(Run(self.run.path / cell.search).result(SearchResult).madds)

    @cached_property
    def _controls(self) -> Controls:
        space = space_of(self.run, self.arm.search, space_file(self.arm))
        return Controls(costs_of(space, self.arm.final, self.search_data))

    def rows(self) -> list[StudyRow]:
        """A row for each search and training, as far as it is."""
        searches = [self._row("search", cell, cell.seed, cell.name) for cell in self.search_cells]
        every = product([*self.search_cells, *self.random_cells], self.spec.retrain_seeds)
        return searches + [self._row(cell.role, cell, seed, f"{cell.name}-r{seed}") for cell, seed in every]

    def _row(self, role: Role, cell: StudyCell, seed: int, name: str) -> StudyRow:
        run, search = Run(self.run.path / name), Run(self.run.path / cell.search)
        window = self.window(cell) if role == "control" and search.finished else None
        left_out = role == "control" and search.finished and window is None
        figures = run.result(Figures) if run.finished else Figures()
        return StudyRow(
            run=name,
            role=role,
            space=self.arm.search.space,
            method=self.arm.search.method,
            seed=seed,
            cell=cell.name,
            status="finished" if run.finished else "left out" if left_out else "unfinished",
            matched=cell.search if role == "control" else None,
            tolerance=window.tolerance if window else None,
            genotype=_digest(run),
            params=figures.params,
            madds=figures.madds,
            accuracy=figures.test_accuracy,
            seconds=round(run.seconds, 1),
        )


def _digest(run: Run) -> str | None:
    """The digest of the cell that a run has found or trains, if there is one yet."""
    path = run.path / names.ARCHITECTURE
    genotype = read_architecture(path).genotype if path.is_file() else None
    return genotype.digest if genotype else None
