"""How ``nas cost`` prints: tables for people, one JSON object for programs."""

from collections.abc import Mapping
from typing import Any

import torch

from nas.architecture import Architecture
from nas.cli import common
from nas.costs.count import Cost, count
from nas.costs.latency import Latency, measure
from nas.costs.tables import sentences, tables_of
from nas.execution import Execution
from nas.latency.table import LatencyTable
from nas.tables import COUNT, TEXT, Form, Table

Timed = Mapping[str, Mapping[str, Latency]]


def latencies(networks: Mapping[str, Architecture], batch: int, threads: int | None) -> Timed:
    """Milliseconds of all networks, measured by turns."""
    Execution("cpu", threads).start()
    shape = next(iter(networks.values())).input
    return measure({name: network.build() for name, network in networks.items()}, shape, batch=batch)


def print_costs(
    networks: Mapping[str, Architecture],
    costs: Mapping[str, Cost],
    timed: Timed,
    device: LatencyTable | None,
    json: bool,
    to: str | None = None,
) -> None:
    """Prints one network's cost, or several networks' costs, with what a device's table predicts.

    Raises:
        UsageError: a table that does not cover a network.
    """
    predicted: dict[str, float] = {}
    if device:
        signatures = {name: [part.signature for part in network.parts()] for name, network in networks.items()}
        predicted = {name: device.predict(own) for name, own in signatures.items()}
    if json:
        documents = [_document(name, networks[name], costs[name], timed.get(name)) for name in networks]
        if device:
            for document, ms in zip(documents, predicted.values(), strict=True):
                document["predicted_latency"] = {"ms": ms, "error": device.fit.error, "place": device.place}
        common.print_json(documents[0] if len(documents) == 1 else {"networks": documents})
        return
    tables = tables_of(costs, {name: network.input for name, network in networks.items()})
    if to:
        common.print_tables(tables[-1:], to)
        return
    for table, (name, cost) in zip(tables, costs.items(), strict=False):
        notes = [f"{networks[name].classes} classes", *sentences(cost), *latency_lines(timed.get(name))]
        if device:
            error = f"± {device.fit.error:.1%} on whole networks"
            notes.append(f"predicted {predicted[name]:.2f} ms ({error}) on {device.place}")
        common.print_tables([table], notes=notes)
    common.print_tables(tables[len(costs) :])


def _document(name: str, network: Architecture, cost: Cost, timed: Mapping[str, Latency] | None) -> dict[str, Any]:
    document = {"name": name, "input": list(network.input), "classes": network.classes, **cost.document()}
    return {**document, "latency": {way: taken.document() for way, taken in timed.items()}} if timed else document


def latency_lines(timed: Mapping[str, Latency] | None) -> list[str]:
    """What was measured of a network, a line a way."""
    return [
        f"{way} {taken.median_ms:.2f} ms (quartiles {taken.low_ms:.2f}–{taken.high_ms:.2f}; {taken.repeats} runs "
        f"after {taken.warmup}, batch {taken.batch}, {taken.threads} threads)"
        for way, taken in (timed or {}).items()
    ]


def print_published(json: bool, to: str | None = None) -> None:
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
    columns: dict[str, Form] = {
        "network": TEXT,
        "px": TEXT,
        "paper's params": _printed,
        "params": COUNT,
        "paper's MAdds": _printed,
        "MAdds": COUNT,
        "where": TEXT,
        "why they differ": TEXT,
    }
    values = []
    for line in rows:
        name = " ".join([line["network"], *(f"--{name} {value}" for name, value in line["settings"].items())])
        figures = (line["params"], line["counted_params"], line["madds"], line["counted_madds"])
        values.append((name, line["resolution"], *figures, line["where"], line["remark"]))
    common.print_tables([Table("Published figures, and what the networks cost", columns, values)], to)


def _printed(value: float) -> str:
    return f"{value:g}M"
