"""A search step over memory that stays in place; on a GPU it is recorded once as a CUDA graph and replayed.

A step launches thousands of kernels; replayed, they cost the host one call. Shapes are static, augmentation draws
nothing itself, and nothing in a step makes the host wait for the device.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nas.bilevel.gradients import Batch, Learner
from nas.data.batches import Stream
from nas.train.evaluate import correct

WARM_UPS = 3
Draw = Callable[[int], None]


def _nothing(_: int) -> None:
    pass


class Stepper:
    """Whole steps of a search: alphas on a held-out batch, then weights on a training batch.

    Args:
        supernet: whose statistics a step changes too.
        learner: its two optimisers.
        train, valid: the two streams.
    """

    def __init__(self, supernet: nn.Module, learner: Learner, train: Stream, valid: Stream) -> None:
        self.supernet, self.learner, self.train, self.valid = supernet, learner, train, valid
        held = train.split.images.is_cuda and valid.split.images.is_cuda
        self.recordable = held and learner.settings.order == 1 and learner.settings.sampler == "all"
        self.draw: Draw = _nothing
        self.recorded: dict[bool, Recorded] = {}

    def step(self, number: int, *, alphas: bool = True, draw: Draw | None = None) -> tuple[Tensor, Tensor]:
        """One step: (loss on the training batch, how many of it were right).

        Args:
            alphas: whether they learn.
            draw: called before the alphas' half of the step with 0, before the weights' with 1; never recorded.
        """
        self.draw = draw or _nothing
        drawn = [*self.train.drawn(number), *self.valid.drawn(number)]
        gradients = self.gradients if alphas else self.weight_gradients
        if self.recordable:
            if alphas not in self.recorded:
                self.recorded[alphas] = Recorded(gradients, drawn, self.changed)
            found = self.recorded[alphas](*drawn)
        else:
            found = gradients(*drawn)
        self.learner.update_weights()
        return found

    def gradients(self, indices: Tensor, numbers: Tensor, *held_out: Tensor) -> tuple[Tensor, Tensor]:
        """A step up to the update of the weights, whose learning rate changes."""
        train = self.train.batch_of(indices, numbers)
        self.draw(0)
        self.learner.step_alphas(train, self.valid.batch_of(*held_out))
        return self.of_weights(train)

    def weight_gradients(self, indices: Tensor, numbers: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        """The same where only the weights learn."""
        return self.of_weights(self.train.batch_of(indices, numbers))

    def of_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """The weights' gradient on a batch."""
        self.draw(1)
        loss, logits = self.learner.differentiate_weights(train)
        return loss, correct(logits, train[1])

    def changed(self) -> dict[str, Tensor]:
        """All that :meth:`gradients` changes, by name; an optimiser without a history has none."""
        state = self.learner.alpha_optimizer.state
        moments = {
            f"{index} {name}": value
            for index, alpha in enumerate(self.learner.alphas)
            for name, value in state[alpha].items()
        }
        return {**moments, **dict(self.supernet.named_parameters()), **dict(self.supernet.named_buffers())}


class Recorded:
    """A function of tensors as a CUDA graph. Its results are in the same memory each time.

    Args:
        function: takes and returns tensors of fixed shapes.
        inputs: examples.
        changed: tensors that the function changes besides, by name; recording leaves them as they are, those that only
            come to be with the first call at 0.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, Tensor]],
        inputs: Sequence[Tensor],
        changed: Callable[[], dict[str, Tensor]],
    ) -> None:
        self.inputs = [each.clone() for each in inputs]
        before = {name: value.detach().clone() for name, value in changed().items()}
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(beside)
        restore(changed(), before)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.outputs


@torch.no_grad()
def restore(changed: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    """Puts back values in place."""
    for name, value in changed.items():
        value.copy_(before[name]) if name in before else value.zero_()
