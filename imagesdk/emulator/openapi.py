"""The OpenAPI document of the emulator, made from the tables by which it checks requests.

What depends on more than one parameter, on pixels or on the time is not in it: there a request that
fits the document gets a 400 all the same. Nor are the faults that are asked for, and the routes that
control the emulator.

https://spec.openapis.org/oas/v3.1.1.html (read 2026-11-26)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, get_args

from imagesdk.emulator.batch_api import (
    BATCH_RULES,
    BATCHES_A_PAGE,
    FILE_RULES,
    FILES_A_PAGE,
    LIFETIME,
    REQUIRED_OF_A_BATCH,
    REQUIRED_OF_A_FILE,
)
from imagesdk.emulator.batches import Status
from imagesdk.emulator.exchange import FILES_PATH
from imagesdk.emulator.filestore import PURPOSES
from imagesdk.emulator.rules import Choice, Flag, Integer, Opaque, Rule, Size, Text, Upload
from imagesdk.emulator.spec import DEFAULT_MODELS, MODELS, REQUIRED, Endpoint

__all__ = ("document", "schema_of")

Schema: TypeAlias = dict[str, Any]

_JSON = "application/json"
_FORM = "multipart/form-data"
_NULL: Schema = {"type": "null"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MOMENT: Schema = {"type": "integer", "minimum": 0, "description": "Seconds since 1970."}
_TEXT: Schema = {"type": "string"}
_ERRORS = {
    400: "The request breaks a rule.",
    401: "There is no key, or a wrong one.",
    404: "There is no such thing.",
    409: "The state of things forbids it, or the idempotency key is in use.",
    413: "The body is too large.",
    422: "The idempotency key was used for another request.",
    429: "The rate limit is reached.",
}
_TITLE = "Images API emulator"


def document(origin: str) -> Schema:
    """Return the document.

    Args:
        origin: Address of the server, such as ``http://127.0.0.1:8000``.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": _TITLE,
            "version": "1",
            "description": "A local server of the Images API, with files and batches.",
        },
        "servers": [{"url": origin}],
        "security": [{"bearer": []}, {"api-key": []}],
        "paths": {**_image_paths(), **_model_paths(), **_file_paths(), **_batch_paths()},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def schema_of(rule: Rule) -> Schema:  # noqa: PLR0911 - a table
    """Return the schema of what *rule* permits; of sizes that are not listed only the form."""
    match rule:
        case Text(minimum, maximum):
            bounds = {"minLength": minimum or None, "maxLength": maximum}
            return {"type": "string", **_given(bounds)}
        case Integer(minimum, maximum):
            return {"type": "integer", **_given({"minimum": minimum, "maximum": maximum})}
        case Choice(values):
            return {"type": "string", "enum": list(values)}
        case Flag():
            return {"type": "boolean"}
        case Size(named, free):
            listed: Schema = {"type": "string", "enum": list(named)}
            form: Schema = {"type": "string", "pattern": "^[1-9][0-9]{2,3}x[1-9][0-9]{2,3}$"}
            return {"anyOf": [listed, form]} if free else listed
        case Opaque(kind):
            return {"type": "array" if kind is list else "object"}
        case Upload():
            return {"type": "string", "format": "binary"}
    raise AssertionError(f"a rule without a schema: {rule}")


def _given(values: Mapping[str, Any]) -> Schema:
    return {name: value for name, value in values.items() if value is not None}


# Requests


def _body_of(rules: Mapping[str, Rule], required: Iterable[str], *, form: bool) -> Schema:
    """Return the schema of a body; in JSON a null is the same as nothing, whatever its name is."""
    needed = [name for name in required if name in rules]
    properties: Schema = {}
    for name, rule in rules.items():
        schema = schema_of(rule)
        optional = not form and name not in needed
        properties[name] = {"anyOf": [schema, _NULL]} if optional else schema
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False if form else _NULL,
    }


