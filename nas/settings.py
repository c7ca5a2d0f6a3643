"""Settings of searches and trainings: frozen, strict, each field with a default (the paper's) and a sentence.

Presets (:mod:`nas.presets`) are named sets of changes to the defaults; an option of the command line changes a preset.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from nas.amounts import Limits
from nas.errors import UsageError, nearest
from nas.methods import METHODS, TERMS, parse_regularizers

DATA = ("cifar10", "cifar100", "digits")
"""Data sets by name; any other name is a folder's."""
NO_LIMIT = "--select budget needs --max-madds or --max-params"
BUDGET_ALONE = "a limit is kept by --select budget alone"
OF_DATA = (
    "Data: cifar10, cifar100, digits, or a folder of images in train/CLASS and test/ or val/CLASS, or CLASS alone."
)
Selection = Literal["strongest", "gdas", "threshold", "perturbation", "budget"]
"""Ways to derive a cell, as :data:`nas.bilevel.selection.SELECTIONS` has them."""
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


WHAT, LONG, METHOD, RECIPE, RARE = "What", "How long", "Method", "Recipe", "Rarely needed"
"""The parts of a command's help."""


LARGEST = 1_000_000
"""What any number without a bound of its own may be: a few of them multiplied are still numbers in single precision."""


def option(default: Any, about: str, panel: str = RARE, **rules: Any) -> Any:
    """A field: its default, its sentence and the part of ``--help`` that shows it, and its range."""
    if {"ge", "gt"} & set(rules) and not {"le", "lt"} & set(rules):
        rules["le"] = LARGEST
    return Field(default=default, description=about, json_schema_extra={"panel": panel}, **rules)


