"""What every command checks before it makes a run folder, and how the folder is called."""

from collections.abc import Sequence
from pathlib import Path

from nas.data.dataset import Dataset
from nas.errors import UsageError
from nas.execution import Execution
from nas.settings import SearchSettings, TrainSettings
from nas.train.start import load_data


def check_data(settings: SearchSettings | TrainSettings, execution: Execution) -> Dataset:
    """The data of a search or training, with as many images as its settings need.

    Raises:
        UsageError: data that cannot be used, or fewer images than that.
    """
    dataset = load_data(settings, execution)
    images = len(dataset.train)
    left = images // 2 if isinstance(settings, SearchSettings) else max(0, images - settings.validation)
    if settings.batch > left:
        raise UsageError(f"--batch {settings.batch} is larger than the {left} images left to train on")
    return dataset


def check_seeds(seeds: Sequence[int] | None, option: str = "--seeds") -> tuple[int, ...] | None:
    """Several seeds, each once; None: the settings' one.

    Raises:
        UsageError: none, or one twice.
    """
    if seeds is not None and (not seeds or len(set(seeds)) != len(seeds)):
        raise UsageError(f"{option} {','.join(map(str, seeds))}: name at least one, each once")
    return None if seeds is None else tuple(seeds)


def label(command: str, subject: str, seeds: Sequence[int]) -> str:
    """The name of a run's folder after its time: search-darts-s0."""
    return f"{command}-{Path(subject).name}-s{'_'.join(map(str, seeds))}"
