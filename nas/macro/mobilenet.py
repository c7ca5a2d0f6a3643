"""MobileNetV1 and V2."""

from nas.macro.rows import Row, conv, head, repeated, times, widths
from nas.macro.settings import MacroSettings

MOBILENET_V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
"""(c, n, s) (Howard et al., MobileNets, 2017, Table 1)."""


def mobilenet_v1(settings: MacroSettings) -> list[Row]:
    """Depthwise-separable convolutions: no expansion, no shortcut, ReLU after each of the two."""
    scale = widths(settings)
    c_in = scale.scaled(32, 0)
    rows = [conv(0, c_in, 3, 2, "relu")]
    for stage, (c, n, s) in enumerate(MOBILENET_V1, 1):
        c_out = scale.scaled(c, stage)
        for _, stride in repeated(n, s):
            row = {"block": "inverted_residual", "c_out": c_out, "stride": stride, "hidden": c_in}
            rows.append({"stage": stage, **row, "activation": "relu", "linear": False, "identity": "0"})
            c_in = c_out
    return rows + head(len(MOBILENET_V1) + 1, 0.001)


MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(t, c, n, s) (Sandler et al., MobileNetV2, CVPR 2018, Table 2)."""


def mobilenet_v2(settings: MacroSettings) -> list[Row]:
    """The last convolution is never narrowed below 1280; width 0.1 was published with divisor 4."""
    scale = widths(settings, small={0.1: 4})
    c_in = scale.scaled(32, 0)
    rows = [conv(0, c_in, 3, 2, "relu6")]
    for stage, (t, c, n, s) in enumerate(MOBILENET_V2, 1):
        factor = 1 if t == 1 else settings.expansion or t
        c_out = scale.scaled(c, stage)
        for _, stride in repeated(n, s):
            row = {"block": "inverted_residual", "c_out": c_out, "stride": stride, "hidden": times(c_in, factor)}
            rows.append({"stage": stage, **row, "identity": settings.identity})
            c_in = c_out
    return [*rows, conv(8, scale.never_below(1280, 8), 1, 1, "relu6"), *head(8, 0.2)]