@dataclass(frozen=True, config=STRICT)
class SearchSettings:
    """A cell search. Defaults: Liu et al., DARTS, ICLR 2019, §3.1 and Appendix A.1.1."""

    space: str = option("darts", "Search space: a name, names joined by +, or a TOML file.", WHAT)
    data: str = option("cifar10", OF_DATA, WHAT)
    seed: int = option(0, "Seed of everything random.", WHAT, ge=0, lt=2**31)
    method: str = option(
        "darts", f"Published method, which brings its parts and constants: {', '.join(METHODS)}.", WHAT
    )
    order: Literal[1, 2] = option(1, "1: first-order alpha gradient; 2: through one unrolled weight step.", WHAT)
    channels: int = option(16, "Channels C of the first cells.", LONG, ge=2, le=4096)
    cells: int = option(8, "Number of cells L.", LONG, ge=1, le=200)
    epochs: int = option(50, "Passes over the weights' half of the training images.", LONG, ge=1)
    batch: int = option(64, "Images a step, for the weights and again for the alphas.", LONG, ge=2)
    limit: int | None = option(None, "Use at most so many training images.", LONG, ge=4, lt=2**31)
    lr: float = option(0.025, "First learning rate of the weights.", gt=0)
    lr_min: float = option(0.001, "Last learning rate of the weights (cosine).", ge=0)
    momentum: float = option(0.9, "Momentum of the weights' SGD.", ge=0, lt=1)
    weight_decay: float = option(3e-4, "Weight decay of the weights.", ge=0)
    clip: float = option(5.0, "Largest norm of the weights' gradient.", gt=0)
    alpha_lr: float = option(3e-4, "Learning rate of the alphas' Adam.", gt=0)
    alpha_beta1: float = option(0.5, "First moment's decay of the alphas' Adam.", ge=0, lt=1)
    alpha_beta2: float = option(0.999, "Second moment's decay of the alphas' Adam.", ge=0, lt=1)
    alpha_weight_decay: float = option(1e-3, "Weight decay of the alphas.", ge=0)
    alphas_from: int = option(0, "First epoch (of each stage) in which the alphas learn.", ge=0)
    engine: Literal["merged", "reference"] = option(
        "merged", "merged: fast; reference: one module per operation.", WHAT
    )
    partial: int = option(
        1, "K of PC-DARTS: operations see 1/K of the channels. Brings its own batch and rates.", WHAT, ge=1
    )
    relaxation: Literal["softmax", "sigmoid", "gumbel", "dirichlet", "path"] = option(
        "softmax",
        "Alphas become mixing weights by softmax, sigmoid (no competition), gumbel or dirichlet (drawn each time); "
        "path: one drawn operation of each edge runs (any engine).",
        METHOD,
    )
    perturb: Literal["none", "random", "adversarial", "mutation"] = option(
        "none",
        "What the weights' step sees instead of the mixing weights: random or adversarial noise (SDARTS), "
        "mutation: some edges run one operation (EM-DARTS).",
        METHOD,
    )
    regularize: str = option(
        "", f"Terms of the alphas' loss with strengths, beta-decay:25,zero-one: {', '.join(TERMS)}.", METHOD
    )
    levels: Literal[1, 2] = option(2, "1: alphas and weights learn from the same batch, in one pass.", METHOD)
    skip: float = option(0.0, "First weight of a skip beside each mixture; falls linearly to 0 (DARTS-).", METHOD, ge=0)
    sharpness: float = option(0.0, "The alphas' gradient is taken so far uphill (A2M).", METHOD, ge=0)
    freeze: float = option(
        0.0,
        "Cosine of an operation's training and held-out gradients below which it stops learning (OLES).",
        METHOD,
        ge=0,
        le=1,
    )
    keep: str = option(
        "",
        "Operations an edge keeps in the second stage, the third and so on, 5,3; stages are equally long.",
        METHOD,
    )
    deepen: int = option(0, "Cells that each stage has more than the one before.", METHOD, ge=0)
    stage_partials: str = option("", "The K of --partial in each stage, 4,2.", METHOD)
    fresh: bool = option(False, "Each stage begins with new weights and alphas (P-DARTS).", METHOD)
    edge_weights: bool = option(True, "With --partial, learn a weight of each edge too (PC-DARTS).", METHOD)
    epsilon: float = option(0.3, "Largest perturbation of a mixing weight at the end.", METHOD, ge=0, le=1)
    epsilon_min: float = option(0.03, "The same in the first epoch (linear).", METHOD, ge=0, le=1)
    mutation: float = option(0.125, "Share of the edges mutated in the last epoch; rises from 0.", METHOD, ge=0, le=1)
    select: Selection = option("strongest", "How the cell is derived: see nas derive.", METHOD)
    threshold: float = option(0.85, "Least strength of an edge that stays (select threshold).", METHOD, gt=0, le=1)
    max_madds: str | None = option(None, "Limit of the final network's multiply-adds, such as 500M: it is kept.", WHAT)
    max_params: str | None = option(None, "Limit of the final network's parameters, such as 3.3M: it is kept.", WHAT)
    tau: float = option(10.0, "First temperature of gumbel and path.", METHOD, gt=0)
    tau_min: float = option(0.1, "Last temperature of gumbel and path (linear).", METHOD, gt=0)
    sentinel: Literal["off", "warn", "stop", "rollback"] = option(
        "warn",
        "At signs of a collapse: say so in a line; stop with the cell from before the eigenvalue's rise; or go back "
        "there with ten times the weight decay.",
        METHOD,
    )
    eigenvalue: int = option(
        2, "Epochs from one measurement of the alphas' largest Hessian eigenvalue to the next; 0: never.", METHOD, ge=0
    )
    skip_limit: int = option(
        2, "Skip connections in the normal cell that the sentinel takes for a collapse (DARTS+); 0: any.", METHOD, ge=0
    )
    chance: int = option(
        100, "Random cells of the space among which the cell found is placed, to tell a collapse; 0: none.", ge=0
    )
    recompute: bool = option(
        False, "Keep only the cells' inputs and compute the rest again in the backward pass: less memory, slower."
    )
    cutout: bool = option(False, "Mask a square of half the side in each training image.")
    shuffle_labels: bool = option(False, "Control: give every image a random label; nothing can be learnt.")
    image_size: int | None = option(None, "Side in pixels of an image folder's images.", ge=8, le=1024)
    precision: Literal["fp32", "bf16"] = option("fp32", "bf16: mixed precision.")

    def __post_init__(self) -> None:
        parse_regularizers(self.regularize)
        self._check_stages()
        limited = bool(self.limits)
        if limited != (self.select == "budget"):
            raise ValueError(NO_LIMIT if self.select == "budget" else f"--select {self.select}: {BUDGET_ALONE}")
        if self.alphas_from >= self.epochs and self.select != "perturbation":
            raise ValueError(
                f"--alphas-from {self.alphas_from}: in --epochs {self.epochs} the alphas would never learn"
            )
        if self.partial > 1 and (self.channels % self.partial or self.channels < 2 * self.partial):
            raise ValueError(
                f"--partial {self.partial}: --channels {self.channels} must be a multiple of it, at least its double"
            )
        for (first, second, reason), refused in self._conflicts().items():
            if refused:
                raise ValueError(f"--{first} and --{second} do not go together: {reason}")

    def of_stages(self) -> list["SearchSettings"]:
        """The settings of each stage, with its depth and share of the channels."""
        count = len(numbers(self.keep)) + 1
        whole = {**asdict(self), "keep": "", "stage_partials": "", "deepen": 0, "fresh": False}
        partials = numbers(self.stage_partials) or [self.partial] * count
        depths = [self.cells + number * self.deepen for number in range(count)]
        return [
            SearchSettings(**{**whole, "cells": cells, "partial": partial})
            for cells, partial in zip(depths, partials, strict=True)
        ]

    def _check_stages(self) -> None:
        kept, partials = numbers(self.keep), numbers(self.stage_partials)
        if min(kept, default=1) < 1 or kept != sorted(kept, reverse=True):
            raise ValueError(f"--keep {self.keep}: an edge keeps at least one operation and never more than before")
        if len(kept) >= self.epochs:
            raise ValueError(f"--keep {self.keep}: {len(kept) + 1} stages need as many --epochs at least")
        if partials and len(partials) != len(kept) + 1:
            raise ValueError(f"--stage-partials {self.stage_partials}: --keep makes {len(kept) + 1} stages")
        if min(partials, default=1) < 1 or any(after > before for before, after in pairwise(partials)):
            raise ValueError(f"--stage-partials {self.stage_partials}: K is at least 1 and never rises")
        if (self.deepen or self.fresh) and not kept:
            raise ValueError("--deepen and --fresh are of stages: --keep says how many there are")
        if self.deepen and not self.fresh:
            raise ValueError(f"--deepen {self.deepen}: a deeper network begins anew: add --fresh")
        length = self.epochs // (len(kept) + 1)
        if kept and self.alphas_from >= length:
            raise ValueError(f"--alphas-from {self.alphas_from}: in stages of {length} epochs the alphas never learn")
        if kept or partials:
            self.of_stages()

    @property
    def limits(self) -> Limits:
        """What the final network may cost."""
        return Limits.of(self.max_madds, self.max_params)

    def _conflicts(self) -> dict[tuple[str, str, str], bool]:
        """Pairs of options and why the one makes no sense with the other; whether both are set."""
        path, order, levels = self.relaxation == "path", self.order == 2, self.levels == 1
        perturbs, partial, sigmoid = self.perturb != "none", f"partial {self.partial}", self.relaxation == "sigmoid"
        passing, rollback = self.partial > 1 or self.stage_partials != "", self.sentinel == "rollback"
        return {
            ("relaxation path", "order 2", "drawn paths are first order"): path and order,
            ("relaxation path", partial, "choose one"): path and self.partial > 1,
            ("relaxation path", f"perturb {self.perturb}", "a path has no weights to perturb"): path and perturbs,
            ("relaxation path", "skip", "a path has no mixture to stand beside"): path and self.skip > 0,
            ("relaxation path", "select perturbation", "it has no mixture to take an operation from"): path
            and self.select == "perturbation",
            ("relaxation path", "freeze", "what is not drawn has no gradient"): path and self.freeze > 0,
            ("relaxation sigmoid", "perturb", "its weights are no probabilities"): sigmoid and perturbs,
            ("relaxation sigmoid", partial, "what passes by would weigh a sum that is not 1"): sigmoid and passing,
            (partial, "select perturbation", "masking would weaken what passes by too"): passing
            and self.select == "perturbation",
            ("freeze", "keep", "what is frozen is for good, and a stage begins anew"): self.freeze > 0
            and self.keep != "",
            ("freeze", "sharpness", "its held-out gradients would be of other alphas"): self.freeze > 0
            and self.sharpness > 0,
            (partial, "stage-partials", "these say K of every stage"): self.partial > 1 and self.stage_partials != "",
            ("levels 1", "order 2", "there is no inner step to unroll"): levels and order,
            ("levels 1", "perturb", "both halves share one pass"): levels and perturbs,
            ("levels 1", "sharpness", "both halves share one pass"): levels and self.sharpness > 0,
            ("levels 1", "freeze", "there are no held-out gradients"): levels and self.freeze > 0,
            ("sentinel stop", "keep", "a stage's cell is not yet the search's"): self.sentinel == "stop"
            and self.keep != "",
            ("sentinel rollback", "eigenvalue 0", "that is what it goes by"): rollback and self.eigenvalue == 0,
            ("sentinel rollback", "relaxation path", "what it goes by is not measured there"): rollback and path,
            ("sentinel stop", "skip-limit 0", "nothing else is measured"): self.sentinel == "stop"
            and self.skip_limit == 0
            and (self.eigenvalue == 0 or path),
            ("order 2", "sharpness", "its gradient is of first order"): order and self.sharpness > 0,
            ("order 2", "freeze", "its alpha step has no plain gradient of the weights"): order and self.freeze > 0,
            (partial, "skip", "channels that pass by are a skip already"): self.partial > 1 and self.skip > 0,
        }


