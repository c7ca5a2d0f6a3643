"""MobileNeXt, and its two networks with squeeze-and-excitation."""

from fractions import Fraction
from math import ceil, floor

from nas.macro.rounding import exact, to_nearest
from nas.macro.rows import Row, conv, head, repeated, widths
from nas.macro.settings import MacroSettings

MOBILENEXT = (
    (2, 96, 1, 2),
    (6, 144, 1, 1),
    (6, 192, 3, 2),
    (6, 288, 3, 2),
    (6, 384, 4, 1),
    (6, 576, 4, 2),
    (6, 960, 3, 1),
    (6, 1280, 1, 1),
)
"""(t, c, n, s) of the released network of Zhou et al., MobileNeXt, ECCV 2020; its Table 2 has 960 twice."""


def mobilenext(settings: MacroSettings) -> list[Row]:
    """Four layouts by case (see ``layout``); the 1280 stage is never narrowed.

    The bottleneck is ⌊C_in/t⌋ wide; where that is below C_out/max(6, t), as wide as that in multiples of 16. Published:
    C_out/6; with t above 6 the floor must go along, or the setting would do nothing. Width 0.1 was published with
    divisor 4.
    """
    if squeezes(settings):
        return i2rnet(settings)
    scale = widths(settings, small={0.1: 4})
    c_in = scale.scaled(32, 0)
    rows = [conv(0, c_in, 3, 2, "relu6")]
    for stage, (t, c, n, s) in enumerate(MOBILENEXT, 1):
        factor = exact(t if stage == 1 else settings.reduction or t)
        c_out = scale.never_below(c, stage) if c == 1280 else scale.scaled(c, stage)
        for first, stride in repeated(n, s):
            hidden = floor(c_in / factor)
            floor_width = Fraction(c_out) / max(Fraction(6), factor)
            if hidden < floor_width:
                hidden = to_nearest(Fraction(ceil(floor_width)), 16)
            whole = stage == 1 or (n == 1 and stride == 1)
            depthwise = layout(first and not whole, c_in != c_out, stride)
            identity = "0" if whole else settings.identity
            row = {"block": "sandglass", "c_out": c_out, "stride": stride, "hidden": max(1, hidden)}
            rows.append({"stage": stage, **row, "depthwise": depthwise, "identity": identity})
            c_in = c_out
    return rows + head(9, 0.2)


def remark(settings: MacroSettings) -> str:
    """Where these settings are not as the published code would have them; empty where they are."""
    t = settings.reduction
    if t is not None and t > 6:
        return (
            f"mobilenext, reduction {t:g}: no bottleneck of the published code is narrower than a sixth of its output, "
            "so above 6 nothing would change; here that floor is a t-th"
        )
    if t == 2:
        return (
            "mobilenext, reduction 2: the published code takes 2 for the first block's layout, two depthwise "
            "convolutions and no shortcut, in all blocks (6,911,960 parameters at width 1); here each keeps its own"
        )
    return ""


def squeezes(settings: MacroSettings) -> bool:
    """Whether it is one of the networks with squeeze-and-excitation (or would be, were that not left out)."""
    return settings.size in ("b0", "b1") or bool(settings.se)


def layout(entry: bool, widens: bool, stride: int) -> str:
    """The depthwise convolutions of a sandglass: at a stage's entry the strided one alone, or none where it widens."""
    if entry and stride == 2:
        return "last"
    return "none" if entry and widens else "both"


I2RNET = (
    (3, 96, 1, 1),
    (3, 144, 1, 2),
    (5, 192, 3, 2),
    (3, 288, 3, 2),
    (5, 384, 4, 1),
    (5, 576, 4, 2),
    (3, 960, 3, 1),
    (3, 1280, 1, 1),
)
"""(k, c, n, s) of MobileNeXt's networks with squeeze-and-excitation (Table 6); t is 2 in the first stage, else 6."""


def i2rnet(settings: MacroSettings) -> list[Row]:
    """b0 = "1.0†", b1 = "1.1†": depth times 1.1, and 1×1 convolutions in two groups where there are two depthwise ones.

    Strided convolutions pad as TensorFlow does at even sizes, which halves odd maps downwards. A batch norm that the
    published network holds and never runs is in its parameter count, and so in ours.
    """
    scale = widths(settings)
    deep = settings.size == "b1"
    groups = settings.groups or (2 if deep else 1)
    c_in = scale.scaled(32, 0)
    rows = [{**conv(0, c_in, 3, 2, "swish"), "tf_padding": True}]
    for stage, (k, c, n, s) in enumerate(I2RNET, 1):
        t = exact(2 if stage == 1 else settings.reduction or 6)
        c_out = scale.scaled(c, stage)
        for first, stride in repeated(ceil(n * Fraction(11, 10)) if deep else n, s):
            depthwise = layout(first and stage > 1, c_in != c_out, stride)
            hidden = ceil(Fraction(max(1, floor(c_in / t)), 2)) * 2
            squeeze = None if settings.se is False else max(1, floor(c_out / t / 4))
            row = {"block": "sandglass", "c_out": c_out, "stride": stride, "hidden": hidden, "kernel": k}
            row |= {"depthwise": depthwise, "identity": settings.identity if stage > 1 else "0", "activation": "swish"}
            row |= {
                "groups": groups if depthwise == "both" else 1,
                "squeeze": squeeze,
                "gate": "sigmoid",
                "tf_padding": True,
            }
            rows.append({"stage": stage, **row})
            c_in = c_out
    return [*rows, {"stage": 9, "block": "idle_norm"}, *head(9, 0.2)]
