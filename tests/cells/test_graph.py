"""The graph of a genotype, in each written form and back."""

import json
import random
import re
from pathlib import Path
from xml.etree import ElementTree

import networkx
import pytest

from nas.cells.genotype import Cell, Genotype, from_text, pruned
from nas.cells.graph import family_of, from_graph, read_graph, short, to_graph, write_graph
from nas.errors import UsageError

GENOTYPES = Path(__file__).parents[1] / "golden" / "genotypes.txt"
TEXTS = [line for line in GENOTYPES.read_text().splitlines() if not line.startswith("#")]
PUBLISHED = {line.split(" = ")[0]: from_text(line) for line in TEXTS}
SETTINGS = {
    "sandglass_3x3": {"t": 2, "identity": "1"},
    "inverted_residual_3x3": {"t": 2.5},
    "harmonious_5x5": {"t": 2, "upsample": "nearest"},
    "asymmetric_3x3": {"t": 2, "r": 0.5, "linear": True},
}
OPERATIONS = [
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
    *("dil_conv_3x3", "dil_conv_5x5", "conv_3x3", "conv_7x1_1x7", "pruned_3x3", *SETTINGS),
]


def random_cell(draw: random.Random, nodes: int) -> Cell:
    inputs = [draw.choice([0, 1, 2, 2, 2, 3] if node < nodes - 1 else [3]) for node in range(nodes)]
    pairs = [
        tuple((draw.choice(OPERATIONS), draw.randrange(node + 2)) for _ in range(n)) for node, n in enumerate(inputs)
    ]
    pairs[-1] = (*pairs[-1], (draw.choice(OPERATIONS), 0))  # so that one node is not empty
    return pruned(pairs, [*draw.sample(range(2, nodes + 1), draw.randint(0, nodes - 1)), nodes + 1])


def one_input(seed: int) -> Genotype:
    """A cell of NAS-Bench-201's."""
    draw = random.Random(seed)
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    nodes = ["|".join(f"{draw.choice(names)}~{state}" for state in range(node + 1)) for node in range(3)]
    return from_text("+".join(f"|{node}|" for node in nodes))


def random_genotype(seed: int) -> Genotype:
    draw = random.Random(seed)
    nodes = 2 + seed % 6
    genotype = Genotype(random_cell(draw, nodes), random_cell(draw, nodes), space="darts+sandglass")
    ops = {name: SETTINGS[name] for name in genotype.operations if name in SETTINGS}
    return Genotype(genotype.normal, genotype.reduce, ops, genotype.space)


def again(genotype: Genotype, kind: str) -> Genotype:
    """Through the written form and back."""
    return read_graph(write_graph(genotype, kind), "here")


def tricky(**settings: object) -> Genotype:
    """A cell with one parametrised operation of the user's own."""
    cell = Cell(((("mine", 0), ("mine", 0)),), (2,))
    return Genotype(cell, cell, {"mine": settings})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_genotypes_come_back(name: str) -> None:
    genotype = PUBLISHED[name]
    assert from_graph(to_graph(genotype)) == again(genotype, "graphml") == again(genotype, "json") == genotype


@pytest.mark.parametrize("seed", range(50))
def test_random_genotypes_come_back(seed: int) -> None:
    genotype = random_genotype(seed) if seed % 5 else one_input(seed)
    for found in (from_graph(to_graph(genotype)), again(genotype, "graphml"), again(genotype, "json")):
        assert found == genotype
        assert found.space == genotype.space


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"t": 2, "half": 0.5, "linear": True, "identity": "1", "empty": ""},
        {"op": "x", "rank": 7, "id": "a", "key": 1, "source": "s", "target": "t", "op_": 3},
        {"kernel": [3, 5], "nothing": None, "text": "json:[1]"},
        {"quoted": 'a "b" <c> & \\ d'},
    ],
)
def test_settings_of_any_kind_come_back(settings: dict[str, object]) -> None:
    genotype = tricky(**settings)
    assert from_graph(to_graph(genotype)) == again(genotype, "graphml") == again(genotype, "json") == genotype


def test_settings_of_an_unused_operation_come_back() -> None:
    genotype = Genotype(*PUBLISHED["DARTS_V2"].cells.values(), {"sandglass_3x3": {"t": 6}})
    assert from_graph(to_graph(genotype)) == again(genotype, "graphml") == genotype


