"""Make a request ready to be sent, and put the answers of its parts together."""

from __future__ import annotations

import os
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import attrs

from imagesdk.client.config import Endpoint, check_extra_headers, seconds
from imagesdk.client.results import Fetch, Image, ImagesResponse
from imagesdk.errors import (
    Attempt,
    ConfigurationError,
    ImageSDKError,
    InvalidImageError,
    InvalidRequestError,
    PartialResultError,
)
from imagesdk.inputs import ResolvedInput, as_list, by_reference, resolve, resolve_path
from imagesdk.limiters.base import Priority
from imagesdk.models.checks import MOST_IMAGES, Problem, check, check_stream, check_total
from imagesdk.models.dialects import check_server, not_served
from imagesdk.models.families import ModelFamily
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageInput,
    ImageRequest,
    InputInfos,
    StreamOptions,
    VariationRequest,
    file_fields,
)
from imagesdk.protocol.decode import Answer
from imagesdk.protocol.encode import InputFile, WireRequest, encode
from imagesdk.protocol.parts import MemorySink, PartSink
from imagesdk.sinks import FileSink, Folder

__all__ = (
    "CallOptions",
    "Validate",
    "as_request",
    "check_endpoint",
    "check_extra",
    "find_problems",
    "images_asked",
    "join",
    "judge",
    "read_inputs",
    "resolve_inputs",
    "split",
    "wire_request",
)

_WHY_NOT_EXTRA = {
    "n": "pass it as an argument, so that the limiter counts it",
    "model": "pass it as an argument, so that the request is checked against it",
    "stream": "call stream_generate() or stream_edit(), which read the events of a stream",
    "partial_images": "pass it as an argument of stream_generate() or stream_edit()",
}
_NO_INFOS = InputInfos()
_NOT_EXTRA = frozenset(_WHY_NOT_EXTRA)

Validate: TypeAlias = Literal["error", "warn", "off"]


@attrs.frozen(kw_only=True)
class CallOptions:
    """The options of one call that do not go into its body; see `imagesdk.ImageSession.generate`.

    Attributes:
        before_send: See `imagesdk.client._pipeline.Call`.
        after_attempt: See there, too.
    """

    timeout: float | None
    max_wait: float | None
    priority: Priority = "interactive"
    partial: Literal["raise", "return"] = "raise"
    save_to: Folder | None = None
    before_send: Callable[[], Awaitable[object]] | None = None
    after_attempt: Callable[[Attempt], object] | None = None

    def but(
        self,
        timeout: float | None,
        max_wait: float | None,
        priority: Priority,
        partial: Literal["raise", "return"],
        save_to: str | os.PathLike[str] | None = None,
    ) -> CallOptions:
        """Return these options with those of one call; None leaves a time as it is.

        Raises:
            ConfigurationError: A time cannot be waited.
            InvalidRequestError: A word is none of those that are known, or save_to is no path.
        """
        if priority not in ("interactive", "batch"):
            raise InvalidRequestError(
                f"priority is {priority!r}; it must be 'interactive' or 'batch'", field="priority"
            )
        if partial not in ("raise", "return"):
            raise InvalidRequestError(
                f"partial is {partial!r}; it must be 'raise' or 'return'", field="partial"
            )
        same = priority == self.priority and partial == self.partial
        if same and timeout is None and max_wait is None and save_to is None:
            return self
        wait = seconds("max_wait", max_wait, zero=True)
        return CallOptions(
            timeout=self.timeout if timeout is None else seconds("timeout", timeout),
            max_wait=self.max_wait if max_wait is None else wait,
            priority=priority,
            partial=partial,
            save_to=_folder(save_to),
        )


def _folder(save_to: str | os.PathLike[str] | None) -> Folder | None:
    if save_to is None or isinstance(save_to, Folder):
        return save_to
    try:
        return Folder(save_to)
    except TypeError:
        raise InvalidRequestError(
            f"save_to is {save_to!r}; it must be a folder, as a str or a path", field="save_to"
        ) from None


