"""nas clean"""

from itertools import chain
from typing import Annotated

import typer
from rich.filesize import decimal

from nas.cli import common


def clean(
    searches: Annotated[
        bool, typer.Option("--searches", help="Searches' checkpoints too: nas derive then has nothing to derive from.")
    ] = False,
    caches: Annotated[
        bool, typer.Option("--caches", help="Compiled kernels, decoded images and the like, which are made again.")
    ] = False,
    yes: common.Yes = False,
    runs: common.Runs = None,
) -> None:
    """Remove what finished runs need no more: checkpoints, and what killed processes left half written."""
    from nas.commands.housekeeping import leftovers, remove
    from nas.run.folder import runs_root
    from nas.run.state import size_of

    every = leftovers(runs_root(runs), searches=searches, caches=caches)
    for what, paths in every.items():
        print(f"{decimal(sum(map(size_of, paths))):>12}  {what} ({len(paths)})")
    if not every:
        print("nothing to remove")
    elif yes or typer.confirm("remove them?"):
        for path in chain.from_iterable(every.values()):
            remove(path)