@dataclass(frozen=True, config=STRICT)
class DeriveSettings:
    """What is derived of a search; what is None is as the search has it."""

    select: str | None = option(
        None,
        "How, several with commas: strongest (DARTS), gdas, threshold (FairDARTS), perturbation (DARTS-PT), "
        "budget (exact).",
        WHAT,
    )
    max_madds: str | None = option(None, "Limit of the final network's multiply-adds, such as 500M (budget).", WHAT)
    max_params: str | None = option(None, "Limit of the final network's parameters, such as 3.3M (budget).", WHAT)
    threshold: float | None = option(None, "Least strength of an edge that stays (threshold).", WHAT, gt=0, le=1)
    images: int | None = option(None, "Judge by at most so many held-out images.", LONG, ge=2, lt=2**31)
    tune_epochs: int | None = option(
        None, "Epochs of tuning a round (perturbation; usual: a tenth of the search's, 5 of 50).", LONG, ge=1
    )
    curve: bool = option(False, "Write the whole frontier, score against cost, as a table and a picture.", WHAT)

    def __post_init__(self) -> None:
        known = list(get_args(Selection))
        if unknown := [name for name in self.selections if name not in known]:
            raise ValueError(f'--select "{unknown[0]}": {nearest(unknown[0], known)}')

    @property
    def selections(self) -> list[str]:
        """The names of the selections."""
        return [] if self.select is None else [name.strip() for name in self.select.split(",")]

    @property
    def limits(self) -> Limits:
        """What the final network may cost."""
        return Limits.of(self.max_madds, self.max_params)


