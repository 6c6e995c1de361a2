"""Turns rows of a spreadsheet into resources and back: what columns and values are called, in English and after GB/T 21063.

A row is a resource with its items in one cell (``name:type:length; …``), or one item of it: rows with the same code are one
resource, and a row without a code belongs to the one above, as merged cells are read. Problems name row, column and rule, never
the value. Pure. What must not go in here: files and encodings (spreadsheet.py).
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from broker.errors import CatalogueRefused
from broker.model.catalogue import Resource, ResourceItem, SemanticType, ShareType, UpdateCycle
from broker.model.semantics import NotCanonical, canonical
from broker.policy.spreadsheet import Row

# Columns by what their heading may be; the first is ours.
HEADINGS: Mapping[str, tuple[str, ...]] = {
    "code": ("code", "信息资源代码", "信息资源标识符", "资源代码"),
    "name": ("name", "信息资源名称", "资源名称"),
    "provider": ("provider", "提供方代码", "信息资源提供方代码", "资源提供方代码"),
    "provider_name": ("provider_name", "信息资源提供方", "资源提供方", "提供方"),
    "abstract": ("abstract", "信息资源摘要", "资源摘要", "摘要"),
    "items": ("items", "信息项", "信息项信息"),
    "item_name": ("item_name", "信息项名称"),
    "item_type": ("item_type", "信息项数据类型", "信息项类型", "数据类型"),
    "item_max_chars": ("item_max_chars", "信息项数据长度", "信息项长度", "数据长度"),
    "classification": ("classification", "信息资源分类", "分类", "信息资源分类代码", "分类代码"),
    "share_type": ("share_type", "共享类型", "共享属性"),
    "share_condition": ("share_condition", "共享条件"),
    "update_cycle": ("update_cycle", "更新周期"),
    "published": ("published", "发布日期"),
}
_COLUMNS = {heading: column for column, headings in HEADINGS.items() for heading in headings}
EXPORTED = tuple(column for column in HEADINGS if column not in ("provider_name", "item_name", "item_type", "item_max_chars"))
_ITEM_COLUMNS = ("items", "item_name", "item_type", "item_max_chars")
_MAX_HEAD_ROWS = 10  # titles and remarks may stand above the headings


def _names(words: Mapping[Any, str]) -> dict[str, Any]:
    """Table of every word for a value; a value's own name is one of them."""
    return {word.casefold(): value for value, more in words.items() for word in (str(value), *more.split())}


SHARE_TYPES: Mapping[str, ShareType] = _names(
    {
        ShareType.UNCONDITIONAL: "无条件共享 无条件 无条件共享类",
        ShareType.CONDITIONAL: "有条件共享 有条件 有条件共享类",
        ShareType.NOT_SHARED: "不予共享 不共享 不予共享类",
    }
)
UPDATE_CYCLES: Mapping[str, UpdateCycle] = _names(
    {
        "real-time": "实时",
        "daily": "每日 每天 日",
        "weekly": "每周 周",
        "monthly": "每月 月",
        "quarterly": "每季度 每季 季度",
        "yearly": "每年 年 年度",
        "irregular": "不定期 其他",
    }
)
ITEM_TYPES: Mapping[str, SemanticType] = _names(
    {
        SemanticType.PERSON_NAME: "姓名",
        SemanticType.RESIDENT_ID: "公民身份号码 身份证号",
        SemanticType.USCC: "统一社会信用代码",
        SemanticType.ADDRESS: "地址",
        SemanticType.DATE: "日期型 日期 日期时间型 d dt",
        SemanticType.LICENCE_NO: "证照编号",
        SemanticType.TEXT: "字符型 字符串型 字符串 文本 c",
        SemanticType.PHONE: "电话号码 联系电话",
        SemanticType.COMPANY_NAME: "企业名称 单位名称",
        SemanticType.NUMBER: "数值型 整数型 浮点型 货币型 n",
    }
)

