"""What is written at the end of a training: its weights and its result."""

from torch import nn

from nas.architecture import Architecture
from nas.costs.count import count
from nas.run import names
from nas.run.environment import hardware
from nas.run.fingerprint import Fingerprint
from nas.run.folder import Run
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings, recipe_hash
from nas.train.weights import pack


def finish(
    run: Run,
    network: nn.Module,
    architecture: Architecture,
    settings: TrainSettings,
    test: tuple[float, float] | None,
    terms: Fingerprint,
) -> TrainResult:
    """The result, written beside the weights; ``test`` is (loss, accuracy), None where the test set stays closed."""
    document = run.path / names.ARCHITECTURE
    weights, digest = pack(network.state_dict(), document.read_bytes() if document.is_file() else b"")
    run.write(names.WEIGHTS, weights)
    spec = run.spec(TrainSpec)
    log = run.log(Epoch)
    cost = count(architecture.build_meta(), architecture.input)
    result = TrainResult(
        test_accuracy=test[1] if test else None,
        test_loss=test[0] if test else None,
        valid_accuracy=log[-1].valid_accuracy,
        params=cost.params,
        madds=cost.madds,
        seed=settings.seed,
        recipe=recipe_hash(settings),
        seconds=round(sum(entry.seconds for entry in log), 1),
        hardware=hardware(),
        test_openings=1 if test else 0,
        init=spec.init,
        precision=settings.precision,
        fingerprint=terms,
        source=spec.source,
        sha256=spec.sha256,
        weights=digest,
    )
    run.finish(result)
    return result
