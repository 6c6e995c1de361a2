"""Reads a catalogue directory: every ``*.toml`` below it, each holding arrays of tables named after the parts of a catalogue.

All problems are collected with file and key, so that one run shows everything there is to mend. What must not go in here:
rules between values (validate.py).
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from broker.errors import DirectoryUnusable
from broker.model.catalogue import BaseDeclaration, Catalogue, Consumer, Grant, Group, Interface, Provider, Resource, Value

KINDS: dict[str, type[Value]] = {
    "providers": Provider,
    "resources": Resource,
    "bases": BaseDeclaration,
    "interfaces": Interface,
    "consumers": Consumer,
    "groups": Group,
    "grants": Grant,
}


class Located(NamedTuple):
    """A value and where it stands, e.g. ``grants.toml: grants[3] (tax-hall.1)``."""

    value: Any
    where: str


class Contents(NamedTuple):
    """What a directory holds, and what is wrong with it."""

    entries: dict[str, list[Located]]
    problems: list[str]

    def catalogue(self) -> Catalogue:
        """Put the values together; meaningful only when there are no problems."""
        return Catalogue(**{kind: tuple(located.value for located in found) for kind, found in self.entries.items()})


def key_of(value: Any) -> str:
    """Return what identifies a value within its kind."""
    if isinstance(value, Interface):
        return f"{value.id}@{value.version}"
    return str(value.code if isinstance(value, Resource) else value.id)


def read(directory: Path) -> Contents:
    """Read a catalogue directory.

    Raises:
        DirectoryUnusable: it does not exist or holds no TOML file.
    """
    files = sorted(directory.rglob("*.toml"))
    if not files:
        raise DirectoryUnusable(f"{directory}: no such directory, or no *.toml file in it")
    contents = Contents({kind: [] for kind in KINDS}, [])
    for file in files:
        _read_file(file, file.relative_to(directory), contents)
    return contents


def _read_file(file: Path, name: Path, contents: Contents) -> None:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        contents.problems.append(f"{name}: cannot be read ({error.strerror})")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        contents.problems.append(f"{name}: not valid TOML: {error}")
    else:
        for kind, elements in tree.items():
            _read_kind(kind, elements, name, contents)


def _read_kind(kind: str, elements: Any, name: Path, contents: Contents) -> None:
    if kind not in KINDS:
        contents.problems.append(f"{name}: unknown key `{kind}`; known are {', '.join(KINDS)}")
    elif not isinstance(elements, list):
        contents.problems.append(f"{name}: `{kind}` must be an array of tables, [[{kind}]]")
    else:
        for index, element in enumerate(elements):
            _read_element(kind, element, f"{name}: {kind}[{index}]", contents)


def _read_element(kind: str, element: Any, where: str, contents: Contents) -> None:
    if isinstance(element, dict) and isinstance(element.get("id", element.get("code")), str):
        where = f"{where} ({element.get('id', element.get('code'))})"
    problems = list(_problems(element, KINDS[kind], ""))
    contents.problems.extend(f"{where}{problem}" for problem in problems)
    if not problems:
        contents.entries[kind].append(Located(msgspec.convert(element, KINDS[kind]), where))


def _problems(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield every place where a value does not fit its type, going into it as deep as the types tell."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    plain = _branch(plain, value) if get_origin(plain) is UnionType else plain
    if not isinstance(value, dict):
        yield from _leaf_problems(value, kind, path)
    elif isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        yield from _struct_problems(value, plain, path)
    elif get_origin(plain) is dict:
        for key, element in value.items():
            yield from _leaf_problems(key, get_args(plain)[0], f"{path}.{key}")
            yield from _problems(element, get_args(plain)[1], f"{path}.{key}")
    else:
        yield from _leaf_problems(value, kind, path)


def _struct_problems(value: dict[str, Any], kind: type[msgspec.Struct], path: str) -> Iterator[str]:
    types = _types(kind)
    for key in sorted(value.keys() - types.keys() - {kind.__struct_config__.tag_field}):
        yield f"{path}.{key}: is not a known key"
    for field in msgspec.structs.fields(kind):
        if field.name in value:
            yield from _problems(value[field.name], types[field.name], f"{path}.{field.name}")
        elif field.required:
            yield f"{path}.{field.name}: is required"


@functools.cache
def _types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Types by field; finding them out takes longer than all the rest of reading a value."""
    return get_type_hints(kind, include_extras=True)


def _branch(union: Any, value: Any) -> Any:
    """Return the one struct of a tagged union that a table says it is; the union itself if it does not say."""
    for branch in get_args(union):
        config = getattr(branch, "__struct_config__", None)
        if config and isinstance(value, dict) and value.get(config.tag_field) == config.tag:
            return branch
    return union


def _leaf_problems(value: Any, kind: Any, path: str) -> Iterator[str]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        rule, _, place = str(error).partition(" - at `")
        yield f"{path}{place.removeprefix('$').rstrip('`')}: {rule}"
