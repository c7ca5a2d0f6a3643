"""Lookups of NAS-Bench-201's cells: a few rows of the table by heart, all of it where the package is installed."""

import csv
import json
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from itertools import product
from pathlib import Path

import pytest

from nas import extras
from nas.cells.genotype import Genotype, from_text
from nas.errors import UsageError
from nas.reports.nasbench201 import CODES, KINDS, Reader, Table, key_of, look_up, read_table

LINES = (Path(__file__).parents[1] / "golden" / "nasbench201.csv").read_text().splitlines()
ROWS = list(csv.DictReader(LINES[1:]))
FEW: Table = {kind: {tuple(map(int, row["key"])): float(row[kind]) for row in ROWS} for kind in KINDS}
installed = pytest.mark.skipif(find_spec("analognasbench") is None, reason="needs analog-nasbench")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["key"])
def test_a_cells_name_in_the_table(row: dict[str, str]) -> None:
    """Edges by the state they leave, where the cell's text has them by the node that they lead to."""
    genotype = from_text(row["cell"])
    assert "".join(map(str, key_of(genotype))) == row["key"]
    found = look_up(genotype, FEW)
    assert found.cells == len(ROWS) and found.ptq.accuracy == pytest.approx(float(row["ptq"]) / 100)
    assert found.qat.rank == 1 + sum(float(row["qat"]) < float(other["qat"]) for other in ROWS)


def test_an_edge_that_is_not_there_is_none() -> None:
    text = "|none~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
    assert key_of(from_text(text.replace("|none~1|+|none", "|+|none"))) == key_of(from_text(text))


def test_ties_share_the_better_rank() -> None:
    key = {name: key_of(from_text(row["cell"])) for name, row in zip("abcd", ROWS, strict=False)}
    same = {key["a"]: 90.0, key["b"]: 91.0, key["c"]: 90.0, key["d"]: 80.0}
    table = dict.fromkeys(KINDS, same)
    assert [look_up(from_text(row["cell"]), table).fp32.rank for row in ROWS[:4]] == [2, 1, 2, 4]


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|",
        "|none~0|+|none~0|none~1|+|none~0|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|sep_conv_3x3~2|",
        "Genotype(normal=[('none', 0), ('none', 1)], normal_concat=[2], reduce=[('none', 0), ('none', 1)], "
        "reduce_concat=[2])",
    ],
)
def test_other_cells(text: str) -> None:
    with pytest.raises(UsageError, match="no cell of NAS-Bench-201"):
        key_of(from_text(text))


def test_nothing_in_a_table_can_run() -> None:
    for harmful in (print, Path("x"), CODES.get):
        with pytest.raises(pickle.UnpicklingError):
            Reader(BytesIO(pickle.dumps(harmful))).load()


def test_without_the_package(nas: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    status, out, err = nas("lookup", ROWS[0]["cell"])
    assert (status, out) == (2, "") and extras.install("lookup") in err and len(err.splitlines()) == 1
    status, _, err = nas("lookup", "|none~0|")
    assert status == 2 and "no cell of NAS-Bench-201" in err


@installed
def test_the_table(nas: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    row = ROWS[2]
    (tmp_path / "cell.json").write_text(json.dumps(from_text(row["cell"]).document()))
    for target in (row["cell"], str(tmp_path / "cell.json")):
        status, out, err = nas("lookup", target, "--json")
        assert status == 0, err
        found = json.loads(out)
        assert found["cells"] == 15_625 and found["cell"] == row["cell"]
        for kind in KINDS:
            assert found[kind]["rank"] == int(row[f"{kind}_rank"])
            assert found[kind]["accuracy"] == pytest.approx(float(row[kind]) / 100, abs=1e-6)
    status, out, _ = nas("lookup", row["cell"])
    assert status == 0 and "93.99%" in out and "rank 3 of 15,625" in out


@installed
def test_isomorphic_cells_score_alike() -> None:
    """Where no edge leads from node 0 to node 1, the two can change places: the order of edges is the table's."""
    accuracies, names = read_table()["fp32"], list(CODES)
    differences = []
    for a, b, c, d, e in product(names, repeat=5):
        one, other = (accuracies[key_of(cell(*ops))] for ops in ((a, b, c, d, e), (b, a, c, e, d)))
        differences.append(abs(one - other))
    differences.sort()
    assert differences[len(differences) // 2] < 0.3 and sum(differences) / len(differences) < 0.5


def cell(first: str, second: str, direct: str, last: str, least: str) -> Genotype:
    """Input → node 0, → node 1, → node 2; node 0 → node 2, node 1 → node 2."""
    return from_text(f"|{first}~0|+|{second}~0|none~1|+|{direct}~0|{last}~1|{least}~2|")
