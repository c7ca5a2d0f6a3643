"""Amounts as people write them."""

from fractions import Fraction

import pytest

from nas.amounts import fraction, parse, short
from nas.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [("20M", 20_000_000), ("1.5G", 1_500_000_000), ("800k", 800_000), ("7", 7)])
def test_parse(text: str, value: int) -> None:
    assert parse(text, "--budget") == value


@pytest.mark.parametrize("text", ["", "M", "-3M", "0", "20 MB", "nan", "1e6"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        parse(text, "--budget")


def test_short_is_read_back() -> None:
    assert parse(short(12_345_678), "--budget") == 12_345_700 and short(20_000_000) == "20M"
    for text in ("20", "800K", "1.5M", "1500M"):
        assert short(parse(text, "--budget")) == text


@pytest.mark.parametrize("text", ["1e999999999", "1/0", "nearest", "", "0." + "1" * 100])
def test_no_fraction(text: str) -> None:
    assert fraction("1/3") == Fraction(1, 3) and fraction("5e-1") == Fraction(1, 2)
    with pytest.raises(ValueError):
        fraction(text)
