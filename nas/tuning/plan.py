"""What a tuning trains: its studies, and the published settings beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.errors import UsageError, nearest
from nas.knobs import Values
from nas.settings import TuneSettings
from nas.tuning.budgets import Budgets
from nas.tuning.front import CONTROL
from nas.tuning.spec import TuneSpec
from nas.tuning.study import OBJECTIVES, Study

Published = Sequence[tuple[str, Values]]
"""(family, settings) of published networks."""


def studies(spec: TuneSpec, budgets: Mapping[str, Budgets], database: Path) -> list[Study]:
    """The studies of each space: one a budget, or (nsga2) one over all, and as many random ones as a control."""
    tune, result = spec.tune, []
    groups = [spec.budgets] if tune.sampler == "nsga2" else [(limit,) for limit in spec.budgets]
    samplers = dict.fromkeys([tune.sampler, *([CONTROL] if tune.control else [])])
    for each in budgets.values():
        objectives = objectives_of(each, tune, spec.latency_table is not None)
        pruner = pruner_of(objectives, tune)
        for limits in groups:
            for sampler in samplers:
                seed = spec.settings.seed
                result.append(Study(each, limits, sampler, pruner, objectives, tune.trials, seed, database))
    return result


def check(spec: TuneSpec) -> None:
    """Finds the mistakes that can be found before a run folder is made.

    Raises:
        UsageError: two spaces of one name, budgets that cannot be reached, objectives or a pruner that do not go
            together, a table of latencies that does not cover a space.
    """
    names = [space.name for space in spec.spaces]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--space: two spaces are called {twice[0]}; rename one's file")
    for budgets in spec.budgets_of().values():
        pruner_of(objectives_of(budgets, spec.tune, spec.latency_table is not None), spec.tune)
        for limit in spec.budgets:
            budgets.check(limit)
        if table := spec.latency_table:
            table.check(part.signature for network in budgets.architectures(spec.budgets) for part in network.parts())


def objectives_of(budgets: Budgets, tune: TuneSettings, tabled: bool) -> tuple[str, ...]:
    """What is optimised: the user's, or accuracy, with latency where a knob would else be tuned on noise alone.

    Args:
        tabled: whether there is a table of latencies, which is there for that objective.

    Raises:
        UsageError: an unknown objective, accuracy is not the first, or a table that none reads.
    """
    if tune.objectives is None:
        second = ["madds"] if tune.sampler == "nsga2" else []
        return ("accuracy", *second, *(["latency"] if tabled or budgets.has_free_knob() else []))
    names = tuple(tune.objectives.split(","))
    for name in names:
        if name not in OBJECTIVES:
            raise UsageError(f'--objectives "{name}": {nearest(name, list(OBJECTIVES))}')
    if names[0] != "accuracy" or len(set(names)) != len(names):
        raise UsageError(f"--objectives {tune.objectives}: accuracy comes first, and each once")
    if tabled and "latency" not in names:
        raise UsageError(f"--latency-table: --objectives {tune.objectives} does not read it")
    return names


def pruner_of(objectives: Sequence[str], tune: TuneSettings) -> str:
    """The pruner.

    Raises:
        UsageError: one is asked for where several objectives, or several budgets, make trials incomparable.
    """
    single = len(objectives) == 1 and tune.sampler != "nsga2"
    usual = "halving" if tune.trial_seeds == 1 else "wilcoxon"
    if tune.pruner is None:
        return usual if single else "none"
    if (tune.pruner == "wilcoxon") != (tune.trial_seeds > 1) and tune.pruner != "none":
        raise UsageError(
            f"--pruner {tune.pruner}: wilcoxon compares seeds and needs --trial-seeds of 2 or more, the others epochs"
        )
    if tune.pruner != "none" and not single:
        raise UsageError(
            f"--pruner {tune.pruner}: trials of several objectives ({','.join(objectives)}) are not pruned"
        )
    return tune.pruner


def nearest_published(budgets: Budgets, limits: Sequence[int], published: Published) -> dict[str, Values]:
    """By name, the family's published settings that come nearest to each budget."""
    space = budgets.space
    if space.kind == "cell":
        return {}
    own = [
        settings
        for network, settings in published
        if network == space.network and all(settings.get(key, value) == value for key, value in space.settings.items())
    ]
    costs = {_name(settings): budgets.point(settings).madds for settings in own}
    settings_of = {_name(settings): settings for settings in own}
    nearest = [min(costs, key=lambda name: abs(costs[name] - limit)) for limit in limits if costs]
    return {name: settings_of[name] for name in nearest}


def _name(settings: Values) -> str:
    return "-".join(f"{key}{str(value).replace('/', '_')}" for key, value in sorted(settings.items()))
