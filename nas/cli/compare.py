"""nas compare"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common
from nas.errors import UsageError

if TYPE_CHECKING:
    from nas.reports.side_by_side import SideBySide


def compare(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN…", help="Searches, retrainings, studies, tunings: paths, names or last."),
    ] = None,
    unlike: Annotated[bool, typer.Option("--unlike", help="Rank results on unlike terms too.")] = False,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Published errors on CIFAR-10 and their reruns; among them the runs' own, on the same terms alone.",
        ),
    ] = False,
    runs: common.Runs = None,
    to: common.To = None,
    figure: Annotated[
        str | None, typer.Option(help="Draw curves over one another, or madds: accuracy against them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --figure: a .pdf, .svg or .png to write.")] = None,
    json: common.Json = False,
) -> None:
    """Put results side by side, and rank them where they were had on equal terms."""
    from nas.commands.comparing import compare as compare_runs

    if not targets and (figure or not published):
        raise UsageError("nas compare needs at least one RUN, or --published")
    if out and not figure:
        raise UsageError("--out goes with --figure; tables are printed: nas compare … --to csv > FILE")
    if figure:
        common.draw_figure(figure, targets or [], runs, to or (None if out else "pdf"), out)
        return
    result = compare_runs(targets or [], unlike=unlike, runs=runs)
    if published:
        print_published(result, json, to)
        return
    if json:
        from nas.run.documents import as_json

        common.print_json(as_json(result))
    else:
        print_result(result, to)
    if not result.ranked:
        raise UsageError(
            f"not ranked, for the terms are unlike (--unlike ranks all the same): {'. '.join(result.unlike)}"
        )


def print_result(result: "SideBySide", to: str | None = None) -> None:
    """Prints the table, what may be said of the differences, and what was spent."""
    from nas.reports.ledger import sentence
    from nas.reports.side_by_side import common_terms, table

    notes = [f"the same for all: {common_terms(result.entries)}", *result.verdicts]
    notes += [f"ranked though unlike: {line}" for line in result.unlike] if result.ranked else []
    common.print_tables([table(result)], to, notes=[*notes, f"spent on these runs: {sentence(result.ledger)}"])


def print_published(result: "SideBySide", json: bool, to: str | None = None) -> None:
    """Prints the claims with the runs' own results among them."""
    from dataclasses import asdict

    from nas.reports.claims import check_terms, claims, table
    from nas.run.documents import as_json

    for entry in result.entries:
        check_terms(entry)
    if json:
        common.print_json({"claims": [asdict(claim) for claim in claims()], **as_json(result)})
    else:
        notes = ["deviations are as printed: of retrainings, of searches, or not said which"]
        common.print_tables([table(result.entries)], to, notes=notes)