def as_request(item: object) -> ImageRequest:
    """Return one item of `imagesdk.ImageSession.map` as a request; a prompt is a generation.

    Raises:
        InvalidRequestError: It is neither.
    """
    if isinstance(item, str):
        return GenerateRequest(item)
    if isinstance(item, GenerateRequest | EditRequest | VariationRequest):
        return item
    raise InvalidRequestError(
        f"map() was given a {type(item).__name__}; it takes prompts (str), GenerateRequest, "
        "EditRequest and VariationRequest",
        field="requests",
        value=item,
    )


def check_endpoint(request: ImageRequest, endpoint: Endpoint) -> None:
    """Look whether the server has what a request is for.

    Raises:
        InvalidRequestError: It has no such endpoint.
        ConfigurationError: It answers no request without a model.
    """
    profile = endpoint.profile
    if request.endpoint not in profile.paths:
        raise InvalidRequestError(not_served(request.endpoint, profile), field="endpoint")
    if request.model is None and profile.requires_model:
        example = ", for example 'gpt-image-2'" if profile.family_by_name else ""
        raise ConfigurationError(
            f"the server {endpoint.host} answers no request without a model: pass model= to ImageSession or "
            f"to the call (--model on the command line){example}"
        )


async def resolve_inputs(request: ImageRequest, profile: ServerProfile) -> list[ResolvedInput]:
    """Make the image inputs of a request ready to be sent, in the order of its fields.

    Raises:
        InvalidImageError: One cannot be sent at all.
    """
    referred = by_reference if _takes_references(request, profile) else _nothing
    return [
        referred(name, value) or await resolve(name, value)
        for name, value in _named_inputs(request)
    ]


def read_inputs(
    request: ImageRequest, profile: ServerProfile, *, in_json: bool = False
) -> list[ResolvedInput]:
    """Do as `resolve_inputs` for a request whose images are texts or paths; blocks.

    Args:
        request: The request.
        profile: Says whether an edit is sent as JSON, where an image may be named instead of sent.
        in_json: It is sent as JSON, whatever *profile* says.
    """
    referred = by_reference if in_json or _takes_references(request, profile) else _nothing
    named = cast("list[tuple[str, str | os.PathLike[str]]]", _named_inputs(request))
    return [referred(name, path) or resolve_path(name, path) for name, path in named]


def _takes_references(request: ImageRequest, profile: ServerProfile) -> bool:
    return request.endpoint == "edits" and profile.edit_body == "json"


def _nothing(name: str, value: ImageInput) -> None:
    del name, value


def _named_inputs(request: ImageRequest) -> list[tuple[str, ImageInput]]:
    named: list[tuple[str, ImageInput]] = []
    for field in file_fields(type(request)):
        value = getattr(request, field)
        if value is None and field != "image":
            continue
        given = cast("ImageInput", value)
        images = as_list(given) if field == "image" else [given]
        if not images:
            raise InvalidImageError(
                "image is an empty list; pass at least one image", field="image", value=0
            )
        for index, image in enumerate(images):
            named.append((field if len(images) == 1 else f"{field}[{index}]", image))
    return named


