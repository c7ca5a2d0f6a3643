"""What the Triton kernels compute as one function of autograd: the weighted sum of chains of segments and of maps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.engine.triton import kernels
from nas.engine.triton.groups import Plan
from nas.engine.triton.launch import PARTS, block, blocks, launch, wide_tile
from nas.engine.triton.passes import GroupPass, Taps, WeightGradients

LAST = torch.channels_last


class SumFunction(torch.autograd.Function):
    """Σ weight · batch norm over chains and common maps, one map (N, C', H', W') an edge.

    ``SumFunction.apply(plan, state, rows, *common, *weights)``: the state (N, C, H, W), or (edges · N, C, H, W) of an
    edge each; rows (chains + common maps, edges) in float32; common maps (N, C', H', W'); the groups' weights.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, rows: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=LAST)
        common = [each.contiguous(memory_format=LAST) for each in tensors[: len(plan.common)]]
        keep = any(ctx.needs_input_grad[3 + len(common) :])
        taps = Taps(plan.groups, rows)
        ctx.passes = passes = list[GroupPass]()
        for group in plan.groups:
            before = None if group.form.before is None else passes[group.form.before]
            passes.append(GroupPass(plan, group, x, before, taps))
            passes[-1].forward(keep)
        ctx.sum = total = Sum(plan, passes, common, rows)
        ctx.save_for_backward(x, *common)
        return total.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total: Sum = ctx.sum
        passes: list[GroupPass] = ctx.passes
        plan = total.plan
        grads = tuple(grad.contiguous(memory_format=LAST) for grad in grads)
        needs = ctx.needs_input_grad[3 + len(plan.common) :]
        row_grads = total.backward(grads)
        common_grads: list[Tensor | None] = [None] * len(plan.common)
        x_grad: Tensor | None = None
        if ctx.needs_input_grad[1]:
            common_grads = list(total.common_gradients(grads))
            (x,) = ctx.saved_tensors[:1]
            x_grad = torch.zeros_like(x) if plan.state is None else common_grads[plan.state]
        if plan.state is not None:
            common_grads[plan.state] = None  # the chains' part comes to it: it goes back as that of x
        weights = WeightGradients(plan.groups, row_grads, min(PARTS, total.tiles)) if any(needs) else None
        if weights or x_grad is not None:
            for one in reversed(passes):
                one.backward(passes, grads, x_grad, weights)
        ctx.sum = ctx.passes = None
        return None, x_grad, row_grads, *common_grads, *(weights.split() if weights else [None] * len(needs))


class Sum:
    """The weighted sum of batch-normalised maps: chains' last, then those that all edges share.

    Args:
        rows: (maps, edges).
    """

    def __init__(self, plan: Plan, passes: Sequence[GroupPass], common: Sequence[Tensor], rows: Tensor) -> None:
        self.plan, self.rows, edges = plan, rows, plan.edges
        ends = {chain: one for one in passes for chain in one.group.segments}
        self.affines = [ends[chain].affine_of(chain) for chain in range(plan.chains)]
        chains = [ends[chain].last_map(chain) for chain in range(plan.chains)]
        self.images, self.height, self.width, self.channels = chains[0].shape[1:]
        self.common_affines = rows.new_empty(len(common), edges, 3, self.channels).unbind()
        self.maps = (*chains, *common)
        of_chains = [ends[chain].statistics_of(chain) for chain in range(plan.chains)]
        of_common = [(each.mean, each.invstd) if each else (rows, rows) for each in plan.common]
        self.means, self.invstds = zip(*of_chains, *of_common, strict=True)
        self.shared = tuple([False] * plan.chains + [True] * len(common))
        self.normed = tuple([True] * plan.chains + [each is not None for each in plan.common])
        training = [ends[chain].training for chain in range(plan.chains)]
        self.training = (*training, *(each is not None and each.training for each in plan.common))

    @property
    def pixels(self) -> int:
        return self.images * self.height * self.width

    @property
    def tiles(self) -> int:
        return blocks(self.pixels, self._sizes()["P"])

    def _sizes(self) -> dict[str, Any]:
        size = block(self.channels)
        return {"C": self.channels, "BC": size, "P": wide_tile(size, self.pixels * self.channels * self.plan.edges)}

    def forward(self) -> tuple[Tensor, ...]:
        """(N, C, H, W) an edge."""
        shape = (self.plan.edges, self.images, self.height, self.width, self.channels)
        out = self.maps[0].new_empty(shape)
        grid = (self.tiles, self.plan.edges, blocks(self.channels, block(self.channels)))
        tensors = (self.maps, self.means, self.invstds, self.rows, out)
        forms: dict[str, Any] = {"SHARED": self.shared, "NORMED": self.normed, **self._sizes()}
        launch(kernels.mix_forward, grid, *tensors, self.pixels, self.plan.edges, **forms)
        return out.permute(0, 1, 4, 2, 3).unbind()

    def backward(self, grads: tuple[Tensor, ...]) -> Tensor:
        """The gradients of the rows; the affine maps by which gradients come before the batch norms are set."""
        terms, edges, every = len(self.maps), self.plan.edges, self.plan.edges * self.channels
        sums = self.rows.new_empty(self.tiles, terms + 1, every)
        forms: dict[str, Any] = {"SHARED": self.shared, "NORMED": self.normed, **self._sizes()}
        grid = (self.tiles, edges, blocks(self.channels, block(self.channels)))
        launch(kernels.mix_sums, grid, self.maps, self.means, grads, sums, self.pixels, every, **forms)
        row_grads = torch.empty_like(self.rows)
        affines = (*self.affines, *self.common_affines)
        tensors = (sums, self.rows, self.means, self.invstds, affines, row_grads)
        whole = max(16, 1 << (self.channels - 1).bit_length())
        forms |= {"TRAINING": self.training, "BC": whole}
        forms.pop("P")
        launch(kernels.mix_gradients, (terms, edges), *tensors, self.tiles, self.pixels, every, edges, **forms)
        return row_grads

    def common_gradients(self, grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of the common maps."""
        maps = self.maps[self.plan.chains :]
        own = tuple(torch.empty_like(each) for each in maps)
        if own:
            grid = (self.tiles, blocks(self.channels, block(self.channels)))
            launch(kernels.shared_gradients, grid, maps, grads, self.common_affines, own, self.pixels, **self._sizes())
        return own
