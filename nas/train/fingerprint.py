"""The fingerprint of a search or training that takes place in this process."""

import torch

from nas import data
from nas.execution import Execution
from nas.run.environment import code
from nas.run.fingerprint import Fingerprint
from nas.run.spec import Init
from nas.settings import SearchSettings, TrainSettings, recipe_hash


def fingerprint(
    settings: SearchSettings | TrainSettings, execution: Execution, init: Init | None = None
) -> Fingerprint:
    """The terms of its result; the data's digest is read once a process.

    Args:
        init: the trained weights that it began with.
    """
    whole = data.load(settings.data, root=execution.data_root, image_size=settings.image_size)
    images = min(len(whole.train), settings.limit or len(whole.train))
    held_out = images // 2 if isinstance(settings, SearchSettings) else settings.validation
    return Fingerprint(
        data=whole.digest,
        classes=len(whole.classes),
        split=f"{images - held_out} to learn from, {held_out} held out",
        recipe=recipe_hash(settings),
        resolution=whole.shape[1],
        precision=settings.precision,
        init=init.sha256[:16] if init else "",
        official=whole.official,
        code=code(),
        folder="" if settings.data == "digits" else str(data.place(settings.data, execution.data_root).resolve()),
        device=execution.start().partition(":")[0],
        threads=torch.get_num_threads(),
    )
