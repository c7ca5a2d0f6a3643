"""What networks cost, as tables and sentences."""

from collections.abc import Mapping

from nas.costs.count import Cost
from nas.tables import COUNT, TEXT, Form, Table


def tables_of(costs: Mapping[str, Cost], inputs: Mapping[str, tuple[int, ...]]) -> list[Table]:
    """Each network's stages; of several also all of them side by side."""
    tables = [stages(f"{name}, {shape(inputs[name])}", cost) for name, cost in costs.items()]
    return [*tables, totals(costs)] if len(costs) > 1 else tables


def shape(sizes: tuple[int, ...]) -> str:
    """3×32×32"""
    return "×".join(map(str, sizes))


MEGABYTES: Form = "{:.2f}".format


def megabytes(amount: float) -> str:
    """Of bytes."""
    return MEGABYTES(amount / 1e6)


def stages(title: str, cost: Cost) -> Table:
    """A network's stages in order."""
    columns: dict[str, Form] = {
        "stage": TEXT,
        "made of": lambda kind: kind.replace("Adaptive", "").replace("2d", ""),
        "output": lambda *sizes: shape(sizes),
        **dict.fromkeys(("params", "MAdds", "adds"), COUNT),
        "moved, MB": MEGABYTES,
    }
    rows = [
        (one.name, one.kind, one.output, one.params, one.madds, one.adds, one.bytes_moved / 1e6) for one in cost.stages
    ]
    return Table(title, columns, rows)


def totals(costs: Mapping[str, Cost]) -> Table:
    """Networks side by side."""
    counts = dict.fromkeys(("params", "MAdds", "activations", "adds"), COUNT)
    columns = {"network": TEXT, **counts, "moved, MB": MEGABYTES, "memory, MB": MEGABYTES}
    rows = [
        (name, one.params, one.madds, one.activations, one.adds, one.bytes_moved / 1e6, one.peak_memory_bytes / 1e6)
        for name, one in costs.items()
    ]
    return Table("Networks", columns, rows)


def sentences(cost: Cost) -> list[str]:
    """What stands under a network's stages."""
    share = ", ".join(f"{kind} {part:.1%}" for kind, part in cost.share.items())
    largest = ", ".join(f"{where} {size / 1e3:,.0f}" for where, size in cost.materialised.items())
    return [
        f"parameters {cost.params:,}; MAdds {cost.madds:,} ({share}); FLOPs {cost.flops:,}",
        f"activations {cost.activations:,}; additions {cost.adds:,}; moved {megabytes(cost.bytes_moved)} MB in 16 bits",
        f"memory at once {megabytes(cost.peak_memory_bytes)} MB, with inverted residuals in t parts "
        f"{megabytes(cost.peak_memory_split_bytes)} MB",
        f"largest activation by resolution, kB: {largest}",
    ]
