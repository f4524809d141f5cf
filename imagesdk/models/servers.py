"""The servers that are known by name: their profiles, as data with its source.

Nothing here was tried on the hosted servers: what is said was read in the cited sources at the cited
commit or day. For each of them the tests hold exchanges, written by hand from the same sources.
"""

from __future__ import annotations

import attrs

from imagesdk.errors import ConfigurationError
from imagesdk.models.families import UNKNOWN, AnyValue, Choice, ModelFamily, Rule
from imagesdk.models.profiles import ServerProfile, bare_name
from imagesdk.models.requests import Endpoint

__all__ = ("PROFILES", "profile_for_host", "profile_named", "why_not_found")

_SERVES: dict[Endpoint, str] = {
    "generations": "images/generations",
    "edits": "images/edits",
}
_GENERATIONS: dict[Endpoint, str] = {"generations": "images/generations"}

# OpenAI ---------------------------------------------------------------------------------------
# https://developers.openai.com/api/docs/deprecations (read 2026-11-26)
_INSTEAD = "use gpt-image-2.6-sunburst or gpt-image-2.6-flare"
_GONE = {
    "variations": "OpenAI shut dall-e-2 down on 2026-05-12, the only model that made them; use edit() with "
    "a prompt that describes the variation you want, or a server that has them: see docs/servers.md",
    "dall-e-2": f"OpenAI shut it down on 2026-05-12; {_INSTEAD}",
    "dall-e-3": f"OpenAI shut it down on 2026-05-12; {_INSTEAD}",
    "gpt-image-1": f"OpenAI shut it down on 2026-10-23; {_INSTEAD}",
}
_GOING: dict[str, str] = dict.fromkeys(
    ("gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"),
    f"OpenAI has announced to shut it down on 2026-12-01; {_INSTEAD}",
)

_OPENAI = ServerProfile(
    name="openai",
    source="https://platform.openai.com/docs/api-reference/images",
    hosts=("api.openai.com",),
    base_url="https://api.openai.com/v1",
    paths=_SERVES,
    key_variable="OPENAI_API_KEY",
    requires_model=True,
    # "Rate limit reached for gpt-image-2-codex (for limit gpt-image)": a line of models shares
    # one limit. https://platform.openai.com/docs/guides/rate-limits (read 2026-11-21)
    limits_each_family=True,
    default_family=UNKNOWN,
    gone=_GONE,
    notes="Each line of models has a limit of its own.",
)

