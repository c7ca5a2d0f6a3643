"""architecture.json of both branches."""

import json
from pathlib import Path

import pytest
import torch

from nas.architecture import from_json, of_genotype, of_network, read_architecture
from nas.cells.genotype import from_text
from nas.errors import UsageError

TEXT = (Path(__file__).parent / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
SMALL = of_genotype(from_text(TEXT), channels=4, cells=3)


def test_round_trip() -> None:
    again = from_json(json.loads(json.dumps(SMALL.document())))
    assert again == SMALL
    assert again.build()(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_settings_of_operations_are_completed() -> None:
    architecture = of_genotype(from_text(TEXT.replace("sep_conv_3x3", "sandglass_3x3")))
    assert architecture.genotype is not None
    assert architecture.genotype.ops["sandglass_3x3"] == {"t": 2, "identity": "1"}


def test_a_genotype_alone_is_its_paper_network(tmp_path: Path) -> None:
    path = tmp_path / "cell.txt"
    path.write_text(TEXT)
    assert (read_architecture(path).body["channels"], read_architecture(path).body["cells"]) == (36, 20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "x"}, "format"),
        ({"kind": "graph"}, "kind"),
        ({"kind": "macro"}, "key"),
        ({"input": [3, 32]}, "input"),
        ({"input": [3, 0, 32]}, "input"),
        ({"classes": 1}, "classes"),
        ({"classes": "10"}, "classes"),
        ({"stem": "none"}, "stem"),
        ({"channels": -4}, "channels"),
        ({"cells": True}, "cells"),
        ({"auxiliary": 1}, "auxiliary"),
        ({"more": 1}, "more"),
        ({"genotype": {}}, "genotype"),
        ({"channels": 10**30}, "channels"),
        ({"cells": 10**6}, "cells"),
        ({"classes": 10**9}, "classes"),
        ({"input": [3, 10**9, 10**9]}, "input"),
    ],
)
def test_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_json({**SMALL.document(), **change})


def test_an_unknown_operation() -> None:
    with pytest.raises(UsageError, match="did you mean sep_conv_3x3"):
        of_genotype(from_text(TEXT.replace("sep_conv_3x3", "sep_conf_3x3")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": []}, "rows"),
        ({"rows": [1]}, "rows: 0"),
        ({"rows": [{"stage": 0, "block": "conv", "c_out": 10**30}]}, "rows: 0.c_out"),
        ({"rows": [{"stage": 0, "block": "conv", "stride": 0}]}, "rows: 0.stride"),
        ({"rows": [{"stage": 0, "block": "conv", "colour": 0}]}, "rows: 0.colour"),
        ({"rows": [{"stage": 0, "block": "pool"}] * 10_001}, "rows"),
        ({"settings": None}, "settings"),
        ({"settings": {"width": 1e30}}, "width"),
        ({"network": ["mobilenet_v2"]}, "network"),
        ({"network": "mobilenet_v9"}, "mobilenet_v9"),
        ({"norm": {"eps": 0.1}}, "norm"),
        ({"norm": 3}, "norm"),
    ],
)
def test_a_macro_network_refused(change: dict[str, object], said: str) -> None:
    document = of_network("mobilenet_v2", {}, input=(3, 32, 32), classes=10).document()
    with pytest.raises(UsageError, match=said):
        from_json({**document, **change})


def test_too_many_operations() -> None:
    genotype = from_text(TEXT).document()
    genotype["normal"] = {"nodes": [[["skip_connect", 0]] * 8] * 10, "concat": [2]}
    with pytest.raises(UsageError, match="at most 10000 operations"):
        from_json({**SMALL.document(), "genotype": genotype, "cells": 200})
