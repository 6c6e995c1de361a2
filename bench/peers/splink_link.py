"""Links two Parquet files with Splink and DuckDB, on one thread: `python splink_link.py LEFT RIGHT PAIRS`.

Run by the interpreter that has Splink, which need not be ours. The configuration is that of its documentation for people
(exact, nearly the same, different; term frequencies of names), with a comparison for each field, trained without labels.
Writes the pairs of at least 0.5 (columns left, right: the values of `row`), and to standard output the seconds between.

What must not go in here: anything of ours.
"""

import sys
import time

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

RULES = [
    block_on("resident_id"),
    block_on("phone", "substr(name, 1, 1)"),  # thousands of one institution have the same phone
    block_on("name", "substr(birth_date, 1, 4)"),
    block_on("name", "substr(birth_date, 6, 5)"),
    block_on("birth_date", "substr(name, 1, 1)"),
    block_on("address", "substr(name, 1, 1)"),
]


def settings() -> SettingsCreator:
    """Compare every field, with typing errors where they are to be expected."""
    return SettingsCreator(
        link_type="link_only",
        unique_id_column_name="row",
        blocking_rules_to_generate_predictions=RULES,
        comparisons=[
            cl.DamerauLevenshteinAtThresholds("resident_id", 1),
            cl.LevenshteinAtThresholds("name", 1).configure(term_frequency_adjustments=True),
            cl.ExactMatch("sex"),
            cl.DamerauLevenshteinAtThresholds("birth_date", [1, 2]),
            cl.LevenshteinAtThresholds("address", [2, 8]),
            cl.DamerauLevenshteinAtThresholds("phone", 1),
        ],
        retain_intermediate_calculation_columns=False,
        retain_matching_columns=False,
    )


def link(left: pa.Table, right: pa.Table) -> pa.Table:
    """Train and predict."""
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    api = DuckDBAPI(connection=connection)
    tables = [api.register(left, dataset_display_name="a_left"), api.register(right, dataset_display_name="b_right")]
    linker = Linker(tables, settings())
    linker.training.estimate_probability_two_random_records_match([block_on("resident_id")], recall=0.9)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("name", "birth_date"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("resident_id"))
    found = linker.inference.predict(threshold_match_probability=0.5)
    query = f"select row_l as left, row_r as right from {found.physical_name}"
    return connection.execute(query).to_arrow_table()


def main() -> None:
    """Read, link, write."""
    left, right = (pq.read_table(path) for path in sys.argv[1:3])
    started = time.perf_counter()
    pairs = link(left, right)
    spent = time.perf_counter() - started
    pq.write_table(pairs, sys.argv[3])
    sys.stdout.write(f"{spent}\n")


if __name__ == "__main__":
    main()
