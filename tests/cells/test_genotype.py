"""Both written forms of a genotype, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cells.genotype import FORMATS, Cell, Genotype, from_document, from_text, pruned, read, to_text
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
            max_size=3,
        )
        for node in range(nodes)
    ]
    pairs[-1] = pairs[-1].map(lambda last: [*last, ("skip_connect", 0)])
    concat = st.lists(st.integers(2, nodes + 1), unique=True).map(
        lambda states: [*set(states) - {nodes + 1}, nodes + 1]
    )
    return st.builds(lambda *parts: pruned(parts[:-1], parts[-1]), *pairs, concat)


@given(st.integers(1, 7).flatmap(lambda nodes: st.tuples(cells(nodes), cells(nodes))))
def test_any_genotype_survives_json(pair: tuple[Cell, Cell]) -> None:
    genotype = Genotype(*pair, ops={"sandglass_3x3": {"t": 2}})
    document = genotype.document()
    empty = not all(pairs for cell in pair for pairs in cell.nodes)
    assert read(json.dumps(document)) == genotype and document["format"] == FORMATS[empty]


def test_what_an_empty_node_leaves_behind() -> None:
    """What reads only empty nodes is empty too; order and other inputs stay."""
    nodes = [[], [("a", 2), ("b", 0)], [("c", 2)], [("d", 4), ("e", 3), ("f", 1)]]
    cell = pruned(nodes, (2, 3, 4, 5))
    assert cell == Cell(((), (("b", 0),), (), (("e", 3), ("f", 1))), (3, 5))
    assert pruned(cell.nodes, cell.concat) == cell
    with pytest.raises(UsageError, match="at least one state"):
        pruned([[("a", 0)], []], (3,))


BARS = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"


def test_the_text_form_of_nas_bench_201() -> None:
    genotype = read(BARS)
    assert to_text(genotype) == BARS and read(json.dumps(genotype.document())) == genotype
    assert genotype.reduce is None and genotype.normal.concat == (3,) and genotype.normal.inputs == 1
    assert genotype.normal.nodes[2] == (("avg_pool_3x3_plain", 0), ("conv_1x1", 1), ("conv_3x3", 2))
    assert set(genotype.document()) == {"format", "skeleton", "space", "ops", "normal"}
    assert from_text(f" {BARS}\n") == genotype


def test_the_skeleton_and_its_cells_belong_together() -> None:
    cell = read(BARS).normal
    for wrong in ({"reduce": cell, "skeleton": "nasbench201"}, {"reduce": None}, {"reduce": cell}):
        with pytest.raises(UsageError, match="skeleton"):
            Genotype(cell, **wrong)  # type: ignore[arg-type]


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
        "|",
        "|none~0|+",
        "|none~0|none~1|",
        "|none~0|+|none|none~1|",
        "x" * 10_000 + "(" * 5000,
        f"|none~{'9' * 10**6}|",
        f"Genotype(normal=[('none', {'9' * 10**6})], normal_concat=[2], reduce=[], reduce_concat=[2])",
        "Genotype(normal=[], normal_concat=range(300_000_000), reduce=[], reduce_concat=range(9))",
        f'{{"format": {"[" * 100_000}',
        f'{{"format": {"9" * 10**6}}}',
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "nas/genotype/3"}, "format"),
        ({"format": "nas/genotype/2"}, "skeleton"),
        ({"format": "nas/genotype/2", "skeleton": "dart"}, "did you mean darts"),
        ({"format": "nas/genotype/2", "skeleton": "nasbench201"}, 'unknown key "reduce"'),
        ({"skeleton": "darts"}, "skeleton"),
        ({"extra": 1}, "extra"),
        ({"normal": {"nodes": [[["sep_conv_3x3", 9]]], "concat": [2]}}, "state 9"),
        ({"normal": {"nodes": [[["sep_conv_3x3", True]]], "concat": [2]}}, "normal"),
        ({"normal": {"nodes": [[["a", 0]], []], "concat": [2]}}, "normal: a node reads no state"),
        ({"normal": {"nodes": [[["a", 0]], []], "concat": [3]}}, "concat names state 3, a node that reads no state"),
        ({"normal": {"nodes": [[], [["a", 2]]], "concat": [3]}}, "node 1 reads state 2, a node that reads no state"),
        ({"normal": {"nodes": [[], []], "concat": []}}, "at least one state"),
        ({"normal": {"nodes": [[["a", 0]]], "concat": [1]}}, "concat"),
        ({"normal": {"nodes": [[["a", 0]]] * 10_000, "concat": [2]}}, "at most 100"),
        ({"ops": []}, "ops"),
    ],
)
def test_refused_documents(change: dict[str, object], said: str) -> None:
    document = {**from_text(PUBLISHED["DARTS_V1"]).document(), **change}
    with pytest.raises(UsageError, match=said):
        from_document(document)
