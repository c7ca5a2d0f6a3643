"""The command line: one file a command; each parses, calls one function, prints."""

import os
import signal
import sys
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import typer

from nas import __version__
from nas.errors import Interrupted, UsageError, lacks_memory
from nas.signals import after_imports, arrivals, interrupt


def app() -> typer.Typer:
    """All commands."""
    from nas.cli import (
        bench,
        clean,
        common,
        compare,
        cost,
        derive,
        doctor,
        evaluate,
        export,
        latency,
        lookup,
        plan,
        report,
        retrain,
        runs,
        search,
        show,
        study,
        tune,
    )
    from nas.cli.examples import EXAMPLES

    commands = typer.Typer(
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    commands.callback()(options)
    flow = (
        search.search,
        derive.derive,
        show.show,
        tune.tune,
        retrain.retrain,
        study.study,
        plan.plan,
        evaluate.evaluate,
        export.export,
        report.report,
        runs.runs,
        clean.clean,
        compare.compare,
    )
    for command in (*flow, cost.cost, lookup.lookup, bench.bench, doctor.doctor):
        examples = ["Examples:", *EXAMPLES.get(command.__name__, ())]
        commands.command(epilog="\n\n".join(examples))(common.completing(command))
    commands.add_typer(latency.latency, name="latency")
    return commands


def print_version(wanted: bool) -> None:
    """Prints the version, if it is wanted, and ends the command."""
    if wanted:
        print(f"nas {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)]


def options(version: Version = False) -> None:
    """Search cells and tune mobile networks under MAdd budgets, retrain them, count what they cost."""


SPINS = "10000"
"""How often a waiting OpenMP thread looks before it sleeps: for a fraction of a millisecond, about the gaps between
kernels. GNU's own 300,000 take the processor from the very threads waited for, where others work on it too."""


def main() -> None:
    """The ``nas`` command."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read where torch is imported, and by every process begun here
    signal.signal(signal.SIGINT, after_imports(signal.default_int_handler))
    signal.signal(signal.SIGTERM, after_imports(interrupt))
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs a command line and returns its exit status: 0, 2 (user's mistake), 128 + signal; a bug of ours raises."""
    warnings.showwarning = partial(_one_line, set())
    arrivals.clear()
    try:
        _check_text([*arguments, *map(os.environ.get, ("NAS_RUNS", "NAS_DATA"))])
        status = app()(arguments, standalone_mode=False, prog_name="nas")
    except UsageError as error:
        return _fail(" ".join(str(error).split()))
    except Interrupted as stopped:
        print("interrupted" if str(stopped) == Interrupted.SAVED else stopped, file=sys.stderr)
        return 128 + stopped.signal
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror}" if error.errno else str(error))
    except Exception as error:
        if lacks_memory(error):
            return _fail(f"memory ran out ({type(error).__name__}); --resume goes on from what is saved")
        return _fail_of_typer(error)
    return status if isinstance(status, int) else 0


def _check_text(words: Iterable[str | None]) -> None:
    """Raises UsageError for a word that is no UTF-8, as no document could hold it."""
    for word in filter(None, words):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word!a} is no UTF-8 text") from None


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return 130


def _fail(message: str) -> int:
    """A line and exit status 2; after a signal that of the signal, which whatever fails then may have come of."""
    print(f"{'interrupted' if arrivals else 'nas'}: {message}", file=sys.stderr)
    return 128 + arrivals[-1] if arrivals else 2


def _fail_of_typer(error: Exception) -> int:
    """Typer's own exceptions, known by what they offer: they have moved between packages."""
    if type(error).__name__ == "Abort":
        print()  # the question's line is not at its end
        asked = isinstance(error.__context__, EOFError)
        return _fail("a question was asked, and nobody answers: add --yes") if asked else _interrupted()
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error)
        return 0
    if hasattr(error, "format_message"):
        where = getattr(getattr(error, "ctx", None), "command_path", "nas")
        return _fail(f"{' '.join(error.format_message().split())} ({where} --help)")
    if arrivals:
        return _fail(type(error).__name__)
    raise error


def _one_line(seen: set[str], message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    """Prints a warning once a command line: Python's own filters forget what was said wherever they are changed."""
    if str(message) not in seen:
        seen.add(str(message))
        print(f"warning: {message}", file=sys.stderr)
