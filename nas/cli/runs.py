"""nas runs"""

from typing import Any

from nas.cli import common


def runs(runs: common.Runs = None, json: common.Json = False) -> None:
    """List the runs there are, with their main figures."""
    from rich.console import Console
    from rich.table import Table

    from nas.run.folder import every, runs_root

    rows = [describe(run) for run in every(runs_root(runs))]
    if json:
        common.print_json(rows)
        return
    if not rows:
        print(f"no runs in {runs_root(runs)}")
        return
    table = Table("run", "command", "data", "state", "accuracy", "params", "MAdds", box=None)
    for row in rows:
        accuracy = row["test_accuracy"] if row["test_accuracy"] is not None else row["valid_accuracy"]
        kind = "test" if row["test_accuracy"] is not None else "valid"
        table.add_row(
            row["run"],
            row["command"],
            row["data"],
            row["state"],
            f"{accuracy:.2%} {kind}" if accuracy is not None else "",
            f"{row['params']:,}" if row["params"] else "",
            f"{row['madds'] / 1e6:.1f}M" if row["madds"] else "",
        )
    Console(width=None if Console().is_terminal else 200).print(table)


def describe(run: Any) -> dict[str, Any]:
    """One row of the table; a damaged run says so."""
    from nas.errors import UsageError

    keys = ("test_accuracy", "valid_accuracy", "params", "madds")
    try:
        told = run.told
        result = run.result if run.finished else {}
        last = run.log()[-1] if not run.finished and run.log() else {}
    except (UsageError, KeyError) as error:
        row = {"run": run.path.name, "command": "", "data": "", "state": f"damaged: {error}"}
        return {**row, **dict.fromkeys(keys)}
    done, total = last.get("epoch", -1) + 1, told["settings"].get("epochs", 0)
    return {
        "run": run.path.name,
        "command": told["command"],
        "data": told["settings"].get("data", ""),
        "state": "finished" if run.finished else f"epoch {done}/{total}",
        **{key: {**last, **result}.get(key) for key in keys},
    }
