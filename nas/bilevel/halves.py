"""The two halves of a search's training images: weights learn on one, alphas on the other."""

from dataclasses import dataclass

from nas.data.batches import Augmentation, Places, Stream
from nas.data.dataset import Dataset, Split
from nas.execution import Execution
from nas.settings import SearchSettings
from nas.train.start import load_data


@dataclass(frozen=True)
class Halves:
    """A search's data.

    Args:
        dataset: all of it.
        train, valid: the half that weights learn on; the held-out one.
        augmentation: of both.
    """

    dataset: Dataset
    train: Split
    valid: Split
    augmentation: Augmentation

    @classmethod
    def of(cls, settings: SearchSettings, execution: Execution, device: str) -> "Halves":
        """The halves that belong to the seed."""
        dataset = load_data(settings, execution, device)
        dataset = dataset.shuffled(settings.seed) if settings.shuffle_labels else dataset
        train, valid = dataset.divided(len(dataset.train) // 2, settings.seed)
        return cls(dataset, train, valid, Augmentation.of(dataset, cutout=settings.cutout, device=device))

    def streams(self, settings: SearchSettings, places: Places = slice(None)) -> tuple[Stream, Stream]:
        """The training and the held-out batches of each step, or the wanted places of them."""
        return (
            Stream(self.train, self.augmentation, settings.batch, settings.seed, places=places),
            Stream(
                self.valid, self.augmentation, settings.batch, settings.seed, "alpha-order", "alpha-augment", places
            ),
        )
