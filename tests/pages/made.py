"""Run folders as searches and trainings leave them, without any training."""

from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random

from nas.architecture import of_genotype
from nas.cells.genotype import Genotype, pruned
from nas.execution import Execution
from nas.reports.comparison import combine, summarise
from nas.run import names
from nas.run.folder import Run, create
from nas.run.log import Epoch, SearchEpoch
from nas.run.results import SearchResult, TrainResult
from nas.run.spec import Candidate, SearchSpec, Size, TrainSpec
from nas.settings import SearchSettings, TrainSettings
from nas.space import CellSpace, load

SPACE = "darts+sandglass"
SEARCH = SearchSettings(space=SPACE, data="digits", epochs=4)
TRAINING = TrainSettings(data="digits", epochs=3, validation=10)


def genotype_of(space: CellSpace, seed: int) -> Genotype:
    """A random cell of the space."""
    draw, usable = Random(seed), [name for name in space.ops if name != "none"]

    def cell() -> list[list[tuple[str, int]]]:
        return [
            [(draw.choice(usable), state) for state in draw.sample(range(node + 2), 2)] for node in range(space.nodes)
        ]

    cells = [pruned(cell(), range(2, space.nodes + 2)) for _ in space.kinds]
    used = {name for each in cells for pairs in each.nodes for name, _ in pairs}
    return Genotype(cells[0], cells[1], space.settings_of(sorted(used)), space.name)


def search(root: Path, settings: SearchSettings = SEARCH, *, epochs: int = 4, preset: str = "quick") -> Run:
    """A search after so many epochs, finished if these are all; each epoch has another cell but the last two."""
    spec = SearchSpec(settings=settings, execution=Execution("cpu", 1), preset=preset, final=Size(8, 3))
    run, space = create(root, "search-<b>-s0", spec), load(settings.space)
    run.write(names.SPACE, space.to_toml())
    draw = Random(0)
    for epoch in range(epochs):
        genotype = genotype_of(space, min(epoch, settings.epochs - 2))
        alphas = {kind: [[draw.gauss(0, 1) for _ in space.ops] for _ in range(space.edges)] for kind in space.kinds}
        run.append_log(
            SearchEpoch(
                epoch=epoch,
                seconds=2.0,
                train_loss=2.0 - epoch / 10,
                train_accuracy=epoch / 10,
                valid_loss=float("nan") if epoch == 1 else 2.1,
                valid_accuracy=epoch / 11,
                alphas=alphas,
                entropy=2.0 - epoch / 50,
                skip_share=0.125,
                genotype=genotype.document(),
            )
        )
    run.append_event({"event": "started", "step": 0, "epoch": 0, "time": 0.0})
    run.append_event({"event": "resumed", "step": 3, "epoch": 1, "time": 1.0})
    if epochs == settings.epochs:
        run.write(names.ARCHITECTURE, of_genotype(genotype, channels=8, cells=3).document())
        shared = {"space": settings.space, "seed": 0, "recipe": "x", "hardware": "none", "params": 1000, "madds": 10**6}
        run.write(
            names.RESULT,
            SearchResult(
                valid_accuracy=0.5, entropy=(2.0, 1.9), skip_share=0.125, search_params=1, seconds=8.0, **shared
            ),
        )
    return run


def training(run: Run, seed: int, accuracy: float) -> TrainResult:
    """Fills a training's folder."""
    for epoch in range(TRAINING.epochs):
        run.append_log(
            Epoch(epoch=epoch, seconds=1.5, train_loss=1.0, train_accuracy=0.5, valid_loss=1.0, valid_accuracy=0.4)
        )
    result = TrainResult(
        test_accuracy=accuracy,
        test_loss=1.0,
        valid_accuracy=0.4,
        params=1000,
        madds=10**6,
        seed=seed,
        recipe="x",
        seconds=4.5,
        hardware="none",
        test_openings=1,
    )
    run.write(names.RESULT, result)
    return result


def trainings(root: Path, accuracies: Mapping[int, float], settings: TrainSettings = TRAINING) -> Run:
    """A finished retraining of one network with these seeds."""
    spec = TrainSpec(settings=settings, execution=Execution("cpu", 1), preset="quick", seeds=tuple(accuracies))
    run = create(root, "retrain-digits", spec)
    run.write(names.ARCHITECTURE, of_genotype(genotype_of(load(SPACE), 0), channels=8, cells=3).document())
    results = []
    for seed, accuracy in accuracies.items():
        own = replace(spec, settings=replace(settings, seed=seed), seeds=None)
        results.append(training(run.child(f"s{seed}", own), seed, accuracy))
    run.write(names.RESULT, combine([summarise(Candidate("c1", "a cell"), results)]))
    return run


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.words[tag] = self.words.get(tag, "") + data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]
