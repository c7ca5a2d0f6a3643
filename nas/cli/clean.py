"""nas clean"""

from typing import Annotated

import typer

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

    every = list(leftovers(runs_root(runs), searches=searches, caches=caches))
    sizes: dict[str, list[int]] = {}
    for one in every:
        sizes.setdefault(one.what, []).append(one.bytes)
    for what, bytes in sizes.items():
        print(f"{common.megabytes(sum(bytes)):>12}  {what} ({len(bytes)})")
    if not every:
        print("nothing to remove")
    elif yes or typer.confirm("remove them?"):
        remove(every)
