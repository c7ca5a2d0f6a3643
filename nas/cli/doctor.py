"""nas doctor"""

import typer

from nas.cli import common


def doctor(
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
) -> None:
    """Check this installation: versions, kernels, gradients, resuming, data, Ray. Status 1: something is broken."""
    from dataclasses import asdict

    from nas.doctor.check import Case
    from nas.doctor.registry import examine
    from nas.run.folder import runs_root

    case = Case(common.execution(device, threads, data_root).resolved(), runs_root(runs))
    outcomes = []
    for outcome in examine(case):
        outcomes.append(outcome)
        if not json:
            advice = f" → {outcome.line.advice}" if outcome.line.advice else ""
            print(f"{outcome.line.state:8} {outcome.check:17} {outcome.line.text}{advice}", flush=True)
    if json:
        rows = [{"check": each.check, **asdict(each.line), "seconds": each.seconds} for each in outcomes]
        common.print_json(rows)
    if any(outcome.line.state == "broken" for outcome in outcomes):
        raise typer.Exit(1)