# Azure ----------------------------------------------------------------------------------------
# https://learn.microsoft.com/azure/ai-services/openai/how-to/dall-e (read 2026-11-26): both forms of the
# URL, the header api-key, api-version=2025-04-01-preview. GPT Image models send no URLs.
_AZURE = ServerProfile(
    name="azure",
    source="https://learn.microsoft.com/azure/ai-services/openai/how-to/dall-e",
    hosts=(".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
    paths=_SERVES,
    auth_header="api-key",
    auth_scheme="",
    key_variable="AZURE_OPENAI_API_KEY",
    requires_model=True,
    default_family=UNKNOWN,
    not_found="On Azure model= is the name of your deployment, and base_url is like "
    "https://RESOURCE.openai.azure.com/openai/v1 (for server='azure-deployments' without the /v1); "
    "edits need a GPT Image deployment",
    notes="base_url is `https://RESOURCE.openai.azure.com/openai/v1`, model= the deployment. A synchronous "
    "call ends after about two minutes: stream long ones.",
)

# xAI ------------------------------------------------------------------------------------------
# https://docs.x.ai/developers/model-capabilities/images/generation (read 2026-11-26): edits are JSON only,
# at most 10 images a request, at most 3 images in. https://www.withone.ai/knowledge/x-ai, a copy of xAI's
# schema (read 2026-11-26): ratios, quality, mask; size and style are not supported.
# github.com/BerriAI/litellm litellm/llms/xai/image_edit/transformation.py at 005b9f1c: image or images,
# {"url"} or {"file_id"}.
_XAI_FIELDS: dict[str, Rule] = {
    "model": AnyValue(),
    "user": AnyValue(),
    "response_format": Choice(("url", "b64_json")),
    "quality": Choice(("low", "medium", "high")),
}
_XAI = ServerProfile(
    name="xai",
    source="https://docs.x.ai/developers/model-capabilities/images/generation",
    hosts=("api.x.ai",),
    base_url="https://api.x.ai/v1",
    paths=_SERVES,
    key_variable="XAI_API_KEY",
    requires_model=True,
    default_family=ModelFamily(
        name="xAI",
        source="https://docs.x.ai/developers/model-capabilities/images/generation",
        params={"generations": _XAI_FIELDS, "edits": _XAI_FIELDS},
        streams=False,
    ),
    family_by_name=False,
    max_images=3,
    size_style="aspect_ratio",
    aspect_ratios=(
        *("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "1:2", "2:1"),
        *("9:19.5", "19.5:9", "9:20", "20:9"),
    ),
    edit_body="json",
    images_field="images",
    url_key="url",
    streams=(),
    images_per_minute=300.0,  # of requests, which have one image or more
    notes="`resolution` (1k, 2k) goes into extra_body. A result that was blocked is a ModerationError.",
)

# Servers of one's own -------------------------------------------------------------------------


def _models_of(name: str) -> ModelFamily:
    """Return the family of a server whose models may be any, under any name."""
    return ModelFamily(name=name, source=f"whatever models {name} has")


# It loads its model first, makes one image after the other, and bills nothing.
_OWN = ServerProfile(
    name="a server of one's own",
    paths=_SERVES,
    family_by_name=False,
    streams=(),
    images_per_minute=None,
    timeout=3600.0,
)
_HOSTED = attrs.evolve(_OWN, requires_model=True, images_per_minute=50.0, timeout=600.0)

# github.com/mudler/LocalAI core/http/endpoints/openai/image.go and core/http/app.go at 82c191af (2026-08-22)
_LOCALAI = attrs.evolve(
    _OWN,
    name="localai",
    source="https://github.com/mudler/LocalAI/blob/82c191af/core/http/endpoints/openai/image.go",
    base_url="http://127.0.0.1:8080/v1",
    paths=_GENERATIONS,
    default_family=_models_of("LocalAI"),
    response_formats={"url": "url", "b64_json": "b64_json"},
    notes="What stands behind a vertical bar in the prompt is not wanted. A size that is none becomes 512x512. Images to start from go into "
    "extra_body as base64: `file`, `ref_images`. While a model loads it answers 503 with Retry-After.",
)

# github.com/leejet/stable-diffusion.cpp examples/server/routes_openai.cpp at 97d29908 (2026-08-19)
_SD_CPP = attrs.evolve(
    _OWN,
    name="stable-diffusion.cpp",
    source="https://github.com/leejet/stable-diffusion.cpp/blob/97d29908/examples/server/routes_openai.cpp",
    base_url="http://127.0.0.1:1234/v1",
    default_family=_models_of("stable-diffusion.cpp"),
    response_formats={"b64_json": None},
    mask_edits="white",
    notes="One request at a time. Steps, seed and so on stand in the prompt: "
    '`<sd_cpp_extra_args>{"seed": 7}</sd_cpp_extra_args>`.',
)

# github.com/sgl-project/sglang python/sglang/multimodal_gen/runtime/entrypoints/openai/image_api.py at
# 0230ddc2; https://docs.sglang.io/diffusion/api/openai_api.html (read 2026-11-26)
_SGLANG = attrs.evolve(
    _OWN,
    name="sglang",
    source="https://docs.sglang.io/diffusion/api/openai_api.html",
    base_url="http://127.0.0.1:30000/v1",
    default_family=_models_of("SGLang"),
    response_formats={"url": "url", "b64_json": "b64_json"},
    mask_field=None,  # it takes one, and does not look at it
    notes="URLs are relative to the server, and need its `output_path`. `seed`, `negative_prompt`, "
    "`num_inference_steps` and so on go into extra_body.",
)

# github.com/vllm-project/vllm-omni docs/serving/image_edit_api.md and
# vllm_omni/entrypoints/openai/protocol/images.py at 00a3619b
_VLLM_OMNI = attrs.evolve(
    _OWN,
    name="vllm-omni",
    source="https://github.com/vllm-project/vllm-omni/blob/00a3619b/docs/serving/image_edit_api.md",
    base_url="http://127.0.0.1:8000/v1",
    default_family=_models_of("vLLM-Omni"),
    response_formats={"b64_json": "b64_json", "file": "file"},
    images_field="image",
    mask_field=None,  # mask_image is a URL, and white, not transparent, is what is edited
    streams=("edits",),
    stream_events="answers",
    notes='`response_format="file"` brings the image itself, several as a zip. Masks are white where to edit, '
    "and go into extra_body as a URL: `mask_image`. Only pipelines of several stages stream.",
)

# github.com/xorbitsai/inference xinference/api/restful_api.py, xinference/model/image/utils.py and
# xinference/api/schemas/requests.py at 7ecec16b (2026-08-23)
_XINFERENCE = attrs.evolve(
    _OWN,
    name="xinference",
    source="https://github.com/xorbitsai/inference/blob/7ecec16b/xinference/api/restful_api.py",
    base_url="http://127.0.0.1:9997/v1",
    paths={**_SERVES, "variations": "images/variations"},
    requires_model=True,
    default_family=_models_of("Xinference"),
    # Its "url" is a path on the server's disk, and is what it sends unless it is told otherwise.
    response_formats={"b64_json": "b64_json"},
    defaults={
        "generations": {"response_format": "b64_json"},
        "edits": {"response_format": "b64_json"},
        # The pipelines behind it refuse to run without a prompt, and a form drops an empty one.
        "variations": {"response_format": "b64_json", "prompt": " "},
    },
    mask_edits="white",
    streams=("edits",),
    stream_events="answers",
    notes="Images without transparency are JPEG. Variations are steered by a prompt: "
    '`extra_body={"prompt": …}`, a blank one by default. Further fields go into extra_body as `kwargs`, in JSON.',
)

# Gateways and hosted servers ------------------------------------------------------------------
# github.com/BerriAI/litellm litellm/proxy/image_endpoints/endpoints.py at 00fc80b7
_LITELLM = ServerProfile(
    name="litellm",
    source="https://github.com/BerriAI/litellm/blob/00fc80b7/litellm/proxy/image_endpoints/endpoints.py",
    base_url="http://127.0.0.1:4000/v1",
    paths=_SERVES,
    key_variable="LITELLM_API_KEY",
    requires_model=True,
    default_family=UNKNOWN,
    notes="Models that it calls as OpenAI does are checked as OpenAI's. Uploads only: JSON edits are refused.",
)

# github.com/togethercomputer/together-py src/together/types/image_generate_params.py at 07d05229;
# https://docs.together.ai/reference/post_images-generations
_TOGETHER = attrs.evolve(
    _HOSTED,
    name="together",
    source="https://docs.together.ai/reference/post_images-generations",
    hosts=("api.together.xyz", "api.together.ai"),
    base_url="https://api.together.xyz/v1",
    paths={"generations": "images/generations", "edits": "images/generations"},
    key_variable="TOGETHER_API_KEY",
    default_family=_models_of("Together"),
    max_n=4,
    size_style="width_height",
    response_formats={"url": "url", "b64_json": "base64"},
    edit_body="json",
    image_field="image_url",
    images_field="reference_images",
    mask_field=None,
    url_key=None,
    notes="Edits are generations with `image_url` or `reference_images`; no masks. Output is JPEG unless "
    "output_format says png. `steps`, `seed` and so on go into extra_body.",
)

# https://docs.siliconflow.cn/cn/api-reference/images/images-generations (read 2026-11-26)
_SILICONFLOW = attrs.evolve(
    _HOSTED,
    name="siliconflow",
    source="https://docs.siliconflow.cn/cn/api-reference/images/images-generations",
    hosts=("api.siliconflow.cn", "api.siliconflow.com", "api.ap.siliconflow.com"),
    base_url="https://api.siliconflow.cn/v1",
    paths={"generations": "images/generations", "edits": "images/generations"},
    key_variable="SILICONFLOW_API_KEY",
    default_family=_models_of("SiliconFlow"),
    max_n=4,
    response_formats={"url": None},
    rename={"size": "image_size", "n": "batch_size"},
    edit_body="json",
    images_field=None,
    mask_field=None,
    url_key=None,
    list_key="images",
    notes="Edits are generations with `image`; more than one image goes into extra_body: `image2`, `image3`. "
    "Only Kolors takes n above 1.",
)

PROFILES = (
    _OPENAI,
    attrs.evolve(
        _OPENAI,
        name="openai-json",
        hosts=(),
        edit_body="json",
        image_field="images",
        images_field="images",
        notes="As openai, with edits as JSON: images may be https URLs or `file_id:…` of an uploaded file.",
    ),
    _AZURE,
    attrs.evolve(
        _AZURE,
        name="azure-deployments",
        hosts=(),
        paths={endpoint: f"deployments/{{model}}/{path}" for endpoint, path in _SERVES.items()},
        query={"api-version": "2025-04-01-preview"},
        notes="The older URLs: base_url is `https://RESOURCE.openai.azure.com/openai`, model= the deployment.",
    ),
    _XAI,
    _LOCALAI,
    _SD_CPP,
    _SGLANG,
    _VLLM_OMNI,
    _XINFERENCE,
    _LITELLM,
    _TOGETHER,
    _SILICONFLOW,
    # Servers of the classic contract: default rate limit 50 images a minute.
    # https://platform.openai.com/docs/guides/images (2023, read 2026-11-20)
    ServerProfile(
        name="classic",
        source="https://platform.openai.com/docs/guides/images",
        notes="Every server that is not known by its host.",
    ),
)


def profile_for_host(host: str) -> ServerProfile:
    """Return the profile of the server at *host*: ``"classic"`` for one that is not known."""
    for profile in PROFILES:
        for known in profile.hosts:
            if host == known or (known.startswith(".") and host.endswith(known)):
                return profile
    return profile_named("classic")


def profile_named(name: str) -> ServerProfile:
    """Return the profile called *name*.

    Raises:
        ConfigurationError: There is none; the message lists those that exist.
    """
    for profile in PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(repr(p.name) for p in PROFILES)
    raise ConfigurationError(
        f"server={name!r} is not known; choose one of {known} or a ServerProfile"
    )


def why_not_found(
    endpoint: Endpoint, model: object, profile: ServerProfile, *, silent: bool
) -> str:
    """Return what may be behind a 404, and the way out; ``""`` if nothing is known.

    Where models have OpenAI's names, the server may be OpenAI's, or pass requests on to it.

    Args:
        endpoint: Of the request.
        model: Of the request.
        profile: Of the server.
        silent: True if the answer says nothing itself, as OpenAI's does for variations.
    """
    if not profile.family_by_name:
        return profile.not_found
    if endpoint == "variations" and silent:
        return _GONE[endpoint]
    name = bare_name(model)
    gone = _GONE.get(name) or _GOING.get(name)
    return f"{name}: {gone}" if gone else profile.not_found
