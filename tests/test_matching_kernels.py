"""The kernels of `broker.matching` against RapidFuzz, on every path that this processor has.

Similarities are compared by their bits: nothing here is approximate.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import matching
from broker._native import matching as native
from tests.matching_kit import ALPHABETS, EDGES, ORACLES, draw_sides, draw_text, expected, expected_by_position, with_typos

SCORERS = tuple(ORACLES)
scorers = pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
TEXTS = st.lists(st.text(st.characters() | st.sampled_from("ab张三\U00020bb7"), max_size=70), min_size=1, max_size=8)


@pytest.fixture(params=native.paths())
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.path()
    native.use(request.param)
    yield request.param
    native.use(before)


def assert_same(queries: list[str], choices: list[str], scorer: matching.Scorer) -> None:
    got = matching.cdist(queries, choices, scorer)
    wanted = expected(queries, choices, scorer)
    assert got.shape == wanted.shape
    assert np.array_equal(got, wanted), f"first at {np.argwhere(got != wanted)[0]}"


# --- every path is the oracle's ----------------------------------------------------------------------------------------


@scorers
@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=ALPHABETS)
def test_texts_of_any_alphabet(path: str, scorer: matching.Scorer, alphabet: str) -> None:
    draw = random.Random(1)
    assert_same(*draw_sides(draw, alphabet, 40, 300, lambda: draw.randint(0, 20)), scorer)


@scorers
@pytest.mark.parametrize("alphabet", ["two letters", "Latin", "many Chinese"])
def test_every_length_at_which_lanes_change_against_every_other(path: str, scorer: matching.Scorer, alphabet: str) -> None:
    draw = random.Random(2)
    texts = [draw_text(draw, ALPHABETS[alphabet], length) for length in EDGES for _ in range(2)]
    assert_same(texts, [with_typos(draw, text, ALPHABETS[alphabet]) for text in texts], scorer)
    assert_same(texts, draw.sample(texts, len(texts)), scorer)


@scorers
def test_names_of_four_characters_are_tried_exhaustively(path: str, scorer: matching.Scorer) -> None:
    """Their Jaro similarities come from a table; over three letters and an odd one, every pattern of it comes up."""
    names = [""]
    for _ in range(4):
        names += [name + letter for name in names if len(name) == len(names[-1]) for letter in "abc"]
    assert len(set(names)) == 121
    assert_same(names, [name[:1] + name[1:].replace("c", "x") for name in names] + names, scorer)


@scorers
def test_equal_texts_and_texts_with_nothing_in_common(path: str, scorer: matching.Scorer) -> None:
    equal = ["x" * length for length in EDGES]
    assert_same(equal, equal, scorer)
    assert_same(equal, ["y" * length for length in EDGES], scorer)


@scorers
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 4095, 4096, 4097])
def test_any_number_of_choices(path: str, scorer: matching.Scorer, count: int) -> None:
    draw = random.Random(count)
    choices = [draw_text(draw, "abcd", draw.randint(1, 12)) for _ in range(count)]
    assert_same(["abcd", "ddccbbaabbcc"], choices, scorer)
    assert matching.cdist([], choices, scorer).shape == (0, count)


@scorers
def test_long_choices_among_short_ones_and_in_their_places(path: str, scorer: matching.Scorer) -> None:
    draw = random.Random(3)
    lengths = [2] * 40 + [30] * 10 + [64, 65, 100, 300]
    choices = [draw_text(draw, "abcdef", draw.choice(lengths)) for _ in range(1000)]
    assert_same(["ab", "abcdefabcdefabcdef", "abc" * 20, "abc" * 40, ""], choices, scorer)


@scorers
def test_more_symbols_than_sixteen_bits(path: str, scorer: matching.Scorer) -> None:
    """Choices whose symbols fit are in lanes, the others are not; each is where it belongs."""
    draw = random.Random(4)
    points = [chr(point) for point in range(0x10000, 0x10000 + 70_000)]
    choices = ["".join(points[at : at + 10]) for at in range(0, len(points), 10)]
    queries = [with_typos(draw, draw.choice(choices), "ab𠮷") for _ in range(5)]
    assert_same(queries, choices, scorer)


@scorers
@settings(max_examples=60, deadline=None)
@given(queries=TEXTS, choices=TEXTS)
def test_whatever_hypothesis_thinks_of(scorer: matching.Scorer, queries: list[str], choices: list[str]) -> None:
    before = native.path()
    try:
        for name in native.paths():
            native.use(name)
            assert_same(queries, choices, scorer)
    finally:
        native.use(before)


@scorers
@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.text("ab张𠮷", max_size=90), st.text("ab张𠮷", max_size=90)), max_size=8))
def test_pairs_by_position(scorer: matching.Scorer, pairs: list[tuple[str, str]]) -> None:
    queries, choices = [query for query, _ in pairs], [choice for _, choice in pairs]
    assert np.array_equal(matching.cpdist(queries, choices, scorer), expected_by_position(queries, choices, scorer))


@scorers
@given(query=st.text("abc张𠮷", max_size=80), choice=st.text("abc张𠮷", max_size=80))
def test_one_pair_is_the_oracles_double(scorer: matching.Scorer, query: str, choice: str) -> None:
    oracle = ORACLES[scorer]
    assert scorer.similarity(query, choice) == oracle.similarity(query, choice)
    assert scorer.distance(query, choice) == oracle.distance(query, choice)


@pytest.mark.parametrize(
    ("query_length", "choice_length", "matches", "boosted"),
    [(15, 30, 11, False), (30, 15, 11, False), (12, 60, 11, False), (5, 6, 3, True), (10, 12, 6, True), (6, 60, 6, True)],
)
def test_a_jaro_of_seven_tenths_is_boosted_if_its_double_is_above(
    path: str, query_length: int, choice_length: int, matches: int, boosted: bool
) -> None:
    """matches / length + matches / length + 1 is 2.1 exactly; the third of it in doubles is on either side of 0.7."""
    common = "abcdefghijk"[:matches]
    query, choice = common.ljust(query_length, "x"), common.ljust(choice_length, "y")
    assert (matching.jaro_winkler.similarity(query, choice) > matching.jaro.similarity(query, choice)) is boosted
    assert_same([query] * 2, [choice] * 100, matching.jaro_winkler)


# --- long texts --------------------------------------------------------------------------------------------------------


@scorers
@pytest.mark.parametrize("alphabet", ["ab", ALPHABETS["many Chinese"]], ids=["two letters", "many Chinese"])
def test_texts_of_many_words(scorer: matching.Scorer, alphabet: str) -> None:
    draw = random.Random(5)
    queries = [draw_text(draw, alphabet, length) for length in (65, 500, 3000)]
    choices = [with_typos(draw, query, alphabet) for query in queries] + [draw_text(draw, alphabet, 1000), "a", ""]
    assert_same(queries, choices, scorer)


@scorers
def test_texts_of_64_kib(scorer: matching.Scorer) -> None:
    draw = random.Random(6)
    text = draw_text(draw, ALPHABETS["many Chinese"], 65_536)
    other = draw_text(draw, ALPHABETS["many Chinese"], 65_536)
    oracle = ORACLES[scorer]
    score = oracle.distance if scorer.counts_edits else oracle.similarity
    own = scorer.distance if scorer.counts_edits else scorer.similarity
    assert own(text, other) == score(text, other)
    assert own(text, text[7:] + "x") == score(text, text[7:] + "x")


# --- the face ----------------------------------------------------------------------------------------------------------


def test_packed_choices_answer_again_and_again(path: str) -> None:
    choices = ["张伟", "张伟明", "王芳", ""]
    packed = matching.Choices(choices)
    assert len(packed) == 4
    assert packed.longest == 3
    for query in ("张卫", "", "王芳"):
        for scorer in SCORERS:
            assert np.array_equal(matching.cdist([query], packed, scorer), expected([query], choices, scorer))


@pytest.mark.parametrize(("length", "dtype"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_distances_have_the_narrowest_type_that_holds_them(length: int, dtype: type) -> None:
    got = matching.cdist(["a" * length], ["", "a"], matching.levenshtein)
    assert got.dtype == dtype
    assert got.tolist() == [[length, length - 1]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_a_wider_type_holds_the_same_distances(path: str, dtype: str) -> None:
    draw = random.Random(7)
    choices = [draw_text(draw, "abcd", draw.randint(0, 70)) for _ in range(500)]
    got = matching.cdist(["abcd" * 3, "a"], choices, matching.levenshtein, dtype=dtype)
    assert got.dtype == dtype
    assert np.array_equal(got, expected(["abcd" * 3, "a"], choices, matching.levenshtein))


def test_similarities_are_floats() -> None:
    assert matching.cdist(["a"], ["b"], matching.jaro).dtype == np.float32
    assert matching.cpdist(["a"], ["b"], matching.jaro_winkler).dtype == np.float32


@pytest.mark.parametrize(
    ("scorer", "dtype", "length"),
    [
        (matching.jaro, "uint8", 1),
        (matching.jaro, "float64", 1),
        (matching.levenshtein, "float32", 1),
        (matching.levenshtein, "int8", 1),
        (matching.levenshtein, "uint8", 256),
        (matching.levenshtein, "uint16", 65_536),
    ],
)
def test_a_type_that_cannot_hold_the_results_is_refused(scorer: matching.Scorer, dtype: str, length: int) -> None:
    with pytest.raises(ValueError, match=r"^out: "):
        matching.cdist(["a" * length], ["b"], scorer, dtype=dtype)
    with pytest.raises(ValueError, match=r"^out: "):
        matching.cpdist(["a"], ["b" * length], scorer, dtype=dtype)


@scorers
def test_results_may_go_into_an_array_of_the_callers(path: str, scorer: matching.Scorer) -> None:
    queries, choices = ["ab", "ba"], ["ab", "b", "张"]
    wanted = expected(queries, choices, scorer)
    room = np.full((2, 3), 77, np.uint16 if scorer.counts_edits else np.float32)
    assert matching.cdist(queries, choices, scorer, out=room) is room
    assert np.array_equal(room, wanted)
    row = np.full(2, 77, room.dtype)
    assert matching.cpdist(queries, choices[:2], scorer, out=row) is row
    assert np.array_equal(row, wanted.diagonal())


@pytest.mark.parametrize(
    "room",
    [
        np.empty((3, 2), np.float32),
        np.empty(6, np.float32),
        np.empty((2, 3), np.float64),
        np.empty((2, 3), np.uint8),
        np.empty((2, 6), np.float32)[:, ::2],
        np.broadcast_to(np.float32(0), (2, 3)),
    ],
    ids=["turned", "flat", "doubles", "integers", "with gaps", "read only"],
)
def test_an_array_of_the_callers_must_fit(room: matching.distances.Matrix) -> None:
    with pytest.raises(ValueError, match=r"^out: "):
        matching.cdist(["a", "b"], ["a", "b", "c"], matching.jaro, out=room)
    with pytest.raises(ValueError, match=r"^out: "):
        matching.cdist(["a"], ["b"], matching.jaro, out=np.empty((1, 1), np.float32), dtype="float64")


def test_results_that_are_many_go_past_the_cache_unchanged(path: str) -> None:
    """More than a million of them, in rows that begin anywhere in a line of the cache."""
    draw = random.Random(8)
    queries, choices = ([draw_text(draw, "王李张刘陈", draw.randint(2, 4)) for _ in range(count)] for count in (260, 4099))
    assert_same(queries, choices, matching.jaro_winkler)


@pytest.mark.parametrize("bad", [None, b"secret", 7, 0.5, ["secret"]], ids=lambda bad: type(bad).__name__)
def test_what_is_no_text_is_named_by_its_position_and_never_by_its_value(bad: object) -> None:
    texts = ["secret", bad]
    kind = type(bad).__name__
    with pytest.raises(TypeError, match=rf"^queries\[1\]: must be str, not {kind}$"):
        matching.cdist(texts, ["a"], matching.jaro)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=rf"^choices\[1\]: must be str, not {kind}$"):
        matching.cdist(["a"], texts, matching.jaro)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=rf"^choices\[1\]: must be str, not {kind}$"):
        matching.cpdist(["a", "b"], texts, matching.jaro)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=rf"^choice: must be str, not {kind}$"):
        matching.jaro.similarity("a", bad)  # type: ignore[arg-type]


def test_one_text_is_no_sequence_of_texts() -> None:
    with pytest.raises(TypeError, match=r"^queries: "):
        matching.cdist("secret", ["a"], matching.jaro)
    with pytest.raises(TypeError, match=r"^choices: "):
        matching.cdist(["a"], "secret", matching.jaro)


def test_pairs_must_be_as_many_on_both_sides() -> None:
    with pytest.raises(ValueError, match=r"^choices: must be as many"):
        matching.cpdist(["a", "b"], ["a"], matching.jaro)


def test_results_go_nowhere_but_into_an_array_of_their_size() -> None:
    texts, choices = native.Texts(["a", "b"], "queries"), native.Choices(["a", "b", "c"])
    jaro = native.METRICS["jaro"]
    for wrong in (np.empty(5, np.float32), np.empty(7, np.float32), np.empty((2, 3), "S4")):
        with pytest.raises(ValueError, match=r"^out: "):
            native.cdist(texts, choices, jaro, wrong)
    with pytest.raises((ValueError, BufferError)):
        native.cdist(texts, choices, jaro, np.empty((3, 4), np.float32)[:, ::2])
    with pytest.raises((ValueError, BufferError)):
        native.cdist(texts, choices, jaro, np.zeros((2, 3), np.float32).data.toreadonly())
    with pytest.raises(ValueError, match=r"^metric: "):
        native.cdist(texts, choices, 99, np.empty((2, 3), np.float32))


def test_a_path_that_is_none_is_refused_and_every_processor_has_the_scalar_one() -> None:
    with pytest.raises(ValueError, match=r"^path: "):
        native.use("mmx")
    assert native.paths()[0] == "scalar"
    assert native.path() in native.paths()
