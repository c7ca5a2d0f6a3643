"""The one table: nothing is cut at any width, and every form holds every value."""

import csv

import pytest

from nas.tables import COUNT, RANGE, SHARE, TEXT, Table, millions

COLUMNS = {
    "cell": TEXT,
    "accuracy": SHARE,
    "nothing": TEXT,
    "interval": RANGE,
    "params": COUNT,
    "MAdds": millions,
    "settings": TEXT,
}
ROWS = [
    ("c1", 0.9312, None, (0.93, 0.95), 3_169_414, 20_100_000, "width 1.25, expansion 6, stages +1 at 3, +12 at 15"),
    ("a_long & name", 0.5, "", None, 95_938, 500, "50% of_it"),
]
TABLE = Table("Best", COLUMNS, ROWS)
WORDS = ["93.12%", "93.00% to 95.00%", "3,169,414", "95,938", "20.1M", "0.0M", "a_long & name"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_width_cuts_a_value(width: int) -> None:
    text = TABLE.text(width)
    assert all(word in text for word in WORDS) and "nothing" not in text
    fits = [line for line in text.splitlines() if len(line) <= width]
    assert len(fits) == len(text.splitlines()) or width < 40
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_does_not_fit_goes_on_beside_the_names() -> None:
    lines = TABLE.text(60).splitlines()
    assert sum(line.startswith("a_long & name") for line in lines) > 1 == len(TABLE.text(200).splitlines()) - 3
    numbers = [
        line.rstrip() for line in Table("", {"n": TEXT, "value": COUNT}, [("a", 1), ("b", 1000)]).text(80).splitlines()
    ]
    assert numbers == ["n  value", "a      1", "b  1,000"]


def test_csv_holds_the_values_themselves() -> None:
    heads, first, second = csv.reader(TABLE.csv().splitlines())
    assert heads == ["cell", "accuracy", "interval, low", "interval, high", "params", "MAdds", "settings"]
    assert first[:6] == ["c1", "0.9312", "0.93", "0.95", "3169414", "20100000"] and second[2:4] == ["", ""]


def test_csv_writes_what_is_no_range_in_one_column() -> None:
    table = Table(
        "", {"stage": TEXT, "output": lambda *sizes: "×".join(map(str, sizes)), "n": COUNT}, [("a", (16, 8, 8), 3)]
    )
    assert table.csv().splitlines() == ["stage,output,n", "a,16×8×8,3"]


def test_latex_and_markdown_and_html_escape() -> None:
    assert r"a\_long \& name & 50.00\% &" in TABLE.latex() and r"\begin{tabular}{lrrrrl}" in TABLE.latex()
    assert TABLE.markdown().splitlines()[2] == "| cell | accuracy | interval | params | MAdds | settings |"
    assert "<td>a_long &amp; name</td>" in TABLE._repr_html_() and "<caption>Best</caption>" in TABLE._repr_html_()


def test_a_table_without_rows_has_its_heads() -> None:
    assert Table("", COLUMNS, []).heads == list(COLUMNS)
