"""nas bench"""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli import common

if TYPE_CHECKING:
    from nas.commands.bench import Measurement


def bench(
    what: Annotated[Literal["search", "retrain"], typer.Argument(help="The step to measure: search or retrain.")],
    engine: Annotated[str, typer.Option(help="What is measured (retrain: ours).")] = "",
    against: Annotated[str, typer.Option(help="What it is compared with (retrain: plain).")] = "",
    space: Annotated[str, typer.Option(help="Search space.")] = "darts",
    batch: Annotated[int | None, typer.Option(min=2, help="Images a step (search: 64, retrain: 96).")] = None,
    channels: Annotated[int | None, typer.Option(min=2, help="Channels C (search: 16, retrain: 36).")] = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Cells L (search: 8, retrain: 20).")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed steps of each, after one that warms up.")] = 3,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
) -> None:
    """Measure a step against the textbook's way: time, memory, conditions, in one run."""
    from dataclasses import asdict

    from nas.commands.bench import Workload, check, compare

    usual = {"search": ("merged", "reference", 64, 16, 8), "retrain": ("ours", "plain", 96, 36, 20)}[what]
    execution = common.execution(device, threads, None)
    workload = Workload(
        what,
        space,
        batch or usual[2],
        channels or usual[3],
        cells or usual[4],
        device=execution.start(),
        threads=threads,
    )
    engine, against = engine or usual[0], against or usual[1]
    check(workload, engine, against)
    common.say(f"{what}: memory, then time; each way takes turns, {repeats} timed steps each")
    result = compare(workload, engine, against, repeats)
    common.print_json(asdict(result)) if json else print_measurement(result)


def print_measurement(result: "Measurement") -> None:
    """Prints the result for people."""
    from nas.commands.bench import RETRAIN_WAYS, SEARCH_WAYS

    for way, seconds in result.seconds.items():
        memory, images = result.peak_bytes[way] / 2**30, result.images_per_second[way]
        about = {**SEARCH_WAYS, **RETRAIN_WAYS}[way]
        print(f"{way:15} {seconds:8.3f} s  {images:8.1f} images/s  {memory:6.2f} GiB  {about}")
    print(f"{result.engine} is {result.speedup:.2f} times as fast as {result.against}", end="")
    print(f" and takes {result.memory_ratio:.2f} of its memory")
    if result.speedup_lean and result.memory_ratio_lean:
        lean, memory = result.speedup_lean, result.memory_ratio_lean
        print(f"{lean:.2f} times as fast as reference-lean, with {memory:.2f} of its memory")
    load, conditions = result.workload, result.environment
    size = f"C={load.channels}, {load.cells} cells, batch {load.batch}, {load.size} px"
    what = f"{load.what} {load.space}" if load.what == "search" else "DARTS_V2"
    print(f"{what}, {size}; medians of {result.repeats} steps")
    versions = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    print(f"{conditions['hardware']}, {conditions['threads']} threads; {versions}; {conditions['time']}")
