"""Fingerprints: what makes two results unlike, and what does not."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from nas import data
from nas.data.dataset import Dataset
from nas.execution import Execution
from nas.run.documents import as_json
from nas.run.fingerprint import TERMS, Fingerprint, common
from nas.run.spec import Init
from nas.settings import SearchSettings, TrainSettings
from nas.train.fingerprint import fingerprint

OWN = Fingerprint(
    data="d", classes=10, split="s", recipe="r", resolution=32, precision="fp32", code="c", device="cpu", threads=1
)


@pytest.mark.parametrize("name", [field.name for field in fields(Fingerprint)])
def test_terms_make_results_unlike_and_what_is_shown_beside_does_not(name: str) -> None:
    value = getattr(OWN, name)
    other = replace(OWN, **{name: value + 1 if isinstance(value, int) else True if value is None else f"{value}x"})
    assert OWN.unlike(other) == ([name] if name in TERMS else [])
    assert common([OWN, other]) == (None if name in TERMS else OWN)


def test_common_terms_are_known_ones() -> None:
    assert common([]) is None and common([OWN, None]) is None and common([None]) is None


def test_an_empty_init_is_left_out_of_nothing() -> None:
    assert as_json(OWN)["init"] == "" and "official" not in as_json(OWN)


def test_of_a_training() -> None:
    settings = TrainSettings(data="digits", limit=400, validation=80, precision="bf16")
    terms = fingerprint(settings, Execution(device="cpu"), Init("run", "0123456789abcdef00"))
    assert (terms.split, terms.resolution, terms.classes) == ("320 to learn from, 80 held out", 16, 10)
    assert (terms.precision, terms.init, terms.device) == ("bf16", "0123456789abcdef", "cpu")
    assert terms.threads == torch.get_num_threads() and "torch" in terms.code and terms.official is None
    assert not terms.unlike(fingerprint(replace(settings, seed=3), Execution(), Init("other", "0123456789abcdef00")))
    assert terms.unlike(fingerprint(replace(settings, limit=300), Execution())) == ["split", "recipe", "init"]


def test_of_a_search() -> None:
    assert fingerprint(SearchSettings(data="digits"), Execution()).split == "719 to learn from, 718 held out"


def test_digest_follows_every_image_label_and_class() -> None:
    whole = data.load("digits")
    assert whole.digest == replace(whole).digest and len(whole.digest) == 16

    def changed(part: str, what: str) -> Dataset:
        split = getattr(whole, part)
        tensor = getattr(split, what).clone()
        tensor[-1] = (tensor[-1] + 1) % 10
        return replace(whole, **{part: replace(split, **{what: tensor})})

    others = [changed(part, what) for part in ("train", "test") for what in ("images", "labels")]
    others += [replace(whole, classes=(*whole.classes[:-1], "ten")), whole.limited(100, 0)]
    assert len({each.digest for each in (whole, *others)}) == 7


@pytest.mark.filterwarnings("ignore:data cifar10")
def test_files_that_are_not_the_official_ones(cifar: Path) -> None:
    assert data.load("cifar10", root=cifar).official is False
