"""One training step: a batch in one or several parts, what it drops, its gradient and the update."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.drop_path import draw_paths, set_paths
from nas.data.batches import Places
from nas.execution import mixed
from nas.rng import generator
from nas.settings import TrainSettings
from nas.train.parallel import Team


def learn(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    settings: TrainSettings,
    device: str,
    masks: Tensor | None = None,
    team: Team | None = None,
) -> tuple[Tensor, Tensor]:
    """One step: (loss without the auxiliary head's, logits); of a team, its loss is the sum of the workers'.

    In ``settings.accumulate`` parts the gradient is that of the whole batch, but that each part has its own batch
    statistics and its own draws of dropout layers.

    Args:
        batch: the worker's share of it, where it is computed by several.
        masks: (paths, batch) of the paths to drop; None: none.
        team: the workers, of whose gradients the network takes the mean; None: this one alone.
    """
    optimizer.zero_grad()
    images, labels = batch
    team = team or Team(len(labels), settings.accumulate)
    losses, logits = [], []
    for part in team.turns():
        if masks is not None:
            set_paths(network, masks[:, part])
        share = (part.stop - part.start) / team.batch
        with team.share_gradients(network):
            loss, out = backward(network, (images[part], labels[part]), settings, device, share * team.size)
        losses.append(loss * share)
        logits.append(out)
    if settings.clip:
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    optimizer.step()
    return torch.stack(losses).sum(), torch.cat(logits)


def backward(
    network: nn.Module, batch: tuple[Tensor, Tensor], settings: TrainSettings, device: str, share: float
) -> tuple[Tensor, Tensor]:
    """Adds a part's gradient, times its share: (its mean loss without the auxiliary head's, logits)."""
    images, labels = batch
    with mixed(settings.precision, device):
        out = network(images)
    logits, auxiliary = out if isinstance(out, tuple) else (out, None)
    loss = cross_entropy(logits, labels, settings.label_smoothing)
    total = loss
    if auxiliary is not None:
        total = loss + settings.auxiliary * cross_entropy(auxiliary, labels, settings.label_smoothing)
    (total * share).backward()
    return loss.detach(), logits.detach()


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy, in at least single precision."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise, labels, label_smoothing=smoothing)


def draw_masks(
    network: nn.Module, settings: TrainSettings, epoch: int, step: int, places: Places = slice(None)
) -> Tensor | None:
    """The paths that this step drops at places of its batch, more often each epoch; sets dropout layers' seed too."""
    torch.manual_seed(generator(settings.seed, "extra", step).initial_seed())
    if not settings.drop_path:
        return None
    probability = settings.drop_path * epoch / settings.epochs
    masks = draw_paths(network, probability, settings.batch, generator(settings.seed, "paths", step))
    return masks[:, places].to(next(network.parameters()).device)
