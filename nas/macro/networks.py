"""One builder of macro networks: rows in, module out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from nas.blocks.asymmetric import Asymmetric
from nas.blocks.harmonious import Harmonious
from nas.blocks.inverted_residual import InvertedResidual
from nas.blocks.layers import Activation, Norm, conv_bn
from nas.blocks.sandglass import Sandglass
from nas.blocks.squeeze_excite import SqueezeExcite
from nas.errors import UsageError
from nas.macro.families import TENSORFLOW, TORCH, BatchNorm, batch_norm, check, family, resolve
from nas.macro.madds import madds
from nas.macro.rows import Row, check_rows
from nas.macro.settings import MacroSettings, changed, macro_settings
from nas.settings import make

ACTIVATIONS: dict[str, Activation] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "swish": nn.SiLU,
}
GATES: dict[str, Activation] = {"sigmoid": nn.Sigmoid, "hardsigmoid": nn.Hardsigmoid}


class MacroNetwork(nn.Module):
    """A chain of stages: images (N, C, H, W) → logits (N, classes)."""

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.stages(x)
        return logits


class IdleNorm(nn.BatchNorm2d):
    """A batch norm that b0 and b1 hold but never run: it counts, does nothing and learns nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, TENSORFLOW.eps, TENSORFLOW.momentum)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return x


