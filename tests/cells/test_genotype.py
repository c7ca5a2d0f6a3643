"""Both written forms of a genotype, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cells.genotype import Cell, Genotype, from_document, from_text, read, to_text
from nas.errors import UsageError

LINES = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().splitlines()
PUBLISHED = {line.split(" ")[0]: line for line in LINES if not line.startswith("#")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_text_json_text(name: str) -> None:
    genotype = from_text(PUBLISHED[name])
    again = read(json.dumps(genotype.document()))
    assert again == genotype
    assert from_text(to_text(again)) == genotype
    assert to_text(from_text(to_text(genotype))) == to_text(genotype)


def test_the_text_form_is_the_published_one() -> None:
    assert f"DARTS_V2 = {to_text(from_text(PUBLISHED['DARTS_V2']))}" == PUBLISHED["DARTS_V2"]


def cells(nodes: int) -> st.SearchStrategy[Cell]:
    pairs = [
        st.lists(
            st.tuples(st.sampled_from(["sep_conv_3x3", "skip_connect"]), st.integers(0, node + 1)),
            min_size=1,
            max_size=3,
        )
        for node in range(nodes)
    ]
    concat = st.lists(st.integers(2, nodes + 1), min_size=1, unique=True)
    return st.builds(lambda *parts: Cell(tuple(map(tuple, parts[:-1])), tuple(parts[-1])), *pairs, concat)


@given(st.integers(1, 7).flatmap(lambda nodes: st.tuples(cells(nodes), cells(nodes))))
def test_any_genotype_survives_json(pair: tuple[Cell, Cell]) -> None:
    genotype = Genotype(*pair, ops={"sandglass_3x3": {"t": 2}})
    assert read(json.dumps(genotype.document())) == genotype


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "Genotype()",
        "Genotype(normal=[('sep_conv_3x3', 1)], normal_concat=[2], reduce=[], reduce_concat=[2])",
        "__import__('os').system('true')",
        "Genotype(normal=__import__('os').getcwd(), normal_concat=[2], reduce=[], reduce_concat=[2])",
        "x" * 10_000 + "(" * 5000,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "nas/genotype/2"}, "format"),
        ({"extra": 1}, "extra"),
        ({"normal": {"nodes": [[["sep_conv_3x3", 9]]], "concat": [2]}}, "state 9"),
        ({"normal": {"nodes": [[["sep_conv_3x3", True]]], "concat": [2]}}, "normal"),
        ({"normal": {"nodes": [[]], "concat": [2]}}, "node 0"),
        ({"normal": {"nodes": [[["a", 0]]], "concat": [1]}}, "concat"),
        ({"ops": []}, "ops"),
    ],
)
def test_refused_documents(change: dict[str, object], said: str) -> None:
    document = {**from_text(PUBLISHED["DARTS_V1"]).document(), **change}
    with pytest.raises(UsageError, match=said):
        from_document(document)
