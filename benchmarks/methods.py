"""Every search method where methods differ: NAS-Bench-201's space, whose truth is tabulated, and RobustDARTS' S2, S4.

    python benchmarks/methods.py search nasbench201 OUT [--methods darts,drnas] [--seeds 0,1,2] [--jobs 2]
    python benchmarks/methods.py table nasbench201 OUT

``search`` runs one ``nas search`` a method and seed, one thread each, seed after seed, and goes on where it stopped;
``table`` prints what came out as Markdown, and needs ``pip install 'nas[lookup]'`` for NAS-Bench-201.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import numpy as np
import typer

from nas.commands.bench import measure
from nas.commands.found_cell import read_genotype
from nas.commands.workloads import Workload
from nas.files import read_json
from nas.methods import METHODS
from nas.reports.nasbench201 import key_of, read_table
from nas.reports.statistics import deviation, interval
from nas.run import names
from nas.run.folder import Run
from nas.run.log import SearchEpoch

SIZE = (
    "--preset quick --channels 4 --cells 3 --limit 5000 --epochs 25 --batch 128 --image-size 16 --threads 1 "
    "--alpha-lr 0.03 --alpha-weight-decay 0"
)
"""Small, and with alphas that have chosen by the end: DARTS' decay of 1e-3 outweighs their gradients at this size."""
CHANGES = {
    "fairdarts": ["--select", "strongest"],  # its threshold may leave nothing
    "drnas": ["--keep", "3", "--stage-partials", "2,1"],
    "p-darts": ["--keep", "4,3", "--deepen", "3"],
    "pc-darts": ["--partial", "2"],
    "em-darts": ["--mutation", "0.2"],  # its paper's on these spaces
}
"""What a method's own settings cannot be at this size."""
RANDOM = (1, 3, 10, 50)

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def search(
    space: str,
    out: Path,
    methods: str = ",".join(METHODS),
    seeds: str = "0,1,2",
    jobs: int = 2,
    extra: Annotated[str, typer.Option(help="More options of nas search.")] = "",
) -> None:
    """Runs what is not there yet."""
    tasks = [(method, seed) for seed in seeds.split(",") for method in methods.split(",")]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda task: run_one(space, out, task[0], task[1], extra.split()), tasks))


