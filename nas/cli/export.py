"""nas export"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common

if TYPE_CHECKING:
    from nas.exporting import Export


FORMS = (
    "onnx, executorch, ncnn, coreml; in 8 bits int8 (ONNX), executorch-int8, which read the test set; "
    "torch (a folder for nas.load)."
)


def export(
    target: Annotated[str, typer.Argument(metavar="RUN", help="A finished retraining: path, name or last.")],
    to: Annotated[str, typer.Option(help=FORMS)],
    out: Annotated[Path | None, typer.Option(help="What to write (default: inside the run folder).")] = None,
    ops: common.Ops = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    threads: common.Threads = None,
    json: common.Json = False,
) -> None:
    """Write a trained network for another runtime, a phone's too, or as a folder for nas.load."""
    from nas.commands import trained
    from nas.run.documents import as_json
    from nas.run.folder import find, runs_root

    run = find(target, runs_root(runs))
    result = trained.export(run, to, common.execution("cpu", threads, data_root), out=out, ops=ops)
    common.print_json(as_json(result)) if json else print_export(result)


def print_export(result: "Export") -> None:
    """Prints the result for people."""
    if result.agreement:
        agreement = result.agreement
        print(
            f"agrees with PyTorch on {agreement.images} training images: logits up to {agreement.largest:.2f} differ "
            f"by at most {agreement.difference:.1e}, {agreement.same:.1%} of the predictions are the same"
        )
    elif not result.test_accuracy and "coreml" in result.bytes:
        print("converted, but not checked: Core ML runs on macOS alone")
    for form, latency in (result.latency or {}).items():
        size = f"{result.bytes[form] / 1e6:.2f} MB" if form in result.bytes else ""
        accuracy = (result.test_accuracy or {})[form]
        print(
            f"{form:10} {accuracy:7.2%} test accuracy  {size:>9}  {latency.median_ms:.2f} ms "
            f"(quartiles {latency.low_ms:.2f}–{latency.high_ms:.2f}; batch 1, {latency.threads} threads)"
        )
    if result.weight_bits == 7:
        print("weights in 7 bits: this processor's sums of 8-bit products would saturate")
    if result.test_openings is not None:
        print(f"test set opened {result.test_openings} times")
    print(result.file)
