"""What images cost, from a table that the user gives: nobody publishes prices in a form to rely on.

A table is a TOML or JSON file. The first price that fits a request is its price::

    version = "2026-11-26"              # optional; the manifest names it

    [[price]]
    model = "gpt-image-1*"              # these four are optional, and patterns as the shell has them
    quality = "low"
    size = "1024x1024"
    endpoint = "edits"
    image = 0.011                       # for each image; or [lowest, highest] where that depends

    [[price]]
    model = "gpt-image-2*"
    image = [0.01, 0.25]                # what an image comes to, for estimates and budgets
    input = 5.0                         # for a million tokens, as the server counts them afterwards
    input_image = 8.0                   # of the input; left out: as input
    output = 30.0

Amounts are in whatever currency the table is in. A field that a request leaves out is ``auto`` (quality,
size) or the session's model (``""`` if it has none).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import msgspec

from imagesdk.batch.jobs import images_asked
from imagesdk.errors import ConfigurationError

__all__ = ("Price", "PriceTable", "read_prices")

_MILLION = 1_000_000


@attrs.frozen(kw_only=True)
class Price:
    """One price of a table, and what it is for.

    Attributes:
        endpoint: Pattern for ``"generations"``, ``"edits"`` or ``"variations"``.
        model: Pattern for the model.
        quality: Pattern for the quality.
        size: Pattern for the size.
        image: For each image, at least and at most.
        input: For a million input tokens, None if the price does not depend on them.
        input_image: The same for those of images, None for *input*.
        output: For a million output tokens.
    """

    endpoint: str = "*"
    model: str = "*"
    quality: str = "*"
    size: str = "*"
    image: tuple[float, float]
    input: float | None = None
    input_image: float | None = None
    output: float | None = None

    def of_usage(self, usage: Mapping[str, Any] | None) -> float | None:
        """Return what the tokens of an answer cost, None if that cannot be told from them."""
        if self.output is None or not isinstance(usage, Mapping):
            return None
        details = usage.get("input_tokens_details")
        images = details.get("image_tokens") if isinstance(details, Mapping) else None
        into, out = usage.get("input_tokens"), usage.get("output_tokens")
        if not (isinstance(into, int) and isinstance(out, int)):
            return None
        of_images = images if isinstance(images, int) else 0
        text = self.input or 0.0
        picture = text if self.input_image is None else self.input_image
        return ((into - of_images) * text + of_images * picture + out * self.output) / _MILLION


@attrs.frozen(kw_only=True)
class PriceTable:
    """Prices, the first that fits a request being its price.

    Attributes:
        prices: In order.
        version: What the table calls itself.
        name: Where it comes from, for messages.
    """

    prices: tuple[Price, ...]
    version: str | None = None
    name: str = "the price table"

    def price(self, endpoint: str, params: Mapping[str, Any], model: str | None) -> Price:
        """Return the price of a request.

        Args:
            endpoint: ``"generations"``, ``"edits"`` or ``"variations"``.
            params: Its body.
            model: Of requests that name none.

        Raises:
            ConfigurationError: The table has none.
        """
        named = {
            "endpoint": endpoint,
            "model": params.get("model") or model or "",
            "quality": params.get("quality") or "auto",
            "size": params.get("size") or "auto",
        }
        for price in self.prices:
            if all(fnmatchcase(str(v), getattr(price, k)) for k, v in named.items()):
                return price
        said = ", ".join(f"{name} {value!r}" for name, value in named.items())
        raise ConfigurationError(f"{self.name} has no price for {said}; add one that fits")

    def cost(
        self,
        endpoint: str,
        params: Mapping[str, Any],
        model: str | None,
        *,
        images: int,
        usage: Mapping[str, Any] | None,
    ) -> float:
        """Return what a request cost that brought so many images: by its tokens, or else at most.

        Args:
            endpoint: As for `price`.
            params: As for `price`.
            model: As for `price`.
            images: That came.
            usage: Tokens, as the server counted them.

        Raises:
            ConfigurationError: The table has no price for it.
        """
        price = self.price(endpoint, params, model)
        told = price.of_usage(usage) if images else None
        return images * price.image[1] if told is None else told

    def estimate(
        self, endpoint: str, params: Mapping[str, Any], model: str | None
    ) -> tuple[float, float]:
        """Return what a request may cost, at least and at most.

        Args:
            endpoint: As in `price`.
            params: As in `price`; its ``n`` counts.
            model: As in `price`.

        Raises:
            ConfigurationError: The table has no price for it.
        """
        low, high = self.price(endpoint, params, model).image
        images = images_asked(params)
        return images * low, images * high


def read_prices(path: str | os.PathLike[str]) -> PriceTable:
    r"""Read a price table from a TOML file, or from a JSON file whose name ends so; blocks.

    Args:
        path: Of the file; its form is at the top of this module.

    Returns:
        The table, with its path as its name.

    Raises:
        ConfigurationError: It cannot be read, or is no price table; the message names the price.

    Example:
        >>> import tempfile
        >>> from imagesdk.batch import read_prices
        >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        ...     _ = file.write("[[price]]\nmodel = 'gpt-image-2*'\nimage = [0.01, 0.25]")
        ...     file.flush()
        ...     table = read_prices(file.name)
        >>> table.estimate("generations", {"prompt": "a fox", "n": 4}, "gpt-image-2")
        (0.04, 1.0)
    """
    file = Path(path)
    try:
        content = file.read_text(encoding="utf-8")
        is_json = file.suffix.lower() == ".json"
        data = msgspec.json.decode(content) if is_json else tomllib.loads(content)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if file.suffix.lower() == ".json" else "TOML"
        raise ConfigurationError(f"{file} is no {kind}: {error}") from None
    prices = data.get("price") if isinstance(data, dict) else None
    if not isinstance(prices, list) or not prices:
        raise ConfigurationError(f"{file} holds no prices: write [[price]] and image = 0.04")
    version = data.get("version")
    return PriceTable(
        prices=tuple(_price(file, number, entry) for number, entry in enumerate(prices, start=1)),
        version=None if version is None else str(version),
        name=str(file),
    )


def _price(file: Path, number: int, entry: object) -> Price:
    where = f"{file}: price {number}"
    if not isinstance(entry, dict) or "image" not in entry:
        raise ConfigurationError(f"{where} needs image = 0.04, or image = [0.01, 0.25]")
    fields = dict(entry)
    for name in fields.keys() - {a.name for a in attrs.fields(Price)}:
        known = ", ".join(a.name for a in attrs.fields(Price))
        raise ConfigurationError(f"{where}: {name} is not known; it takes {known}")
    if not isinstance(fields["image"], list):
        fields["image"] = [fields["image"]] * 2
    try:
        price = msgspec.convert(fields, Price)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    amounts = (*price.image, price.input, price.input_image, price.output)
    if price.image[0] > price.image[1] or any(a is not None and not a >= 0 for a in amounts):
        raise ConfigurationError(f"{where}: prices are 0 or more, the lowest first")
    return price