def run_one(space: str, out: Path, method: str, seed: str, extra: Sequence[str]) -> None:
    """One search, in a folder of its own under OUT/SPACE."""
    folder = out / space / f"{method}-s{seed}"
    begun = next(iter(sorted(folder.glob("*/settings.json"))), None)
    if begun and (begun.parent / names.RESULT).is_file():
        return
    command = [sys.executable, "-m", "nas", "search", "--runs", str(folder)]
    if begun:
        command += ["--resume", str(begun.parent)]
    else:
        command += [
            "--space",
            space,
            "--method",
            method,
            "--seed",
            seed,
            *SIZE.split(),
            *CHANGES.get(method, []),
            *extra,
        ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()[-1:]
    print(method, seed, "done" if done.returncode == 0 else said, flush=True)


@dataclass(frozen=True)
class Outcome:
    """What one search found."""

    method: str
    seed: int
    run: Run


def outcomes(space: str, out: Path) -> Iterator[Outcome]:
    """The finished searches, in the order of the methods."""
    for method in METHODS:
        for result in sorted((out / space).glob(f"{method}-s*/*/{names.RESULT}")):
            yield Outcome(method, int(result.parent.parent.name.rpartition("-s")[2]), Run(result.parent))


@app.command()
def table(space: str, out: Path) -> None:
    """Prints the table."""
    searches = list(outcomes(space, out))
    rows = {method: [each for each in searches if each.method == method] for method in METHODS}
    print_truth(rows) if space == "nasbench201" else print_shares(rows)


def print_truth(rows: dict[str, list[Outcome]]) -> None:
    """True accuracy and rank of what each method found, and of the controls."""
    accuracies = read_table()["fp32"]
    values = np.array(sorted(accuracies.values(), reverse=True))
    print("| method | n | true accuracy, % | 95 % interval | each seed (rank) | final entropy / ln 5 |")
    print("|---|---|---|---|---|---|")
    for method, searches in rows.items():
        if not searches:
            continue
        own = [accuracies[key_of(read_genotype(each.run))] for each in searches]
        ranks = [1 + int((values > value).sum()) for value in own]
        logs = [each.run.log(SearchEpoch) for each in searches]
        entropy = mean(log[-1].entropy for log in logs) / np.log(5)
        each_seed = ", ".join(f"{value:.2f} ({rank:,})" for value, rank in zip(own, ranks, strict=True))
        row = f"{mean(own):.2f} | {between(own)} | {each_seed} | {entropy:.2f}"
        print(f"| {method} | {len(own)} | {row} |")
    print_controls(accuracies)


def print_controls(accuracies: Mapping[tuple[int, ...], float]) -> None:
    """Random search's best of n by truth, and the cell with most parameters of n, over 10,000 draws."""
    cells = list(accuracies)
    truth = np.array([accuracies[cell] for cell in cells])
    weights = np.array([sum({2: 9, 3: 1}.get(code, 0) for code in cell) for cell in cells])
    draws = np.random.default_rng(0)
    print("\n| control | " + " | ".join(f"n = {n}" for n in RANDOM) + " |\n|---|" + "---|" * len(RANDOM))
    for title, score in (("best of n random cells, by truth", truth), ("most parameters of n random cells", weights)):
        shown = []
        for n in RANDOM:
            picked = draws.integers(len(cells), size=(10_000, n))
            best = truth[picked[np.arange(10_000), score[picked].argmax(1)]]
            shown.append(f"{best.mean():.2f} ± {best.std():.2f}")
        print(f"| {title} | " + " | ".join(shown) + " |")


def print_shares(rows: dict[str, list[Outcome]]) -> None:
    """Shares of skips and of noise among the chosen edges."""
    print(
        "| method | n | skips, normal + reduction | noise | parameters, M | final entropy |\n|---|---|---|---|---|---|"
    )
    for method, searches in rows.items():
        if not searches:
            continue
        genotypes = [read_genotype(each.run) for each in searches]
        chosen = [genotype.edge_operations for genotype in genotypes]
        skips, noise = ([each.count(name) / len(each) for each in chosen] for name in ("skip_connect", "noise"))
        params = mean(read_json(each.run.path / names.RESULT)["params"] for each in searches) / 1e6
        entropy = mean(each.run.log(SearchEpoch)[-1].entropy for each in searches)
        shares = f"{mean(skips):.0%} ({', '.join(f'{share:.0%}' for share in skips)}) | {mean(noise):.0%}"
        print(f"| {method} | {len(searches)} | {shares} | {params:.2f} | {entropy:.2f} |")


def between(values: Sequence[float]) -> str:
    """The interval of the mean, where there are several; else the lack of one."""
    bounds = interval(values)
    return f"{bounds[0]:.2f} to {bounds[1]:.2f} (sd {deviation(values):.2f})" if bounds else "–"


@app.command()
def cost(
    batch: int = 64, channels: int = 16, cells: int = 8, repeats: int = 3, threads: int = 2, space: str = "darts"
) -> None:
    """Prints time and memory of every method's step against plain DARTS', the ways taking turns."""
    load = Workload(space=space, batch=batch, channels=channels, cells=cells, threads=threads)
    ways = ["merged", *(method for method in METHODS if method not in ("darts", "darts-pt", "darts-pt-blank"))]
    turns = [{way: measure(load, way) for way in ways} for _ in range(repeats)]
    print("| method | time of a step, times plain | each | peak memory, times plain |\n|---|---|---|---|")
    for way in ways:
        ratios = [turn[way].seconds / turn["merged"].seconds for turn in turns]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {way} | {median(ratios):.2f} | {shown} | {turns[0][way].bytes / turns[0]['merged'].bytes:.2f} |")
    seconds, memory = median(turn["merged"].seconds for turn in turns), turns[0]["merged"].bytes / 2**30
    print(f"\n{load}, plain {seconds:.2f} s, {memory:.2f} GiB")


@app.command()
def figures(space: str, out: Path) -> None:
    """Prints every search as one JSON object a line."""
    for each in outcomes(space, out):
        log = each.run.log(SearchEpoch)
        genotype = read_genotype(each.run)
        cells = {kind: [list(map(list, pairs)) for pairs in cell.nodes] for kind, cell in genotype.cells.items()}
        line = {"method": each.method, "seed": each.seed, "entropy": log[-1].entropy, "cells": cells}
        print(json.dumps(line))


if __name__ == "__main__":
    app()
