"""The page of config files: every key with type, unit, bounds and default, from the models that read them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from links import HOME

HEAD = """# Config files

Every key, made from the models that read the files. Unknown keys are refused, and so are values of another type. A unit
stands where the key's name ends in one.
"""
# Title, module and class, and what reads it.
FILES = (
    ("The service: edge.yaml", "edge.service.config", "ServeConfig", "edge serve --config edge.yaml"),
    ("The publisher: publish.yaml", "edge.service.publish", "PublishConfig", "edge publish --config publish.yaml"),
    ("A camera's place: camera.yaml", "edge.geometry.model", "CameraFile", "edge run 0 --camera-model camera.yaml"),
    ("Many drives: drives.yaml", "edge.evaluate.drives", "_Manifest", "edge evaluate drives.yaml"),
    ("A recipe", "edge.train.recipe", "Recipe", "edge train recipe.yaml"),
    ("A card file", "edge.compile.card_file", "CardFile", "edge build --onnx net.onnx --card card.yaml"),
)
UNITS = {
    "_s": "seconds",
    "_ms": "milliseconds",
    "_mb": "MB",
    "_gb": "GB",
    "_deg": "degrees",
    "_m": "metres",
    "_px": "pixels",
    "_hz": "Hz",
    "_share": "share of 1",
    "_wh": "pixels",
}
_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "minItems": "items ≥",
    "minLength": "characters ≥",
}


def configs_page() -> str:
    """Markdown: a section for each file, and in it a table for each part."""
    return "\n".join([HEAD, *(line for file in FILES for line in _file(*file))]) + "\n"


def keys_of(module: str, name: str) -> set[str]:
    """Every key that the page has of one of `FILES`."""
    return {key for part in _parts(module, name).values() for key in part.get("properties", {})}


def _parts(module: str, name: str) -> dict[str, Any]:
    """JSON schemas by the class that they are of; the file's own comes first."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(getattr(import_module(module), name)).json_schema()
    parts = schema.pop("$defs", {})
    return {name: schema, **parts}


def _file(title: str, module: str, name: str, command: str) -> Iterator[str]:
    yield f"## {title}\n\n    {command}\n"
    for part, schema in _parts(module, name).items():
        if not schema.get("properties"):
            continue
        summary, meanings = described(part, frozenset(schema["properties"]))
        yield f"### {part.lstrip('_')}\n\n{summary}\n\n| key | type | unit | default | meaning |\n|---|---|---|---|---|"
        for key, value in schema["properties"].items():
            default = "required" if key in schema.get("required", ()) else _default(value)
            yield f"| `{key}` | {_type(value)} | {_unit(key)} | {default} | {_cell(meanings.get(key, ''))} |"
        yield ""


def _unit(key: str) -> str:
    return next((unit for end, unit in UNITS.items() if key.endswith(end)), "")


def _default(value: Any) -> str:
    given = value.get("default")
    return "none" if given is None else f"`{_cell(json.dumps(given, ensure_ascii=False))}`"


def _type(value: Any) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2].lstrip("_")
    if options := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(one) for one in options if one.get("type") != "null"))
    if "enum" in value or "const" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    kind = value.get("type", "any")
    if kind == "array" and "prefixItems" in value:
        return f"[{', '.join(_type(one) for one in value['prefixItems'])}]"
    if kind == "array":
        kind = f"list of {_type(value.get('items', {}))}"
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        kind = f"name: {_type(value['additionalProperties'])}"
    bounds = [f"{sign} {value[name]}" for name, sign in _BOUNDS.items() if name in value]
    return _cell(" ".join([kind, *bounds]))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def described(name: str, keys: frozenset[str]) -> tuple[str, dict[str, str]]:
    """Summary of a class, and the meaning of each key: of "Attributes:" in its docstring, or the comment beside it.

    Keys without either are described by the summary.
    """
    for node, lines in _classes().get(name, []):  # noqa: B007 used below, of the class that was found
        fields = {ast.unparse(one.target): one for one in node.body if isinstance(one, ast.AnnAssign)}
        if keys <= fields.keys():
            break
    else:
        return "", {}
    summary, _, attributes = (ast.get_docstring(node) or "").partition("\nAttributes:\n")
    meanings = {}
    for names, text in re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.*)*)", attributes, re.MULTILINE):
        meanings |= {one.strip(): text for one in names.split(",")}
    for key, field in fields.items():
        beside = re.search(r"  # (.+)$", lines[(field.end_lineno or 1) - 1])
        if beside and key not in meanings:
            meanings[key] = beside[1]
    return summary.strip(), meanings


@cache
def _classes() -> dict[str, list[tuple[ast.ClassDef, list[str]]]]:
    """Every class of the package by name, with the lines of its file."""
    found: dict[str, list[tuple[ast.ClassDef, list[str]]]] = {}
    for path in sorted((HOME / "edge").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append((node, text.splitlines()))
    return found
