"""The commands that do a run again, from its own records."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from nas.amounts import short
from nas.errors import UsageError
from nas.macro.space import load as load_macro
from nas.pages.records import Record
from nas.pages.replay import space_of
from nas.presets import TRAIN_PRESETS, final_size, resolve, resolve_search
from nas.run import names
from nas.run.spec import DeriveSpec, SearchSpec, TrainSpec
from nas.settings import DeriveSettings, TrainSettings, TuneSettings
from nas.tuning.space import FamilySpace, GenotypeSpace
from nas.tuning.spec import TuneSpec


def repetition(record: Record) -> list[str]:
    """Command lines, a comment where the records do not say all."""
    environment, command = record.environment, record.spec.command
    lines = []
    if environment.git:
        changed = "  # it had uncommitted changes, which are not recorded" if environment.git.changed else ""
        lines.append(f"git checkout {environment.git.commit}{changed}")
    pins = {name: version for name, version in (environment.versions or {}).items() if name.startswith("torch")}
    if pins:
        lines.append(shlex.join(["pip", "install", *(f"{name}=={version}" for name, version in pins.items())]))
    if command in COMMANDS:
        lines.append(shlex.join(["nas", *COMMANDS[command](record), *shared(record)]))
    if record.spec.ops:
        lines.append(f"# --ops: the file with SHA-256 {record.spec.ops.sha256}")
    return lines


def shared(record: Record) -> list[str]:
    """What every command has: seeds, threads, device, operations."""
    spec = record.spec
    words = ["--seeds", ",".join(map(str, spec.seeds))] if spec.seeds and spec.command != "study" else []
    words += ["--ops", spec.ops.path] if spec.ops else []
    words += ["--device", spec.execution.device] if spec.execution.device else []
    backend = "auto" if spec.command == "derive" else spec.execution.backend
    words += ["--backend", backend] if backend != "auto" else []
    return words + (["--threads", str(spec.execution.threads)] if spec.execution.threads else [])


def options(resolved: Callable[[Mapping[str, Any]], Any], settings: Any) -> list[str]:
    """The options that make these settings of a preset's.

    Args:
        resolved: the settings that options lead to; a published method brings more than its own name.
    """
    given: dict[str, Any] = {}
    for _ in fields(settings):
        reached = asdict(resolved(given))
        wrong = {name: value for name, value in asdict(settings).items() if reached[name] != value}
        if not wrong:
            break
        # What names others comes first: a space or a method brings parts of its own.
        leading = [name for name in ("space", "method", "partial") if name in wrong and name not in given]
        given |= {name: wrong[name] for name in leading[:1]} or wrong
    return [word for name, value in given.items() for word in option(name, value)]


def option(name: str, value: Any) -> list[str]:
    """A setting as words of a command line; none where it has no value, which cannot be written."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [] if value is None else [flag, str(value)]


def search(record: Record) -> list[str]:
    """Of a search."""
    spec = record.run.spec(SearchSpec)
    channels, cells = final_size(spec.preset, space_of(record).skeleton)
    words = ["search", "--preset", spec.preset]
    words += options(lambda given: resolve_search(spec.preset, given), spec.settings)
    words += ["--final-channels", str(spec.final.channels)] if spec.final.channels != channels else []
    return words + (["--final-cells", str(spec.final.cells)] if spec.final.cells != cells else [])


def retrain(record: Record) -> list[str]:
    """Of trainings: of the networks as the run itself holds them, whatever they came from."""
    spec = record.run.spec(TrainSpec)
    documents = [f"architecture-{network.name}.json" for network in spec.networks or ()] or [names.ARCHITECTURE]
    words = ["retrain", *(str(record.run.path / name) for name in documents), "--preset", spec.preset]
    words += ["--init", spec.init.run] if spec.init else []
    return words + options(lambda given: resolve(TrainSettings, TRAIN_PRESETS, spec.preset, given), spec.settings)


def derive(record: Record) -> list[str]:
    """Of a derivation."""
    spec = record.run.spec(DeriveSpec)
    final = ["--final-channels", str(spec.final.channels), "--final-cells", str(spec.final.cells)]
    return ["derive", spec.source, *final, *options(lambda given: DeriveSettings(**given), spec.settings)]


def tune(record: Record) -> list[str]:
    """Of a tuning."""
    spec = record.run.spec(TuneSpec)
    words = ["tune"]
    for space in spec.spaces:
        words += ["--space", space.name] if space.kind == "macro" else ["--genotype", cell_of(record, space.name)]
    for budget in spec.budgets:
        words += ["--budget", short(budget)]
    words += [*dict.fromkeys(pair for space in spec.spaces for pair in restriction(space))]
    words += ["--latency-table", str(record.run.path / names.LATENCIES)] if spec.latency_table else []
    words += options(lambda given: TuneSettings(**given), spec.tune)
    return words + options(lambda given: resolve(TrainSettings, TRAIN_PRESETS, "paper", given), spec.settings)


def cell_of(record: Record, name: str) -> str:
    """The file of the cell that a tuning tunes; of older runs its name alone is known."""
    path = record.run.path / names.TUNED / f"{name}.json"
    return str(path) if path.is_file() else name


def restriction(space: FamilySpace | GenotypeSpace) -> list[str]:
    """The options that fix knobs or leave few of them free; none for a space that cannot be read any more."""
    if isinstance(space, GenotypeSpace):
        return [f"--set={name}={json.dumps(value)}" for name, value in space.settings.items()]
    try:
        whole = load_macro(space.name)
    except UsageError:
        return []
    fixed = {name: value for name, value in space.settings.items() if whole.settings.get(name) != value}
    free = [knob.name for knob in space.knobs]
    left_out = {knob.name for knob in whole.knobs} - {*free, *fixed, space.filler.name}
    sets = [f"--set={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in fixed.items()]
    return [*sets, *(f"--tune={name}" for name in free if left_out)]


def study(record: Record) -> list[str]:
    """Of a study, whose file holds all but the threads."""
    return ["study", str(record.run.path / names.STUDY_SETTINGS)]


COMMANDS: dict[str, Callable[[Record], list[str]]] = {
    "search": search,
    "retrain": retrain,
    "derive": derive,
    "study": study,
    "tune": tune,
}
