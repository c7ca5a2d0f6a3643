"""Runs of the code before the rebuild (fixtures/README.md), resumed: they end in the weights that code came to."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F

from nas.train.preflight import Estimate
from tests.begun_before import COMMANDS, digests, machine, recorded

BEGUN = Path(__file__).parent / "fixtures" / "begun"
FIRST = {
    "search": [2.2933745, 2.2119997, 2.2263153, 2.241611],
    "retrain": [2.1699646, 2.3983533, 2.2953229, 2.4506588],
    "tune": [1.6560497, 1.8504738, 1.5987675, 1.7234434],
}
"""The first losses after the resumption: two steps of the search (α, weights), four of the others."""
ROUNDING = 5e-5
"""Of these losses, relative: at most 5e-6 between AVX2, AVX512 and neither. A lost momentum moves them by 7e-4."""


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every cross-entropy of the test, in order; without the steps that measure time and memory before the first."""
    values: list[float] = []
    cross_entropy = F.cross_entropy

    def noted(*arguments: Any, **options: Any) -> Tensor:
        loss = cross_entropy(*arguments, **options)
        values.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(F, "cross_entropy", noted)
    for loop in ("nas.bilevel.loop", "nas.train.loop"):
        monkeypatch.setattr(f"{loop}.measure", lambda *_, **__: Estimate(seconds=0.1, peak_bytes=0))
    return values


@pytest.mark.parametrize("command", COMMANDS)
def test_resumes_to_the_same_weights(
    command: str, nas: Callable[..., tuple[int, str, str]], losses: list[float], tmp_path: Path
) -> None:
    run = tmp_path / "begun"
    shutil.copytree(BEGUN / command, run)
    status, _, err = nas(command, "--resume", str(run))
    assert status == 0, err
    assert losses[:4] == pytest.approx(FIRST[command], rel=ROUNDING)
    ours, theirs = digests(run, command), recorded(command)
    if theirs is None:
        pytest.skip(f"the first losses agree; no weights are recorded for {machine()}")
    assert ours.keys() == theirs.keys()
    unlike = [name for name in theirs if ours[name] != theirs[name]]
    assert not unlike, f"{len(unlike)} of {len(theirs)} tensors differ: {', '.join(unlike[:5])} …"
