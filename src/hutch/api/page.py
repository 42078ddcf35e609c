"""A dialect's `/docs`: its OpenAPI document as one HTML page, written once at start.

Swagger UI was not taken: the framework's page loads it from a CDN, which a box without internet cannot, and the
packages that carry it weigh 3 MB for a form that cannot show streams. This page needs no script at all.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:60rem;margin:2rem auto;padding:0 1rem}
details{border:1px solid #8884;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}summary{cursor:pointer}
code,b.method{font-family:ui-monospace,monospace}b.method{display:inline-block;width:4.5rem}
table{border-collapse:collapse;margin:.4rem 0}td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}
.GET{color:#1a7f37}.POST{color:#0969da}.PUT{color:#9a6700}.DELETE{color:#cf222e}h2{margin-top:2rem}
"""


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(_type(part) for part in schema[union])
    if "enum" in schema or "const" in schema:
        return " | ".join(f"<code>{escape(repr(value))}</code>" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("format") or schema.get("type") or "any"))


def _table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr><th>{head}</th></tr>{body}</table>" if body else ""


def _content(holder: Mapping[str, Any]) -> str:
    shown = (f"{_type(it.get('schema', {}))} <small>{escape(kind)}</small>" for kind, it in holder.items())
    return "<br>".join(shown)


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for it in operation.get("parameters", ()):
        default = it["schema"].get("default")
        note = "" if default is None else f"default <code>{escape(str(default))}</code>"
        yield f"<code>{escape(it['name'])}</code>", it["in"], _type(it["schema"]), note


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    answers = (
        (f"<code>{code}</code>", _content(it.get("content", {})), escape(it.get("description", "")))
        for code, it in operation["responses"].items()
    )
    body = operation.get("requestBody", {}).get("content", {})
    return (
        f'<details><summary><b class="method {method}">{method}</b><code>{escape(path)}</code></summary>'
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{_table('Parameters', _parameters(operation))}"
        f"{f'<p>Body: {_content(body)}</p>' if body else ''}"
        f"{_table('Answers', answers)}</details>"
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    fields = (
        (
            f"<code>{escape(field)}</code>{'' if field in required else '?'}",
            _type(it),
            escape(it.get("description", "")),
        )
        for field, it in schema.get("properties", {}).items()
    )
    words = escape(schema.get("description", ""))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{words}</p>{_table("Fields", fields)}'


def render(paper: Mapping[str, Any]) -> str:
    """The page. Pure."""
    operations: dict[str, list[str]] = {}
    for path, methods in paper["paths"].items():
        for method, operation in methods.items():
            group = operations.setdefault((operation.get("tags") or ["others"])[0], [])
            group.append(_operation(method.upper(), path, operation))
    groups = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in operations.items())
    schemas = "".join(_schema(*it) for it in sorted(paper["components"]["schemas"].items()))
    info = paper["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f'<p>{escape(info.get("description", ""))} <a href="openapi.json">openapi.json</a></p>'
        f"{groups}<h2>Schemas</h2>{schemas}</html>"
    )
