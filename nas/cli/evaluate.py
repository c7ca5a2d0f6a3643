"""nas evaluate"""

from typing import Annotated

import typer

from nas.cli import common


def evaluate(
    target: Annotated[str, typer.Argument(metavar="RUN", help="A finished retraining: path, name or last.")],
    ops: common.Ops = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    backend: common.Backend = None,
    json: common.Json = False,
) -> None:
    """Test a trained network again; every opening of the test set is counted."""
    from dataclasses import asdict

    from nas.commands import trained
    from nas.run.folder import find, runs_root

    execution = common.execution(device, threads, data_root, backend=backend)
    result = trained.evaluate(find(target, runs_root(runs)), execution, ops)
    if json:
        common.print_json(asdict(result))
    else:
        stored = f"stored at the end of training {result.stored_accuracy:.2%}"
        print(f"test accuracy {result.test_accuracy:.2%} ({stored}); test set opened {result.test_openings} times")
