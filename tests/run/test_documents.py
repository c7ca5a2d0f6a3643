"""Numbers that are none, documents of other versions."""

import json
import math

import pytest

from nas.errors import UsageError
from nas.execution import Execution
from nas.run.documents import as_json, parse
from nas.run.log import Epoch
from nas.run.spec import Spec


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_has_diverged_is_null(value: float) -> None:
    document = as_json(Epoch(epoch=0, seconds=1.0, train_loss=value, train_accuracy=0.1, valid_loss=value))
    assert document["train_loss"] is None and document["valid_loss"] is None, "held out, but no number"
    assert math.isnan(parse(json.dumps(document), Epoch, "").train_loss)
    before = json.dumps({**document, "train_loss": math.nan})
    assert "NaN" in before and math.isnan(parse(before, Epoch, "").train_loss)


def test_what_nothing_comes_to_is_damage() -> None:
    document = as_json(Epoch(epoch=0, seconds=1.0, train_loss=3e38, train_accuracy=0.1))
    with pytest.raises(UsageError, match=r"train_loss: 1e\+308 is larger than any number that is computed"):
        parse(json.dumps({**document, "train_loss": 1e308}), Epoch, "log.jsonl")


def test_another_version() -> None:
    document = as_json(Spec(command="search", execution=Execution()))
    with pytest.raises(UsageError, match=r"settings\.json: format: written by another version of nas.* 2: this one"):
        parse(json.dumps({**document, "format": 2}), Spec, "settings.json")
    del document["format"]
    assert parse(json.dumps(document), Spec, "").format == 1, "before there was one"
