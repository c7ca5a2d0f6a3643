"""What a tuning is to do: the content of its settings.json, typed."""

from typing import Literal

from pydantic import AliasChoices, AliasPath, Field
from pydantic.dataclasses import dataclass

from nas.run.documents import DOCUMENT
from nas.run.spec import Spec
from nas.settings import TrainSettings, TuneSettings
from nas.tuning.budgets import Budgets
from nas.tuning.space import Shape, Space


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class TuneSpec(Spec):
    """A tuning. The second names of fields are those of runs begun before ``--parallel``.

    Args:
        settings: of each training.
        spaces: what is tuned.
        budgets: in multiply-adds.
        image: (channels, height, width) of a training image.
        classes: the data's.
        parallel: trials at once; None: one, or on a cluster as many as there is room for.
        cluster: "local" or the address of a Ray cluster; None: this machine, without Ray.
        gpus: share of a GPU that a trial takes on a cluster; None: a whole one where there is one.
    """

    command: Literal["tune"] = "tune"
    settings: TrainSettings
    tune: TuneSettings
    spaces: tuple[Space, ...] = Field(validation_alias=AliasChoices("spaces", "subjects"))
    budgets: tuple[int, ...]
    image: Shape
    classes: int
    parallel: int | None = Field(
        default=None, validation_alias=AliasChoices("parallel", AliasPath("engine", "workers"))
    )
    cluster: str | None = Field(default=None, validation_alias=AliasChoices("cluster", AliasPath("engine", "cluster")))
    gpus: float | None = Field(default=None, validation_alias=AliasChoices("gpus", AliasPath("engine", "gpus")))

    def budgets_of(self) -> dict[str, Budgets]:
        """What brings draws up to budgets, by the names of the spaces."""
        side, fill = self.tune.budget_resolution, self.tune.mode == "fill"
        return {space.name: Budgets(space, self.image, self.classes, side, fill) for space in self.spaces}
