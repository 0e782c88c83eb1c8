"""What scripts can ask of the pages: the OpenAPI document, and the same for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from workflow.web.site import Site

API_SUMMARY = (
    "JSON of the pages. Dates are 2026-03-01, instants ISO 8601 in UTC, lengths mm, volumes mm³, "
    "positions LPS mm. What is not known is null; there is no NaN and no infinity."
)
_FOR_BROWSERS = ("text/html", "text/css")


def api_routes(site: Site) -> APIRouter:
    """The OpenAPI document and a page that shows it."""
    routes = APIRouter(dependencies=[Depends(site.access.user)])

    @routes.get("/api/openapi.json")
    def openapi(request: Request) -> JSONResponse:
        return JSONResponse(documented(request.app.openapi()))

    @routes.get("/api", response_class=HTMLResponse)
    def show_api(request: Request) -> Response:
        document = documented(request.app.openapi())
        return site.render(
            request, "api.html", document=document, parts=operations(document), shapes=shapes(document)
        )

    return routes


def documented(document: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI document without what only a browser asks for: pages, style sheets, and itself."""
    paths = {
        path: {
            method: said
            for method, said in item.items()
            if method != "get" or _answer(said) not in _FOR_BROWSERS
        }
        for path, item in document["paths"].items()
        if path != "/api/openapi.json"
    }
    return {**document, "paths": {path: item for path, item in paths.items() if item}}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that can be asked, with its words, its parameters and the shape of its answer."""

    method: str
    path: str
    summary: str
    parameters: tuple[tuple[str, str, str], ...]
    answer: str


def operations(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """The operations of an OpenAPI document by their first tag."""
    parts: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method, said in item.items():
            parameters = [
                (p["name"], _type(p["schema"]), p.get("description", "")) for p in said.get("parameters", ())
            ]
            parameters += _form(said, document)
            operation = Operation(
                method=method.upper(),
                path=path,
                summary=said.get("description") or said.get("summary", ""),
                parameters=tuple(parameters),
                answer=_answer(said),
            )
            parts.setdefault((said.get("tags") or ["other"])[0], []).append(operation)
    return dict(sorted(parts.items()))


def shapes(document: Mapping[str, Any]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Name, words and fields (name, type, words) of each object that an answer can hold."""
    found = []
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        fields = [
            (field, _type(said), said.get("description", ""))
            for field, said in schema.get("properties", {}).items()
        ]
        values = ", ".join(map(str, schema.get("enum", ())))
        if fields or values:
            found.append((name, values or schema.get("description", ""), fields))
    return found


def _form(said: Mapping[str, Any], document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The fields of a form that is posted."""
    content = said.get("requestBody", {}).get("content", {})
    fields = []
    for body in content.values():
        schema = body["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][_name(schema)]
        fields += [(n, _type(s), s.get("description", "")) for n, s in schema.get("properties", {}).items()]
    return fields


def _answer(said: Mapping[str, Any]) -> str:
    for status, answer in said.get("responses", {}).items():
        if status.startswith("2"):
            for kind, body in answer.get("content", {}).items():
                schema = body.get("schema") or {}
                return _type(schema) if kind == "application/json" and schema else kind
    return ""


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: "WorklistPatient", "list of str", "number or null"."""
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'anything'}"
    if "additionalProperties" in schema and isinstance(schema["additionalProperties"], Mapping):
        return f"object of {_type(schema['additionalProperties']) or 'anything'}"
    return str(schema.get("type", ""))


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]
