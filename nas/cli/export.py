"""nas export"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import common


def export(
    target: Annotated[str, typer.Argument(metavar="RUN", help="A finished retraining: path, name or last.")],
    to: Annotated[str, typer.Option(help="onnx, int8 (reads the test set) or torch (a folder for nas.load).")],
    out: Annotated[Path | None, typer.Option(help="What to write (default: inside the run folder).")] = None,
    ops: common.Ops = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    threads: common.Threads = None,
    json: common.Json = False,
) -> None:
    """Write a trained network as ONNX, as 8-bit ONNX, or as a folder for nas.load."""
    from nas.commands import trained
    from nas.run.folder import find, runs_root

    run = find(target, runs_root(runs))
    found = trained.export(run, to, common.execution("cpu", threads, data_root), out=out, ops=ops)
    common.print_json(found) if json else tell(found)


def tell(found: dict[str, Any]) -> None:
    """The result, for people."""
    if "difference" in found:
        print(
            f"agrees with PyTorch on {found['images']} training images: logits up to {found['largest']:.2f} differ by "
            f"at most {found['difference']:.1e}, {found['same']:.1%} of the predictions are the same"
        )
    for way, latency in found.get("latency", {}).items():
        size = f"{found['bytes'][way] / 1e6:.2f} MB" if way in found["bytes"] else ""
        print(
            f"{way:6} {found['test_accuracy'][way]:7.2%} test accuracy  {size:>9}  {latency['median_ms']:.2f} ms "
            f"(quartiles {latency['low_ms']:.2f}–{latency['high_ms']:.2f}; batch 1, {latency['threads']} threads)"
        )
    if "test_openings" in found:
        print(f"test set opened {found['test_openings']} times")
    print(found["file"])
