"""The API's description (OpenAPI): what every path answers and refuses, from ``answers`` and ``history``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Path

from qt_actors.edges.web import answers, history

Json = dict[str, Any]
Symbol = Annotated[str, Path(min_length=1, max_length=40, description="As the exchange names it, in any case.")]
_PLACE: Final = "#/components/schemas/{name}"
REFUSALS: Final = {
    401: "No token, or another one.",
    404: "No such symbol, or no position on it.",
    422: "A parameter that is not allowed; named with its value.",
    503: "Not now: what is needed does not answer or cannot be read.",
}


def said(code: int, answer: Any, *refusals: int) -> dict[int | str, Json]:
    """Return the ``responses`` of a path: what it answers with ``code`` (a tuple: one of these), how it refuses."""
    refused: dict[int | str, Json] = {number: _body(REFUSALS[number], answers.Refusal) for number in refusals}
    return {code: _body(HTTPStatus(code).phrase, *(answer if isinstance(answer, tuple) else (answer,))), **refused}


def _body(text: str, *told: Any) -> Json:
    shapes = _described(told)[0]
    return {
        "description": text,
        "content": {"application/json": {"schema": shapes[0] if len(shapes) == 1 else {"anyOf": list(shapes)}}},
    }


def _described(types: Iterable[Any]) -> tuple[tuple[Json, ...], Json]:
    """Return the types' schemas, and those that they refer to by name; ``object`` may be anything."""
    return msgspec.json.schema_components(
        types, schema_hook=lambda _type: {"description": "anything"}, ref_template=_PLACE
    )


def _schemas() -> Json:
    named = {**vars(answers), **vars(history)}.values()
    told = [t for t in named if inspect.isclass(t) and t.__module__ in {answers.__name__, history.__name__}]
    schemas: Json = _null_for_no_number(_described(told)[1])
    return schemas


def _null_for_no_number(schema: Any) -> Any:
    """A number that is none (NaN, infinite) leaves as null, wherever it stands."""
    match schema:
        case {"anyOf": [*parts]} if {"type": "null"} in parts:
            return {**schema, "anyOf": [p if p.get("type") == "number" else _null_for_no_number(p) for p in parts]}
        case {"type": "number"}:
            return {**schema, "type": ["number", "null"]}
        case dict():
            return {key: _null_for_no_number(value) for key, value in schema.items()}
        case list():
            return [_null_for_no_number(part) for part in schema]
        case _:
            return schema


class Api(FastAPI):
    """The application; its description has the types that its paths answer with."""

    def openapi(self) -> Json:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            super().openapi()["components"]["schemas"] = _schemas()
        document: Json = super().openapi()
        return document