def _images_body(endpoint: Endpoint) -> Schema:
    """Return the schema of a JSON body at an endpoint: what one of the families takes."""
    bodies: list[Schema] = []
    for models, rules in _tables(endpoint):
        body = _body_of(rules, REQUIRED, form=False)
        named: Schema = {"type": "string", "enum": models}
        if DEFAULT_MODELS[endpoint] in models:
            named = _or_null(named)
        else:
            body["required"].append("model")
        body["properties"]["model"] = named
        if endpoint is Endpoint.EDIT_JSON:
            reference = {"$ref": "#/components/schemas/ImageReference"}
            images: Schema = {"type": "array", "items": reference, "minItems": 1, "maxItems": 16}
            body["properties"] |= {"images": images, "mask": _or_null(reference)}
        bodies.append(body)
    return {"anyOf": bodies}


def _images_form(endpoint: Endpoint) -> Schema:
    """Return the schema of a form at an endpoint: each parameter is what it may be for some family."""
    tables = _tables(endpoint)
    rules: dict[str, list[Rule]] = {}
    for _, table in tables:
        for name, rule in table.items():
            known = rules.setdefault(name, [])
            known += [] if rule in known else [rule]
    body = _body_of({name: found[0] for name, found in rules.items()}, REQUIRED, form=True)
    for name, found in rules.items():
        if len(found) > 1:
            body["properties"][name] = {"anyOf": [schema_of(rule) for rule in found]}
    body["properties"]["model"] = {"enum": [model for models, _ in tables for model in models]}
    if Upload(several=True) in rules["image"]:
        body["properties"]["image"] = schema_of(Upload())
        _allow_several(body)
    return body


def _tables(endpoint: Endpoint) -> list[tuple[list[str], Mapping[str, Rule]]]:
    """Return the tables of rules at an endpoint, each with the models that it is for."""
    served = {name: family for name, family in MODELS.items() if endpoint in family.rules}
    tables = {id(family): family.rules[endpoint] for family in served.values()}
    return [
        ([name for name, family in served.items() if id(family) == key], table)
        for key, table in tables.items()
    ]


def _allow_several(body: Schema) -> None:
    """Let a form have one ``image``, or several ``image[]``."""
    one = body["properties"]["image"]
    body["properties"]["image[]"] = {"type": "array", "items": one, "minItems": 1, "maxItems": 16}
    body["required"].remove("image")
    body["oneOf"] = [{"required": ["image"]}, {"required": ["image[]"]}]


def _links(*operations: str) -> Schema:
    """Return links from an answer to the operations that take its id."""
    parameters = {"id": "$response.body#/id"}
    return {name: {"operationId": name, "parameters": parameters} for name in operations}


def _content(bodies: Mapping[str, Schema]) -> Schema:
    return {
        "required": True,
        "content": {kind: {"schema": schema} for kind, schema in bodies.items()},
    }


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _id(name: str = "id", *known: str) -> Schema:
    schema: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}
    if known:
        schema = {"anyOf": [{"enum": list(known)}, schema]}
    return {"name": name, "in": "path", "required": True, "schema": schema}


# Answers


