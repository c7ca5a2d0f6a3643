"""Multiply-adds by formula equal those that are counted, over all families."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.costs.count import count
from nas.errors import UsageError
from nas.macro.families import FAMILIES, resolve
from nas.macro.madds import madds
from nas.macro.networks import build
from nas.macro.settings import MacroSettings

HALVES = st.integers(1, 16).map(lambda n: n / 2)
KNOBS = {
    "expansion": st.none() | HALVES,
    "reduction": st.none() | HALVES.filter(lambda t: t >= 1),
    "contraction": st.sampled_from([2, 4, 8]),
    "asymmetry": st.none() | st.integers(0, 6).map(lambda n: n / 2),
    "convention": st.sampled_from(["torchvision", "timm"]),
    "se": st.sampled_from([None, True, False]),
    "pruned": st.booleans(),
}


@pytest.mark.parametrize("network", FAMILIES)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_formula_equals_count(network: str, data: st.DataObject) -> None:
    kind = FAMILIES[network]
    chosen = {"width": data.draw(st.integers(10, 120)) / 100}
    chosen |= {name: data.draw(values) for name, values in KNOBS.items() if name in kind.knobs}
    if kind.sizes:
        chosen["size"] = data.draw(st.sampled_from([None, *kind.sizes]))
    stem, side = data.draw(st.sampled_from([("cifar", 32), ("cifar", 47), ("imagenet", 64), ("imagenet", 97)]))
    try:
        rows = resolve(network, chosen, stem)
    except UsageError:
        return
    with torch.device("meta"):
        built = build(network, chosen, classes=10, stem=stem)
    assert madds(rows, (3, side, side), 10) == count(built, (3, side, side)).madds


def test_stage_steps_change_it() -> None:
    plain = madds(resolve("hbonet", MacroSettings(), "cifar"), (3, 32, 32), 10)
    assert madds(resolve("hbonet", MacroSettings(steps=(0, 1)), "cifar"), (3, 32, 32), 10) > plain
