"""MobileNetV3 in both published conventions, and AsymmNet on the same table."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil

from nas.macro.rounding import Widths, exact, upwards
from nas.macro.rows import Row, conv, repeated, widths
from nas.macro.settings import MacroSettings

Stage = tuple[int, int, int, bool, str, tuple[int, ...], tuple[str, ...]]
MOBILENET_V3: dict[str, tuple[Stage, ...]] = {
    "large": (
        (3, 16, 1, False, "relu", (16,), ("1",)),
        (3, 24, 2, False, "relu", (64, 72), ("4", "3")),
        (5, 40, 2, True, "relu", (72, 120, 120), ("3", "3", "3")),
        (3, 80, 2, False, "hardswish", (240, 200, 184, 184), ("6", "2.5", "2.3", "2.3")),
        (3, 112, 1, True, "hardswish", (480, 672), ("6", "6")),
        (5, 160, 2, True, "hardswish", (672, 960, 960), ("6", "6", "6")),
    ),
    "small": (
        (3, 16, 2, True, "relu", (16,), ("1",)),
        (3, 24, 2, False, "relu", (72, 88), ("4.5", "3.67")),
        (5, 40, 2, True, "hardswish", (96, 240, 240), ("4", "6", "6")),
        (5, 48, 1, True, "hardswish", (120, 144), ("3", "3")),
        (5, 96, 2, True, "hardswish", (288, 576, 576), ("6", "6", "6")),
    ),
}
"""(k, c, s, squeeze?, activation, expanded widths, the same as ratios): Howard et al., MobileNetV3, ICCV 2019, §5."""
LAST_CONV = {"large": 960, "small": 576}

Block = Callable[[int, int], tuple[Row, int]]
"""``block(c_in, expanded)``: the row's own part, and the channels of its depthwise convolution."""


def inverted_residual(c_in: int, expanded: int) -> tuple[Row, int]:
    """MobileNetV3's block."""
    return {"block": "inverted_residual", "hidden": expanded}, expanded


def body(settings: MacroSettings, scale: Widths, by_ratio: bool, block: Block) -> list[Row]:
    """Stem and blocks; expanded widths are scaled themselves, or (``by_ratio``) are multiples of the scaled inputs."""
    c_in = scale.scaled(16, 0)
    rows = [conv(0, c_in, 3, 2, "hardswish")]
    for stage, (k, c, s, squeezed, activation, wide, ratios) in enumerate(MOBILENET_V3[settings.size or "large"], 1):
        c_out = scale.scaled(c, stage)
        for (_, stride), p, ratio in zip(repeated(len(wide), s), wide, ratios, strict=True):
            if ratio == "1":
                expanded = c_in
            elif by_ratio or settings.expansion:
                expanded = scale.round(Fraction(float(settings.expansion or ratio) * c_in))
            else:
                expanded = scale.scaled(p)
            own, channels = block(c_in, expanded)
            squeeze = scale.round(Fraction(channels // 4)) if squeezed and settings.se is not False else None
            row = {"stage": stage, **own, "c_out": c_out, "stride": stride, "kernel": k, "activation": activation}
            rows.append({**row, "squeeze": squeeze, "identity": settings.identity})
            c_in = c_out
    return rows


def head_v3(stage: int, conv_last: int, last: int, bias: bool) -> list[Row]:
    """1×1 convolution, global average, a linear layer more, dropout, logits."""
    linear = {"stage": stage, "block": "linear", "c_out": last, "bias": bias, "activation": "hardswish"}
    pool = {"stage": stage, "block": "pool"}
    return [
        conv(stage, conv_last, 1, 1, "hardswish"),
        pool,
        linear,
        {"stage": stage, "block": "classifier", "dropout": 0.2},
    ]


def mobilenet_v3(settings: MacroSettings) -> list[Row]:
    """torchvision scales expanded widths and the last layer; timm multiplies scaled inputs, the last is fixed."""
    scale = widths(settings)
    size = settings.size or "large"
    last = {"large": 1280, "small": 1024}[size]
    timm = settings.convention == "timm"
    rows = body(settings, scale, timm, inverted_residual)
    stage = len(MOBILENET_V3[size]) + 1
    if timm:
        return rows + head_v3(stage, scale.scaled(LAST_CONV[size], stage), last, bias=True)
    return rows + head_v3(stage, 6 * rows[-1]["c_out"], scale.scaled(last), bias=True)


def asymmnet(settings: MacroSettings) -> list[Row]:
    """Yang et al., AsymmNet, CVPR Workshops 2021: widths rounded upwards, 1280 last in both sizes (paper: 1024).

    The published code crashes where C_in < p ≤ r·C_in (r = 2 at width 0.35): it skips the expansion yet keeps p
    depthwise channels. Such a row here takes the largest whole r′ < p/C_in.
    """
    rate = exact(1 if settings.asymmetry is None else settings.asymmetry)

    def block(c_in: int, expanded: int) -> tuple[Row, int]:
        row = {"block": "asymmetric", "expanded": expanded, "pruned": settings.pruned}
        if settings.pruned:
            return {**row, "rate": "0"}, expanded
        own = rate if rate * c_in < expanded != c_in else Fraction(ceil(Fraction(expanded, c_in)) - 1)
        return {**row, "rate": str(own)}, expanded + ceil(own * c_in)

    size = settings.size or "large"
    scale = widths(settings, upwards)
    rows = body(settings, scale, False, block)
    stage = len(MOBILENET_V3[size]) + 1
    return rows + head_v3(stage, scale.scaled(LAST_CONV[size], stage), 1280, bias=False)
