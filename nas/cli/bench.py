"""nas bench"""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli import common

if TYPE_CHECKING:
    from nas.commands.bench import Measurement


def bench(
    what: Annotated[
        Literal["search", "retrain", "macro"],
        typer.Argument(help="The step to measure: of a search, of a retraining, of a mobile network's training."),
    ],
    engine: Annotated[str | None, typer.Option(help="What is measured (search: merged, else compiled).")] = None,
    against: Annotated[str | None, typer.Option(help="What it is held against (reference, plain).")] = None,
    space: Annotated[str | None, typer.Option(help="Space (search: darts, macro: mobilenet_v2).")] = None,
    order: Annotated[int | None, typer.Option(min=1, max=2, help="Of a search's alpha gradients (1).")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images a step (search: 64, else 96).")] = None,
    channels: Annotated[int | None, typer.Option(min=2, help="Channels C (search: 16, retrain: 36).")] = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Cells L (search: 8, retrain: 20).")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Processes of each, which take turns.")] = 3,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
) -> None:
    """Measure a step against the textbook's way: time, memory, shares of the machine's limits, in one run."""
    from dataclasses import asdict

    from nas.commands.bench import compare
    from nas.commands.workloads import WAYS, Workload, check

    where = common.execution(device, threads, None).start()
    sizes = {"space": space, "order": order, "batch": batch, "channels": channels, "cells": cells}
    workload = Workload.of(what, {**sizes, "device": where, "threads": threads})
    usual = list(WAYS[what])
    engine, against = engine or usual[0], against or usual[1]
    check(workload, engine, against)
    common.say(f"{what}: each way takes turns, {repeats} processes each")
    result = compare(workload, engine, against, repeats)
    common.print_json(asdict(result)) if json else print_measurement(result)


def print_measurement(result: "Measurement") -> None:
    """Prints the result for people."""
    from nas.commands.workloads import WAYS

    workload, limits, conditions = result.workload, result.limits, result.environment
    print(f"{'':17} seconds  images/s     GiB  arithmetic  traffic")
    for way, seconds in result.seconds.items():
        rate, memory = workload.batch / seconds, result.peak_bytes[way] / 2**30
        shares = f"{result.arithmetic[way]:10.0%}  {result.traffic[way]:7.0%}"
        print(f"{way:16} {seconds:8.3f}  {rate:8.1f}  {memory:6.2f}  {shares}")
    for way, times in result.speedup.items():
        print(f"{result.engine}: {times:.2f} times as fast as {way}, in {result.memory_ratio[way]:.2f} of its memory")
    for way in result.seconds:
        print(f"{way}: {WAYS[workload.what][way]}")
    print("arithmetic, traffic: the least time of a step's multiply-adds and of its maps, of the time taken;")
    print(f"  this machine: {limits.madds / 1e9:.0f} G multiply-adds/s, {limits.bytes / 1e9:.0f} GB/s")
    print(workload)
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    print(f"{conditions.hardware}, {conditions.threads} threads; {versions}; {conditions.time}")
