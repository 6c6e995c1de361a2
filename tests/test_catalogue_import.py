"""Resources from spreadsheets: encodings, headings, values, rows that are wrong; and back again, as the same."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import CatalogueRefused
from broker.model.catalogue import Resource, ResourceItem, SemanticType, ShareType
from broker.policy.resource_rows import ITEM_TYPES, SHARE_TYPES, UPDATE_CYCLES, Found, Surroundings, resources_of, rows_of
from broker.policy.spreadsheet import Row, read, write
from tests.xlsx import write_xlsx

AROUND = Surroundings({"city.education": "云鹤市教育局", "city.gas": "云鹤市燃气公司"}, {"OLD/1": "resources.toml"})
CHINESE = (
    "信息资源代码",
    "信息资源名称",
    "信息资源提供方",
    "信息资源摘要",
    "信息项",
    "共享类型",
    "共享条件",
    "更新周期",
    "分类",
    "发布日期",
)
PUPILS = (
    "E/1",
    "在校生",
    "云鹤市教育局",
    "名册",
    "姓名:姓名:50；学号:字符型:20",
    "有条件共享",
    "按事项",
    "每日",
    "3-01",
    "2018年5月1日",
)
METERS = ("G/1", "燃气账户", "云鹤市燃气公司", "", "", "不予共享", "", "实时", "", "")
WANTED = (
    Resource(
        code="E/1",
        name="在校生",
        provider="city.education",
        abstract="名册",
        items=(
            ResourceItem(name="姓名", type=SemanticType.PERSON_NAME, max_chars=50),
            ResourceItem(name="学号", type=SemanticType.TEXT, max_chars=20),
        ),
        classification="3-01",
        share_type=ShareType.CONDITIONAL,
        share_condition="按事项",
        update_cycle="daily",
        published=dt.date(2018, 5, 1),
    ),
    Resource(code="G/1", name="燃气账户", provider="city.gas", share_type=ShareType.NOT_SHARED, update_cycle="real-time"),
)


def as_csv(rows: Iterable[Sequence[str]], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


def _found(*rows: Sequence[str], around: Surroundings = AROUND) -> Found:
    return resources_of("f.csv", [Row(number, tuple(cells)) for number, cells in enumerate(rows, 1)], around)


# --- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("gb18030", "gb18030"), ("gbk", "gb18030"), ("utf-16", "utf-16")],
)
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_csv_of_every_encoding_is_read(tmp_path: Path, encoding: str, said: str, delimiter: str) -> None:
    file = tmp_path / "r.csv"
    file.write_bytes(as_csv([CHINESE, PUPILS, METERS], delimiter).encode(encoding))
    sheet = read(file)
    assert sheet.encoding == said
    assert resources_of(file.name, sheet.rows, AROUND).resources == WANTED


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize(
    ("given", "said"),
    [("", "gb18030"), ("gb18030", "gb18030"), ("utf-8", "utf-8"), ("utf-16-le", "utf-16-le")],
)
def test_a_byte_order_mark_is_no_part_of_a_heading(tmp_path: Path, given: str, said: str, quoted: bool) -> None:
    file, text = tmp_path / "r.csv", as_csv([CHINESE, PUPILS, METERS])
    if quoted:
        text = text.replace(CHINESE[0], f'"{CHINESE[0]}"', 1)
    file.write_bytes(f"\ufeff{text}".encode(said))
    sheet = read(file, given)
    assert sheet.encoding == said
    assert resources_of(file.name, sheet.rows, AROUND).resources == WANTED


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("titles", ["云鹤市信息资源目录\n\n", "目录, 2018; 修订\n", "目录,,,,,,,,,\n填表: 甲;乙;丙\n"])
def test_titles_above_the_headings_do_not_hide_the_delimiter(tmp_path: Path, delimiter: str, titles: str) -> None:
    file = tmp_path / "r.csv"
    items = "姓名:姓名:50;学号:字符型:20"
    pupils = [items if text == PUPILS[4] else text for text in PUPILS]
    text = as_csv([CHINESE, pupils, METERS], delimiter)
    file.write_text(titles + text.replace(f'"{items}"', items) if delimiter != ";" else titles + text)
    assert resources_of(file.name, read(file).rows, AROUND).resources == WANTED


def test_a_cell_that_is_too_long_is_told_as_such(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text(as_csv([("code", "name", "provider"), ("A/1", "x" * (1 << 17), "city.gas")]))
    assert len(list(read(file).rows)) == 2
    file.write_text(as_csv([("code", "name", "provider"), ("A/1", "x" * ((1 << 17) + 1), "city.gas")]))
    with pytest.raises(CatalogueRefused) as refusal:
        list(read(file).rows)
    assert refusal.value.problems == (
        "r.csv: after row 1: a cell is longer than 131072 characters (a quotation mark is missing?)",
    )


def test_what_is_not_utf_8_only_far_down_is_found_out_too(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    head = as_csv([("code", "name", "provider"), *((f"A/{n}", "x" * 50, "city.gas") for n in range(3000))]).encode()
    file.write_bytes(head + as_csv([("A/last", "燃气", "city.gas")]).encode("gb18030"))
    sheet = read(file)
    assert sheet.about == 3002
    assert resources_of(file.name, sheet.rows, AROUND).resources[-1].name == "燃气"


def test_a_character_between_two_chunks_is_no_reason_for_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_bytes(b"code,name,provider\r\nA/1," + "燃".encode() * 60_000)
    assert read(file).encoding == "utf-8"
    file.write_bytes(file.read_bytes()[:-1])
    assert read(file).encoding == "gb18030", "cut off within a character"


def test_a_given_encoding_is_used_and_a_wrong_one_is_told_without_the_text(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_bytes(as_csv([CHINESE, PUPILS]).encode("gb18030"))
    with pytest.raises(CatalogueRefused) as refusal:
        list(read(file, "utf-8").rows)
    assert refusal.value.problems == ("r.csv: after row 0: is not utf-8; try --encoding",)


def test_a_quotation_mark_that_is_missing_is_told(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text('code,name,provider\nA/1,"x,city.gas\n')
    with pytest.raises(CatalogueRefused) as refusal:
        list(read(file).rows)
    assert "after row 1: is not CSV" in refusal.value.problems[0]


def test_a_workbook_is_read_with_its_numbers_and_days(tmp_path: Path) -> None:
    rows = [
        ("云鹤市信息资源目录",),
        (),
        ("信息资源代码*", "信息资源名称（必填）", "提供方代码", "信息项名称", "数据长度", "发布日期", "序号"),
        ("E/1", "在校生", "city.education", "姓名", 50, dt.date(2018, 5, 1), 1),
        (None, None, None, "学号", "20", None, 2),
        (2018, "燃气账户", "city.gas", "=1+1", None, "2018-05-02", 3),
    ]
    sheet = read(write_xlsx(tmp_path / "r.xlsx", rows))
    found = resources_of("r.xlsx", sheet.rows, AROUND)
    assert (found.bad, found.ignored, found.rows) == ((), ("序号",), 3)
    pupils, meters = found.resources
    assert [(item.name, item.max_chars) for item in pupils.items] == [("姓名", 50), ("学号", 20)]
    assert (pupils.published, meters.published) == (dt.date(2018, 5, 1), dt.date(2018, 5, 2))
    assert (meters.code, meters.items[0].name) == ("2018", "=1+1"), "what looks like a formula is a text"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"code,name\n"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.xlsx").write_bytes(content)
    with pytest.raises(CatalogueRefused, match=r"1 error"):
        read(tmp_path / "r.xlsx")


def test_a_workbook_that_would_unpack_to_anything_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "r.xlsx", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("big", "w") as entry:
        for _ in range(260):
            entry.write(bytes(1 << 20))
    with pytest.raises(CatalogueRefused) as refusal:
        read(tmp_path / "r.xlsx")
    assert "larger than 256 MiB" in refusal.value.problems[0]


# --- rows ---------------------------------------------------------------------------------------------------------------


def test_one_row_an_item_and_items_in_one_cell_are_the_same() -> None:
    heads = ("code", "name", "provider", "item_name", "item_type", "item_max_chars")
    apart = _found(
        heads,
        ("E/1", "在校生", "city.education", "姓名", "person_name", "50"),
        ("G/1", "燃气账户", "city.gas", "户号", "", ""),
        ("E/1", "", "", "学号", "TEXT", "20"),
        ("", "", "", "班级", "", ""),
    )
    whole = _found(
        ("code", "name", "provider", "items"),
        ("E/1", "在校生", "city.education", "姓名:person_name:50;学号:text:20\n班级"),
        ("G/1", "燃气账户", "city.gas", "户号"),
    )
    assert apart.resources == whole.resources
    assert not apart.bad


@pytest.mark.parametrize(
    ("table", "column"), [(SHARE_TYPES, "share_type"), (UPDATE_CYCLES, "update_cycle"), (ITEM_TYPES, "item_type")]
)
def test_every_word_for_a_value_is_understood(table: dict[str, Any], column: str) -> None:
    for word, value in table.items():
        found = _found(("code", "name", "provider", "item_name", column), ("A/1", "名", "city.gas", "项", f" {word.upper()} "))
        (resource,) = found.resources
        assert value == (resource.items[0].type if column == "item_type" else getattr(resource, column))


HEADS = ("code", "name", "provider", "items", "share_type", "update_cycle", "published", "item_max_chars", "item_name")
GOOD_ROW = ("A/1", "SECRET名", "city.gas", "", "", "", "", "", "")
BAD = [
    ("code", "", "is required"),
    ("code", "中文", "must be 1 to 64"),
    ("code", "-a", "must be 1 to 64"),
    ("code", "OLD/1", "stands already at resources.toml"),
    ("name", "", "is required"),
    ("name", "名" * 257, "must be one line"),
    ("provider", "", "is required"),
    ("provider", "SECRET", "no such provider"),
    ("items", "a:SECRET", "a type must be one of"),
    ("items", "a:text:SECRET", "a length must be"),
    ("items", "a:text:1:SECRET", "an item must be"),
    ("items", ":text", "names must be"),
    ("items", f"{'a' * 257}", "names must be"),
    ("items", "a:text:9999999", "lengths at most"),
    ("share_type", "SECRET", "must be one of"),
    ("update_cycle", "SECRET", "must be one of"),
    ("published", "SECRET", "must be a calendar date"),
    ("published", "2018-02-30", "the date does not exist"),
    ("item_max_chars", "1.5", "a length must be"),
]


@pytest.mark.parametrize(("column", "text", "rule"), BAD, ids=[f"{column}-{rule}" for column, _, rule in BAD])
def test_each_problem_names_row_column_and_rule_and_never_the_value(column: str, text: str, rule: str) -> None:
    cells = dict(zip(HEADS, GOOD_ROW, strict=True)) | {column: text}
    cells["item_name"] = "项" if column == "item_max_chars" else ""
    found = _found(("标题",), HEADS, tuple(cells.values()), ("B/1", "好", "city.gas"))
    (bad,) = found.bad
    assert (bad.file, bad.row, bad.column) == ("f.csv", 3, column)
    assert rule in bad.rule
    assert "SECRET" not in str(bad)
    assert [resource.code for resource in found.resources] == ["B/1"]


def test_every_problem_of_a_row_is_told_and_one_bad_row_leaves_its_whole_resource_out() -> None:
    heads = ("code", "name", "provider", "share_type", "item_name", "item_type")
    found = _found(
        heads,
        ("A/1", "", "nobody", "x", "", ""),
        ("B/1", "好", "city.gas", "", "一", ""),
        ("B/1", "别", "", "", "二", "x"),
        ("C/1", "好", "city.gas", "", "", ""),
    )
    assert [(bad.row, bad.column) for bad in found.bad] == [
        (2, "name"),
        (2, "provider"),
        (2, "share_type"),
        (4, "name"),
        (4, "item_type"),
    ]
    assert "differs from row 3" in found.bad[3].rule
    assert [resource.code for resource in found.resources] == ["C/1"]


def test_a_provider_may_be_named_but_not_ambiguously() -> None:
    twins = Surroundings({"a": "某局", "b": "某局", "c": "别局"}, {})
    heads, named = ("code", "name", "信息资源提供方", "提供方代码"), ("A/1", "名", "某局", "")
    assert [bad.column for bad in _found(heads, named, around=twins).bad] == ["provider"]
    assert _found(heads, (*named[:3], "b"), around=twins).resources[0].provider == "b"
    assert _found(heads, ("A/1", "名", "别局", ""), around=twins).resources[0].provider == "c"


@pytest.mark.parametrize("heads", [("name", "provider"), ("SECRET",), ("code", "代码")])
def test_without_headings_nothing_is_read(heads: tuple[str, ...]) -> None:
    with pytest.raises(CatalogueRefused) as refusal:
        _found(heads, ("A/1", "名", "city.gas"))
    assert "no row of headings" in refusal.value.problems[0]
    assert "SECRET" not in str(refusal.value.problems)


def test_two_columns_of_one_meaning_are_refused() -> None:
    with pytest.raises(CatalogueRefused) as refusal:
        _found(("code", "name", "信息资源名称"), ())
    assert refusal.value.problems == ("f.csv: row 1: name: has two columns",)


# --- there and back -----------------------------------------------------------------------------------------------------

LINE = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40).map(str.strip)
NAME = LINE.filter(bool)
ITEMS = st.builds(ResourceItem, name=NAME, type=st.sampled_from(SemanticType), max_chars=st.integers(0, 1_000_000))
RESOURCES = st.builds(
    Resource,
    code=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,20}\Z"),
    name=NAME,
    provider=st.sampled_from(sorted(AROUND.providers)),
    abstract=LINE,
    items=st.lists(ITEMS, max_size=4).map(tuple),
    classification=LINE,
    share_type=st.sampled_from(ShareType),
    share_condition=LINE,
    update_cycle=st.sampled_from(sorted(set(UPDATE_CYCLES.values()))),
    published=st.none() | st.dates(),
)


@given(st.lists(RESOURCES, max_size=5, unique_by=lambda resource: resource.code))
def test_what_is_exported_as_csv_is_imported_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, some: list[Resource]
) -> None:
    file = tmp_path_factory.getbasetemp() / "there-and-back.csv"
    write(file, rows_of(some))
    found = resources_of(file.name, read(file).rows, Surroundings(AROUND.providers, {}))
    assert found.bad == ()
    assert found.resources == tuple(some)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "'=1", "''=1", "'plain", "=HYPERLINK(A1)"])
def test_no_spreadsheet_takes_an_exported_text_for_a_formula(tmp_path: Path, text: str) -> None:
    resource = Resource(code="A/1", name=text, provider="city.gas")
    write(tmp_path / "r.csv", rows_of([resource]))
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert resources_of("r.csv", read(tmp_path / "r.csv").rows, AROUND).resources == (resource,)
