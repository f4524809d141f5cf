"""The values that editors offer for a parameter: what is known, and any other text.

Each alias is a union with ``str``: a type checker accepts whatever a server takes, and an editor completes what OpenAI's
models take. Which model takes which is data in `imagesdk.models.families`.
https://platform.openai.com/docs/api-reference/images (read 2026-11-26)
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = (
    "Background",
    "Complexity",
    "InputFidelity",
    "Model",
    "Moderation",
    "OutputFormat",
    "Quality",
    "ResponseFormat",
    "Size",
    "Style",
)

_Model: TypeAlias = Literal[
    "gpt-image-2.6-sunburst",
    "gpt-image-2.6-flare",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.5-sunburst-2026-09-08",
    "gpt-image-2.5-flare",
    "gpt-image-2.5-flare-2026-09-08",
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-image-1.5",
    "gpt-image-1",
    "gpt-image-1-mini",
    "chatgpt-image-latest",
    "dall-e-3",
    "dall-e-2",
]
_Size: TypeAlias = Literal[
    "auto",
    "1024x1024",
    "1536x1024",
    "1024x1536",
    "1792x1024",
    "1024x1792",
    "512x512",
    "256x256",
]
_Quality: TypeAlias = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
_Background: TypeAlias = Literal["auto", "transparent", "opaque"]
_OutputFormat: TypeAlias = Literal["png", "jpeg", "webp", "gif", "svg"]
_ResponseFormat: TypeAlias = Literal["url", "b64_json"]
_Style: TypeAlias = Literal["vivid", "natural"]
_Moderation: TypeAlias = Literal["auto", "low"]
_InputFidelity: TypeAlias = Literal["high", "low"]
_Complexity: TypeAlias = Literal["low", "medium", "high"]

Model: TypeAlias = _Model | str
Size: TypeAlias = _Size | str
Quality: TypeAlias = _Quality | str
Background: TypeAlias = _Background | str
OutputFormat: TypeAlias = _OutputFormat | str
ResponseFormat: TypeAlias = _ResponseFormat | str
Style: TypeAlias = _Style | str
Moderation: TypeAlias = _Moderation | str
InputFidelity: TypeAlias = _InputFidelity | str
Complexity: TypeAlias = _Complexity | str
