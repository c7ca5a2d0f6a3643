"""Starting from trained weights: what fits is taken, what does not is named, the classifier is new on other data."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.architecture import of_genotype
from nas.cells.genotype import read
from nas.errors import UsageError
from nas.run.folder import find
from nas.run.results import TrainResult
from nas.run.spec import Init
from nas.train.start import fitting, freeze, heads, shapes
from tests.conftest import digest
from tests.train.test_recipe import macro
from tests.train.test_resume import TEXT

Nas = Callable[..., tuple[int, str, str]]
CELL = of_genotype(read(TEXT), channels=4, cells=3)
SMALL = ["--preset", "quick", "--channels", "4", "--cells", "3", "--epochs", "1", "--batch", "16"]


def test_heads_are_what_the_classes_shape() -> None:
    assert heads(CELL) == {"classifier.weight", "classifier.bias"}
    with_auxiliary = heads(CELL.changed(auxiliary=True))
    assert {name.partition(".")[0] for name in with_auxiliary} == {"classifier", "auxiliary"} and len(
        with_auxiliary
    ) == 4
    assert len(heads(macro())) == 2


def test_the_first_weight_that_does_not_fit_is_named() -> None:
    weights = CELL.build().state_dict()
    assert set(fitting(weights, CELL, new_head=False, where="x")) == set(shapes(CELL))
    assert set(shapes(CELL)) - set(fitting(weights, CELL, new_head=True, where="x")) == heads(CELL)
    for architecture in (CELL.changed(channels=8), CELL.changed(cells=4), macro()):
        first = next(iter(shapes(architecture)))
        with pytest.raises(UsageError) as error:
            fitting(weights, architecture, new_head=False, where="x")
        assert first in str(error.value) or architecture.body.get("cells") == 4
    with pytest.raises(UsageError, match="no place for"):
        fitting({**weights, "more": torch.zeros(2)}, CELL, new_head=False, where="x")


def test_auxiliary_heads_come_and_go() -> None:
    with_head = CELL.changed(auxiliary=True)
    assert set(fitting(CELL.build().state_dict(), with_head, new_head=False, where="x")) == set(shapes(CELL))
    assert set(fitting(with_head.build().state_dict(), CELL, new_head=False, where="x")) == set(shapes(CELL))


def test_too_much_frozen() -> None:
    with pytest.raises(UsageError, match="3 cells"):
        freeze(CELL.build(), 4)
    network = macro().build()
    with pytest.raises(UsageError, match="something must learn"):
        freeze(network, len(network.stages))


@pytest.mark.filterwarnings("ignore:data cifar10")
def test_cifar_to_digits(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text(TEXT)
    status, _, err = nas("retrain", "cell.txt", *SMALL)
    assert status == 0, err
    first = find("last", tmp_path / "runs")
    digits = ("--data", "digits", "--limit", "100", "--init", str(first.path))
    status, _, err = nas("retrain", "cell.txt", *SMALL, *digits, "--freeze", "2", "--seeds", "3,4")
    assert status == 0, err
    second = find("last", tmp_path / "runs")
    before, given = load_file(first.path / "weights.safetensors"), load_file(second.path / "init.safetensors")
    assert set(before) - set(given) == heads(CELL)
    for child in second.children:
        assert child.result(TrainResult).init == Init(str(first.path), digest(second.path / "init.safetensors"))
        after = load_file(child.path / "weights.safetensors")
        for name, value in after.items():
            frozen = name.startswith(("stem.", "cells.0.", "cells.1."))
            assert torch.equal(value, before[name]) == frozen or "num_batches" in name, name

    for words, said in (
        (("--init", str(first.path), "--channels", "8"), "stem.0.weight"),
        (("--init", "nothing"), "nothing"),
        (("--freeze", "1"), "--init"),
        (("--init", str(first.path), "--freeze", "9"), "--freeze 9"),
        (("--init", str(second.path)), "weights.safetensors"),
    ):
        status, _, err = nas("retrain", "cell.txt", *SMALL, *words)
        assert status == 2 and said in err.splitlines()[-1], err
