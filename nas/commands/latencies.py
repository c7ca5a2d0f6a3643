"""Tables of latencies: models to measure on a device, and the table of what was measured there."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.amounts import parse
from nas.architecture import Architecture
from nas.commands.tuning import macro_space
from nas.errors import UsageError, nearest
from nas.exporting import FORMS
from nas.exporting.fold import folded
from nas.exporting.folder import write_model
from nas.exporting.model import Convert
from nas.extras import need
from nas.files import read_text, write
from nas.knobs import Value
from nas.latency import sheet
from nas.latency.sheet import Line, model_name
from nas.latency.table import LEAST, LatencyTable
from nas.macro.parts import Part
from nas.run import documents
from nas.terminal import bars, console
from nas.tuning.budgets import Budgets
from nas.tuning.space import Restriction, Shape

SHEET = "table.csv"


def export_models(
    space: str,
    out: Path,
    *,
    to: str = "onnx",
    budgets: Sequence[str] = (),
    fixed: Mapping[str, Value] | None = None,
    only: Sequence[str] = (),
    image: Shape = (3, 32, 32),
    classes: int = 10,
    networks: int = 24,
) -> int:
    """Writes one model per distinct operation and input of a macro space, whole networks beside, and the sheet to fill.

    Args:
        out: a new folder, or one where the same call was stopped.
        to: a name in ``nas.exporting.FORMS`` that converts any network.
        budgets: the space's networks just under these, as ``nas tune`` fills them; none: all of its networks.
        fixed, only: knobs that stay at a value; the only ones that stay free.
        networks: so many drawn ones say how well sums predict.

    Returns:
        The number of operations.

    Raises:
        UsageError: an unknown space, form or knob, a package that is missing, a folder with something else.
    """
    if networks < LEAST:
        raise UsageError(f"--networks {networks}: {LEAST} say how well sums predict")
    forms = {name: form for name, form in FORMS.items() if form.convert}
    if to not in forms:
        raise UsageError(f'--to "{to}": {nearest(to, list(forms))}')
    need(f"--to {to}", forms[to].extra, *forms[to].packages)
    if out.exists() and not (out / SHEET).is_file():  # before all networks are gone through
        raise UsageError(f"{out} is there already, without a {SHEET}: name another folder with --out")
    tuned = macro_space(space, Restriction(dict(fixed or {}), only, fill=bool(budgets)))
    limits = [parse(text, "--budget") for text in budgets]
    every = list(Budgets(tuned, image, classes, fill=bool(budgets)).architectures(limits))
    if len(every) < LEAST:
        raise UsageError(
            f"{space} has {len(every)} networks here: {LEAST} say how well sums predict; name more budgets"
        )
    convert = forms[to].convert
    assert convert
    return _write(out, every, networks, Path(forms[to].name).suffix, convert)


def _write(out: Path, every: Sequence[Architecture], networks: int, suffix: str, convert: Convert) -> int:
    """Writes the sheet and then the models; those that are there from a call that was stopped stay."""
    operations: dict[str, Part] = {part.signature: part for network in every for part in network.parts()}
    numbers = {signature: index + 1 for index, signature in enumerate(operations)}
    models: list[tuple[Line, Part | Architecture]] = [
        (Line(model_name("operation", numbers[part.signature], len(operations)), part.signature), part)
        for part in operations.values()
    ]
    drawn = random.Random(0).sample(every, min(networks, len(every)))
    for index, network in enumerate(drawn):
        own = " ".join(str(numbers[part.signature]) for part in network.parts())
        words = " ".join(f"{name}={value}" for name, value in network.body["settings"].items())
        models.append((Line(model_name("network", index + 1, len(drawn)), words, own), network))
    text, written = sheet.text(line for line, _ in models), out / SHEET
    if out.exists() and read_text(written) != text:
        raise UsageError(f"{out} is there already, with something else: name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    write(written, text)
    with bars(console(stderr=True)) as progress:
        for line, what in progress.track(models, description="models"):
            target = out / f"{line.model}{suffix}"
            if not target.exists():
                write_model(convert(folded(what.build()), what.input, {}).files, target)
    return len(operations)


def import_table(path: Path, out: Path | None = None) -> tuple[LatencyTable, Path]:
    """The table of a filled sheet, and where it was written: beside it, as JSON, where ``out`` says nothing.

    Raises:
        UsageError: see :func:`nas.latency.sheet.table`.
    """
    table = sheet.table(sheet.read(path), str(path))
    out = out or path.with_suffix(".json")
    documents.write(out, table)
    return table, out
