"""Synthetic legal persons: codes that are right, names in pieces, records with the errors they are said to have."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from rapidfuzz.distance import DamerauLevenshtein, Hamming
from stdnum.cn import uscc

from broker.demo.synthetic import LEGAL_ABSENT, LEGAL_ERRORS, LEGAL_SCHEMAS, LegalRegister, LegalSettings, legal_generate
from broker.model.catalogue import SemanticType
from broker.model.semantics import canonical

Row = dict[str, Any]
COMPANIES = 60_000
FORMS = ("股份有限公司", "股份公司", "（集团）有限公司", "集团有限公司", "有限责任公司", "有限公司")


@functools.cache
def _rows(register: LegalRegister, companies: int = COMPANIES, batch_rows: int = 65_536, seed: int = 7) -> list[Row]:
    batches = legal_generate(LegalSettings(companies=companies, seed=seed), register, batch_rows)
    return list(pa.Table.from_batches(batches, LEGAL_SCHEMAS[register]).to_pylist())


@pytest.fixture(scope="module")
def joined() -> list[tuple[Row, Row, Row | None]]:
    by_number = {company["company_no"]: company for company in _rows(LegalRegister.COMPANIES)}
    pairs = zip(_rows(LegalRegister.OBSERVED), _rows(LegalRegister.TRUTH), strict=True)
    return [(record, truth, by_number.get(truth["company_no"])) for record, truth in pairs]


@pytest.mark.parametrize("register", LegalRegister)
def test_a_seed_means_the_same_rows_whatever_the_batches(register: LegalRegister) -> None:
    first = _rows(register, 2_000)
    assert _rows(register, 2_000, 77) == first
    assert _rows(register, 2_000, 65_536, 8) != first


def test_every_code_is_well_formed_nobodys_and_different() -> None:
    codes = [company["uscc"] for company in _rows(LegalRegister.COMPANIES)]
    assert len(set(codes)) == len(codes) == COMPANIES
    assert all(uscc.is_valid(code) and code[2:4] == "99" for code in codes)
    assert all(canonical(SemanticType.USCC, code) == code for code in codes[::40])


def test_the_organisation_code_in_it_has_its_own_check() -> None:
    """GB 11714: weights 3 7 9 10 5 8 4 2, 11 minus the rest, X for ten."""
    for company in _rows(LegalRegister.COMPANIES)[::20]:
        code = company["uscc"][8:17]
        rest = 11 - sum(int(digit) * weight for digit, weight in zip(code[:8], (3, 7, 9, 10, 5, 8, 4, 2), strict=True)) % 11
        assert code[8] == {10: "X", 11: "0"}.get(rest, str(rest))


def test_names_have_forms_and_branches_are_not_their_parents() -> None:
    names = Counter(company["name"] for company in _rows(LegalRegister.COMPANIES))
    assert 0.6 < sum(count for name, count in names.items() if name.endswith("有限公司")) / COMPANIES < 0.85
    branches = [name for name in names if name.endswith("分公司")]
    assert 0.03 < len(branches) / COMPANIES < 0.07
    parents = {name for name in names if name.endswith(FORMS)}
    assert sum(any(branch.startswith(parent) for parent in parents) for branch in branches[:50]) > 30
    shops = [company for company in _rows(LegalRegister.COMPANIES) if company["name"].endswith(("经营部", "商行"))]
    assert {shop["uscc"][:2] for shop in shops} == {"92"}


def _shows_code(error: str, right: str, wrong: str | None) -> bool:
    same_length = wrong is not None and len(wrong) == 18
    return {
        "code_digit": same_length and Hamming.distance(right, wrong) == 1 and not uscc.is_valid(wrong or ""),
        "code_transposed": same_length and right != wrong and DamerauLevenshtein.distance(right, wrong) == 1,
        "code_lower": wrong == right.lower() != right,
        "code_organisation": wrong in (right[8:17], f"{right[8:16]}-{right[16]}"),
        "code_missing": wrong is None,
    }[error]


def _shows_name(error: str, right: str, wrong: str) -> bool:
    bare = str.maketrans("", "", "（）()")
    return {
        "company_form": right != wrong and right.split("分公司", maxsplit=1)[0][:4] == wrong[:4],
        "company_short": len(wrong) < len(right) and right.startswith(wrong),
        "company_place": right != wrong and right[-6:] == wrong[-6:],
        "company_brackets": right != wrong and wrong.translate(bare) in (right.translate(bare), right.replace("（云鹤）", "")),
        "company_homophone": len(right) == len(wrong) and Hamming.distance(right, wrong) == 1,
    }[error]


def test_every_error_is_there_and_nothing_else_is_wrong(joined: list[tuple[Row, Row, Row | None]]) -> None:
    seen: Counter[str] = Counter()
    for record, truth, company in joined:
        if company is None:
            continue
        errors = truth["errors"].split("+") if truth["errors"] else []
        for error in errors:
            column = LEGAL_ERRORS[error].column
            right, wrong = company[column], record[column]
            shows = {"uscc": _shows_code, "name": _shows_name}.get(column, lambda _, a, b: a != b)
            assert shows(error, right, wrong), (error, right, wrong)
        untouched = {"uscc", "name", "address", "representative"} - {LEGAL_ERRORS[error].column for error in errors}
        assert {column for column in untouched if company[column] != record[column]} == set()
        assert truth["case"] == ("exact" if not errors else errors[0] if len(errors) == 1 else "several")
        seen[truth["case"]] += 1
    assert seen.keys() == {"exact", "several", *LEGAL_ERRORS}
    for error in ("code_digit", "code_missing", "code_organisation", "moved", "company_place"):
        assert seen[error] / sum(seen.values()) == pytest.approx(LEGAL_ERRORS[error].rate, rel=0.25), error


def test_the_absent_are_absent_at_their_rate(joined: list[tuple[Row, Row, Row | None]]) -> None:
    codes = {company["uscc"] for company in _rows(LegalRegister.COMPANIES)}
    cases = Counter(truth["case"] for _, truth, _ in joined)
    for case, share in LEGAL_ABSENT.items():
        assert cases[case] / len(joined) == pytest.approx(share, rel=0.25), case
    for record, truth, company in joined:
        assert (company is None) == (truth["case"] in LEGAL_ABSENT)
        assert company is not None or (record["uscc"] not in codes and uscc.is_valid(record["uscc"]))
    assert "company_no" not in LEGAL_SCHEMAS[LegalRegister.OBSERVED].names


@pytest.mark.parametrize(
    "wrong", [{"companies": 0}, {"coverage": 2.0}, {"errors": {"id_digit": 0.1}}, {"absent": {"absent": 0.9}}]
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LegalSettings(**{"companies": 10, **wrong})
    with pytest.raises(ValueError, match="batch_rows"):
        legal_generate(LegalSettings(companies=10), LegalRegister.COMPANIES, 0)
