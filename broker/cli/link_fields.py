"""Which columns of tables are compared, and as what: by what columns are usually called, and by what the operator says.

What must not go in here: files, and how fields are compared.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import typer

from broker.errors import TablesRefused
from broker.linkage import Kind, Schema

LEAST_FIELDS, MOST_FIELDS = 2, 16
NOT_COMPARED = "none"
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name.lower(): kind for kind in Kind})
_BETWEEN = str.maketrans("", "", " _-.()（）\ufeff")

# What a column is about, its kind, and what it is called, as spoken (GA/T 543 has the abbreviations): in any case, without
# blanks and underlines. Columns about the same are compared with one another, whatever they are called in each table.
_CALLED: tuple[tuple[str, Kind, str], ...] = (
    ("resident id", Kind.RESIDENT_ID, "residentid residentidno idcard idcardno sfzh sfzhm gmsfhm gmsfzhm zjhm"),
    ("resident id", Kind.RESIDENT_ID, "公民身份号码 身份证号 身份证号码 身份证 居民身份证号码 公民身份证号码"),
    ("name", Kind.PERSON_NAME, "name fullname personname xm 姓名 名字"),
    ("given name", Kind.GIVEN_NAME, "givenname firstname forename"),
    ("surname", Kind.SURNAME, "surname lastname familyname"),
    ("sex", Kind.CATEGORY, "sex gender xb xbdm 性别"),
    ("birth date", Kind.DATE, "birthdate dateofbirth dob birthday csrq 出生日期 出生年月日 生日"),
    ("address", Kind.ADDRESS, "zz dz hjdz jzdz 住址 地址 家庭住址 现住址 户籍地址 居住地址 常住地址 通讯地址"),
    ("address", Kind.ADDRESS, "address homeaddress"),
    ("phone", Kind.PHONE, "phone phoneno phonenumber telephone tel mobile mobilephone lxdh sjh sjhm"),
    ("phone", Kind.PHONE, "电话 手机 手机号 手机号码 联系电话 联系方式 电话号码"),
    ("social security id", Kind.IDENTIFIER, "socsecid ssn socialsecurityid socialsecuritynumber 社保号 社会保障号码"),
    ("passport", Kind.IDENTIFIER, "passport passportno 护照号 护照号码"),
    ("street number", Kind.NUMBER, "streetnumber housenumber"),
    ("address line 1", Kind.TEXT, "address1 street streetname"),
    ("address line 2", Kind.TEXT, "address2"),
    ("suburb", Kind.TEXT, "suburb city town"),
    ("postcode", Kind.NUMBER, "postcode postalcode zip zipcode postcodefake yzbm 邮编 邮政编码"),
    ("state", Kind.CATEGORY, "state province 省份"),
    ("birth place", Kind.TEXT, "birthplace placeofbirth"),
    ("occupation", Kind.TEXT, "occupation"),
    ("ethnicity", Kind.CATEGORY, "ethnicity mz mzdm 民族"),
)
_KNOWN: Mapping[str, tuple[str, Kind]] = MappingProxyType(
    {name: (about, kind) for about, kind, names in _CALLED for name in names.split()}
)


@dataclass(frozen=True)
class Compared:
    """A field: what it is called in each table, and its kind."""

    left: str
    right: str
    kind: Kind


@dataclass(frozen=True)
class Fields:
    """What is compared, and what is not used of each table."""

    compared: tuple[Compared, ...]
    unused: tuple[tuple[str, ...], ...]

    @property
    def schema(self) -> Schema:
        """Fields by the names of the left table's columns."""
        return Schema.of({field.left: field.kind for field in self.compared})


@dataclass(frozen=True)
class Said:
    """What an operator says of a column: what it is called on both sides, and its kind; None is not compared."""

    left: str
    right: str
    kind: Kind | None


def said(options: Iterable[str]) -> list[Said]:
    """Read `COLUMN=KIND`, or `LEFT:RIGHT=KIND` where a column has two names.

    Raises:
        typer.BadParameter: it is not of this form, or there is no such kind.
    """
    return [_said(option) for option in options]


def _said(option: str) -> Said:
    columns, equals, kind = option.rpartition("=")
    known = ", ".join((*KINDS, NOT_COMPARED))
    if not equals or not columns:
        raise typer.BadParameter(f"is COLUMN=KIND, or LEFT:RIGHT=KIND; kinds are {known}", param_hint="--field")
    if kind != NOT_COMPARED and kind not in KINDS:
        raise typer.BadParameter(f"there is no kind of this name; kinds are {known}", param_hint="--field")
    left, _, right = columns.partition(":")
    return Said(left, right or left, KINDS.get(kind))


def known(column: str) -> tuple[str, Kind] | None:
    """Return what a column of this name is about, and its kind, if it is a usual name."""
    return _KNOWN.get(unicodedata.normalize("NFKC", column).lower().translate(_BETWEEN))


def choose(tables: Sequence[tuple[str, Sequence[str]]], options: Sequence[Said]) -> Fields:
    """Choose the fields of one table or two, each a name of the file and its columns.

    Raises:
        TablesRefused: a column that is named is not there, or there are too few fields or too many.
    """
    for side, (file, columns) in enumerate(tables):
        for option in options:
            _check_there(file, columns, (option.left, option.right)[side])
    mentioned = [{(option.left, option.right)[side] for option in options} for side in range(len(tables))]
    about = [_about(columns, named) for (_, columns), named in zip(tables, mentioned, strict=True)]
    compared = [Compared(option.left, option.right, option.kind) for option in options if option.kind is not None]
    compared += [
        Compared(column, about[-1][what], kind)
        for what, column in about[0].items()
        if what in about[-1] and (found := known(column)) and (kind := found[1]) is not None
    ]
    _check_count(tables, compared)
    used = [{(field.left, field.right)[side] for field in compared} for side in range(len(tables))]
    unused = (tuple(c for c in columns if c not in taken) for (_, columns), taken in zip(tables, used, strict=True))
    return Fields(tuple(compared), tuple(unused))


def _about(columns: Sequence[str], mentioned: set[str]) -> dict[str, str]:
    """Find the first column about each thing, among those of which nothing was said."""
    found: dict[str, str] = {}
    for column in columns:
        if column not in mentioned and (one := known(column)):
            found.setdefault(one[0], column)
    return found


def _check_there(file: str, columns: Sequence[str], column: str) -> None:
    """Refuse a column that is not there. Where there is no heading, names of columns are somebody's data, and not told."""
    if column in columns:
        return
    there = f"; it has {', '.join(columns)}" if any(map(known, columns)) else "; is there a heading?"
    raise TablesRefused(f"{file}: has no column `{column}` that --field names{there}")


def _check_count(tables: Sequence[tuple[str, Sequence[str]]], compared: Sequence[Compared]) -> None:
    if len({field.left for field in compared}) < len(compared) or len({field.right for field in compared}) < len(compared):
        raise TablesRefused("--field: names a column twice")
    if len(compared) > MOST_FIELDS:
        raise TablesRefused(f"there are {len(compared)} fields, at most {MOST_FIELDS} can be compared; use --field COLUMN=none")
    if len(compared) < LEAST_FIELDS:
        names = " and ".join(file for file, _ in tables)
        raise TablesRefused(
            f"{names}: {len(compared)} column(s) can be compared, at least {LEAST_FIELDS} are needed; does the first line name "
            f"the columns? Say what they are with --field COLUMN=KIND (LEFT:RIGHT=KIND where names differ)"
        )
