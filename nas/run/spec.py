"""What a run is to do: the content of its settings.json, typed; a tuning's own is in :mod:`nas.tuning.spec`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from nas.execution import Execution
from nas.run.documents import DOCUMENT, Version
from nas.settings import DATA, DeriveSettings, SearchSettings, TrainSettings


@dataclass(frozen=True, config=DOCUMENT)
class OpsFile:
    """The file of a user's own operations: where it is and the SHA-256 of its content."""

    path: str
    sha256: str


@dataclass(frozen=True, config=DOCUMENT)
class Size:
    """Channels and cells of the network that a searched cell is meant for."""

    channels: int
    cells: int


@dataclass(frozen=True, config=DOCUMENT)
class Candidate:
    """One of several networks to train: its name in tables, and where it came from."""

    name: str
    source: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Origin:
    """What a network was searched, tuned or trained on, and by what: its next training goes on with that.

    Args:
        data: a name, or the path of an image folder.
        image_size: side in pixels of its images; None: their own.
        preset: the recipe's name; empty: not known.
        settings: of the trainings, where there were any; their seed means nothing.
        final: size of the network that a searched cell is meant for.
    """

    data: str
    image_size: int | None = None
    preset: str = ""
    settings: TrainSettings | None = None
    final: Size | None = None


@dataclass(frozen=True, config=DOCUMENT)
class Init:
    """The training that a run's first weights come from, and the SHA-256 of those weights."""

    run: str
    sha256: str


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Spec:
    """What every run is to do.

    Args:
        command: of the command line; "rank" and "trial" are trainings inside of a search and a tuning.
        execution: device, threads and folders the run was begun with.
        preset: the recipe's name.
        ops: the user's own operations.
        seeds: of a run with a child for each; empty: the settings' one.
        tensorboard: whether RUN/tensorboard is written.
        format: of the run folder.
    """

    format: Version = 1
    command: str
    execution: Execution
    preset: str = ""
    ops: OpsFile | None = None
    seeds: tuple[int, ...] | None = None
    tensorboard: bool = False

    @property
    def origin(self) -> Origin | None:
        """What networks that come of the run go on with; None: nothing is known."""
        return None

    @field_validator("execution", mode="before")
    @classmethod
    def _plain(cls, execution: Any, info: ValidationInfo) -> Any:
        """Trainings begun before they had a back end go on as they began, with torch's own functions."""
        plain = isinstance(execution, dict) and info.data.get("command") != "search"
        return {"backend": "library", **execution} if plain else execution


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class SearchSpec(Spec):
    """A search; ``final`` is the size of the network that its cell is meant for."""

    command: Literal["search"] = "search"
    settings: SearchSettings
    final: Size

    @property
    def origin(self) -> Origin:
        return origin_of_search(self.settings, self.preset, self.final)

    @field_validator("settings", mode="before")
    @classmethod
    def _rename(cls, settings: Any) -> Any:
        """Runs begun before there was --relaxation had --sampler all or gdas; before --sentinel there was none."""
        if not isinstance(settings, dict):
            return settings
        if "sentinel" not in settings:
            settings = {**settings, "sentinel": "off", "eigenvalue": 0}
        if "sampler" not in settings:
            return settings
        relaxation = {"all": "softmax", "gdas": "path"}[settings["sampler"]]
        return {**{name: value for name, value in settings.items() if name != "sampler"}, "relaxation": relaxation}


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class DeriveSpec(Spec):
    """What is derived of a search; the run holds its own copy of the supernet.

    Args:
        settings: with no field empty but the limits and ``images``.
        search: of the search.
        source: its run.
        epoch: of the search's, after which the supernet was saved.
        final: the size of the network that the cells are meant for.
    """

    command: Literal["derive"] = "derive"
    settings: DeriveSettings
    search: SearchSettings
    source: str
    epoch: int
    final: Size

    @property
    def origin(self) -> Origin:
        return origin_of_search(self.search, self.preset, self.final)


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class TrainSpec(Spec):
    """A training, or (with ``networks`` or ``seeds``) one of each network and seed.

    Args:
        source, sha256: where the one network came from, and the digest of the document that was read there.
        networks: several networks; the file of each is ``architecture-<name>.json``.
        title: shown beside the progress.
    """

    command: Literal["retrain", "rank", "trial"] = "retrain"
    settings: TrainSettings
    source: str = ""
    sha256: str = ""
    networks: tuple[Candidate, ...] | None = None
    init: Init | None = None
    title: str = ""

    @property
    def origin(self) -> Origin:
        judged = self.command != "retrain"  # on held-out images, by a search or a tuning
        return origin_of_training(self.settings, self.preset, judged)


@dataclass(frozen=True, config=DOCUMENT)
class Arm:
    """What a study does with one space and method.

    Args:
        name: of it in the folders' names.
        search: settings of its searches, but for the seed.
        final: size of the networks to train.
    """

    name: str
    search: SearchSettings
    final: Size


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudySpec(Spec):
    """A study; ``seeds`` are its searches'.

    Args:
        settings: of every training, but for the seed.
        retrain_seeds: of each cell's trainings.
        controls: random cells an arm.
    """

    command: Literal["study"] = "study"
    settings: TrainSettings
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    retrain_seeds: tuple[int, ...]
    controls: int


@dataclass(frozen=True, config=DOCUMENT)
class CommonSettings:
    """What the settings of most commands have."""

    data: str = ""
    epochs: int = 0
    space: str = ""
    method: str = ""
    seed: int | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class OutlineSpec(Spec):
    """A run of any command, as far as a list of runs shows it."""

    settings: CommonSettings


def origin_of_search(settings: SearchSettings, preset: str, final: Size) -> Origin:
    """Of cells; the recipe is that of the search's preset."""
    return Origin(data=absolute(settings.data), image_size=settings.image_size, preset=preset, final=final)


def origin_of_training(settings: TrainSettings, preset: str, judged: bool) -> Origin:
    """Of a trained network; where it was ``judged`` on held-out images, the next training holds out none."""
    settings = replace(settings, seed=0, freeze=0, validation=0 if judged else settings.validation)
    return Origin(data=absolute(settings.data), image_size=settings.image_size, preset=preset, settings=settings)


def absolute(data: str) -> str:
    """A data set's name, or the whole path of a folder that is here."""
    return str(Path(data).resolve()) if data not in DATA and Path(data).is_dir() else data
