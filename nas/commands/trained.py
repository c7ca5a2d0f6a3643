"""What is done with a trained network: load it, evaluate it, take its feature maps, export it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from nas import data, plugins
from nas.architecture import Architecture, from_json
from nas.backbone import Backbone, backbone
from nas.commands.targets import allow_ops
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset
from nas.engine.merged import check_backend
from nas.engine.overlay import overlay
from nas.errors import UsageError, nearest
from nas.execution import Execution
from nas.extras import need
from nas.files import read_json
from nas.run import names
from nas.run.folder import Run
from nas.run.hints import unfinished
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train.evaluate import evaluate as evaluate_network
from nas.train.weights import weights_of

if TYPE_CHECKING:
    from nas.exporting import Export


@dataclass(frozen=True)
class Evaluation:
    """A trained network's test accuracy, the one stored at the end of its training, and the test set's openings."""

    test_accuracy: float
    stored_accuracy: float
    test_openings: int


def load(path: str | Path, ops: str | Path | None = None) -> nn.Module:
    """The trained network of a run or exported folder, in evaluation mode: images (N, 3, H, W), normalised → logits.

    Args:
        ops: the file of the user's own operations, if it has any.

    Raises:
        UsageError: no weights there, or they do not fit; operations whose file is neither named nor trusted.
    """
    return load_both(path, ops)[1]


def features(
    path: str | Path,
    levels: Sequence[str] | Mapping[str, str] | None = None,
    output_stride: int | None = None,
    ops: str | Path | None = None,
) -> Backbone:
    """The trained network of a run or exported folder as a backbone: images, normalised → {level: feature map}.

    Its ``channels`` and ``strides`` list the levels'. See :func:`nas.backbone.backbone`.

    Args:
        levels: names such as ``["C4.expansion", "C5"]``, or {name: what to call it}; None: all but expansions.
        output_stride: largest stride, by dilation.
        ops: the file of the user's own operations, if it has any.

    Raises:
        UsageError: as :func:`load`; an unknown level; a stride that dilation cannot take out.
    """
    return backbone(*load_both(path, ops), levels, output_stride)


def load_both(path: str | Path, ops: str | Path | None = None) -> tuple[Architecture, nn.Module]:
    """The architecture and the trained network of a folder; see :func:`load`."""
    folder = Path(path)
    allow_ops(folder, Path(ops) if ops else None)
    document, weights = folder / names.ARCHITECTURE, folder / names.WEIGHTS
    architecture = from_json(read_json(document), str(document))
    network = architecture.build()
    try:
        network.load_state_dict(weights_of(folder))
    except RuntimeError as error:
        raise UsageError(f"{weights} does not fit: {str(error).splitlines()[0]}") from None
    return architecture, network.eval()


def evaluate(run: Run, execution: Execution, ops: Path | None = None) -> Evaluation:
    """The test accuracy of a trained network, measured again; the opening of the test set is counted.

    Args:
        ops: the file of the user's own operations, if it has any.

    Raises:
        UsageError: the run is not a finished training.
    """
    check_backend(execution)
    device = execution.start()
    settings, dataset = trained_on(run, execution, device)
    network = load(run.path, ops).to(device).to(memory_format=torch.channels_last)
    augmentation = Augmentation.of(dataset, cutout=False, device=device)
    stored, openings = run.result(TrainResult).test_accuracy, count_opening(run)  # whatever comes of it
    _, accuracy = evaluate_network(overlay(network, execution.backend), dataset.test, augmentation, settings.precision)
    assert stored is not None
    return Evaluation(accuracy, stored, openings)


def export(run: Run, to: str, execution: Execution, *, out: Path | None = None, ops: Path | None = None) -> "Export":
    """A trained network in a form that runs elsewhere; nothing is written that fails its check.

    Args:
        to: a name in ``nas.exporting.FORMS``.
        out: file or folder to write; None: inside the run folder.
        ops: the file of the user's own operations, if the cell has any.

    Raises:
        UsageError: the run is not a finished training, its weights are damaged, a package is missing, a failed check.
    """
    from nas.exporting import FORMS, Trained

    if to not in FORMS:
        raise UsageError(f'--to "{to}": {nearest(to, list(FORMS))}')
    form = FORMS[to]
    need(f"--to {to}", form.extra, *form.packages)
    out = out or run.path / form.name
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    execution.start()
    settings, dataset = trained_on(run, execution, "cpu")
    file = plugins.allow(run.spec(TrainSpec).ops, ops)
    if file and to == "torch":
        raise UsageError(f"--to torch: a folder cannot hold the operations of {file.path}, only their names")
    part = dataset.limited(settings.limit, settings.seed)
    part = replace(part, train=part.divided(settings.validation, settings.seed)[0])
    trained = Trained(run.path, load(run.path, ops), part, settings.seed)
    openings = count_opening(run) if form.reads_test else None  # whatever comes of it
    return replace(form.write(trained, out), test_openings=openings)


def trained_on(run: Run, execution: Execution, device: str) -> tuple[TrainSettings, Dataset]:
    """Settings and data of a finished training.

    Raises:
        UsageError: the run is none.
    """
    if run.command != "retrain":
        raise UsageError(f"run {run.path} is no training, as nas retrain makes")
    if not run.finished:
        raise UsageError(unfinished(run))
    spec = run.spec(TrainSpec)
    if spec.seeds:
        raise UsageError(f"run {run.path} is several trainings: name one, such as {run.children[0].path}")
    root, size = execution.data_root or spec.execution.data_root, spec.settings.image_size
    return spec.settings, data.load(spec.settings.data, root=root, image_size=size, device=device)


def count_opening(run: Run) -> int:
    """How often the test set has been read, this time included."""
    result = run.result(TrainResult)
    openings = result.test_openings + 1
    run.finish(replace(result, test_openings=openings))
    return openings
