"""An asyncio client for the Images API that is careful with money, bytes and time.

Start with `ImageSession`. Names are loaded when they are first used: ``import imagesdk`` loads no aiohttp.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs 10 ms; type checkers know the name
if TYPE_CHECKING:
    from imagesdk.client.fanout import ImageMap, Outcome
    from imagesdk.client.results import Image, ImagesResponse
    from imagesdk.client.session import ImageSession
    from imagesdk.client.streaming import CompletedImage, ImageStream, PartialImage
    from imagesdk.errors import (
        AmbiguousError,
        APIError,
        Attempt,
        AuthenticationError,
        BadRequestError,
        BatchError,
        ConfigurationError,
        ConnectError,
        ExpiredURLError,
        ImageSDKError,
        InvalidImageError,
        InvalidRequestError,
        LedgerError,
        LimiterUnavailableError,
        ModerationError,
        NotFoundError,
        PartialResultError,
        PayloadTooLargeError,
        PermissionDeniedError,
        ProtocolError,
        QuotaExceededError,
        RateLimitError,
        RateLimitTooLongError,
        RequestTimeoutError,
        ResponseInterruptedError,
        ServerError,
        StreamIncompleteError,
        TransportError,
    )
    from imagesdk.limiters._redis import RedisLimiter
    from imagesdk.limiters.base import LimiterSnapshot
    from imagesdk.limiters.local import ImageLimiter
    from imagesdk.models.profiles import ServerProfile
    from imagesdk.models.requests import (
        EditRequest,
        GenerateRequest,
        ImageInput,
        ImageRequest,
        VariationRequest,
    )
    from imagesdk.models.sizes import size_for
    from imagesdk.retry import RetryPolicy

__all__ = (
    "APIError",
    "AmbiguousError",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "CompletedImage",
    "ConfigurationError",
    "ConnectError",
    "EditRequest",
    "ExpiredURLError",
    "GenerateRequest",
    "Image",
    "ImageInput",
    "ImageLimiter",
    "ImageMap",
    "ImageRequest",
    "ImageSDKError",
    "ImageSession",
    "ImageStream",
    "ImagesResponse",
    "InvalidImageError",
    "InvalidRequestError",
    "LedgerError",
    "LimiterSnapshot",
    "LimiterUnavailableError",
    "ModerationError",
    "NotFoundError",
    "Outcome",
    "PartialImage",
    "PartialResultError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "ProtocolError",
    "QuotaExceededError",
    "RateLimitError",
    "RateLimitTooLongError",
    "RedisLimiter",
    "RequestTimeoutError",
    "ResponseInterruptedError",
    "RetryPolicy",
    "ServerError",
    "ServerProfile",
    "StreamIncompleteError",
    "TransportError",
    "VariationRequest",
    "size_for",
)

_HOMES = {
    "CompletedImage": "client.streaming",
    "EditRequest": "models.requests",
    "GenerateRequest": "models.requests",
    "Image": "client.results",
    "ImageInput": "models.requests",
    "ImageLimiter": "limiters.local",
    "ImageMap": "client.fanout",
    "ImageRequest": "models.requests",
    "ImageSession": "client.session",
    "ImageStream": "client.streaming",
    "ImagesResponse": "client.results",
    "LimiterSnapshot": "limiters.base",
    "Outcome": "client.fanout",
    "PartialImage": "client.streaming",
    "RedisLimiter": "limiters._redis",
    "RetryPolicy": "retry",
    "ServerProfile": "models.profiles",
    "VariationRequest": "models.requests",
    "size_for": "models.sizes",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        return import_module("importlib.metadata").version("imagesdk")
    if name not in __all__:
        raise AttributeError(f"module 'imagesdk' has no attribute {name!r}")
    value: object = getattr(import_module(f"imagesdk.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