_RULES: Mapping[str, str] = {
    "code": "must be 1 to 64 of A-Z a-z 0-9 . _ / - and begin with a letter or digit",
    "name": "must be one line of 1 to 256 characters",
    "provider": "must be the identifier of a provider",
    "abstract": "must be one line of at most 4096 characters",
    "items": "names must be one line of 1 to 256 characters, lengths at most 1000000",
    "classification": "must be one line of at most 4096 characters",
    "share_condition": "must be one line of at most 4096 characters",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_SPECIAL = r"\\;；:：、"
_ITEM = re.compile(rf"(?:\\[{_SPECIAL}]|[^;；、\r\n])+")
_PART = re.compile(rf"((?:\\[{_SPECIAL}]|[^:：])*)(?:[:：]|$)")  # and one more, empty, at the end
_ESCAPED = re.compile(rf"\\([{_SPECIAL}])")


class BadRow(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, and against which rule."""

    file: str
    row: int
    column: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}: {self.column}: {self.rule}"


class Surroundings(NamedTuple):
    """What the rows are to fit into."""

    providers: Mapping[str, str]  # name by id
    taken: Mapping[str, str]  # codes that are there already, and where


class Found(NamedTuple):
    """What a file's rows were."""

    resources: tuple[Resource, ...]  # those of which every row is right
    bad: tuple[BadRow, ...]
    rows: int
    ignored: tuple[str, ...]  # headings that mean nothing here


class _Draft:
    """A resource whose rows are still being read."""

    def __init__(self, row: int, cells: Mapping[str, str]) -> None:
        self.row = row
        self.cells = cells
        self.items: list[dict[str, Any]] = []
        self.broken = False


class _Rows:
    """Takes the rows of one file, one by one."""

    def __init__(self, file: str, around: Surroundings) -> None:
        self._file = file
        self._around = around
        self._ids: dict[str, list[str]] = {}
        for provider, name in around.providers.items():
            self._ids.setdefault(name, []).append(provider)
        self._drafts: dict[str, _Draft] = {}
        self._last: _Draft | None = None
        self.bad: list[BadRow] = []

    def take(self, row: int, cells: Mapping[str, str]) -> None:
        """Take one row: a new resource, or more of one."""
        code = cells.get("code", "")
        draft = self._drafts.get(code) if code or cells.get("name") else self._last
        if draft is None:
            draft = self._drafts[code or f"\0{row}"] = _Draft(row, cells)
            problems = list(self._own_problems(cells))
        else:
            problems = list(_differences(draft, cells))
        self._last = draft
        try:
            draft.items += _items(cells)
        except _Refused as refusal:
            problems.append((refusal.column, refusal.rule))
        self.bad += [BadRow(self._file, row, column, rule) for column, rule in problems]
        draft.broken = draft.broken or bool(problems)

    def finish(self) -> tuple[Resource, ...]:
        """Return the resources that nothing is wrong with, in order of their first rows."""
        made = (self._resource(draft) for draft in self._drafts.values() if not draft.broken)
        return tuple(resource for resource in made if resource is not None)

    def _resource(self, draft: _Draft) -> Resource | None:
        cells = draft.cells
        plain = {
            name: cells[name] for name in ("code", "name", "abstract", "classification", "share_condition") if name in cells
        }
        more: dict[str, Any] = {"provider": self._provider(cells), "items": draft.items}
        if cells.get("share_type"):
            more["share_type"] = SHARE_TYPES[cells["share_type"].casefold()]
        if cells.get("update_cycle"):
            more["update_cycle"] = UPDATE_CYCLES[cells["update_cycle"].casefold()]
        if cells.get("published"):
            more["published"] = _day(cells["published"])
        try:
            return msgspec.convert(plain | more, Resource)
        except msgspec.ValidationError as error:
            place = re.search(r"`\$\.([a-z_]+)", str(error))
            column = place[1] if place else "items"
            self.bad.append(BadRow(self._file, draft.row, column, _RULES.get(column, "is not right")))
            return None

    def _provider(self, cells: Mapping[str, str]) -> str:
        named = self._ids.get(cells.get("provider_name", ""), [])
        return cells.get("provider") or (named[0] if len(named) == 1 else "")

    def _own_problems(self, cells: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Say what is wrong with the first row of a resource, but for its texts."""
        code = cells.get("code", "")
        if not code:
            yield "code", "is required"
        if code in self._around.taken:
            yield "code", f"stands already at {self._around.taken[code]}"
        if not cells.get("name"):
            yield "name", "is required"
        if cells.get("provider") and cells["provider"] not in self._around.providers:
            yield "provider", "no such provider in the directory"
        elif not self._provider(cells):
            yield "provider", "is required, or a provider_name that one provider in the directory has"
        for column, words in (("share_type", SHARE_TYPES), ("update_cycle", UPDATE_CYCLES)):
            if cells.get(column) and cells[column].casefold() not in words:
                yield column, f"must be one of {', '.join(words)}"
        try:
            _day(cells.get("published") or "2000-01-01")
        except NotCanonical as error:
            yield "published", str(error)


class _Refused(Exception):
    def __init__(self, column: str, rule: str) -> None:
        super().__init__(rule)
        self.column = column
        self.rule = rule


def resources_of(file: str, rows: Iterable[Row], around: Surroundings) -> Found:
    """Read the rows of a file.

    Raises:
        CatalogueRefused: there are no headings in its first rows.
    """
    rest = iter(rows)
    columns, ignored = _headings(file, rest)
    taking, count = _Rows(file, around), 0
    for row in rest:
        count += 1
        cells = {column: row.cells[at] for at, column in columns.items() if at < len(row.cells)}
        taking.take(row.number, {c: text if c == "items" else clean(text) for c, text in cells.items()})
    resources = taking.finish()
    return Found(resources, tuple(sorted(taking.bad, key=lambda bad: bad.row)), count, ignored)


def rows_of(resources: Iterable[Resource]) -> Iterator[Sequence[str]]:
    """Give the headings, then one row a resource, which `resources_of` reads back as the same."""
    yield EXPORTED
    for resource in resources:
        plain = msgspec.structs.asdict(resource)
        plain["items"] = "; ".join(map(_item_text, resource.items))
        plain["published"] = resource.published.isoformat() if resource.published else ""
        yield [str(plain[column]) for column in EXPORTED]


def clean(text: str) -> str:
    """Return a cell's text on one line, with nothing blank at its ends."""
    return _CONTROL.sub(" ", text).strip()


def _headings(file: str, rows: Iterator[Row]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Read up to the headings; returns the column at each place, and the headings that mean nothing here."""
    for row, _ in zip(rows, range(_MAX_HEAD_ROWS), strict=False):
        known = {at: _COLUMNS[key] for at, text in enumerate(row.cells) if (key := _heading(text)) in _COLUMNS}
        columns = list(known.values())
        if {"code", "name"} <= set(columns):
            twice = sorted({column for column in columns if columns.count(column) > 1})
            if twice:
                raise CatalogueRefused(tuple(f"{file}: row {row.number}: {column}: has two columns" for column in twice))
            return known, tuple(clean(text) for at, text in enumerate(row.cells) if at not in known and text.strip())
    raise CatalogueRefused((f"{file}: no row of headings with code (信息资源代码) and name (信息资源名称)",))


def _heading(text: str) -> str:
    """Fold a heading: without blanks, marks of what is required, and remarks in brackets."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).casefold()
    return re.sub(r"\(.*?\)", "", plain).strip("*")


def _differences(draft: _Draft, cells: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A further row of a resource may repeat what the first says, or leave it out."""
    for column, text in cells.items():
        if column not in _ITEM_COLUMNS and text and text != draft.cells.get(column, ""):
            yield column, f"differs from row {draft.row}, which has the same code"


def _items(cells: Mapping[str, str]) -> list[dict[str, Any]]:
    found = [_item("items", *parts) for parts in _split(cells.get("items", ""))]
    if cells.get("item_name"):
        kind, length = cells.get("item_type", ""), cells.get("item_max_chars", "")
        found.append(_item("item_type", cells["item_name"], kind, length))
    return found


def _split(cell: str) -> Iterator[list[str]]:
    for entry in _ITEM.findall(cell):
        parts = [clean(_ESCAPED.sub(r"\1", part)) for part in _PART.findall(entry)]
        if any(parts):
            yield parts[:-1]


def _item(column: str, name: str, kind: str = "", length: str = "", *more: str) -> dict[str, Any]:
    if more:
        raise _Refused(column, "an item must be name:type:length, colons in its name with a backslash before them")
    if kind and kind.casefold() not in ITEM_TYPES:
        raise _Refused(column, f"a type must be one of {', '.join(ITEM_TYPES)}")
    if length and not re.fullmatch("[0-9]{1,7}", length):
        raise _Refused("items" if column == "items" else "item_max_chars", "a length must be a whole number")
    return {
        "name": name,
        "type": ITEM_TYPES[kind.casefold()] if kind else SemanticType.TEXT,
        "max_chars": int(length or 0),
    }


def _item_text(item: ResourceItem) -> str:
    name = re.sub(rf"([{_SPECIAL}])", r"\\\1", item.name)
    return f"{name}:{item.type.value}:{item.max_chars}"


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(canonical(SemanticType.DATE, text))