def split(request: ImageRequest, most: int) -> list[ImageRequest]:
    """Return the requests that together ask for n images, each for at most *most*."""
    total = request.n
    if not isinstance(total, int) or total <= most or total > MOST_IMAGES:  # that is refused
        return [request]
    sizes = [most] * (total // most) + [total % most] * (total % most > 0)
    return [
        attrs.evolve(request, n=size, extra_headers=_numbered(request.extra_headers, number))
        for number, size in enumerate(sizes, start=1)
    ]


def _numbered(headers: Mapping[str, str] | None, number: int) -> Mapping[str, str] | None:
    """Give each part a key of its own: a server that honours it would answer all with the first."""
    return headers and {
        name: f"{value}-{number}" if name.lower() == "idempotency-key" else value
        for name, value in headers.items()
    }


def images_asked(request: ImageRequest) -> int:
    """Return how many images a request asks for: 1 if its n, not validated, is no such number."""
    asked = request.n
    return asked if isinstance(asked, int) and asked >= 1 else 1


def find_problems(
    request: ImageRequest,
    parts: Sequence[ImageRequest],
    family: ModelFamily,
    inputs: Sequence[ResolvedInput],
    *,
    profile: ServerProfile,
    stream: StreamOptions | None = None,
) -> list[Problem]:
    """Return the rules that a request breaks, before and after it is split."""
    total = check_total(request.n)
    part = attrs.evolve(parts[0], n=None) if total else parts[0]
    infos = _infos(inputs) if inputs else _NO_INFOS
    here: Sequence[Problem] = ()
    if inputs or stream is not None or profile.gone or not profile.is_standard:
        images = sum([entry.file.field == "image" for entry in inputs])
        here = check_server(
            part,
            profile,
            input_images=images,
            mask=infos.mask,
            streamed=stream is not None,
        )
    streamed = [] if stream is None or here else check_stream(part, stream, family)
    return [*total, *here, *streamed, *check(part, family, infos)]


def judge(validate: Validate, inputs: Sequence[ResolvedInput], problems: Sequence[Problem]) -> None:
    """Raise, warn or ignore, as *validate* says.

    Raises:
        InvalidRequestError: The first problem, with the others as notes.
    """
    if validate == "off" or not (problems or inputs):
        return
    unreadable = [entry.problem for entry in inputs if entry.problem is not None]
    messages = (*(str(error) for error in unreadable), *(p.message for p in problems))
    if not messages:
        return
    if validate == "warn":
        for message in messages:
            warnings.warn(f"sent all the same: {message}", UserWarning, stacklevel=5)
        return
    error: InvalidRequestError
    if unreadable:
        error = unreadable[0]
    else:
        first = problems[0]
        kind = InvalidImageError if first.is_about_an_image else InvalidRequestError
        error = kind(first.message, field=first.field, value=first.value, limit=first.limit)
    error.problems = messages
    for message in messages[1:]:
        error.add_note(message)
    raise error


def check_extra(request: ImageRequest, profile: ServerProfile) -> None:
    """Look at the headers and fields that the caller adds.

    Raises:
        InvalidRequestError: A field must not stand in extra_body.
        ConfigurationError: A header cannot be sent.
    """
    if request.extra_headers:
        check_extra_headers(request.extra_headers, profile)
    if request.extra_body:
        for name in _NOT_EXTRA.intersection(request.extra_body):
            raise InvalidRequestError(
                f"extra_body must not hold {name}: {_WHY_NOT_EXTRA[name]}", field="extra_body"
            )


def wire_request(
    part: ImageRequest,
    family: ModelFamily,
    files: Sequence[InputFile],
    endpoint: Endpoint,
    own_headers: Mapping[str, str],
    *,
    profile: ServerProfile,
    stream: StreamOptions | None = None,
) -> WireRequest:
    """Encode one part, with the headers that are the same for each of its attempts.

    Raises:
        InvalidRequestError: A value cannot be put into JSON, or must not stand in extra_body.
        ConfigurationError: A header cannot be sent.
    """
    check_extra(part, profile)
    key = os.urandom(16).hex()  # names this request, and parts its form
    try:
        return encode(
            part,
            family,
            files,
            boundary=key,
            profile=profile,
            stream=stream,
            url=endpoint.url_of(part),
            own_headers={"Idempotency-Key": key, **own_headers},
        )
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"the request holds a value that cannot be sent: {error}", field="extra_body"
        ) from None


