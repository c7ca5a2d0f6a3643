"""HBONet."""

from nas.macro.rows import Row, conv, head, repeated, times, widths
from nas.macro.settings import MacroSettings

HBONET = (
    ("inverted_residual", 1, 20, 1, 1, 2),
    ("harmonious", 2, 36, 1, 1, 8),
    ("harmonious", 2, 72, 3, 2, 8),
    ("harmonious", 2, 96, 4, 2, 4),
    ("harmonious", 2, 192, 4, 2, 2),
    ("harmonious", 2, 288, 1, 1, 2),
    ("conv", 0, 144, 1, 1, 2),
    ("inverted_residual", 6, 200, 2, 2, 2),
    ("inverted_residual", 6, 400, 1, 1, 2),
)
"""(block, t, c, n, s, largest contraction): the code of Li et al., HBONet, ICCV 2019; its Table 1 differs in row 1."""


def hbonet(settings: MacroSettings) -> list[Row]:
    """Widths 0.1, 0.25 and 0.5 were published with divisors 4, 2 and 2; 1600 is never narrowed."""
    scale = widths(settings, small={0.1: 4, 0.25: 2, 0.5: 2})
    c_in = scale.scaled(32, 0)
    rows = [conv(0, c_in, 3, 2, "relu6")]
    for stage, (block, t, c, n, s, contraction) in enumerate(HBONET, 1):
        c_out = scale.scaled(c, stage)
        for _, stride in repeated(n, s):
            if block == "conv":
                rows.append(conv(stage, c_out, 1, stride, None))
            elif block == "harmonious":
                hidden = times(c_in, settings.expansion or t)
                inside = {"contraction": min(contraction, settings.contraction), "upsample": settings.upsample}
                row = {"block": block, "c_out": c_out, "stride": stride, "hidden": hidden}
                rows.append({"stage": stage, **row, **inside})
            else:
                row = {"block": block, "c_out": c_out, "stride": stride, "hidden": times(c_in, t)}
                rows.append({"stage": stage, **row, "identity": "1"})
            c_in = c_out
    return [*rows, conv(10, scale.never_below(1600, 10), 1, 1, "relu6"), *head(10, 0.0)]
