"""YAML files into typed models: strict, every problem at once, each with the key's path."""

from __future__ import annotations

import difflib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.error import MarkedYAMLError

from edge.errors import ConfigError
from edge.install import install_command
from edge.paths import no_such_file, shown
from edge.regular import open_regular
from edge.secrets import redacted

LIMIT_BYTES = 1 << 18
TEXT_MAX = 4096  # characters of one value: PATH_MAX, and more than any address or pipeline has
DIGITS_MAX = 400  # of a whole number; more are beyond any float, and from 4300 on Python refuses to read them


class StrictModel(BaseModel):
    """A config section: unknown keys are errors, values are not coerced silently, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# Errors of a key instead of a value.
_OF_KEYS = ("extra_forbidden", "unexpected_keyword_argument", "missing", "missing_argument")
Model = TypeVar("Model", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML with the plain words of YAML 1.2: 010 is text and not 8, 12:30 is text and not 750, `no` is text.

    Without aliases (they can explode), duplicate keys (the last would win unseen) and types that JSON does not have.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in _PLAIN_TAGS:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise ComposerError(None, None, f"{kind!r} is no type for a config", node.start_mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping; a key that occurs twice, or is no plain text or whole number, is an error at its line."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise ConstructorError(None, None, "a key must be plain text or a whole number", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"key {redacted(str(key))!r} occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: Any) -> int | float:
        """A number that is absurd is read all the same, so that the complaint names its key."""
        text = self.construct_scalar(node)
        return int(text) if len(text) <= DIGITS_MAX else float(text)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_whole)

# YAML 1.2, 10.3.2, "core schema"; without infinities, octal and hexadecimal numbers, which no config has.
_PLAIN_WORDS = {
    "null": (r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$",
        list("-+.0123456789"),
    ),
}
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in (*_PLAIN_WORDS, "str", "seq", "map")}
for _name, (_pattern, _first) in _PLAIN_WORDS.items():  # an int before a float: the first that fits is taken
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), _first)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """The file as an instance of `model`.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or does not fit; all misfits are listed, a line each.
    """
    return parse_tree(read_tree(path), model, str(path))


def read_tree(path: Path) -> Any:
    """What a YAML file holds: mappings, lists and scalars.

    Raises:
        ConfigError: the file cannot be read, or is not YAML.
    """
    try:
        content = _read(path)
    except FileNotFoundError as error:
        raise ConfigError(no_such_file(path)) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_yaml(content.decode("utf-8"))
    except MarkedYAMLError as error:  # without the line itself, which may hold a password
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        text = _in_one_line(", ".join(filter(None, (error.context, error.problem))))
        raise ConfigError(f"{path}: is not valid YAML: {where}{text}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or !!int x
        raise ConfigError(f"{path}: is not valid YAML: {_in_one_line(str(error))}") from error


def parse_yaml(text: str) -> Any:
    """What YAML text holds. Raises yaml.YAMLError or ValueError where it is not valid."""
    return yaml.load(text, _StrictLoader)


def _read(path: Path) -> bytes:
    """Raises OSError for what is no file, ConfigError for what is too large."""
    with open_regular(path) as file:
        content = file.read(LIMIT_BYTES + 1)
    if len(content) > LIMIT_BYTES:
        raise ConfigError(f"{path}: is larger than {LIMIT_BYTES} bytes, which no config is")
    return content


def parse_tree(tree: Any, model: type[Model], origin: str) -> Model:
    """`tree` (mappings, lists and scalars) as an instance of `model`; `origin` names it in errors."""
    if unfit := list(_unfit_texts(tree)):
        raise ConfigError("\n  ".join([f"{origin}: {len(unfit)} problem(s)", *unfit]))
    try:
        # By way of JSON: only there does pydantic's strict mode take a list for a tuple.
        return model.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        problems = list(_problems(error.errors(), tree, model))
        raise ConfigError("\n  ".join([f"{origin}: {len(problems)} problem(s)", *problems])) from error


def _unfit_texts(tree: Any, where: str = "") -> Iterator[str]:
    """A line for each text that no config needs: one with control characters, or too long."""
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            name = redacted(str(key))  # an address and its name may have changed places
            yield from _unfit_texts(value, f"{where}.{name}" if where else name)
    elif isinstance(tree, str) and len(tree) > TEXT_MAX:
        yield f"{_in_one_line(where)}: expected at most {TEXT_MAX} characters, got {len(tree)}"
    elif isinstance(tree, str) and any(unicodedata.category(c) == "Cc" and c not in "\t\r\n" for c in tree):
        yield f"{_in_one_line(where)}: holds a control character, which no value needs"


def _problems(items: Iterable[Any], tree: Any, model: type[BaseModel]) -> Iterator[str]:
    """A line for each wrong value; what the members of a union say of the same value is one."""
    by_place: dict[tuple[Any, ...], list[Any]] = {}
    for item in items:
        *parents, key = item["loc"] or ("",)
        place = (*_place(tuple(parents), tree), key) if item["type"] in _OF_KEYS else _place(item["loc"], tree)
        by_place.setdefault((*place, item["type"] in _OF_KEYS), []).append(item)
    for (*place, _), said in by_place.items():
        first, *others = (item["msg"].removeprefix("Value error, ") for item in said)
        text = " or ".join([first, *(other.removeprefix("Input should be ") for other in others)])
        yield _problem({**said[0], "loc": place, "msg": text}, model)


def _place(loc: tuple[Any, ...], tree: Any) -> tuple[Any, ...]:
    """Where in the tree a value is: without the names that pydantic gives to the members of a union."""
    place: list[Any] = []
    for part in loc:
        try:
            tree = tree[part]
        except (TypeError, KeyError, IndexError):
            continue
        place.append(part)
    return tuple(place)


def _problem(item: Any, model: type[BaseModel]) -> str:
    where = _in_one_line(".".join(redacted(str(part)) for part in item["loc"])) or "the whole file"
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        key = str(item["loc"][-1])
        if key in (known := _keys(model)):
            return f"{where}: no such key here; {key!r} belongs to another part of the file"
        close = difflib.get_close_matches(key, known, n=1)
        return f"{where}: no such key" + (f"; did you mean {close[0]!r}?" if close else "")
    if item["type"] in _OF_KEYS:
        return f"{where}: is missing"
    return f"{where}: {item['msg']}, found {shown(item['input'])}"


def _in_one_line(text: str) -> str:
    """Fit for a terminal and a log, whatever the file holds."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


