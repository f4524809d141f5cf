"""A request body read against the contract: what is asked for, or the refusal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from imagesdk.emulator.forms import (
    FindFile,
    UploadedFile,
    media_type,
    no_files,
    parse_json,
    parse_multipart,
    read_references,
)
from imagesdk.emulator.refusals import Refusal, unsupported_content_type
from imagesdk.emulator.spec import (
    MODELS,
    Endpoint,
    Family,
    check_parameters,
    read_form,
    resolve_model,
)

__all__ = ("Job", "read_job")

_JSON = "application/json"
_MULTIPART = "multipart/form-data"
# images-api.md section 3.1, read 2026-11-20
_BODIES = {
    Endpoint.GENERATION: (_JSON,),
    Endpoint.EDIT: (_MULTIPART, _JSON),
    Endpoint.VARIATION: (_MULTIPART,),
}


@attrs.frozen(kw_only=True)
class Job:
    """One request as far as it was understood.

    Attributes:
        endpoint: What is asked for.
        model: A key of ``spec.MODELS``.
        params: Values by name.
        files: Uploads in order, those in data URLs included.
        refusal: Why the request is refused for its body or parameters, or None.
    """

    endpoint: Endpoint
    model: str = "dall-e-2"
    params: Mapping[str, Any] = attrs.field(factory=dict)
    files: tuple[UploadedFile, ...] = ()
    refusal: Refusal | None = None

    @property
    def family(self) -> Family:
        """The contract of the model."""
        return MODELS[self.model]

    @property
    def prompt(self) -> str:
        """The prompt, empty for variations."""
        return str(self.param("prompt", ""))

    @property
    def count(self) -> int:
        """How many pictures are asked for."""
        return int(self.param("n", 1))

    @property
    def output_format(self) -> str:
        """Format of the pictures."""
        return str(self.param("output_format", "png"))

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return bool(self.param("stream", default=False))

    def param(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # any JSON value
        """Return a value; null is the same as not given."""
        value = self.params.get(name)
        return default if value is None else value


def read_job(
    endpoint: Endpoint, content_type: str, body: bytes, find_file: FindFile = no_files
) -> Job:
    """Read a body; whatever is wrong with it becomes the refusal of the job.

    Args:
        endpoint: Route of the request: GENERATION, EDIT or VARIATION.
        content_type: The whole Content-Type header, empty if there was none.
        body: The whole body.
        find_file: Looks in the server's own files.
    """
    kind = media_type(content_type)
    if kind not in _BODIES[endpoint]:
        expected = " or ".join(f"'{accepted}'" for accepted in _BODIES[endpoint])
        return Job(endpoint=endpoint, refusal=unsupported_content_type(content_type, expected))
    if kind == _JSON:
        return _read_json(endpoint, body, find_file)
    return _read_multipart(endpoint, content_type, body)


def _read_json(endpoint: Endpoint, body: bytes, find_file: FindFile) -> Job:
    """Read a JSON body."""
    if endpoint is Endpoint.EDIT:
        endpoint = Endpoint.EDIT_JSON
    params = parse_json(body)
    if isinstance(params, Refusal):
        return Job(endpoint=endpoint, refusal=params)
    job = _with_model(Job(endpoint=endpoint, params=params), params.get("model"))
    if job.refusal is not None or endpoint is not Endpoint.EDIT_JSON:
        return job
    files = read_references(params, find_file)
    if isinstance(files, Refusal):
        return attrs.evolve(job, refusal=files)
    return attrs.evolve(job, files=files)


def _read_multipart(endpoint: Endpoint, content_type: str, body: bytes) -> Job:
    """Read a multipart body."""
    form = parse_multipart(body, content_type)
    if isinstance(form, Refusal):
        return Job(endpoint=endpoint, refusal=form)
    params = dict(form.fields)
    return _with_model(
        Job(endpoint=endpoint, params=params, files=form.files), params.get("model"), form.fields
    )


def _with_model(job: Job, model: object, fields: tuple[tuple[str, str], ...] | None = None) -> Job:
    """Return *job* with its model and checked parameters; *fields* if they came as text."""
    resolved = resolve_model(job.endpoint, model)
    if isinstance(resolved, Refusal):
        return attrs.evolve(job, refusal=resolved)
    rules = MODELS[resolved].rules[job.endpoint]
    params = job.params if fields is None else read_form(rules, fields)
    refusal = check_parameters(rules, params, [file.field for file in job.files])
    return attrs.evolve(job, model=resolved, params=params, refusal=refusal)