def initialise(module: nn.Module) -> None:
    """Convolutions by Kaiming's rule over outputs, linear layers N(0, 0.01²), biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def conv(c_in: int, c_out: int, **rest: Any) -> nn.Module:
    """Convolution, batch norm, activation."""
    return conv_bn(c_in, c_out, rest.pop("kernel"), **rest)


def pool(c_in: int, c_out: int) -> nn.Module:
    """(N, C, H, W) → the mean over the map, (N, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def linear(c_in: int, c_out: int, *, bias: bool, activation: Activation, norm: Norm) -> nn.Module:
    """Linear layer and activation."""
    return nn.Sequential(nn.Linear(c_in, c_out, bias=bias), activation())


def classifier(c_in: int, c_out: int, *, dropout: float) -> nn.Module:
    """Dropout and logits."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(c_in, c_out))


def idle_norm(c_in: int, c_out: int) -> nn.Module:
    """A batch norm that is not run."""
    return IdleNorm(c_in)


BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "conv": conv,
    "inverted_residual": InvertedResidual,
    "sandglass": Sandglass,
    "harmonious": Harmonious,
    "asymmetric": Asymmetric,
    "linear": linear,
    "pool": pool,
    "idle_norm": idle_norm,
    "classifier": classifier,
}
UNNORMED = ("pool", "idle_norm", "classifier")


def build_row(row: Mapping[str, Any], c_in: int, c_out: int, norm: Norm) -> nn.Module:
    """The module of one row: names become modules, fractions exact."""
    values = {name: value for name, value in row.items() if name not in ("stage", "block", "c_out", "gate")}
    if "activation" in values:
        values["activation"] = ACTIVATIONS[values["activation"]] if values["activation"] else None
    for name in {"identity", "rate"} & set(values):
        values[name] = Fraction(values[name])
    if values.get("squeeze"):
        act, gate = values["activation"], GATES[row.get("gate", "hardsigmoid")]
        act = act if "gate" in row else nn.ReLU
        values["squeeze"] = partial(SqueezeExcite, hidden=values["squeeze"], activation=act, gate=gate)
    if row["block"] not in UNNORMED:
        values["norm"] = norm
    return BLOCKS[row["block"]](c_in, c_out, **values)


def build_rows(rows: Sequence[Row], *, channels: int = 3, classes: int, norm: Norm = nn.BatchNorm2d) -> MacroNetwork:
    """The network of these rows, one child of ``stages`` a stage.

    Raises:
        ValueError: a row that does not make a layer.
    """
    stages = []
    for _, group in groupby(rows, key=lambda row: row["stage"]):
        layers = []
        for row in group:
            c_out = classes if row["block"] == "classifier" else row.get("c_out", channels)
            layers.append(build_row(row, channels, c_out, norm))
            channels = c_out
        stages.append(nn.Sequential(*layers))
    return MacroNetwork(stages)


def build(
    network: str,
    settings: MacroSettings | Mapping[str, Any] | None = None,
    *,
    input: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    stem: str = "imagenet",
) -> MacroNetwork:
    """A published network at any setting.

    Args:
        network: a name in ``nas.macro.families.FAMILIES``.
        settings: its knobs; what is not given is as published.
        input: (channels, height, width) of one image. Any size runs; only the channels shape the network.
        classes: number of logits.
        stem: "imagenet", or "cifar" for small images.

    Raises:
        UsageError: an unknown name, or a value out of range or that this family does not have.
    """
    return from_document(document(network, settings, input=input, classes=classes, stem=stem))


def document(
    network: str,
    settings: MacroSettings | Mapping[str, Any] | None = None,
    *,
    input: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    stem: str = "imagenet",
) -> dict[str, Any]:
    """The architecture document of a macro network, kind "macro"; :func:`from_document` builds it.

    Raises:
        UsageError: as :func:`build`.
    """
    chosen = settings if isinstance(settings, MacroSettings) else macro_settings(settings or {}, network)
    head = {"format": "nas/architecture/1", "kind": "macro", "input": list(input), "classes": classes, "stem": stem}
    rows, norm = resolve(network, chosen, stem), batch_norm(network, chosen)
    return {**head, "network": network, "settings": changed(chosen), "rows": rows, "norm": asdict(norm)}


def earlier_norm(network: str) -> dict[str, float]:
    """What networks had whose documents do not say it: AsymmNet and all of MobileNetV3 TensorFlow's."""
    return asdict(TENSORFLOW if network in ("asymmnet", "mobilenet_v3") else TORCH)


def usual_stem(input: tuple[int, int, int]) -> str:
    """The stem that goes with images of (channels, height, width): "cifar" up to 64 pixels, else "imagenet"."""
    return "cifar" if max(input[1:]) <= 64 else "imagenet"


def refit(told: Mapping[str, Any], *, input: tuple[int, int, int], classes: int) -> dict[str, Any]:
    """The document for other data: images up to 64 pixels get the cifar stem, larger ones the imagenet stem.

    Rows that are not what the settings resolve to (edited by hand) stay as they are, stem included.
    """
    stem = usual_stem(input)
    own = told["rows"] == resolve(told["network"], told["settings"], told["stem"])
    if own and stem != told["stem"]:
        return document(told["network"], told["settings"], input=input, classes=classes, stem=stem)
    return {**told, "input": list(input), "classes": classes}


def check_document(body: Mapping[str, Any], where: str) -> None:
    """Raises UsageError where a document's network, settings, rows or norm cannot be."""
    if not isinstance(body["network"], str) or not isinstance(body["settings"], dict):
        raise UsageError(f'{where}: "network" must be a name, "settings" a table')
    check(body["network"], macro_settings(body["settings"], where))
    check_rows(body["rows"], where)
    try:
        madds(body["rows"], (3, 224, 224), 10)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f'{where}: its "rows" do not make a network: {type(error).__name__}: {error}') from None
    if not isinstance(body["norm"], dict):
        raise UsageError(f'{where}: "norm" must be a table')
    make(BatchNorm, body["norm"], f"{where}: norm")


def from_document(document: Mapping[str, Any]) -> MacroNetwork:
    """The network that a document's rows say; its settings are not consulted.

    Raises:
        UsageError: an unknown family, rows that do not make a network.
    """
    family(document["network"])
    try:
        norm = BatchNorm(**document["norm"])
        return build_rows(document["rows"], channels=document["input"][0], classes=document["classes"], norm=norm)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, RuntimeError) as error:
        said = str(error).splitlines() or [""]
        raise UsageError(f'architecture: its "rows" do not make a network: {type(error).__name__}: {said[0]}') from None
