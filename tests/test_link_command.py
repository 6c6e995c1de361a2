"""The command `broker link`: files of every kind, planted truth, and input that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker.cli.link_fields import KINDS, known
from broker.linkage import Kind
from tests.link_kit import CHINESE, FIELDS, Run, f1, few_random_pairs, in_both, people, read, runner, write

XM = ("gmsfhm", "xm", "xb", "csrq", "hjdz", "lxdh")


@pytest.fixture(autouse=True, scope="module")
def quickly() -> Iterator[None]:
    with few_random_pairs():
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def two(tmp_path: Path, kind: str = ".parquet") -> tuple[Path, Path]:
    records, register = people()
    return write(tmp_path / f"records{kind}", records), write(tmp_path / f"people{kind}", register)


def test_two_files_under_other_names_and_encodings(tmp_path: Path, run: Run) -> None:
    records, register = people()
    left = write(tmp_path / "a.csv", records, (*CHINESE, "编号"), "gb18030")
    right = write(tmp_path / "b.csv", register, (*(f" {name}" for name in XM), "id"), "utf-8-sig")
    done = run(left, right, "--out", tmp_path / "l.csv", "--left-key", "编号", "--right-key", "id", "--json")
    assert done.code == 0, done.err
    pairs = read(tmp_path / "l.csv")
    assert f1(pairs, in_both()) >= 0.99
    for pair in pairs:
        assert records["key"][pair["left_row"] - 1].as_py() == pair["left_key"]
        assert register["key"][pair["right_row"] - 1].as_py() == pair["right_key"]
    told = done.told
    assert told["rows"] == [records.num_rows, register.num_rows]
    assert told["fields"]["姓名"] == "person_name"
    assert told["links"] == sum(pair["decision"] == "link" for pair in pairs)
    assert told["links"] + told["review"] == len(pairs) == told["written"]
    assert told["compared"] == told["links"] + told["review"] + told["left_alone"]
    assert "姓名, xm as person_name" in done.err
    assert "not used of a.csv: 编号" in done.err
    explicit = run(left, right, "--out", tmp_path / "e.csv", "--encoding", "gb18030")
    assert explicit.code == 18, "the second file is not in it"
    assert "--encoding" in explicit.err


def test_every_kind_of_file_gives_the_same(tmp_path: Path, run: Run) -> None:
    found = []
    for kind in (".csv", ".jsonl", ".parquet"):
        out = tmp_path / f"links{kind}"
        done = run(*two(tmp_path, kind), "--out", out, "--key", "key")
        assert done.code == 0, done.err
        assert out.stat().st_mode & 0o077 == 0, "keys are for the owner only"
        found.append(read(out))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 500


def test_numbers_and_dates_of_parquet_are_what_they_are_as_text(tmp_path: Path, run: Run) -> None:
    records, register = people()
    typed = register.set_column(3, "birth_date", register["birth_date"].cast(pa.timestamp("s")))
    phones = pa.array([None if phone is None else float(phone) for phone in register["phone"].to_pylist()])
    typed = typed.set_column(5, "phone", phones)
    typed = typed.append_column("picture", pa.array([b"\xff"] * len(typed), pa.binary()))  # which nobody asks for
    typed = typed.append_column("took", pa.array([1] * len(typed), pa.duration("s")))
    left = write(tmp_path / "l.parquet", records)
    for name, table in (("text", register), ("typed", typed)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        assert run(left, tmp_path / f"{name}.parquet", "--out", tmp_path / f"{name}.csv").code == 0
    assert (tmp_path / "text.csv").read_bytes() == (tmp_path / "typed.csv").read_bytes()


def test_duplicates_of_one_file_and_their_clusters(tmp_path: Path, run: Run) -> None:
    records, register = people()
    both = write(tmp_path / "both.jsonl", pa.concat_tables([register, records]))
    done = run(both, "--out", tmp_path / "l.parquet", "--clusters", tmp_path / "c.csv", "--key", "key", "--json")
    assert done.code == 0, done.err
    pairs, clusters = read(tmp_path / "l.parquet"), read(tmp_path / "c.csv")
    assert all(pair["left_row"] < pair["right_row"] for pair in pairs)
    assert f1(pairs, in_both()) >= 0.99
    assert [row["row"] for row in clusters] == list(range(1, len(clusters) + 1))
    assert [row["key"] for row in clusters] == [*register["key"].to_pylist(), *records["key"].to_pylist()]
    together = {row["row"]: row["cluster"] for row in clusters}
    agreed = sum(together[pair["left_row"]] == together[pair["right_row"]] for pair in pairs if pair["decision"] == "link")
    assert agreed >= 0.99 * done.told["links"]
    assert done.told["clusters"] == len(set(together.values()))


def test_an_operator_says_what_columns_are(tmp_path: Path, run: Run) -> None:
    records, register = people()
    left = write(tmp_path / "l.csv", records, ("n1", "who", "sex", "day", "address", "phone", "key"))
    right = write(tmp_path / "r.csv", register, ("n2", "who", "sex", "birth_date", "address", "phone", "key"))
    options = ["n1:n2=resident_id", "who=person_name", "day:birth_date=date", "sex=none"]
    done = run(
        left, right, "--out", tmp_path / "o.csv", "--key", "key", "--json", *(w for o in options for w in ("--field", o))
    )
    assert done.code == 0, done.err
    assert done.told["fields"] == {
        "n1": "resident_id", "who": "person_name", "day": "date", "address": "address", "phone": "phone"
    }  # fmt: skip
    assert f1(read(tmp_path / "o.csv"), in_both()) >= 0.99
    assert "not used of r.csv: sex, key" in done.err


def test_a_row_has_one_link_or_many(tmp_path: Path, run: Run) -> None:
    records, register = people()
    left, _ = two(tmp_path)
    twice = write(tmp_path / "twice.parquet", pa.concat_tables([register, register.slice(0, 40)]))
    found = {}
    for options in ((), ("--many",)):
        assert run(left, twice, "--out", tmp_path / "l.csv", *options).code == 0
        links = [pair["left_row"] for pair in read(tmp_path / "l.csv") if pair["decision"] == "link"]
        found[options] = len(links) - len(set(links))
    assert found[()] == 0
    there = {key[1:] for key in records["key"].to_pylist()}
    assert found[("--many",)] >= 0.9 * sum(key[1:] in there for key in register["key"].to_pylist()[:40])


def test_thresholds_decide(tmp_path: Path, run: Run) -> None:
    """Who is in the register twice is as likely the one as the other."""
    left, out = two(tmp_path)[0], tmp_path / "l.csv"
    twice = write(tmp_path / "twice.parquet", pa.concat_tables([people()[1], people()[1].slice(0, 40)]))
    decided = {}
    for least in (0.3, 0.8):
        assert run(left, twice, "--out", out, "--threshold", least, "--review", 0.3).code == 0
        pairs = read(out)
        assert all((pair["probability"] >= least) == (pair["decision"] == "link") for pair in pairs)
        assert min(pair["probability"] for pair in pairs) >= 0.3
        decided[least] = sum(pair["decision"] == "review" for pair in pairs)
    assert decided[0.3] == 0
    assert decided[0.8] >= 20


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tables_of_hardly_any_rows(tmp_path: Path, run: Run, rows: int) -> None:
    _, register = people()
    few = write(tmp_path / "few.csv", register.slice(0, rows))
    for files in ([few], [few, few]):
        done = run(*files, "--out", tmp_path / "l.csv", "--report", tmp_path / "r.html")
        assert done.code == 0, done.err
        assert "few to learn from" in done.err


# --- what is refused ----------------------------------------------------------------------------------------------------


def _file(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


SECRET = "欧阳若兰"
HEADING = "姓名,性别,出生日期\n"
ROW = f"{SECRET},女,1990-02-03\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "code", "says"),
    [
        ("a.csv", b"", (), 18, "is empty"),
        ("a.csv", HEADING.encode(), (), 18, "no rows"),
        ("a.xlsx", b"x", (), 18, ".parquet"),
        ("a.csv", (HEADING + ROW).encode("utf-16"), (), 18, "--encoding"),
        ("a.csv", (HEADING + ROW).encode("gb18030"), ("--encoding", "utf-8"), 18, "--encoding"),
        ("a.csv", (HEADING + ROW).encode(), ("--encoding", "klingon"), 2, "--encoding"),
        ("a.csv", (HEADING + ROW + f"{SECRET}\n").encode(), (), 18, "damaged"),
        ("a.csv", f"姓名,姓名\n{SECRET},{SECRET}\n".encode(), (), 18, "two columns have one name"),
        ("a.parquet", b"PAR1 no", (), 18, "damaged"),
        ("a.jsonl", f'{{"姓名": "{SECRET}", '.encode(), (), 18, "damaged"),
        ("a.jsonl", f'{{"姓名": ["{SECRET}"]}}\n'.encode(), (), 18, "damaged"),
        ("a.csv", (HEADING + ROW).encode(), ("--field", "生日=date"), 18, "it has 姓名, 性别, 出生日期"),
        ("a.csv", (HEADING + ROW).encode(), ("--field", "姓名=nickname"), 2, "resident_id"),
        ("a.csv", (HEADING + ROW).encode(), ("--field", "姓名"), 2, "COLUMN=KIND"),
        ("a.csv", (HEADING + ROW).encode(), ("--field", "姓名=none", "--field", "性别=none"), 18, "at least 2"),
        ("a.csv", f"姓名,备注\n{SECRET},x\n".encode(), (), 18, "--field COLUMN=KIND"),
        ("a.csv", ROW.encode() * 2, (), 18, "does the first line name the columns"),
        ("a.csv", ROW.encode() * 2, ("--field", "name=person_name"), 18, "is there a heading"),
        ("a.csv", (HEADING + ROW).encode(), ("--key", "编号"), 18, "no column `编号`"),
        ("a.csv", (HEADING + ROW).encode(), ("--review", "0.6"), 2, "--review"),
        ("a.csv", (HEADING + ROW).encode(), ("--many",), 2, "--many"),
        ("a.csv", (HEADING + ROW).encode(), ("--clusters", "c.txt"), 18, ".parquet"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_without_data(
    tmp_path: Path, run: Run, name: str, content: bytes, options: tuple[str, ...], code: int, says: str
) -> None:
    done = run(_file(tmp_path, name, content), "--out", tmp_path / "l.csv", *options)
    assert done.code == code, done.err
    assert says in done.err
    assert "Traceback" not in done.err
    assert SECRET not in done.out + done.err
    assert not (tmp_path / "l.csv").exists()
    if code == 18:
        assert done.err.startswith("broker: ") and done.err.count("\n") == 1


def test_files_that_cannot_be_opened(tmp_path: Path, run: Run) -> None:
    left, right = two(tmp_path)
    assert run(tmp_path / "none.csv", "--out", tmp_path / "l.csv").code == 5
    assert run(left, right, "--out", tmp_path / "no" / "l.csv").code == 5
    assert run(left, right, "--out", tmp_path / "l.csv", "--report", tmp_path / "no" / "r.html").code == 5
    assert run(left, right, "--out", tmp_path / "l.csv", "--clusters", tmp_path / "c.csv").code == 2


def test_names_of_columns_are_not_told_where_they_are_data(tmp_path: Path, run: Run) -> None:
    headless = _file(tmp_path, "a.csv", "".join(f"{SECRET},女,1990-02-0{day},x{day}\n" for day in range(1, 9)).encode())
    options = ("--field", f"{SECRET}=person_name", "--field", "1990-02-01=date", "--report", tmp_path / "r.html")
    done = run(headless, "--out", tmp_path / "l.csv", *options)
    assert done.code == 0, done.err
    assert "2 columns" in done.err
    assert "x1" not in done.err


def test_usual_names_of_columns() -> None:
    kinds = {
        "姓名": Kind.PERSON_NAME, " Name ": Kind.PERSON_NAME, "XM": Kind.PERSON_NAME, "身份证号": Kind.RESIDENT_ID,
        "GMSFHM": Kind.RESIDENT_ID, "Date of Birth": Kind.DATE, "birth-date": Kind.DATE, "soc_sec_id": Kind.IDENTIFIER,
        "given_name": Kind.GIVEN_NAME, "postcode": Kind.NUMBER, "手机": Kind.PHONE, "性别": Kind.CATEGORY, "住址": Kind.ADDRESS,
    }  # fmt: skip
    assert {name: (known(name) or ("", None))[1] for name in kinds} == kinds
    assert known("备注") is None
    assert KINDS.keys() >= {"person_name", "text"}
    assert all(known(name) for name in FIELDS)
