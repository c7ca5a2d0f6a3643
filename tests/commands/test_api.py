"""The Python API: its signatures are the settings', its results show themselves, own images are taken."""

import inspect
import pydoc
from dataclasses import fields
from functools import wraps
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nas
from nas import data
from nas.cells.genotype import read
from nas.commands import tuning
from nas.commands.api import View
from nas.data.tensors import pack, split_of
from nas.errors import UsageError
from nas.execution import Execution
from nas.macro.settings import MacroSettings
from nas.run.results import SearchResult, TrainResult
from nas.run.spec import TrainSpec
from nas.settings import DeriveSettings, SearchSettings, StudySettings, TrainSettings, TuneSettings
from tests.pages import made

KINDS = {
    "search": [SearchSettings],
    "retrain": [TrainSettings],
    "derive": [DeriveSettings],
    "tune": [TrainSettings, TuneSettings],
    "study": [StudySettings],
    "cost": [MacroSettings],
    "evaluate": [],
    "export": [],
    "resume": [],
}
SMALL = {"channels": 2, "cells": 2, "epochs": 1, "batch": 8, "threads": 1}


def images(count: int = 60, classes: int = 3, side: int = 8) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % classes
    noise = torch.randint(0, 60, (count, 3, side, side), generator=torch.Generator().manual_seed(0))
    return (noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels


@pytest.mark.parametrize("name", KINDS)
def test_signatures_are_the_settings(name: str) -> None:
    parameters = inspect.signature(getattr(nas, name)).parameters
    for kind in (*KINDS[name], *[Execution] * (name != "cost")):
        for field in fields(kind):
            assert field.name in parameters, field.name
            assert kind is Execution or f"    {field.name}: " in getattr(nas, name).__doc__
    assert not any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def test_help_lists_the_api() -> None:
    text = pydoc.plain(pydoc.render_doc(nas))
    assert all(f"\n    {name}(" in text for name in nas.__all__)
    assert {*nas.__all__, "__version__"} == set(dir(nas))
    assert (
        inspect.signature(nas.search).parameters["preset"].default == "paper"
        and (Path(nas.__file__).parent / "py.typed").is_file()
    )


def test_unknown_and_wrong_keywords() -> None:
    with pytest.raises(UsageError, match=r'unknown keyword "spice": did you mean space'):
        nas.search(spice="darts")
    with pytest.raises(UsageError, match="epochs"):
        nas.search(epochs="many")


def test_own_images_from_a_search_to_a_module(tmp_path: Path) -> None:
    found = nas.search(data=images(), runs=tmp_path, final_channels=4, final_cells=3, chance=0, **SMALL)
    assert isinstance(found.result, SearchResult) and found.genotype is not None
    (file,) = (tmp_path / "data").glob("*.safetensors")
    page = found._repr_html_()
    assert page.startswith("<img src=") and "<table>" in page and str(found.path) in page
    assert found.figure("curves", tmp_path / "curves.pdf").svg and (tmp_path / "curves.pdf").is_file()
    trained = nas.retrain(found, epochs=1, batch=8, runs=tmp_path, threads=1)
    assert trained.run.spec(TrainSpec).settings.data == str(file), "the search's data"
    assert isinstance(trained.result, TrainResult) and "test accuracy" in str(trained)
    assert nas.load("last", runs=tmp_path)(torch.randn(1, 3, 8, 8)).shape == (1, 3)
    assert nas.evaluate(trained).test_openings == 2
    assert "<td>test</td>" in nas.compare(trained)._repr_html_()
    assert nas.resume(trained, runs=tmp_path).result.test_openings == 2, "a finished run is as it is"
    assert nas.cost(trained).costs[str(trained.path)].params == trained.result.params


def test_objects_are_networks(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
    assert nas.cost(read(text)).costs["1"].params == 3_349_342
    costs = nas.cost(space="mobilenext", identity="1,1/2", resolution=32)
    assert (
        len(costs.tables) == 3 and costs._repr_html_().count("<table>") == 3 and "mobilenext identity=1/2" in str(costs)
    )


def test_a_tuning_gets_all_its_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict = {}
    monkeypatch.setattr("nas.commands.api.view_of", lambda run: run)
    monkeypatch.setattr("nas.commands.tuning.tune", wraps(tuning.tune)(lambda *_, **keywords: given.update(keywords)))
    nas.tune(spaces="mobilenext", budgets=["20M"], preset="quick", latency_table="pixel.json")
    assert (given["preset"], given["latency_table"]) == ("quick", Path("pixel.json"))


@pytest.mark.parametrize("given", [{"width": 0.5}, {"classes": 10}, {"stem": "cifar"}])
def test_what_only_a_space_has_is_not_ignored(given: dict) -> None:
    text = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
    with pytest.raises(UsageError, match="needs space="):
        nas.cost(read(text), **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 2}, "needs --cluster"),
        ({"cluster": "local", "storage": "x", "runs": "y"}, "--runs cannot"),
    ],
)
def test_a_clusters_keywords_are_its_options(given: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nas.search(data="digits", **given)


def test_a_run_of_seeds_shows_its_table(tmp_path: Path) -> None:
    run = made.trainings(tmp_path, {0: 0.9, 1: 0.92})
    (table,) = View(run, None).tables
    assert "91.00%" in table._repr_html_() and "91.00%" in str(View(run, None))
    with pytest.raises(UsageError, match="nothing of that"):
        View(run, None).figure("alphas")


class Listed:
    """As torchvision's folders are."""

    classes = ("cat", "dog")

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple:
        return self.items[index]


def test_a_dataset_is_packed_as_it_is(tmp_path: Path) -> None:
    from torchvision.transforms.functional import to_pil_image

    pixels, labels = images(20, 2)
    pairs = list(zip(pixels, labels.tolist(), strict=True))
    for items in (pairs, [(to_pil_image(image), label) for image, label in pairs], [(i / 255, n) for i, n in pairs]):
        dataset = data.load(str(pack(Listed(items), Listed(items[:4]), tmp_path)))
        assert torch.equal(dataset.train.images, pixels) and dataset.classes == ("cat", "dog")
        assert torch.equal(dataset.test.labels, labels[:4])
    assert len(list(tmp_path.iterdir())) == 1, "the same images are the same file"
    assert split_of((pixels[:, :1], labels)).images.shape == pixels.shape, "grey thrice"
    divided = data.load(str(pack((pixels, labels), None, tmp_path)))
    assert (len(divided.train), len(divided.test)) == (16, 4) and divided.test.labels.bincount().tolist() == [2, 2]


def test_classes_of_a_test_set_are_those_of_its_training_set(tmp_path: Path) -> None:
    pixels, labels = images(8, 2)
    train = Listed(list(zip(pixels, labels.tolist(), strict=True)))
    test = Listed(train.items)
    test.classes = ("dog", "cat")
    with pytest.raises(UsageError, match="other classes"):
        pack(train, test, tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0.7, 1.2, 0.0, 1.0])), "whole numbers"),
        ((torch.randn(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)), "not normalised"),
        ((torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)), r"\(n, 3, H, W\)"),
        (Listed([(torch.zeros(3, side, side, dtype=torch.uint8), 0) for side in (8, 9)]), "of one size"),
        (Listed([]), "of one size"),
        (Listed([("x.png", 0)]), "str"),
    ],
)
def test_other_images_are_refused(given: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        pack(given, None, tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UsageError, match=r"x\.safetensors: no file of images"):
        data.load(str(tmp_path / "x.safetensors"))