@dataclass(frozen=True, config=STRICT)
class TrainSettings:
    """Training of one network. Defaults: DARTS' recipe for CIFAR-10 (ICLR 2019, §3.2 and Appendix A.2.1)."""

    data: str = option("cifar10", OF_DATA, WHAT)
    seed: int = option(0, "Seed of everything random.", WHAT, ge=0, lt=2**31)
    epochs: int = option(600, "Passes over the training images.", LONG, ge=1)
    batch: int = option(96, "Images a step.", LONG, ge=2)
    limit: int | None = option(None, "Use at most so many training images.", LONG, ge=4, lt=2**31)
    validation: int = option(
        0, "Hold out so many training images, to choose between cells or recipes.", LONG, ge=0, lt=2**31
    )
    accumulate: int = option(
        1,
        "Parts a batch is computed in, to save memory: the same gradient but for batch statistics and dropout.",
        LONG,
        ge=1,
    )
    optimizer: Literal["sgd", "rmsprop"] = option("sgd", "sgd or rmsprop, both with momentum.", RECIPE)
    schedule: Literal["cosine", "one-cycle", "exponential"] = option("cosine", "Course of the learning rate.", RECIPE)
    lr: float = option(0.025, "Highest learning rate.", RECIPE, gt=0)
    lr_min: float = option(0.0, "Last learning rate; one-cycle ends a hundredth of the way above it.", ge=0)
    lr_decay: float = option(
        0.97, "Factor of the learning rate from epoch to epoch (schedule exponential).", gt=0, le=1
    )
    warmup_epochs: float = option(0.0, "Epochs in which the learning rate rises linearly to its highest.", ge=0)
    momentum: float = option(0.9, "Momentum.", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov's form of SGD's momentum.")
    square_decay: float = option(0.9, "RMSProp's decay of the mean square.", ge=0, lt=1)
    weight_decay: float = option(3e-4, "Weight decay.", RECIPE, ge=0)
    decayed: Literal["all", "weights", "dense"] = option(
        "all", "What decays: all; weights: no biases and batch norms; dense: no depthwise kernels either."
    )
    clip: float = option(5.0, "Largest norm of the gradient; 0: any.", ge=0)
    ema: float = option(
        0.0, "Decay a step of the weights' moving average, which is what is tested and kept.", RECIPE, ge=0, lt=1
    )
    auxiliary: float = option(0.4, "Weight of the auxiliary head's loss; 0: no such head.", RECIPE, ge=0)
    crop: Literal["padded", "resized"] = option(
        "padded", "Random crops: of the padded image; resized: of 8 to 100 % of its area, stretched."
    )
    jitter: float = option(
        0.0, "Brightness, contrast and saturation are multiplied by 1 ± so much at most, in random order.", ge=0, le=1
    )
    cutout: bool = option(True, "Mask a square of half the side in each training image.", RECIPE)
    drop_path: float = option(
        0.2, "Probability of dropping a path at the end; rises linearly from 0.", RECIPE, ge=0, lt=1
    )
    label_smoothing: float = option(0.0, "Share of the label spread over all classes.", RECIPE, ge=0, lt=1)
    freeze: int = option(0, "With --init: keep the first so many cells or stages as they are.", ge=0)
    image_size: int | None = option(None, "Side in pixels of an image folder's images.", ge=8, le=1024)
    precision: Literal["fp32", "bf16"] = option("fp32", "bf16: mixed precision.")

    def __post_init__(self) -> None:
        if self.nesterov and self.optimizer == "sgd" and not self.momentum:
            raise ValueError("--nesterov is a form of momentum: --momentum must be above 0, or add --no-nesterov")
        if self.schedule == "one-cycle" and self.warmup_epochs:
            raise ValueError("--warmup-epochs and --schedule one-cycle do not go together: it rises by itself")
        if self.accumulate > self.batch // 2:
            raise ValueError(
                f"--accumulate {self.accumulate}: a part of a --batch of {self.batch} needs two images for batch norm"
            )


@dataclass(frozen=True, config=STRICT)
class TuneSettings:
    """Tuning under budgets; how each trial is trained, TrainSettings say."""

    trials: int = option(60, "Trained trials per space and budget (nsga2: per space).", LONG, ge=1, le=100_000)
    mode: Literal["fill", "cap"] = option(
        "fill", "fill: every trial is brought just under its budget; cap: anything not above it.", WHAT
    )
    sampler: Literal["tpe", "nsga2", "random"] = option(
        "tpe", "tpe and random: a study per budget; nsga2: one study over all budgets, for the front.", WHAT
    )
    trial_seeds: int = option(1, "Trainings of each trial, each of another seed; their mean judges it.", ge=1, le=100)
    pruner: Literal["none", "median", "halving", "wilcoxon"] | None = option(
        None,
        "Stops bad trials early: none, median, halving; with --trial-seeds none, wilcoxon. "
        "Usual: halving, or wilcoxon, where accuracy is the one objective.",
    )
    objectives: str | None = option(
        None,
        "accuracy, or with commas also madds, params, latency. Usual: accuracy, and latency where a knob is free.",
        WHAT,
    )
    control: bool = option(True, "As many random trials beside, as a control.")
    published: bool = option(True, "Train the family's published settings nearest to the budgets as well.")
    budget_resolution: int | None = option(
        None, "Side in pixels at which budgets count (usual: the training image's).", ge=8, le=4096
    )


Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, config=STRICT)
class StudySettings:
    """Searches of spaces and methods held against random cells that cost as much; also the keys of a STUDY.toml."""

    space: list[str] = option(["darts"], "Search spaces.", WHAT, min_length=1)
    method: list[str] = option(["darts"], "Published search methods, each in every space.", WHAT, min_length=1)
    seeds: list[Seed] = option([0, 1, 2], "Of the searches, in every space by every method.", WHAT, min_length=1)
    retrain_seeds: list[Seed] = option([0], "Of the trainings of each cell, found or random.", WHAT, min_length=1)
    controls: int = option(
        8, "Random cells beside the searches of each space and method, of as many multiply-adds.", WHAT, ge=0, le=1000
    )
    data: str = option("cifar10", OF_DATA, WHAT)
    preset: str = option("paper", "paper or quick: size and length of searches, and recipe of the trainings.", LONG)
    recipe: str = option("", "Another recipe for the trainings, such as fast.", LONG)
    search: dict[str, Any] = option({}, "Changes to the searches' settings.")
    retrain: dict[str, Any] = option({}, "Changes to the trainings' settings.")
    final: dict[str, int] = option({}, "Channels and cells of the networks that are trained.")


Settings = TypeVar("Settings")


def numbers(text: str) -> list[int]:
    """``5,3`` as numbers.

    Raises:
        ValueError: not such a list.
    """
    try:
        return [int(part) for part in filter(None, text.split(","))]
    except ValueError:
        raise ValueError(f'"{text}": it must be whole numbers with commas between, such as 5,3') from None


def make(kind: type[Settings], values: Mapping[str, Any], where: str = "settings") -> Settings:
    """Settings from plain values.

    Raises:
        UsageError: unknown field, a value of the wrong type or out of range.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f'{where}: unknown field "{unknown[0]}": {nearest(unknown[0], known)}')
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of several fields together
            raise UsageError(f"{where}: {first['ctx']['error']}") from None
        name = str(first["loc"][0])
        rule = first["msg"].replace("Input should be", "it must be")
        raise UsageError(f"{where}: {name} = {values.get(name)!r} (--{name.replace('_', '-')}): {rule}") from None


def recipe_hash(settings: SearchSettings | TrainSettings) -> str:
    """Eight hex digits that name a recipe: every field but the seed, and but what is looked at afterwards."""
    values = {name: value for name, value in asdict(settings).items() if name not in ("seed", "chance")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
