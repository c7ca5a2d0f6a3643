"""Settings: strict, with presets and changes in order."""

from dataclasses import FrozenInstanceError, fields

import pytest

from nas.errors import UsageError
from nas.presets import SEARCH_PRESETS, TRAIN_PRESETS, final_size, resolve, resolve_search
from nas.settings import DeriveSettings, SearchSettings, TrainSettings, make, recipe_hash


def test_paper_defaults() -> None:
    search, train = SearchSettings(), TrainSettings()
    assert (search.channels, search.cells, search.batch, search.epochs, search.lr, search.alpha_lr) == (
        16,
        8,
        64,
        50,
        0.025,
        3e-4,
    )
    assert (train.epochs, train.batch, train.auxiliary, train.drop_path, train.cutout, train.clip) == (
        600,
        96,
        0.4,
        0.2,
        True,
        5,
    )


@pytest.mark.parametrize("kind", [SearchSettings, TrainSettings])
def test_every_field_says_what_it_is(kind: type) -> None:
    for field in fields(kind):
        assert field.default.description.endswith("."), field.name


@pytest.mark.parametrize(("kind", "presets"), [(SearchSettings, SEARCH_PRESETS), (TrainSettings, TRAIN_PRESETS)])
def test_presets(kind: type, presets: dict[str, dict[str, object]]) -> None:
    for preset in presets:
        resolve(kind, presets, preset)


def test_order_of_changes() -> None:
    settings = resolve(
        SearchSettings, SEARCH_PRESETS, "quick", {"epochs": 3, "batch": 16}, {"epochs": 2, "batch": None}
    )
    assert (settings.epochs, settings.batch) == (2, 16)


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SearchSettings().epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": -1},
        {"epochs": "ten"},
        {"epochs": 1.5},
        {"lr": float("nan")},
        {"lr": -0.1},
        {"order": 3},
        {"seed": -1},
        {"batch": 0},
        {"epoch": 3},
        {"precision": "fp8"},
    ],
)
def test_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError) as error:
        make(SearchSettings, change)
    assert next(iter(change)) in str(error.value) and "\n" not in str(error.value)


def test_unknown_preset() -> None:
    with pytest.raises(UsageError, match="did you mean quick"):
        resolve(SearchSettings, SEARCH_PRESETS, "quik")


def test_recipe_hash_ignores_the_seed_only() -> None:
    assert recipe_hash(TrainSettings(seed=1)) == recipe_hash(TrainSettings(seed=2))
    assert recipe_hash(TrainSettings(epochs=1)) != recipe_hash(TrainSettings(epochs=2))
    assert recipe_hash(TrainSettings()) == "1749f1ad", "the paper's; another one only where a field comes or goes"
    assert recipe_hash(TrainSettings(jitter=0.4)) != recipe_hash(TrainSettings())


def test_sizes_of_nas_bench_201() -> None:
    """Searched and retrained at the paper's 16 channels and 3 · 5 cells; an option or a preset stands over that."""
    paper = resolve_search("paper", {"space": "nasbench201"})
    assert (paper.channels, paper.cells) == final_size("paper", "nasbench201") == (16, 15)
    assert resolve_search("paper", {"space": "nasbench201", "cells": 3}).cells == 3
    assert resolve_search("quick", {"space": "nasbench201+sandglass"}).cells == 3
    assert resolve_search("paper", {"space": "darts"}).cells == 8 and final_size("paper", "darts") == (36, 20)


def test_unknown_selection() -> None:
    with pytest.raises(UsageError, match='--select "weakest"'):
        make(DeriveSettings, {"select": "strongest, weakest"})