def join(
    wanted: int,
    answers: Sequence[Answer | BaseException],
    attempts: tuple[Attempt, ...],
    *,
    fetch: Fetch,
    keep_partial: bool,
    unsaved: Sequence[ImageSDKError] = (),
) -> ImagesResponse:
    """Put the parts' answers together; keep what was paid for when some are missing.

    Args:
        wanted: Number of images that were asked for.
        answers: One for each part, in order.
        attempts: Of all parts.
        fetch: Downloads an image.
        keep_partial: Return fewer images than wanted, instead of raising.
        unsaved: Why images that arrived are not where they should be. That is raised in any case: each image
            that a call with a folder returns has a path.

    Raises:
        ImageSDKError: The first error, if no part succeeded.
        PartialResultError: Some images are missing, or are not saved.
    """
    good: list[Answer] = []
    errors: list[ImageSDKError] = []
    for answer in answers:
        if isinstance(answer, Answer):
            good.append(answer)
            errors += answer.broken
        elif isinstance(answer, ImageSDKError):
            errors.append(answer)
        else:
            raise answer
    if not good:
        for other in errors[1:]:
            errors[0].add_note(f"another part of the call failed, too: {other}")
        errors[0].attempts = attempts
        errors[0].may_be_billed = any(error.may_be_billed for error in errors)
        raise errors[0]
    result = _response(good, attempts, fetch)
    missing = len(result.data) < wanted
    if not unsaved and (keep_partial or not missing):
        return result
    if missing:
        why = "; ".join(str(error) for error in errors) or "the server sent fewer, without a reason"
        message = (
            f"{len(result.data)} of {wanted} images arrived; they are in .result. "
            f"Missing{', see .errors' if errors else ''}: {why}"
        )
    else:
        count = len(result.data)
        whole = (
            "the image arrived, and is" if count == 1 else f"all {count} images arrived, and are"
        )
        message = f"{whole} in .result"
    if unsaved:
        message += ". Not saved: " + "; ".join(str(error) for error in unsaved)
    raise PartialResultError(
        message,
        request_id=result.request_id,
        attempts=attempts,
        may_be_billed=any(error.may_be_billed for error in (*errors, *unsaved)),
        result=result,
        errors=(*errors, *unsaved),
        requested=wanted,
    )


def _response(
    answers: Sequence[Answer], attempts: tuple[Attempt, ...], fetch: Fetch
) -> ImagesResponse:
    first = answers[0]
    data = [
        Image(
            url=item.url,
            revised_prompt=item.revised_prompt,
            created=answer.created,
            extra=item.extra,
            content=_content(item.part),
            stored=item.part.stored if isinstance(item.part, FileSink) else None,
            fetch=fetch,
        )
        for answer in answers
        for item in answer.items
    ]
    told = [answer.fields.get("usage") for answer in answers]
    usages = [usage for usage in told if isinstance(usage, Mapping)]
    return ImagesResponse(
        created=first.created,
        data=tuple(data),
        usage=_sum(usages) if usages else None,
        background=first.fields.get("background"),
        output_format=first.fields.get("output_format"),
        quality=first.fields.get("quality"),
        size=first.fields.get("size"),
        request_id=first.headers.get("x-request-id"),
        headers=first.headers,
        attempts=attempts,
        extra=first.extra,
    )


def _content(part: PartSink | None) -> bytes | None:
    """Return an image that is in memory."""
    return part.content if isinstance(part, FileSink | MemorySink) else None


def _sum(usages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Add token counts up, also those that are nested; of anything else the first stays."""
    if len(usages) == 1:
        return usages[0]
    total: dict[str, Any] = {}
    for usage in usages:
        for key, value in usage.items():
            before = total.get(key)
            if before is None:
                total[key] = value
            elif isinstance(value, Mapping) and isinstance(before, Mapping):
                total[key] = _sum([before, value])
            elif _is_count(value) and _is_count(before):
                total[key] = before + value
    return total


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _infos(inputs: Sequence[ResolvedInput]) -> InputInfos:
    """Return the headers of the inputs that could be read."""

    def of(field: str) -> list[Any]:
        return [e.info for e in inputs if e.file.field == field and e.info is not None]

    if any(e.file.field == "image" and e.file.reference for e in inputs):
        return InputInfos(images=tuple(of("image")))  # nothing to compare a mask with
    return InputInfos(
        images=tuple(of("image")),
        mask=next(iter(of("mask")), None),
        markup=next(iter(of("markup")), None),
    )
