"""Which setting of ours is which row of the golden file."""

import csv
import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden" / "costs.csv"
FAMILIES = {"MobileNetV2", "HBONet", "MobileNeXt", "MobileNeXt+SE", "AsymmNet", "MobileNetV3"}
NOT_OFFICIAL = (
    "NOT the official code",
    "NOT the published network",
    "re-expressed in PyTorch from the TF spec",
    "own construction; paper 3.6M/340M",
)
SE_VARIANTS: dict[str, dict[str, Any]] = {
    "i2rnet-b0 groups=1": {"size": "b0"},
    "i2rnet-b1 groups=2": {"size": "b1"},
    "i2rnet-b1 groups=1": {"size": "b1", "groups": 1},
    "i2rnet-b0 groups=1 with SE removed": {"size": "b0", "se": False},
}


def rows() -> list[dict[str, str]]:
    """The rows that the official code of these families, or the published description, gives."""
    with GOLDEN.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["family"] in FAMILIES and official(row)]


def official(row: dict[str, str]) -> bool:
    return not any(said in row["note"] for said in NOT_OFFICIAL) and not row["variant"].startswith("figure 4")


def setting(row: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """(network, settings) of a golden row."""
    extra = json.loads(row["extra"])
    if row["family"] == "MobileNeXt+SE":
        return "mobilenext", SE_VARIANTS[row["variant"]]
    settings: dict[str, Any] = {"width": float(row["width"])}
    if row["family"] in ("MobileNetV2", "HBONet"):
        settings["divisor"] = extra["channel_divisor"]
    if row["family"] == "HBONet":
        settings["contraction"] = int(row["variant"][0])
    if "identity_multiplier" in extra:
        settings["identity"] = str(extra["identity_multiplier"])
    if row["family"] in ("AsymmNet", "MobileNetV3"):
        settings["size"] = "large" if "-L" in row["variant"] else "small"
    if row["family"] == "AsymmNet":
        settings |= {"pruned": True} if "Pruned" in row["variant"] else {"asymmetry": float(extra["asymmetry_rate"])}
    if row["family"] == "MobileNetV3":
        settings["convention"] = row["variant"].split()[0]
    return row["family"].lower().replace("mobilenetv", "mobilenet_v"), settings
