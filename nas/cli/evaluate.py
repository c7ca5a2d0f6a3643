"""nas evaluate"""

from typing import Annotated

import typer

from nas.cli import common


def evaluate(
    target: Annotated[str, typer.Argument(metavar="RUN", help="A finished retraining: path, name or last.")],
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
) -> None:
    """Test a trained network again; every opening of the test set is counted."""
    from nas.commands import trained
    from nas.run.folder import find, runs_root

    run = find(target, runs_root(runs))
    found = trained.evaluate(run, common.execution(device, threads, data_root))
    if json:
        common.print_json(found)
    else:
        stored = f"stored at the end of training {found['stored_accuracy']:.2%}"
        print(f"test accuracy {found['test_accuracy']:.2%} ({stored}); test set opened {found['test_openings']} times")
