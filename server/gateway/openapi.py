"""The parts of the interface's description that routes share."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel

from server.gateway.invoking import JSON
from server.gateway.problems import MEDIA_TYPE as PROBLEM
from server.gateway.problems import ProblemDocument
from wire.delimited import MEDIA_TYPE as STREAM

ALWAYS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""What any request may be answered with."""
WITH_BODY = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

MESSAGES: dict[str, Any] = {STREAM: {"schema": {"type": "string", "format": "binary"}}}
AllowedMethods: TypeAlias = Callable[[str], list[str]]
"""The methods of an address."""
_PROBLEM_NAME = ProblemDocument.__name__
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "certificate": {"type": "mutualTLS"},
}


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Responses of an operation that say why it failed."""
    schema = {"$ref": f"#/components/schemas/{_PROBLEM_NAME}"}
    return {
        status.value: {"description": status.phrase, "content": {PROBLEM: {"schema": schema}}}
        for status in sorted({*ALWAYS, *statuses})
    }


def json_body(kind: type[BaseModel]) -> dict[str, Any]:
    """The body of an operation that takes a document."""
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": kind.model_json_schema()}},
        }
    }


def messages_body(description: str) -> dict[str, Any]:
    """The body of an operation that takes messages."""
    return {"requestBody": {"required": True, "description": description, "content": MESSAGES}}


def allowed_methods(description: dict[str, Any]) -> AllowedMethods:
    """What a description says of the methods of an address."""
    paths = [
        (re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(path))), sorted(operations))
        for path, operations in description["paths"].items()
    ]

    def allowed(address: str) -> list[str]:
        return [
            method.upper()
            for pattern, methods in paths
            if pattern.fullmatch(address)
            for method in methods
        ]

    return allowed


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description, with this interface's own failures instead of the framework's."""
    description = app.openapi()
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas[_PROBLEM_NAME] = ProblemDocument.model_json_schema(
        ref_template="#/components/schemas/{model}"
    )
    schemas.update(schemas[_PROBLEM_NAME].pop("$defs", {}))
    components["securitySchemes"] = _SECURITY
    description["security"] = [{}, *({name: []} for name in _SECURITY)]
    for path in description["paths"].values():
        for operation in path.values():
            default = operation["responses"].get("422", {}).get("content", {}).get(JSON)
            if default is not None:
                del operation["responses"]["422"]
    return description
