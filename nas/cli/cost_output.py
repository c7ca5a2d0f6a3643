"""How ``nas cost`` prints: tables for people, one JSON object for programs."""

from collections.abc import Mapping
from typing import Any

import torch

from nas.architecture import Architecture
from nas.cli import common
from nas.costs.count import Cost, count
from nas.costs.latency import Latency, measure
from nas.latency.table import LatencyTable

Timed = Mapping[str, Mapping[str, Latency]]


def latencies(networks: Mapping[str, Architecture], batch: int, threads: int | None) -> Timed:
    """Milliseconds of all networks, measured by turns."""
    if threads:
        torch.set_num_threads(threads)
    shape = next(iter(networks.values())).input
    return measure({name: network.build() for name, network in networks.items()}, shape, batch=batch)


def print_costs(
    networks: Mapping[str, Architecture],
    costs: Mapping[str, Cost],
    timed: Timed,
    table: LatencyTable | None,
    json: bool,
) -> None:
    """Prints one network's cost, or several networks' costs, with what a device's table predicts.

    Raises:
        UsageError: a table that does not cover a network.
    """
    documents = [_document(name, networks[name], costs[name], timed.get(name)) for name in networks]
    for document, network in zip(documents, networks.values(), strict=True):
        if table:
            predicted = table.predict([part.signature for part in network.parts()])
            document["predicted_latency"] = {"ms": predicted, "error": table.fit.error, "place": table.place}
    if json:
        common.print_json(documents[0] if len(documents) == 1 else {"networks": documents})
        return
    for (name, cost), document in zip(costs.items(), documents, strict=True):
        print_cost(name, networks[name], cost, timed.get(name))
        if told := document.get("predicted_latency"):
            print(f"predicted {told['ms']:.2f} ms (± {told['error']:.1%} on whole networks) on {told['place']}")


def _document(name: str, network: Architecture, cost: Cost, timed: Mapping[str, Latency] | None) -> dict[str, Any]:
    document = {"name": name, "input": list(network.input), "classes": network.classes, **cost.document()}
    return {**document, "latency": {way: taken.document() for way, taken in timed.items()}} if timed else document


def print_cost(name: str, network: Architecture, cost: Cost, timed: Mapping[str, Latency] | None) -> None:
    """A network's stages and totals."""
    print(f"{name}, {'×'.join(map(str, network.input))}, {network.classes} classes")
    print(f"{'stage':12} {'made of':28} {'output':>14} {'params':>11} {'MAdds':>13} {'adds':>10} {'moved, MB':>9}")
    for stage in cost.stages:
        output = "×".join(map(str, stage.output))
        print(
            f"{stage.name:12} {stage.kind:28} {output:>14} {stage.params:11,} {stage.madds:13,} {stage.adds:10,} "
            f"{stage.bytes_moved / 1e6:9.2f}"
        )
    share = ", ".join(f"{kind} {part:.1%}" for kind, part in cost.share.items())
    print(f"parameters {cost.params:,}; MAdds {cost.madds:,} ({share}); FLOPs {cost.flops:,}")
    print(
        f"activations {cost.activations:,}; additions {cost.adds:,}; moved {cost.bytes_moved / 1e6:.2f} MB in 16 bits"
    )
    print(
        f"memory at once {cost.peak_memory_bytes / 1e6:.2f} MB, with inverted residuals in t parts "
        f"{cost.peak_memory_split_bytes / 1e6:.2f} MB"
    )
    largest = ", ".join(f"{where} {size / 1e3:,.0f}" for where, size in cost.materialised.items())
    print(f"largest activation by resolution, kB: {largest}")
    for way, taken in (timed or {}).items():
        print(
            f"{way} {taken.median_ms:.2f} ms (quartiles {taken.low_ms:.2f}–{taken.high_ms:.2f}; {taken.repeats} runs "
            f"after {taken.warmup}, batch {taken.batch}, {taken.threads} threads)"
        )


def print_published(json: bool) -> None:
    """The published rows, each beside the cost counted now."""
    from nas.macro.networks import build
    from nas.macro.published import published

    rows = []
    for row in published():
        with torch.device("meta"):
            network = build(row.network, row.settings)
        cost = count(network, (3, row.resolution, row.resolution))
        rows.append({**vars(row), "counted_params": cost.params, "counted_madds": cost.madds})
    if json:
        common.print_json({"published": rows})
        return
    print(
        f"{'network':50} {'px':>3} {'paper: params, MAdds':>22} {'counted: params, MAdds':>26}  where; why they differ"
    )
    for line in rows:
        settings = " ".join(f"--{name} {value}" for name, value in line["settings"].items())
        name = f"{line['network']} {settings}"
        paper = f"{_millions(line['params'])} {_millions(line['madds'])}"
        ours = f"{line['counted_params']:,} {line['counted_madds']:13,}"
        why = f"{line['where']}{'; ' if line['remark'] else ''}{line['remark']}"
        print(f"{name:50} {line['resolution']:3} {paper:>22} {ours:>26}  {why}")


def _millions(value: float | None) -> str:
    return "–" if value is None else f"{value:g}M"
