"""The city's tables as data, for SQLite and PostgreSQL alike. What must not go in here: rows, and who asks what.

A column is a word of the vocabulary, which also gives its type: whole numbers for NUMBER, text for the rest. Only text and
whole numbers, because they compare alike in both databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from broker.demo.vocabulary import WORDS
from broker.model.catalogue import SemanticType


class Table(NamedTuple):
    """Columns of one table: the key's, the others, and those that are asked by without being the key."""

    key: str
    others: str
    indexed: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """All columns in the order of the rows."""
        return f"{self.key} {self.others}".split()


TABLES: dict[str, Table] = {
    # people
    "person": Table(
        "resident_id",
        "name sex ethnicity birth_date address phone household_no household_role marital_status status death_date",
    ),
    "household": Table("household_no", "head_name members address street district grid_code", ("address",)),
    "marriage": Table("certificate_no", "resident_id name spouse_id spouse_name registered_on paper_status"),
    "birth": Table("certificate_no", "resident_id name birth_date hospital mother_id mother_name"),
    "cremation": Table("resident_id", "name cremated_on parlour"),
    # their papers
    "passport": Table("passport_no", "resident_id name issued_on valid_until paper_status"),
    "travel_permit": Table("permit_no", "resident_id valid_until paper_status"),
    "driver": Table("resident_id", "licence_no vehicle_class points issued_on valid_until paper_status"),
    "vehicle": Table("plate_no", "owner_id vehicle_type registered_on inspected_until paper_status"),
    "education": Table("resident_id", "certificate_no name school degree major graduated_on"),
    "pupil": Table("resident_id", "student_no name school grade enrolled_on paper_status"),
    "qualification": Table("resident_id", "certificate_no name profession issued_on paper_status", ("certificate_no",)),
    "residence_permit": Table("resident_id", "permit_no address valid_until paper_status"),
    "senior_card": Table("resident_id", "account_no issued_on account_status"),
    "notary": Table("certificate_no", "holder_id holder_name matter issued_on paper_status"),
    "will": Table("resident_id", "certificate_no registered_on paper_status"),
    # their money and care
    "insurance": Table(
        "resident_id",
        "insured_months insurance_status last_paid_month employer pension_status monthly_amount employment_status",
    ),
    "medical": Table("resident_id", "insurance_no scheme insurance_status balance remote_city"),
    "fund": Table("resident_id", "account_no name employer monthly_amount balance account_status"),
    "income_tax": Table("resident_id tax_year", "income_amount tax_paid"),
    "disability": Table("resident_id", "certificate_no disability_type disability_grade valid_until monthly_amount"),
    "allowance": Table("resident_id", "household_no allowance_type monthly_amount since paper_status"),
    "vaccination": Table("resident_id", "vaccine doses last_dose_on"),
    "elderly_allowance": Table("resident_id", "monthly_amount since account_status"),
    # their homes and land
    "real_estate": Table(
        "title_no",
        "owner_id owner_name address area land_use registered_on bank mortgaged_on court seized_on paper_status",
        ("owner_id",),
    ),
    "sale_contract": Table("contract_no", "resident_id name address price registered_on paper_status"),
    "public_housing": Table("resident_id", "contract_no address monthly_amount since paper_status"),
    "utility_account": Table("account_no utility", "holder_name address balance arrears_amount account_status"),
    "land_contract": Table("resident_id", "contract_no village area monthly_amount"),
    "catchment": Table("street", "district school"),
    # legal persons, papers of both, and their standing
    "company": Table(
        "uscc",
        "company_name company_kind legal_representative representative_id registered_capital established_on address"
        " scope company_status",
    ),
    "licence": Table(
        "licence_no", "licence_type holder_id holder_name issued_on valid_until issuer paper_status", ("holder_id",)
    ),
    "company_tax": Table("uscc", "company_name tax_rating tax_year arrears_amount"),
    "abnormal": Table("uscc", "listed_on reason_code authority"),
    "company_credit": Table("uscc", "list_type listed_on reason_code"),
    "person_credit": Table("resident_id", "list_type listed_on reason_code"),
    "debtor": Table("resident_id", "name case_no court filed_on duty"),
}

VIEWS: dict[str, str] = {
    "household_member": (
        "SELECT p.resident_id, p.name, p.household_no, p.household_role, h.head_name, h.members, h.address"
        " FROM person p JOIN household h ON h.household_no = p.household_no"
    ),
    "doctor": (
        "SELECT certificate_no, resident_id, name, profession, issued_on, paper_status"
        " FROM qualification WHERE profession = '医师'"
    ),
}


def create_tables(suffix: str = "") -> Iterator[str]:
    """Give the statements that create empty tables and the views; the suffix is for a dialect's own clauses."""
    for name, table in TABLES.items():
        columns = ", ".join(f"{column} {_sql_type(column)}" for column in table.columns)
        yield f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({', '.join(table.key.split())})){suffix}"
    for name, query in VIEWS.items():
        yield f"CREATE VIEW {name} AS {query}"


def create_indexes() -> Iterator[str]:
    """Give the statements that make every interface's question a look-up; run once the rows are in."""
    for name, table in TABLES.items():
        for column in table.indexed:
            yield f"CREATE INDEX {name}_by_{column} ON {name} ({column})"


def _sql_type(column: str) -> str:
    return "INTEGER" if WORDS[column].type is SemanticType.NUMBER else "TEXT"
