"""Selection by perturbation: what masks do, what is decided, what stays as it was, and exact resuming."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.bilevel.build import build_supernet
from nas.bilevel.decisions import OPEN, Choices, Deletion, Operation, rounds
from nas.bilevel.halves import Halves
from nas.bilevel.projection import Plan, Projection, batch_accuracy, whole_batches
from nas.bilevel.relaxation import Relaxation
from nas.cells.assembly import assemble
from nas.cells.genotype import KINDS, Genotype
from nas.cells.supernet import Supernet
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset, Split
from nas.execution import Execution
from nas.run.folder import Run, create
from nas.run.log import ProjectionRound
from nas.run.spec import DeriveSpec, Size
from nas.settings import DeriveSettings, SearchSettings
from nas.space import CellSpace, load
from nas.train import session

SPACE = CellSpace("small", "", 2, {"none": {}, "skip_connect": {}, "conv_3x3": {}})
SETTINGS = SearchSettings(channels=2, cells=3, batch=4, epochs=2, engine="reference")


def supernet_of(space: CellSpace = SPACE) -> Supernet:
    supernet = build_supernet(SETTINGS, space, 3)
    with torch.no_grad():
        for seed, alpha in enumerate(supernet.alphas.values()):
            alpha.copy_(torch.randn(alpha.shape, generator=torch.Generator().manual_seed(seed)))
    return supernet


def halves_of(images: int = 13) -> Halves:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2 * images, 3, 8, 8), dtype=torch.uint8, generator=stream)
    split = Split(pixels, torch.randint(3, (2 * images,), generator=stream))
    dataset = Dataset("made up", ("a", "b", "c"), split, split, (0.5,) * 3, (0.25,) * 3)
    train, valid = dataset.divided(images, 0)
    return Halves(dataset, train, valid, Augmentation.of(dataset, cutout=False, device="cpu"))


def run_of(root: Path) -> Run:
    settings = DeriveSettings(select="perturbation")
    spec = DeriveSpec(settings=settings, execution=Execution(), search=SETTINGS, source="", epoch=2, final=Size(4, 3))
    return create(root, "derive", spec)


def projection_of(root: Path | Run) -> Projection:
    run = root if isinstance(root, Run) else run_of(root)
    return Projection(run, SETTINGS, supernet_of(), halves_of(), "cpu", images=None, epochs=1)


def choices_of(supernet: Supernet) -> Choices:
    assert isinstance(supernet.relax, Relaxation)
    choices = Choices(supernet.relax, supernet.space, "cpu")
    supernet.relax = choices
    return choices


def test_with_all_open_and_nothing_masked_it_is_the_plain_supernet() -> None:
    plain, supernet = supernet_of(), supernet_of()
    choices_of(supernet)
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(plain(images), supernet(images))


def test_a_masked_operation_weighs_nothing_and_the_others_as_before() -> None:
    supernet = supernet_of()
    before, choices = supernet.mixing(), choices_of(supernet)
    Operation("normal", 3, [1, 2]).mask(choices, 1)
    after = supernet.mixing()
    assert after["normal"][3, 2] == 0
    after["normal"][3, 2] = before["normal"][3, 2]
    assert all(torch.equal(before[kind], after[kind]) for kind in KINDS)
    Deletion("reduce", [2, 3, 4], 3).mask(choices, 0)
    assert not supernet.mixing()["reduce"][2].any()


def test_a_decided_edge_has_weight_1_and_its_alphas_no_gradient() -> None:
    supernet = supernet_of()
    choices = choices_of(supernet)
    choices.operations["normal"][0] = 2
    choices.present["normal"][4] = False
    weights = supernet.mixing()["normal"]
    assert weights[0].tolist() == [0, 0, 1] and not weights[4].any()
    supernet(torch.randn(4, 3, 8, 8)).square().sum().backward()
    gradient = supernet.alphas["normal"].grad
    assert gradient is not None and not gradient[[0, 4]].any() and gradient[1:4].all()


def test_decisions_by_hand() -> None:
    supernet = supernet_of()
    choices = choices_of(supernet)
    choices.accuracies = [0.5, 0.4, 0.4]
    Operation("normal", 1, [0, 1, 2]).decide(choices)
    assert choices.operations["normal"].tolist() == [OPEN, 1, OPEN, OPEN, OPEN], "hurts most, the earlier of equals"
    choices.present["reduce"][2] = False
    choices.accuracies = [0.7, 0.7]
    Deletion("reduce", [2, 3, 4], 2).decide(choices)
    assert choices.present["reduce"].tolist() == [True, True, False, False, True], "hurts least, the lower of equals"


def test_rounds_are_those_of_the_paper() -> None:
    """14 + 3 rounds; 14 · 7 · 2 evaluations for operations, 2 · (3 + 7 + 12) for edges; ``none`` is never tried."""
    space = load("darts")
    decisions = rounds(space, 0)
    plan = Plan(decisions, images=25_000, epochs=5, steps=390)
    assert len(decisions) == 17 and sum(len(plan.trials(number)) for number in range(17)) == 240
    assert sum(plan.tuning(number) for number in range(17)) == 81 * 390
    for row, kind in enumerate(KINDS):
        operations = [each[row] for each in decisions[:14]]
        assert sorted(each.edge for each in operations if isinstance(each, Operation)) == list(range(14))
        assert all(each.kind == kind and each.trials == 7 for each in operations)
    assert decisions == rounds(space, 0) != rounds(space, 1)
    assert len(rounds(load("s2"), 0)) == 17 and max(each.trials for each in rounds(load("s2"), 0)[0]) == 2


def hidden_worth(supernet: Supernet) -> float:
    """A made-up accuracy: each edge and operation that is there adds its own worth."""
    worths = [torch.rand(5, 3, generator=torch.Generator().manual_seed(seed)) for seed in (7, 8)]
    with torch.no_grad():
        present = [(weights > 0).float() for weights in supernet.mixing().values()]
    return float(sum(((worth * there).sum() for worth, there in zip(worths, present, strict=True)), torch.zeros(())))


def best_by_worth() -> Genotype:
    """What must come out: on each edge the worthiest operation but none, at node 1 without its least worthy edge."""
    nodes = {}
    for seed, kind in zip((7, 8), KINDS, strict=True):
        worth = torch.rand(5, 3, generator=torch.Generator().manual_seed(seed))[:, 1:]
        names = [["skip_connect", "conv_3x3"][int(row.argmax())] for row in worth]
        least = int(worth[2:].amax(1).argmin())
        nodes[kind] = [
            [(names[0], 0), (names[1], 1)],
            [(names[2 + state], state) for state in range(3) if state != least],
        ]
    return assemble(SPACE, nodes)


def test_it_finds_what_is_worth_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    projection = projection_of(tmp_path)
    monkeypatch.setattr(Projection, "accuracy", lambda self, split: hidden_worth(self.supernet))
    assert projection.genotype() == best_by_worth()
    log = projection.run.log(ProjectionRound)
    assert len(log) == 6 and OPEN not in log[-1].operations["normal"] and sum(log[-1].present["reduce"]) == 4


def test_judging_changes_nothing() -> None:
    supernet, halves = supernet_of(), halves_of()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    first = batch_accuracy(supernet, halves.valid, halves, SearchSettings(batch=6))
    assert batch_accuracy(supernet, halves.valid, halves, SearchSettings(batch=6)) == first
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_judging_is_by_batch_statistics() -> None:
    """Ruined running statistics do not matter."""
    supernet, halves = supernet_of(), halves_of()
    first = batch_accuracy(supernet, halves.valid, halves, SearchSettings(batch=6))
    for module in supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(1e3)  # type: ignore[union-attr]
    assert batch_accuracy(supernet, halves.valid, halves, SearchSettings(batch=6)) == first


def test_images_in_whole_batches() -> None:
    valid = halves_of().valid
    assert [len(whole_batches(valid, 4, images)) for images in (None, 9, 100)] == [12, 8, 12]


class Killed(Exception):
    pass


def test_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two trials of a decision and between two steps of tuning: the same cell and weights, bit for bit."""
    whole = projection_of(tmp_path / "whole")
    expected = whole.genotype()
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    run = run_of(tmp_path / "killed")
    for method, calls in (("consider", 6), ("tune", 3), ("consider", 9)):
        projection, left = projection_of(run), [calls]
        original = getattr(projection, method)

        def dying(*arguments: int, original=original, left=left) -> tuple[Tensor, Tensor] | None:  # type: ignore[no-untyped-def]
            left[0] -= 1
            if not left[0]:
                raise Killed
            return original(*arguments)  # type: ignore[no-any-return]

        monkeypatch.setattr(projection, method, dying)
        with pytest.raises(Killed):
            projection.genotype()
    last = projection_of(run)
    assert last.genotype() == expected
    wanted, found = whole.supernet.state_dict(), last.supernet.state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    accuracies = [[entry.valid_accuracy for entry in each.log(ProjectionRound)] for each in (whole.run, run)]
    assert accuracies[0] == accuracies[1] and len(accuracies[0]) == 6
