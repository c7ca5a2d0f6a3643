"""What runs come to: result.json, typed. Accuracies are fractions."""

from typing import Literal

from pydantic.dataclasses import dataclass

from nas.run.documents import DOCUMENT, Number, Real
from nas.run.fingerprint import Fingerprint
from nas.run.spec import Init


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Marks:
    """What can be said of a cell's network untrained, at the search's size; NASWOT and SynFlow are logarithms."""

    params: Real
    madds: Real
    naswot: Number
    synflow: Number


@dataclass(frozen=True, config=DOCUMENT)
class Chance:
    """A found cell among random ones of its space: how many these were, and its percentiles among them."""

    cells: int
    percentiles: Marks


Action = Literal["warn", "stop", "rollback"]


@dataclass(frozen=True, config=DOCUMENT)
class Alarm:
    """A rule of the sentinel that went off in a search.

    Args:
        rule: which.
        epoch: after which, from 0.
        value, limit: the ratio of smoothed eigenvalues, or the number of skips, and what it must not pass.
        action: what was done.
        back: the epoch whose state is from before, or that the search went back to.
    """

    rule: Literal["eigenvalue", "skips"]
    epoch: int
    value: Real
    limit: Real
    action: Action
    back: int


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class SearchResult:
    """A search: the supernet's held-out accuracy, mean alpha entropy before and after, and the cell's network.

    Args:
        recipe: hash of the settings.
        search_params: parameters of the supernet.
        params, madds: of the network that the cell is meant for.
        seconds: of all epochs.
        precision: of the evaluation: the search's own; before it was noted, "fp32".
        fingerprint: None before it was noted.
        alarms: of the sentinel.
        chance: the cell among random ones, which tells a collapse and ranks nothing; None: not wanted.
    """

    valid_accuracy: Real
    entropy: tuple[Number, Number]
    skip_share: Real
    space: str
    seed: int
    recipe: str
    search_params: int
    seconds: Real
    hardware: str
    params: int
    madds: int
    precision: str = "fp32"
    fingerprint: Fingerprint | None = None
    alarms: tuple[Alarm, ...] = ()
    chance: Chance | None = None


@dataclass(frozen=True, config=DOCUMENT)
class Rank:
    """A searched cell's held-out accuracy after a short training, and its network's parameters."""

    seed: int
    valid_accuracy: Real
    params: int


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class SearchRanking:
    """Searches of several seeds, best first; ``best`` is the first one's folder."""

    ranking: tuple[Rank, ...]
    best: str
    space: str


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Derivation:
    """A cell derived of a supernet, and its network.

    Args:
        select: by what.
        genotype: digest of the cell; its file is ``genotype-<select>.json``.
        changed: edges, with their operations, of the strongest cell that it does not have.
        skips: its edges that are skip connections.
        log_strength: Σ log strength of its edges.
        valid_accuracy: of the supernet with this cell's edges alone, each with weight 1.
        tuned_accuracy: the same after perturbation's own tuning.
    """

    select: str
    genotype: str
    changed: int
    params: int
    madds: int
    skips: int
    log_strength: Number
    valid_accuracy: Real
    tuned_accuracy: Real | None = None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class DeriveResult:
    """Selections side by side, from one supernet and on the same held-out images, with batch statistics.

    Args:
        source, sha256: the search's run, and the digest of its supernet.
        epoch, epochs: after which of the search's epochs the supernet was saved.
        images: held-out images.
        valid_accuracy: of the supernet before.
        params, madds: where there is but one cell, its network's.
        fingerprint: None before it was noted.
    """

    source: str
    epoch: int
    epochs: int
    images: int
    valid_accuracy: Real
    cells: tuple[Derivation, ...]
    space: str
    seed: int
    hardware: str
    sha256: str = ""
    params: int | None = None
    madds: int | None = None
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class TrainResult:
    """A training.

    Args:
        test_accuracy, test_loss: read once, at the end; None where the test set stays closed.
        valid_accuracy: on held-out training images, where there are any.
        recipe: hash of the settings.
        seconds: of all epochs.
        test_openings: how often the test set was read.
        latency_ms: of one image, where a tuning asked for it.
        precision: of the evaluation: the training's own; before it was noted, "fp32".
        fingerprint: None before it was noted.
        source, sha256: where the network came from, as of :class:`nas.run.spec.TrainSpec`.
        weights: digest of weights.safetensors, as of :mod:`nas.train.weights`; empty before it was noted.
    """

    test_accuracy: Real | None
    test_loss: Number | None
    valid_accuracy: Real | None
    params: int
    madds: int
    seed: int
    recipe: str
    seconds: Real
    hardware: str
    test_openings: int
    init: Init | None = None
    latency_ms: Real | None = None
    precision: str = "fp32"
    fingerprint: Fingerprint | None = None
    source: str = ""
    sha256: str = ""
    weights: str = ""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class WeightsDigest:
    """Of a result, the digest of its weights."""

    weights: str = ""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Figures:
    """The main figures of a result of any kind, or of a log's last line."""

    test_accuracy: Real | None = None
    valid_accuracy: Real | None = None
    params: int | None = None
    madds: int | None = None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Terms:
    """The terms of a result of any kind."""

    fingerprint: Fingerprint | None = None