def _answers(name: str, *statuses: int, **more: Schema) -> Schema:
    """Return the answers of an operation: an object of the components, and refusals."""
    good: Schema = {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}, **more}
    headers = {"x-request-id": {"required": True, "schema": _TEXT}}
    answers: Schema = {"200": {"description": "Done.", "headers": headers, "content": good}}
    refusal = {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}
    for status in sorted({400, 401, *statuses}):
        answers[str(status)] = {
            "description": _ERRORS[status],
            "headers": headers,
            "content": {_JSON: refusal},
        }
    return answers


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    """Return the schema of an object with exactly these members."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": [*required],
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NULL]}


def _list_of(name: str) -> Schema:
    return _object(
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
            "first_id": _or_null(_TEXT),
            "last_id": _or_null(_TEXT),
            "has_more": {"type": "boolean"},
        }
    )


def _schemas() -> Schema:
    error = _object(
        {
            "message": {"type": "string", "minLength": 1},
            "type": _TEXT,
            "param": _or_null(_TEXT),
            "code": _or_null(_TEXT),
        },
        moderation_details={"type": "object"},
    )
    usage = _object(
        {
            "input_tokens": _COUNT,
            "input_tokens_details": _object({"image_tokens": _COUNT, "text_tokens": _COUNT}),
            "output_tokens": _COUNT,
            "total_tokens": _COUNT,
        }
    )
    image = _object({}, b64_json=_TEXT, url=_TEXT, revised_prompt=_TEXT)
    image["oneOf"] = [{"required": ["b64_json"]}, {"required": ["url"]}]
    model = _object(
        {"id": _TEXT, "object": {"const": "model"}, "created": _MOMENT, "owned_by": _TEXT}
    )
    return {
        "ErrorResponse": _object({"error": error}),
        "ImageReference": {"oneOf": [_object({"image_url": _TEXT}), _object({"file_id": _TEXT})]},
        "ImagesResponse": _object(
            {"created": _MOMENT, "data": {"type": "array", "items": image, "minItems": 1}},
            background=_TEXT,
            output_format=_TEXT,
            quality=_TEXT,
            size=_TEXT,
            usage={"$ref": "#/components/schemas/Usage"},
        ),
        "Usage": usage,
        "Model": model,
        "ModelList": _object(
            {"object": {"const": "list"}, "data": {"type": "array", "items": model}}
        ),
        "File": _file(),
        "FileList": _list_of("File"),
        "FileDeleted": _object(
            {"id": _TEXT, "object": {"const": "file"}, "deleted": {"const": True}}
        ),
        "Batch": _batch(),
        "BatchList": _list_of("Batch"),
    }


def _file() -> Schema:
    return _object(
        {
            "id": _TEXT,
            "object": {"const": "file"},
            "bytes": _COUNT,
            "created_at": _MOMENT,
            "expires_at": _or_null(_MOMENT),
            "filename": _TEXT,
            "purpose": {"enum": [*PURPOSES, "batch_output"]},
            "status": {"const": "processed"},
            "status_details": _NULL,
        }
    )


def _batch() -> Schema:
    statuses = list(get_args(Status))
    error = _object(
        {
            "code": _TEXT,
            "line": _or_null(_COUNT),
            "message": _TEXT,
            "param": _or_null(_TEXT),
        }
    )
    errors = _object({"object": {"const": "list"}, "data": {"type": "array", "items": error}})
    tokens = _object(
        {
            "input_tokens": _COUNT,
            "input_tokens_details": _object({"cached_tokens": _COUNT}),
            "output_tokens": _COUNT,
            "output_tokens_details": _object({"reasoning_tokens": _COUNT}),
            "total_tokens": _COUNT,
        }
    )
    metadata: Schema = {"type": "object", "additionalProperties": _TEXT}
    return _object(
        {
            "id": _TEXT,
            "object": {"const": "batch"},
            "endpoint": _TEXT,
            "model": _or_null(_TEXT),
            "errors": _or_null(errors),
            "input_file_id": _TEXT,
            "completion_window": {"const": "24h"},
            "status": {"enum": statuses},
            "output_file_id": _or_null(_TEXT),
            "error_file_id": _or_null(_TEXT),
            "created_at": _MOMENT,
            "expires_at": _MOMENT,
            **{f"{status}_at": _or_null(_MOMENT) for status in statuses if status != "validating"},
            "request_counts": _object({"total": _COUNT, "completed": _COUNT, "failed": _COUNT}),
            "usage": tokens,
            "metadata": _or_null(metadata),
        }
    )


# Paths


def _image_paths() -> Schema:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": _TEXT,
    }

    def operation(name: str, bodies: Mapping[str, Schema], **more: Schema) -> Schema:
        return {
            "post": {
                "operationId": name,
                "parameters": [key],
                "requestBody": _content(bodies),
                "responses": _answers("ImagesResponse", 404, 409, 413, 422, 429, **more),
            }
        }

    return {
        Endpoint.GENERATION.value: operation(
            "createImage",
            {_JSON: _images_body(Endpoint.GENERATION)},
            **_events("image_generation"),
        ),
        Endpoint.EDIT.value: operation(
            "createImageEdit",
            {
                _FORM: _images_form(Endpoint.EDIT),
                _JSON: _images_body(Endpoint.EDIT_JSON),
            },
            **_events("image_edit"),
        ),
        Endpoint.VARIATION.value: operation(
            "createImageVariation", {_FORM: _images_form(Endpoint.VARIATION)}
        ),
        FILES_PATH + "{name}": {"get": _download()},
    }


def _events(name: str) -> Schema:
    """Return the content of a stream; the schema is that of one event."""
    partial, completed = f"{name}.partial_image", f"{name}.completed"
    members = {
        "b64_json": _TEXT,
        "created_at": _MOMENT,
        **dict.fromkeys(("background", "output_format", "quality", "size"), _TEXT),
    }
    usage = {"$ref": "#/components/schemas/Usage"}
    data: Schema = {
        "oneOf": [
            _object({"type": {"const": partial}, **members, "partial_image_index": _COUNT}),
            _object({"type": {"const": completed}, **members, "usage": usage}),
        ]
    }
    event = _object(
        {
            "event": {"enum": [partial, completed]},
            "data": {"type": "string", "contentMediaType": _JSON, "contentSchema": data},
        }
    )
    return {"text/event-stream": {"schema": event}}


def _download() -> Schema:
    """Return the operation of the blob store, which has signed addresses and another envelope."""
    refusal = {"description": "Denied.", "content": {"application/xml": {"schema": _TEXT}}}
    picture = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    fields = ("st", "se", "sp", "sv", "sr", "rscd", "rsct", "sig")
    return {
        "operationId": "downloadImage",
        "security": [],
        "parameters": [_id("name"), *(_query(field, _TEXT) for field in fields)],
        "responses": {
            "200": {"description": "The picture.", "content": picture},
            "403": refusal,
            "404": refusal,
        },
    }


def _model_paths() -> Schema:
    return {
        "/v1/models": {"get": {"operationId": "listModels", "responses": _answers("ModelList")}},
        "/v1/models/{model}": {
            "get": {
                "operationId": "retrieveModel",
                "parameters": [_id("model", *MODELS)],
                "responses": _answers("Model", 404),
            }
        },
    }


def _lifetime() -> Schema:
    return _object({"anchor": {"const": "created_at"}, "seconds": schema_of(LIFETIME)})


def _page(limits: Integer) -> list[Schema]:
    return [_query("limit", schema_of(limits)), _query("after", _TEXT)]


def _one(name: str, answer: str, *statuses: int) -> Schema:
    return {
        "operationId": name,
        "parameters": [_id()],
        "responses": _answers(answer, 404, *statuses),
    }


def _file_paths() -> Schema:
    upload = _body_of(FILE_RULES, REQUIRED_OF_A_FILE, form=True)
    upload["properties"]["expires_after"] = _lifetime()
    order = _query("order", {"enum": ["asc", "desc"]})
    content = _one("downloadFile", "File")
    content["responses"]["200"]["content"] = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    created = _answers("File", 413)
    created["200"]["links"] = _links("retrieveFile", "downloadFile", "deleteFile")
    return {
        "/v1/files": {
            "get": {
                "operationId": "listFiles",
                "parameters": [*_page(FILES_A_PAGE), order, _query("purpose", _TEXT)],
                "responses": _answers("FileList"),
            },
            "post": {
                "operationId": "createFile",
                "requestBody": _content({_FORM: upload}),
                "responses": created,
            },
        },
        "/v1/files/{id}": {
            "get": _one("retrieveFile", "File"),
            "delete": _one("deleteFile", "FileDeleted"),
        },
        "/v1/files/{id}/content": {"get": content},
    }


def _batch_paths() -> Schema:
    create = _body_of(BATCH_RULES, REQUIRED_OF_A_BATCH, form=False)
    values: Schema = {"type": "string", "maxLength": 512}
    metadata: Schema = {
        "type": "object",
        "additionalProperties": values,
        "propertyNames": {"maxLength": 64},
        "maxProperties": 16,
    }
    create["properties"] |= {
        "metadata": _or_null(metadata),
        "output_expires_after": _or_null(_lifetime()),
    }
    created = _answers("Batch", 413)
    created["200"]["links"] = _links("retrieveBatch", "cancelBatch")
    return {
        "/v1/batches": {
            "get": {
                "operationId": "listBatches",
                "parameters": _page(BATCHES_A_PAGE),
                "responses": _answers("BatchList"),
            },
            "post": {
                "operationId": "createBatch",
                "requestBody": _content({_JSON: create}),
                "responses": created,
            },
        },
        "/v1/batches/{id}": {"get": _one("retrieveBatch", "Batch")},
        "/v1/batches/{id}/cancel": {"post": _one("cancelBatch", "Batch", 409)},
    }
