"""The reduced task on which `fast` is chosen: recipes against `paper` at five times their epochs, several seeds.

    python benchmarks/recipes.py --channels 16 --cells 8 --limit 10000 --epochs 120 --seeds 0,1,2 --runs runs/recipes

Each recipe is one retraining of DARTS_V2 through the public API, judged on held-out training images;
called again with the same options it goes on where it was stopped. The table is printed as Markdown.
"""

import argparse
import statistics
import tomllib
from pathlib import Path
from typing import Any

from nas.architecture import of_genotype
from nas.cells.genotype import read
from nas.commands import retraining
from nas.commands.resume import resume
from nas.commands.workloads import DARTS_V2
from nas.errors import Interrupted, UsageError
from nas.files import read_json, write_json
from nas.presets import TRAIN_PRESETS, resolve
from nas.reports.comparison import Comparison
from nas.reports.statistics import compare, deviation, interval
from nas.run.folder import Run
from nas.run.results import TrainResult
from nas.settings import TrainSettings

FACTOR = 5


def main() -> None:
    """Trains every arm and prints the table."""
    options = parse()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print(
        f"| recipe | epochs | held-out accuracy, mean | deviation | 95 % interval | n | device-hours |\n|{'---|' * 7}"
    )
    found = {}
    for name, settings in arms(options).items():
        run = train(name, settings, seeds, options)
        results = [child.result(TrainResult) for child in children(run, seeds)]
        found[name] = [result.valid_accuracy for result in results if result.valid_accuracy is not None]
        print(row(name, settings, found[name], run.result(Comparison).device_hours), flush=True)
    control = found.pop("paper")
    for name, values in found.items():
        print(f"\n{name} − paper: {said(values, control)}")


def parse() -> argparse.Namespace:
    """The sizes; the defaults are the full reduced task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", default=[], help="preset, or preset:field=value,… (default: fast)")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--limit", type=int, default=10_000, help="training images, held-out ones included")
    parser.add_argument("--validation", type=int, default=2_000, help="held-out images")
    parser.add_argument("--epochs", type=int, default=120, help=f"of the recipes; paper has {FACTOR} times as many")
    parser.add_argument("--batch", type=int, help="of all recipes, for small tasks (default: each one's own)")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    return parser.parse_args()


def arms(options: argparse.Namespace) -> dict[str, TrainSettings]:
    """Each recipe at its epochs, and paper at five times as many."""
    shared = {"limit": options.limit, "validation": options.validation, "batch": options.batch}
    short, long = {**shared, "epochs": options.epochs}, {**shared, "epochs": FACTOR * options.epochs}
    found = {}
    for recipe in options.recipe or ["fast"]:
        preset, _, changes = recipe.partition(":")
        found[recipe] = resolve(TrainSettings, TRAIN_PRESETS, preset, changed(changes), short)
    return {**found, "paper": resolve(TrainSettings, TRAIN_PRESETS, "paper", long)}


def changed(changes: str) -> dict[str, Any]:
    """``lr=0.1,cutout=false,schedule=cosine`` as fields: numbers, true or false, else text."""
    words = dict(change.split("=") for change in changes.split(",") if change)
    return {name: value_of(text) for name, text in words.items()}


def value_of(text: str) -> Any:
    """What a TOML file would say, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def train(name: str, settings: TrainSettings, seeds: list[int], options: argparse.Namespace) -> Run:
    """The retraining of one arm: the one begun before with these settings, or a new one."""
    index = options.runs / "index.json"
    begun = read_json(index) if index.is_file() else {}
    key = f"{name} {options.channels}x{options.cells} {settings} {seeds}"
    if key in begun:
        run = Run(Path(begun[key]))
        resume(run)
        return run
    architecture = of_genotype(read(DARTS_V2), channels=options.channels, cells=options.cells)
    before = set(options.runs.glob("*"))
    try:
        return retraining.retrain(architecture, settings, source=f"DARTS_V2, {name}", seeds=seeds, runs=options.runs)
    finally:  # whether it ended or was interrupted
        for path in set(options.runs.glob("*-retrain-*")) - before:
            write_json(index, {**begun, key: str(path)})


def children(run: Run, seeds: list[int]) -> list[Run]:
    """The trainings of one arm."""
    return [Run(run.path / f"s{seed}") for seed in seeds]


def row(name: str, settings: TrainSettings, values: list[float], hours: float) -> str:
    """A line of the table."""
    spread, bounds = deviation(values), interval(values)
    cells = [name, str(settings.epochs), f"{statistics.fmean(values):.2%}"]
    cells.append("" if spread is None else f"{spread:.2%}")
    cells.append("" if bounds is None else f"{bounds[0]:.2%} to {bounds[1]:.2%}")
    return f"| {' | '.join([*cells, str(len(values)), f'{hours:.3f}'])} |"


def said(values: list[float], control: list[float]) -> str:
    """The difference to the control, its p and the seeds it would take."""
    found = compare(values, control)
    p = "no p (one seed, or no spread)" if found.p is None else f"p = {found.p:.2g}"
    called = "counts" if found.counts else f"does not count; seeds needed for 80 % power: {found.seeds_needed}"
    return f"{100 * found.value:+.2f} points, {p}, n = {found.n}: {called}"


if __name__ == "__main__":
    try:
        main()
    except (UsageError, Interrupted) as error:
        raise SystemExit(f"recipes: {error} (the same call goes on)") from None
