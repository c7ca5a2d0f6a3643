"""Space files and the + notation."""

from pathlib import Path

import pytest

from nas import space
from nas.errors import UsageError

FRAGMENTS = ["ir", "sandglass", "harmonious", "asymmetric", "pruned"]


def test_shipped_spaces() -> None:
    assert "darts" in space.names("cell")
    assert set(FRAGMENTS) <= set(space.names("ops"))
    assert {"s1", "s2", "s3", "s4"} <= set(space.names("cell"))


def test_s1_has_two_operations_an_edge() -> None:
    """Those of 28 edges, as published: counted, and by hand at both ends."""
    found = space.load("s1")
    pairs = [pair for kind in found.kinds for pair in found.choices[kind]]
    assert len(pairs) == 28 and all(len(set(pair)) == 2 for pair in pairs)
    assert sum(pair.count("skip_connect") for pair in pairs) == 18
    assert found.choices["normal"][-1] == ("dil_conv_3x3", "dil_conv_5x5")
    assert found.choices["reduce"][1] == ("max_pool_3x3", "dil_conv_3x3")


@pytest.mark.parametrize("addition", FRAGMENTS)
def test_additions(addition: str, tmp_path: Path) -> None:
    found = space.load(f"darts+{addition}")
    assert len(found.ops) == 9 and list(found.ops)[:8] == list(space.load("darts").ops)
    path = tmp_path / "space.toml"
    path.write_text(found.to_toml())
    assert space.load(str(path)) == found


def test_settings() -> None:
    ops = space.load("darts+sandglass:t=6,identity=0.5+ir:t=3").ops
    assert ops["sandglass_3x3"] == {"t": 6, "identity": "1/2"}
    assert ops["inverted_residual_3x3"] == {"t": 3, "identity": "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dart", "did you mean darts"),
        ("darts+sandglas", "did you mean sandglass"),
        ("darts+", "unknown space"),
        ("", "unknown space"),
        ("darts+darts", "operations to add"),
        ("sandglass", "a cell space"),
        ("darts+sandglass:t=0", "t=0"),
        ("darts+sandglass:t=-1", "t=-1"),
        ("darts+sandglass:t=nan", "nan"),
        ("darts+sandglass:t=many", "cannot be built"),
        ("darts+sandglass:q=2", 'setting "q"'),
        ("darts+sandglass:t", "name=value"),
        ("darts+sandglass:identity=2", "between 0 and 1"),
        ("darts+sandglass:identity=a/b", "fraction"),
        ("darts+asymmetric:r=0.3", "r="),
        ("darts+asymmetric:r=5", "r="),
        ("no/such.toml", "unknown space"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        space.load(text)
    assert said in str(error.value) and "\n" not in str(error.value)


SKIPS = 'kind = "cell"\nabout = "x"\nnodes = 1\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('kind = "cell"\nabout = ', "malformed"),
        ('kind = "cell"\nabout = "x"\nnodes = 4\n', "missing"),
        ('kind = "cell"\nabout = "x"\nnodes = "4"\n[ops]\nskip_connect = {}\n', "nodes"),
        ('kind = "cell"\nabout = "x"\nnodes = 4\nextra = 1\n[ops]\nskip_connect = {}\n', "extra"),
        ('kind = "cell"\nabout = "x"\nnodes = 0\n[ops]\nskip_connect = {}\n', "nodes"),
        ('kind = "cell"\nabout = "x"\nnodes = 4\n[ops]\nskip_conect = {}\n', "did you mean skip_connect"),
        ('kind = "cell"\nabout = "x"\nnodes = 4\n[ops]\nskip_connect = 3\n', "table"),
        ('kind = "cell"\nabout = "x"\nnodes = 4\n[ops]\nnone = {}\n', "at least one"),
        (f'{SKIPS}skeleton = "dart"\n[ops]\nskip_connect = {{}}\n', "did you mean darts"),
        (f'{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nnormal = "skip_connect"\n', "a list of lists"),
        (f'{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nnormal = ["skip_connect"]\n', "a list of lists"),
        (f"{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nnormal = [[1], [1]]\n", "a list of lists"),
        (f'{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nnormal = [["skip_connect"]]\n', "1 lists, but a cell has 2"),
        (f'{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nnormla = [["skip_connect"]]\n', "did you mean normal"),
        (
            f'{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nreduce = [["skip_connect"], ["skip"]]\n',
            '"skip" is not in ops',
        ),
        (f'{SKIPS}[ops]\nskip_connect = {{}}\n[edges]\nreduce = [["skip_connect"], []]\n', "edge 1 has no operation"),
    ],
)
def test_refused_files(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        space.load(str(path))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "cell"\nabout = "two operations"\nnodes = 2\n[ops]\nskip_connect = {}\nconv_3x3 = {}\n')
    found = space.load(str(path))
    assert (found.nodes, list(found.ops), found.name) == (2, ["skip_connect", "conv_3x3"], "mine")
    assert list(space.load(f"{path}+sandglass").ops)[-1] == "sandglass_3x3"


def test_edges_are_ordered_by_node_then_state() -> None:
    darts = space.load("darts")
    rows = [darts.edge_index(node, state) for node in range(4) for state in range(node + 2)]
    assert rows == list(range(14)) and darts.edges == 14
    reads = [[state for state in range(5) if node in darts.readers(state)] for node in range(4)]
    assert reads == [list(range(node + 2)) for node in range(4)]


def test_edges_with_operations_of_their_own(tmp_path: Path) -> None:
    """Written and read back; what is added stands on every edge."""
    edges = '[edges]\nreduce = [["skip_connect"], ["none", "conv_3x3"]]\n'
    path = tmp_path / "mine.toml"
    path.write_text(f"{SKIPS}[ops]\nnone = {{}}\nskip_connect = {{}}\nconv_3x3 = {{}}\n{edges}")
    found = space.load(str(path))
    assert found.choices == {"reduce": (("skip_connect",), ("none", "conv_3x3"))}
    assert [found.options("reduce", edge) for edge in range(2)] == [[1], [0, 2]]
    assert found.options("normal", 0) == [0, 1, 2] and found.mask("normal").all()
    again = tmp_path / "again.toml"
    again.write_text(found.to_toml())
    assert space.load(str(again)) == found
    assert space.load(f"{path}+sandglass").options("reduce", 1) == [0, 2, 3]


def test_one_input_a_cell(tmp_path: Path) -> None:
    found = space.CellSpace("all", "", 3, {"none": {}, "skip_connect": {}}, "nasbench201")
    assert (found.edges, found.kinds) == (6, ("normal",))
    rows = [found.edge_index(node, state) for node in range(3) for state in range(node + 1)]
    assert rows == list(range(6))
    assert [list(found.readers(state)) for state in range(3)] == [[0, 1, 2], [1, 2], [2]]
    path = tmp_path / "mine.toml"
    path.write_text(found.to_toml())
    assert space.load(str(path)) == found
