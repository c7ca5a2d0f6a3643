"""nas report"""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common

Targets = Annotated[list[str], typer.Argument(metavar="RUN…", help="Runs: path, name or last.")]
Out = Annotated[Path | None, typer.Option(help="File to write (default: report.html in the first run).")]


def report(
    targets: Targets,
    out: Out = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    runs: common.Runs = None,
) -> None:
    """Write a report: one HTML file with cells, curves, costs and the checklist; several runs over one another."""
    import webbrowser

    from nas.commands import reporting
    from nas.run.folder import find, runs_root

    path = reporting.report([find(target, runs_root(runs)) for target in targets], out)
    print(path)
    if open_it and not webbrowser.open(path.resolve().as_uri()):
        common.say(f"no browser to show {path} in")