def test_graph_of_darts() -> None:
    graph = to_graph(PUBLISHED["DARTS_V2"])
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (14, 24)
    assert graph.nodes["normal/c_{k-1}"] == {"cell": "normal", "role": "input", "state": 1}
    assert graph.nodes["reduce/c_{k}"] == {"cell": "reduce", "role": "output", "state": 6}
    assert [data["op"] for data in graph["normal/0"]["normal/3"].values()] == ["dil_conv_3x3"]
    assert graph.in_degree("normal/c_{k}") == 4
    assert networkx.number_weakly_connected_components(graph) == 2


def test_one_state_read_twice_is_two_edges() -> None:
    graph = to_graph(PUBLISHED["NASNet"])
    assert [data["rank"] for data in graph["normal/c_{k-2}"]["normal/3"].values()] == [0, 1]


def test_attributes_are_scalars() -> None:
    graph = to_graph(tricky(kernel=[3, 5], t=2))
    values = [value for _, data in graph.nodes(data=True) for value in data.values()]
    values += [value for _, _, data in graph.edges(data=True) for value in data.values()]
    assert all(isinstance(value, str | int | float) for value in [*values, *graph.graph.values()])


def test_graphml_edges_have_unique_ids() -> None:
    root = ElementTree.fromstring(write_graph(PUBLISHED["NASNet"], "graphml"))
    ids = [element.get("id") for element in root.iter() if element.tag.endswith("}edge")]
    assert len(ids) == len(set(ids)) == 28


def test_json_says_edges() -> None:
    document = json.loads(write_graph(PUBLISHED["DARTS_V1"], "json"))
    assert document["multigraph"] and document["directed"] and len(document["edges"]) == 24


def test_dot_is_quoted() -> None:
    cell = Cell((((r'a"b\ c', 0),),), (2,))
    text = write_graph(Genotype(cell, cell), "dot")
    assert r'label="a\"b\\ c"' in text
    assert '"normal/c_{k-2}" -> "normal/0"' in text
    assert "rankdir=LR" in text and text.count("subgraph") == 2
    # Outside strings nothing but plain words, numbers and punctuation; braces and brackets balance.
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
    assert '"' not in bare and "\\" not in bare
    assert bare.count("{") == bare.count("}") == 3 and bare.count("[") == bare.count("]")


def test_dot_labels_carry_settings() -> None:
    assert 'label="mine t=2"' in write_graph(tricky(t=2), "dot")


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match="graphml"):
        write_graph(PUBLISHED["DARTS_V1"], "grapml")


def test_foreign_graphs_are_refused() -> None:
    with pytest.raises(UsageError, match="format"):
        from_graph(networkx.MultiDiGraph())
    graph = to_graph(PUBLISHED["DARTS_V1"])
    graph.remove_nodes_from([name for name in list(graph) if name.startswith("reduce/")])
    with pytest.raises(UsageError, match="reduce"):
        from_graph(graph)
    graph = to_graph(tricky(t=2))
    graph.add_edge("normal/c_{k-1}", "normal/0", op="mine", rank=2, t=3)
    with pytest.raises(UsageError, match="mine"):
        from_graph(graph)
    graph.edges["normal/c_{k-2}", "normal/0", "normal/0#0"]["rank"] = "first"
    with pytest.raises(UsageError, match="first"):
        from_graph(graph)
    graph.add_node("stray")
    with pytest.raises(UsageError, match="cell"):
        from_graph(graph)


@pytest.mark.parametrize("text", ["<", "<a/>", "{", "{}", '{"nodes": 3, "edges": []}', "[]"])
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a graph"):
        read_graph(text, "here")


def test_short_names() -> None:
    assert short("sep_conv_3x3") == "sep conv 3×3"
    assert short("conv_7x1_1x7") == "conv 7×1 1×7"
    assert short("skip_connect") == "skip"
    assert short("sandglass_3x3", {"t": 2, "identity": "1"}) == "sandglass 3×3 t=2"
    assert short("maxout_unit") == "maxout unit"


def test_families() -> None:
    assert {family_of(name) for name in ("max_pool_3x3", "avg_pool_5x5")} == {"pooling"}
    assert {family_of(name) for name in SETTINGS} == {"mobile block"}
    assert family_of("convolve") == family_of("involution_7x7") == "user's operation"
