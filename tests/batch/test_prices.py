"""Prices: the first that fits counts, tokens count where they are told, and a wrong table says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch.prices import Price, PriceTable, read_prices
from imagesdk.errors import ConfigurationError

TABLE = """
version = "2026-11-26"
[[price]]
model = "gpt-image-1*"
quality = "low"
image = 0.01
[[price]]
model = "gpt-image-*"
image = [0.02, 0.2]
input = 5
input_image = 10.0
output = 40.0
[[price]]
endpoint = "variations"
size = "256x256"
image = 0.016
"""


@pytest.fixture
def table(tmp_path: Path) -> PriceTable:
    """A table of three prices."""
    path = tmp_path / "prices.toml"
    path.write_text(TABLE, encoding="utf-8")
    return read_prices(path)


@pytest.mark.parametrize(
    ("endpoint", "params", "model", "estimate"),
    [
        ("generations", {"model": "gpt-image-1.5", "quality": "low"}, None, (0.01, 0.01)),
        ("generations", {"quality": "low", "n": 3}, "gpt-image-1", (0.03, 0.03)),
        ("edits", {"model": "gpt-image-1"}, None, (0.02, 0.2)),
        ("generations", {"model": "gpt-image-2", "n": 2, "quality": None}, "dall-e-2", (0.04, 0.4)),
        ("variations", {"size": "256x256"}, None, (0.016, 0.016)),
    ],
)
def test_the_first_price_that_fits_is_the_price(
    table: PriceTable,
    endpoint: str,
    params: dict[str, Any],
    model: str | None,
    estimate: tuple[float, float],
) -> None:
    """Patterns are tried in order; what a request leaves out is auto, or the session's model."""
    assert table.estimate(endpoint, params, model) == pytest.approx(estimate)


def test_a_request_without_a_price_says_what_it_is(table: PriceTable) -> None:
    """Where no price fits, the error names the table and all that was looked at."""
    with pytest.raises(
        ConfigurationError, match=r"prices\.toml has no price for .*'dall-e-2'.*auto"
    ):
        table.estimate("generations", {"prompt": "a"}, "dall-e-2")


def test_tokens_cost_what_they_are(table: PriceTable) -> None:
    """With prices by the million tokens the server's own count tells the cost; images of the input apart."""
    price = table.price("edits", {"model": "gpt-image-1"}, None)
    usage: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 2000}
    assert price.of_usage(usage) == pytest.approx(0.085)
    usage["input_tokens_details"] = {"text_tokens": 200, "image_tokens": 800}
    assert price.of_usage(usage) == pytest.approx(0.089)
    assert Price(image=(1, 1), output=1.0).of_usage(usage) == pytest.approx(0.002)


@pytest.mark.parametrize(
    "usage", [None, {}, {"input_tokens": "7", "output_tokens": 1}, {"output_tokens": 1}, "many"]
)
def test_usage_that_tells_nothing_costs_nothing_that_is_known(usage: Any) -> None:
    """Without whole counts, or without prices for them, the tokens do not tell the cost."""
    assert Price(image=(1, 1), input=1.0, output=1.0).of_usage(usage) is None
    assert Price(image=(1, 1)).of_usage({"input_tokens": 1, "output_tokens": 1}) is None


def test_a_table_may_be_json(tmp_path: Path) -> None:
    """The same table as JSON is read by the suffix."""
    path = tmp_path / "prices.json"
    path.write_text('{"version": 7, "price": [{"image": [1, 2], "model": "x"}]}', encoding="utf-8")
    assert read_prices(path) == PriceTable(
        prices=(Price(image=(1.0, 2.0), model="x"),), version="7", name=str(path)
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("price = [", r"p\.toml is no TOML"),
        ("version = 1", r"p\.toml holds no prices: write \[\[price\]\]"),
        ("price = []", "holds no prices"),
        ("price = [7]", "price 1 needs image = 0.04"),
        ("[[price]]\nmodel = 'x'", "price 1 needs image = 0.04"),
        ("[[price]]\nimage = 1\n[[price]]\nimage = 'dear'", "price 2: Expected `float`"),
        ("[[price]]\nimage = [1, 2, 3]", "price 1: Expected `array` of length 2"),
        ("[[price]]\nimage = [2, 1]", "price 1: prices are 0 or more, the lowest first"),
        ("[[price]]\nimage = 1\noutput = -1", "price 1: prices are 0 or more"),
        ("[[price]]\nimage = nan", "price 1: prices are 0 or more"),
        (
            "[[price]]\nimage = 1\ncolour = 1",
            "price 1: colour is not known; it takes endpoint, model",
        ),
    ],
)
def test_a_wrong_table_says_where(tmp_path: Path, text: str, what: str) -> None:
    """What is no price table is an error that names file and price."""
    path = tmp_path / "p.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=what):
        read_prices(path)


def test_a_table_that_is_not_there_says_so(tmp_path: Path) -> None:
    """A missing file, and one that is no JSON, are named."""
    with pytest.raises(ConfigurationError, match=r"none\.toml cannot be read: No such file"):
        read_prices(tmp_path / "none.toml")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"bad\.json is no JSON"):
        read_prices(tmp_path / "bad.json")
