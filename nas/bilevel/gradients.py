"""The two gradients of a DARTS step (Liu et al., ICLR 2019, §2.3): weights on training images, alphas on held-out ones.

First order is one function called twice; second order is :mod:`nas.bilevel.second_order`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from nas.bilevel.budget import Budget
from nas.bilevel.freezing import Freezer
from nas.bilevel.perturbation import PERTURBATIONS, Mixing
from nas.bilevel.regularizers import make_penalty
from nas.bilevel.second_order import Batch, constant, unrolled_gradient
from nas.cells.recompute import still
from nas.cells.supernet import Supernet
from nas.execution import mixed
from nas.moment import Moment
from nas.settings import SearchSettings
from nas.train.process_group import averaged
from nas.train.recipe import fit_to_device
from nas.train.session import Stateful


class Learner:
    """A supernet's two parameter sets with their optimisers, and the parts of the search's method.

    Args:
        supernet: whose relaxation is drawn anew for each half of a step.
        settings: learning rates, perturbation, regularizers and so on.
        device: where a mixed precision is to work.
        budget: what the derived network is expected to cost, if that is limited.
    """

    def __init__(
        self, supernet: Supernet, settings: SearchSettings, device: str = "cpu", budget: Budget | None = None
    ) -> None:
        self.supernet, self.settings, self.device, self.budget = supernet, settings, device, budget
        self.weights, self.alphas = supernet.weights, supernet.architecture
        self.weight_optimizer = optim.SGD(
            self.weights, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.alpha_optimizer = optim.Adam(
            self.alphas,
            lr=settings.alpha_lr,
            betas=(settings.alpha_beta1, settings.alpha_beta2),
            weight_decay=settings.alpha_weight_decay,
        )
        self.perturb = PERTURBATIONS[settings.perturb]
        self.penalty = make_penalty(settings.regularize)
        self.freezer = Freezer(supernet, settings.freeze) if settings.freeze else None
        self.moment = Moment(settings.seed)
        for optimizer in (self.weight_optimizer, self.alpha_optimizer) if self.recordable else ():
            fit(optimizer)
            optimizer.register_load_state_dict_post_hook(fit)

    @property
    def parts(self) -> dict[str, Stateful]:
        """What learns beside the supernet, by its name in a checkpoint."""
        parts: dict[str, Stateful] = {"weights": self.weight_optimizer, "alphas": self.alpha_optimizer}
        watching: dict[str, Stateful | None] = {"freezer": self.freezer, "budget": self.budget}
        return parts | {name: part for name, part in watching.items() if part}

    @property
    def recordable(self) -> bool:
        """Whether a step can be recorded: the host decides nothing in it by what the device has computed."""
        noisy = "noise" in self.supernet.space.ops  # drawn by a count that the host must know
        return self.supernet.relax.recordable and not self.freezer and not noisy

    def decay_weights_by(self, decay: float) -> None:
        """Sets the weights' decay, of the settings until then."""
        for group in self.weight_optimizer.param_groups:
            group["weight_decay"] = decay

    def begin(self, moment: Moment) -> None:
        """Begins half a step: draws its mixing weights."""
        self.schedule(moment)
        self.supernet.relax.draw(moment)

    def schedule(self, moment: Moment) -> None:
        """Sets what changes over the epochs."""
        self.moment = moment
        if self.supernet.skip is not None:
            self.supernet.skip = self.settings.skip * (1 - moment.share)

    def end(self) -> None:
        """Ends a step: the supernet mixes without noise again."""
        self.supernet.relax.clear()

    def loss(self, batch: Batch, mixing: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """(Mean cross-entropy, logits) of a batch, under these mixing weights or the supernet's own."""
        images, labels = batch
        with mixed(self.settings.precision, self.device):
            logits = self.supernet(images, mixing)
        wide = torch.promote_types(logits.dtype, torch.float32)
        return F.cross_entropy(logits.to(wide), labels), logits

    def step(self, moment: Moment, train: Batch, valid: Batch) -> tuple[Tensor, Tensor]:
        """A whole step: the training batch's (loss, logits)."""
        result = self.halves(moment, train, lambda: valid)
        self.end()
        return result

    def halves(
        self, moment: Moment, train: Batch, valid: Callable[[], Batch], *, alphas: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Both halves of a step; the alphas learn if ``alphas``.

        Args:
            valid: makes the held-out batch, which is only needed where the alphas have a half of their own.
        """
        single = self.settings.levels == 1
        if alphas and not single:
            self.begin(replace(moment, half=0))
            self.step_alphas(train, valid())
        self.begin(replace(moment, half=1))
        result = self.step_both(train) if alphas and single else self.differentiate_weights(train)
        self.update_weights()
        return result

    def differentiate_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """The weights' gradient. No gradient of the alphas is computed."""
        with constant(self.alphas):
            mixing = None
            if self.perturb:
                with constant(self.weights):
                    mixing = self.perturb(self, train, self.moment)
            result = self.differentiate(self.weights, train, mixing)
        if self.freezer:
            self.freezer.freeze()
        return result

    def update_weights(self) -> None:
        """The weights' update, by their gradients."""
        nn.utils.clip_grad_norm_(self.weights, self.settings.clip, foreach=True)
        self.weight_optimizer.step()

    def step_alphas(self, train: Batch, valid: Batch) -> None:
        """One Adam step on a held-out batch; in first order no gradient of the weights is computed."""
        uphill = self.settings.sharpness > 0
        with still(self.supernet) if uphill else nullcontext():
            self.differentiate_alphas(train, valid)
        if uphill:
            with uphill_by(self.alphas, self.settings.sharpness):
                self.differentiate_alphas(train, valid)
        self.update_alphas()

    def step_both(self, train: Batch) -> tuple[Tensor, Tensor]:
        """One level: the alphas' step and the weights' gradient from one backward pass on a training batch."""
        result = self.differentiate([*self.weights, *self.alphas], train)
        self.add_penalty()
        self.update_alphas()
        return result

    def update_alphas(self) -> None:
        """The alphas' update, and then that of the prices of what the cell would cost."""
        self.alpha_optimizer.step()
        if self.budget:
            self.budget.update(self.supernet.strengths())

    def differentiate_alphas(self, train: Batch, valid: Batch) -> None:
        """Sets the alphas' gradients, regularizers included."""
        if self.settings.order == 2:
            for alpha, gradient in zip(self.alphas, unrolled_gradient(self, train, valid), strict=True):
                alpha.grad = gradient
        elif self.freezer:
            self.differentiate([*self.weights, *self.alphas], valid)
            self.freezer.hold()
        else:
            with constant(self.weights):
                self.differentiate(self.alphas, valid)
        self.add_penalty()

    def add_penalty(self) -> None:
        """Adds the gradients of the regularizers and of the expected cost to the alphas' own."""
        if self.penalty:
            self.penalty(self.supernet, self.moment).backward()
        if self.budget:
            self.budget.penalty(self.supernet.strengths(), self.moment.progress).backward()

    def differentiate(
        self, learning: Sequence[nn.Parameter], batch: Batch, mixing: Mixing | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sets the gradients of those that learn: the batch's (loss, logits); of several workers, their shard's."""
        for parameter in learning:
            parameter.grad = None
        loss, logits = self.loss(batch, mixing)
        loss.backward()
        gradients = {parameter: parameter.grad for parameter in learning if parameter.grad is not None}
        for parameter, mean in zip(gradients, averaged([*gradients.values()]), strict=True):
            parameter.grad = mean
        return loss.detach(), logits.detach()


def fit(optimizer: optim.Optimizer) -> None:
    """Lets a GPU record an optimiser's steps; a state made on the other device is thus at home on this one."""
    fit_to_device(optimizer)


@contextmanager
def uphill_by(parameters: Sequence[nn.Parameter], rate: float) -> Iterator[None]:
    """A context in which the parameters are uphill by ``rate`` times their gradients."""
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=rate)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
