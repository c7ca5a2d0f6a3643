"""nas latency: tables of operations' latencies on a device."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common
from nas.cli.tune import Budgets, Fixed, Only, parse_knob

latency = typer.Typer(no_args_is_help=True, help="Tables of latencies from a device: export, measure there, import.")
Sheet = Annotated[Path, typer.Argument(metavar="TABLE.csv", help="The filled table.")]


@latency.command("export")
def export_models(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="A macro space: mobilenext, hbonet, ….")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    to: Annotated[str, typer.Option(help="onnx, executorch, ncnn or coreml.")] = "onnx",
    budget: Budgets = None,
    fixed: Fixed = None,
    only: Only = None,
    resolution: Annotated[int, typer.Option(min=8, help="Side of the images in pixels.")] = 32,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    networks: Annotated[int, typer.Option(help="Whole networks, which say how well sums predict; 20 at least.")] = 24,
) -> None:
    """Write one model per distinct operation, and the table to fill: nas latency export hbonet --budget 20M."""
    from nas.commands import latencies

    count = latencies.export_models(
        space,
        out,
        to=to,
        budgets=budget or [],
        fixed=dict(parse_knob(text) for text in fixed or []),
        only=only or [],
        image=(3, resolution, resolution),
        classes=classes,
        networks=networks,
    )
    table = out / latencies.SHEET
    print(f"{count} operations, and whole networks; measure each model with batch 1, fill {table}, then:")
    print(f"nas latency import {table}")


@latency.command("import")
def import_table(
    sheet: Sheet,
    out: Annotated[Path | None, typer.Option(help="What to write (default: TABLE.json beside it).")] = None,
    json: common.Json = False,
) -> None:
    """Check a filled table, say how well sums predict whole networks, and write what --latency-table takes."""
    from nas.commands import latencies
    from nas.run.documents import as_json

    table, path = latencies.import_table(sheet, out)
    if json:
        common.print_json({"file": str(path), **as_json(table)})
        return
    fit = table.fit
    print(f"{table.place}: {len(table.operations)} operations")
    print(
        f"{fit.networks} whole networks, each predicted from the others: off by {fit.error:.1%} in the mean, "
        f"{fit.worst:.1%} at most, {fit.within_tenth:.0%} within 10 %; Kendall's tau {fit.rank:.2f}"
    )
    print(f"milliseconds = {fit.slope:.3f} × sum {fit.intercept_ms:+.3f}")
    print(path)
