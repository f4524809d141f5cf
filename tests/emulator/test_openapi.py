"""The OpenAPI document: made from the rules, served, and true of what is answered (a fuzzer sees to the rest)."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from imagesdk.emulator.openapi import document, schema_of
from imagesdk.emulator.rules import Choice, Flag, Integer, Opaque, Rule, Size, Text, Upload
from imagesdk.emulator.spec import MODELS, Endpoint


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        (Text(), {"type": "string"}),
        (Text(1, 1000), {"type": "string", "minLength": 1, "maxLength": 1000}),
        (Integer(1, 10), {"type": "integer", "minimum": 1, "maximum": 10}),
        (Integer(0), {"type": "integer", "minimum": 0}),
        (Choice(("a", "b")), {"type": "string", "enum": ["a", "b"]}),
        (Flag(), {"type": "boolean"}),
        (Opaque(list), {"type": "array"}),
        (Opaque(dict), {"type": "object"}),
        (Upload(), {"type": "string", "format": "binary"}),
        (Size(("auto",)), {"type": "string", "enum": ["auto"]}),
    ],
)
def test_a_rule_has_a_schema(rule: Rule, schema: dict[str, Any]) -> None:
    """What a rule permits is what its schema permits."""
    assert schema_of(rule) == schema


def test_every_parameter_of_every_model_is_in_the_document() -> None:
    """No parameter that the emulator takes is missing, and no model."""
    paths = document("http://x")["paths"]
    for endpoint in Endpoint:
        kind = "application/json"
        if endpoint in {Endpoint.EDIT, Endpoint.VARIATION}:
            kind = "multipart/form-data"
        path = endpoint.value.partition(" ")[0]
        schema = paths[path]["post"]["requestBody"]["content"][kind]["schema"]
        bodies = schema.get("anyOf", [schema])
        for model, family in MODELS.items():
            rules = family.rules.get(endpoint, {})
            of_model = [body for body in bodies if f'"{model}"' in json.dumps(body)]
            assert len(of_model) == bool(rules)
            for body in of_model:
                assert rules.keys() <= body["properties"].keys()


def test_every_reference_leads_somewhere() -> None:
    """The document refers to nothing that it does not have."""
    made = document("http://x")
    text = json.dumps(made)
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names == made["components"]["schemas"].keys()
    operations = {op["operationId"] for path in made["paths"].values() for op in path.values()}
    linked = {part.partition('"')[0] for part in text.split('{"operationId": "')[1:]}
    assert linked <= operations


async def test_the_document_is_served_and_names_the_server(http: aiohttp.ClientSession) -> None:
    """Anybody may read the document, and finds the server's own address in it."""
    async with http.get("openapi.json", headers={"Authorization": ""}) as response:
        assert response.status == 200
        served = await response.json()
    assert f"{served['servers'][0]['url']}/" == str(response.url.with_path("/"))
    assert "/v1/batches/{id}/cancel" in served["paths"]
