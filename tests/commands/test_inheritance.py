"""What a retraining goes on with where its user says nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.architecture import from_json, of_network
from nas.commands.inheritance import Training, training_of
from nas.commands.retraining import Target, target_of
from nas.errors import UsageError
from nas.execution import Execution
from nas.run.folder import create
from nas.run.spec import Origin, SearchSpec, Size, TrainSpec
from nas.settings import SearchSettings, TrainSettings

HERE = Execution("cpu", 1)
DIGITS = TrainSettings(data="digits", epochs=3, validation=60, seed=5, drop_path=0.1)


def target(origin: Origin | None = None, side: int = 16, sized: bool = True, source: str = "/there/a") -> Target:
    network = of_network("mobilenet_v2", {"width": 0.1}, input=(3, side, side), classes=10)
    return Target(replace(network, origin=origin), source, sized=sized)


def trained(*targets: Target, preset: str | None = None, **given: object) -> Training:
    return training_of(targets, given, preset, HERE)


def test_a_searched_cell_goes_on_with_its_data_and_preset() -> None:
    settings = SearchSettings(data="digits", image_size=12)
    origin = SearchSpec(settings=settings, execution=HERE, preset="quick", final=Size(4, 2)).origin
    training = trained(target(origin, side=12))
    assert (training.settings.data, training.settings.image_size, training.preset) == ("digits", 12, "quick")
    assert training.settings.epochs == 4 and training.notes == ("as /there/a: data digits at 12 pixels, recipe quick",)
    assert trained(target(origin, side=12), preset="paper", epochs=7).settings.epochs == 7


def test_a_tuned_network_goes_on_with_its_recipe_on_all_images() -> None:
    origin = TrainSpec(command="trial", settings=DIGITS, execution=HERE, preset="paper").origin
    training = trained(target(origin), seed=1)
    assert training.settings == replace(DIGITS, seed=1, validation=0) and training.preset == "paper"
    assert "recipe paper with epochs 3, drop_path 0.1" in training.notes[0]
    kept = TrainSpec(settings=DIGITS, execution=HERE, preset="paper").origin
    assert trained(target(kept)).settings.validation == 60, "another training of the same network"
    fast = trained(target(origin), preset="fast")
    assert (fast.settings.data, fast.settings.epochs, fast.preset) == ("digits", 120, "fast")


def test_a_winner_keeps_the_input_its_budget_was_counted_at() -> None:
    origin = TrainSpec(command="trial", settings=DIGITS, execution=HERE).origin
    training = trained(target(origin, side=8))
    assert training.settings.image_size == 8 and len(training.notes) == 1
    chosen = trained(target(origin, side=8), image_size=12)
    assert chosen.settings.image_size == 12
    before, after = (target(side=side).architecture.madds() / 1e6 for side in (8, 12))
    assert chosen.notes[1] == (
        f"/there/a: counted at 8×8, {before:.2f}M MAdds; trained at 12×12 of digits, {after:.2f}M"
    )


def test_another_input_is_chosen_not_fallen_into() -> None:
    with pytest.raises(UsageError, match=r"counted at 24×24, .*M MAdds; at 16×16 of digits, .*--data digits"):
        trained(target(TrainSpec(settings=DIGITS, execution=HERE).origin, side=24))
    assert trained(target(side=24), data="digits").settings.image_size is None
    assert trained(target(sized=False, side=99), data="digits").notes == (), "a genotype says nothing of images"


def test_other_data_takes_nothing_of_the_old_with_it() -> None:
    settings = replace(DIGITS, data="cifar100", image_size=16, limit=90)
    training = trained(target(TrainSpec(settings=settings, execution=HERE).origin), data="digits")
    assert (training.settings.image_size, training.settings.limit, training.settings.epochs) == (None, None, 3)


def test_networks_that_come_with_unlike_data() -> None:
    origins = [TrainSpec(settings=one, execution=HERE).origin for one in (DIGITS, replace(DIGITS, data="cifar10"))]
    both = [target(origin, source=f"/there/{number}") for number, origin in enumerate(origins)]
    with pytest.raises(UsageError, match=r"/there/0 and /there/1 .*--data"):
        trained(*both)
    assert trained(*both, data="digits").settings.epochs == 3
    assert trained(both[0], target(None, sized=False)).settings.data == "digits", "one that comes with nothing"


def test_a_file_carries_its_origin_wherever_it_goes(tmp_path: Path) -> None:
    """Also an old one, as long as it lies in its run's folder."""
    network = target(TrainSpec(settings=DIGITS, execution=HERE).origin).architecture
    document = json.loads(json.dumps(network.document()))
    assert from_json(document) == network and from_json(document).origin == network.origin
    assert from_json(document).fitted((3, 32, 32), 5).origin == network.origin
    (tmp_path / "bare.json").write_text(json.dumps(document))
    assert target_of(str(tmp_path / "bare.json"), None, None, None).architecture.origin == network.origin
    run = create(tmp_path, "x", TrainSpec(settings=DIGITS, execution=replace(HERE, data_root=tmp_path)))
    del document["origin"]
    run.write("architecture.json", document)
    for name in (str(run.path), str(run.path / "architecture.json")):
        found = target_of(name, None, None, None)
        assert found.architecture.origin == network.origin and found.spec.execution.data_root == tmp_path
    assert found.source == str(run.path / "architecture.json") and len(found.sha256) == 64
    document["origin"] = {"data": 3}
    with pytest.raises(UsageError, match="data: "):
        from_json(document)
