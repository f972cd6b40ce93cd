"""The service in the words of OpenAPI 3.1; nothing of the model's classes and columns is in it."""

from __future__ import annotations

from typing import Any

from ftkit.exported.about import About
from ftkit.serving.limits import Limits
from ftkit.serving.options import FUNCTIONS, STRATEGIES

SCORED: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
    },
}
ENTITIES: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "entity_group": {"type": "string"},
            "score": {"type": "number"},
            "word": {"type": "string"},
            "start": {"type": "integer"},
            "end": {"type": "integer"},
        },
    },
}
OF_CLASSES: dict[str, Any] = {
    "top_k": {"type": "integer", "minimum": 1},
    "function_to_apply": {"enum": list(FUNCTIONS)},
}
OF_WORDS: dict[str, Any] = {
    "aggregation_strategy": {"enum": list(STRATEGIES)},
    "ignore_labels": {"type": "array", "items": {"type": "string"}},
}
TEXT: dict[str, Any] = {"type": "string"}
PAIR: dict[str, Any] = {
    "type": "object",
    "properties": {"text": TEXT, "text_pair": TEXT},
    "required": ["text", "text_pair"],
}


def openapi(about: About, limits: Limits, token: bool) -> dict[str, Any]:
    """Return the description of a service.

    Args:
        token: one is asked for.
    """
    asked: dict[str, Any] = {
        "post": {
            "summary": f"Ask the model ({about.task})",
            "requestBody": {"required": True, "content": _content(about)},
            "responses": {"200": _json("The answer.", _answer(about)), **_refusals(limits)},
        },
        "get": _get("A page for people", "text/html"),
    }
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": f"ftkit serve: {about.task}", "version": "1"},
        "paths": {
            "/": asked,
            "/info": {"get": _get("Classes or columns of the model, and the limits")},
            "/health": {"get": _get("Whether the service is there")},
            "/metrics": {"get": _get("Counts for Prometheus", "text/plain")},
            "/openapi.json": {"get": _get("This description")},
            "/docs": {"get": _get("The same for people", "text/html")},
        },
        "components": {
            "schemas": {"Error": {"type": "object", "properties": {"error": {"type": "string"}}}}
        },
    }
    if token:
        scheme = {"type": "http", "scheme": "bearer"}
        found["components"]["securitySchemes"] = {"token": scheme}
        for path, method in (("/", "post"), ("/info", "get"), ("/metrics", "get")):
            found["paths"][path][method]["security"] = [{"token": []}]
    return found


def _content(about: About) -> dict[str, Any]:
    """Return what a body may be."""
    one = PAIR if about.pair else TEXT
    kinds: dict[str, Any] = {
        "images": TEXT,
        "table": {"type": "object", "additionalProperties": {"type": "array"}},
    }
    name = "table" if about.reads == "table" else "inputs"
    asked = kinds.get(about.reads, {"oneOf": [one, {"type": "array", "items": one}]})
    options = OF_WORDS if about.tells == "words" else OF_CLASSES
    properties = {name: asked, "parameters": {"type": "object", "properties": options}}
    schema = {"type": "object", "properties": properties, "required": [name]}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if about.reads == "images":
        content = {"image/*": {"schema": {"type": "string", "format": "binary"}}, **content}
    return content


def _answer(about: About) -> dict[str, Any]:
    if about.reads == "images":
        return SCORED
    if about.reads == "table":
        told: dict[str, Any] = {"type": "number" if about.tells == "number" else "string"}
        return {"oneOf": [{"type": "array", "items": one} for one in (told, SCORED)]}
    if about.tells == "words":
        return {"oneOf": [ENTITIES, {"type": "array", "items": ENTITIES}]}
    return {"type": "array", "items": SCORED}


def _refusals(limits: Limits) -> dict[str, Any]:
    lines = {
        400: "The body is not what the model reads.",
        401: "The token is missing or wrong.",
        403: "A page of another site asks.",
        408: f"The body did not arrive within {limits.timeout:g} s.",
        413: f"More than {limits.max_body:,} bytes, {limits.max_pixels:,} pixels, "
        f"{limits.max_tokens:,} tokens or {limits.max_rows:,} rows.",
        415: "The body is of a type that is not read, or compressed.",
        421: "The service is asked under a name that is not its own.",
        500: "The model failed.",
        503: f"{limits.queue} requests wait; Retry-After says when to ask again.",
        504: f"There was no answer within {limits.timeout:g} s.",
    }
    schema = {"$ref": "#/components/schemas/Error"}
    return {str(status): _json(line, schema) for status, line in lines.items()}


def _get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {kind: {}}}},
    }


def _json(line: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": line, "content": {"application/json": {"schema": schema}}}