def _keys(model: type[BaseModel]) -> list[str]:
    """Every key that occurs anywhere in the model, for suggestions."""
    fields = model.model_fields
    return [*fields, *(key for field in fields.values() for part in _models(field.annotation) for key in _keys(part))]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type such as `Rendered | None` or `tuple[Folder, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def parse_size_wh(text: str) -> tuple[int, int]:
    """(width, height) from "1280x720"."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        raise ConfigError(f"a size is WIDTHxHEIGHT in pixels, such as 1280x720; found {text!r}")
    return int(match[1]), int(match[2])


def data_path(text: str) -> Path:
    """A path in a recipe: `$EDGE_DATA` at its start is the folder of that environment variable.

    Raises:
        ConfigError: EDGE_DATA is not set, or `~` names no user's folder.
    """
    first, *rest = text.split("/")
    if first != "$EDGE_DATA":
        return expand_user(text)
    root = os.environ.get("EDGE_DATA")
    if not root:
        raise ConfigError(f"{text}: set EDGE_DATA to the folder that holds the data sets, for example EDGE_DATA=~/data")
    return expand_user(str(Path(root, *rest)))


def drive_name(drive: str) -> str:
    """What `open_source` takes for a drive that a file names: by `data_path`, or a scene or URL as it is."""
    return str(data_path(drive)) if drive.startswith("$EDGE_DATA") else drive


def data_name(path: str) -> str:
    """`path` as `data_path` takes it, for files that go to other machines: `$EDGE_DATA/...` where it lies in there."""
    root = os.environ.get("EDGE_DATA")
    if root and Path(path).is_relative_to(root):
        return str(Path("$EDGE_DATA", Path(path).relative_to(root)))
    return path


def expand_user(text: str) -> Path:
    """The path with `~` or `~user` at its start replaced by that home folder.

    Raises:
        ConfigError: there is no such user, or this one has no home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: the home folder at its start is unknown. Write the whole path") from None


def need(module: str, what: str) -> None:
    """Refuse what takes libraries that are not installed.

    Raises:
        ConfigError: with what to type.
    """
    if find_spec(module) is None:
        raise ConfigError(f"{what} needs the library {module}. Try: {install_command('edge-segmentation[train]')}")
