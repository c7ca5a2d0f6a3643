"""The terms that a result was had on: two results may be ranked where these are equal."""

from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from nas.run.documents import DOCUMENT

TERMS = ("data", "classes", "split", "recipe", "resolution", "precision", "init")
"""What must be equal of two results to rank them; the rest is shown beside."""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Fingerprint:
    """The terms of a result.

    Args:
        data: digest of all images and labels, as :attr:`nas.data.dataset.Dataset.digest`.
        split: how many images were learnt from and how many held out; the seed draws which.
        recipe: hash of the settings but the seed.
        resolution: side of an image in pixels.
        init: digest of trained weights that it began with; empty: the seed's own.
        official: whether the data's files are those that were published; None: there are none to hold them against.
        code: version and commit of this package, and torch's version.
        folder: where the data lay; empty: inside of an installed package.
        device: "cpu" or "cuda".
        threads: of the CPU.
    """

    data: str
    classes: int
    split: str
    recipe: str
    resolution: int
    precision: str
    init: str = ""
    official: bool | None = None
    code: str
    folder: str = ""
    device: str
    threads: int

    def unlike(self, other: "Fingerprint") -> list[str]:
        """The names of the terms in which the other is not equal."""
        return [name for name in TERMS if getattr(self, name) != getattr(other, name)]


def common(fingerprints: Sequence[Fingerprint | None]) -> Fingerprint | None:
    """The first, if all are known and their terms equal it."""
    first = fingerprints[0] if fingerprints else None
    alike = all(each is not None and first is not None and not first.unlike(each) for each in fingerprints)
    return first if alike else None
