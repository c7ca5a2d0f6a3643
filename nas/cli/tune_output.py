"""How ``nas tune`` and ``nas show`` print a tuning run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nas.tuning.budget import short
from nas.tuning.report import label


def tell(path: Path, result: Mapping[str, Any]) -> None:
    """The outcome, for people."""
    console = Console(width=None if Console().is_terminal else 160, highlight=False)
    for budget in result["budgets"]:
        console.print(budget_table(budget, result))
    for study in result["studies"]:
        console.print(said(study), soft_wrap=not console.is_terminal)
    if result["finals"]:
        console.print(finals_table(result["finals"]))
    images = f"{result['validation']} held-out training images"
    console.print(f"accuracies of trials: {images}, seed {result['seed']}, n = 1 each; {result['hardware']}")
    console.print(f"run      {path}\npicture  {path / 'front.png'}", soft_wrap=True)
    for winner in (entry for entry in result["best"] if "image_size" in entry):
        smaller = f" --image-size {winner['image_size']}" if winner["image_size"] != result["image"][1] else ""
        file = path / "winners" / label(winner) / "architecture.json"
        console.print(f"retrain  nas retrain {file}{smaller}", soft_wrap=True)


def budget_table(budget: int, result: Mapping[str, Any]) -> Table:
    """The best of each study under one budget, and the published settings; no column that says nothing."""
    rows = [row(entry, f"{entry['gap']:.2%}") for entry in result["best"] if entry["budget"] == budget]
    published = [
        {**entry, "space": entry["name"].split("-")[0], "sampler": "published"} for entry in result["published"]
    ]
    rows += [row(entry) for entry in published if near(budget, entry["madds"], result["budgets"])]
    table = Table(title=f"budget {short(budget)} MAdds", box=None, title_justify="left")
    for name in rows[0] if rows else ():
        if any(each[name] for each in rows):
            words = name in ("space", "by", "settings")
            table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for each in rows:
        table.add_row(*(each[str(column.header)] for column in table.columns))
    return table


def near(budget: int, madds: int, budgets: list[int]) -> bool:
    """Whether of all budgets this one is the nearest."""
    return min(budgets, key=lambda other: abs(other - madds)) == budget


def row(entry: Mapping[str, Any], gap: str = "") -> dict[str, str]:
    """The cells of a row by their columns' names; multiply-adds as counted for the budget where that is elsewhere."""
    latency, counted = entry.get("latency_ms"), entry.get("budget_madds", entry["madds"])
    return {
        "space": entry["space"],
        "by": entry["sampler"],
        "settings": settings(entry["values"]),
        "accuracy": f"{entry['accuracy']:.2%}",
        "MAdds": f"{entry['madds'] / 1e6:.2f}M",
        "counted": f"{counted / 1e6:.2f}M" if counted != entry["madds"] else "",
        "gap": gap,
        "params": f"{entry['params']:,}",
        "seconds": f"{entry['seconds']:.0f}",
        "ms": f"{latency:.2f}" if latency else "",
    }


def settings(values: Mapping[str, Any]) -> str:
    """Values in a few words; the steps of single stages as +1 at 3."""
    words = [f"{name} {value}" for name, value in values.items() if name != "steps"]
    steps = [f"+{step} at {stage}" for stage, step in enumerate(values.get("steps", [])) if step]
    return ", ".join([*words, *([f"stages {', '.join(steps)}"] if steps else [])])


def said(study: Mapping[str, Any]) -> str:
    """What a study did, in a line."""
    trained = f"{study['trained']} of {study['trials']} trained, {study['stopped']} stopped early ({study['pruner']})"
    rejected = sum(study["rejected"].values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in study["rejected"].items())
    parts = [f"{study['study']}: {trained}; {rejected} draws rejected{f' ({reasons})' if reasons else ''}"]
    parts += ["every point was drawn"] if study["exhausted"] else []
    shares = ", ".join(f"{name} {share:.2f}" for name, share in study["importances"].items())
    parts += [f"importances: {shares}"] if shares else []
    later = study["overhead_seconds_median_of_later"]
    if later is not None:
        share = later / study["training_seconds_median"]
        parts.append(
            f"tuner {later:.3f} s a trial ({share:.1%} of training), first {study['overhead_seconds_first']:.3f} s"
        )
    return "; ".join(parts)


def finals_table(rows: list[Mapping[str, Any]]) -> Table:
    """Which space wins where."""
    table = Table(title="winners, trained anew on all training images", box=None, title_justify="left")
    for name in ("budget", "space", "test accuracy", "95 % interval", "n", "against the first"):
        table.add_column(name)
    for row in rows:
        spread, p = row["interval"], row["p_against_first"]
        verdict = "" if p is None else f"p = {p:.3f}{', differs' if p < 0.05 else ', no difference shown'}"
        interval = f"± {spread:.2%}" if spread is not None else ""
        table.add_row(
            short(row["budget"]), row["space"], f"{row['test_accuracy']:.2%}", interval, str(row["n"]), verdict
        )
    return table
