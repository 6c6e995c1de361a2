"""An image that is damaged or contradicts itself is refused when it is opened; one that is not holds on to its bytes."""

from __future__ import annotations

import itertools
import mmap
import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native.policy import Image, holding_slots, pair_slots, symbol_slots
from tests.image_kit import (
    CONSUMERS,
    CREDENTIALS,
    DIRECTORY_AT,
    DOCUMENTS,
    HOLDINGS,
    INTERFACES,
    NAMED,
    NOW_MS,
    OFFSETS,
    REFS,
    SYMBOL_SLOTS,
    SYMBOLS,
    TERM,
    TERM_BYTES,
    TERMS,
    TEXT,
    Part,
    look_everywhere,
    parts_of,
    resealed,
    sealed,
    small_image,
)

SMALL = small_image()
WORD = 2**32 - 1
LONG = 2**64 - 1
SIZE = struct.unpack_from("<Q", SMALL, 24)[0]
Change = Callable[[list[Part]], None]


def term(name: str, value: int, record: int = 0) -> Change:
    """Write a number into a record of the terms."""

    def change(parts: list[Part]) -> None:
        at = parts[TERMS].get(TERM["size"][0], "<I") * record
        offset, form = TERM[name]
        parts[TERMS].put(at + offset, form, value)

    return change


def put(section: int, at: int, form: str, *values: int) -> Change:
    return lambda parts: parts[section].put(at, form, *values)


def without(section: int) -> Change:
    """Nothing in a section, and a count of 0."""

    def change(parts: list[Part]) -> None:
        parts[section] = Part(b"", 0)

    return change


def full(section: int, width: int, slot: bytes) -> Change:
    """Every slot of a table taken."""

    def change(parts: list[Part]) -> None:
        parts[section].data[:] = slot * (len(parts[section].data) // width)

    return change


def three_quarters(section: int) -> Change:
    def change(parts: list[Part]) -> None:
        parts[section].count = parts[section].count * 3 // 4
        del parts[section].data[len(parts[section].data) * 3 // 4 :]

    return change


def taken_slot(section: int, width: int, at: int, form: str, value: int) -> Change:
    """Write into the first slot of a table that is taken; a slot is taken when its last but one or last number is not 0."""

    def change(parts: list[Part]) -> None:
        data = parts[section].data
        slots = (slot for slot in range(0, len(data), width) if any(data[slot + width - 8 : slot + width]))
        parts[section].put(next(slots) + at, form, value)

    return change


def number_of_list(which: int, value: int) -> Change:
    """Write the n-th number behind a record's fixed part: 0-1 purposes, 2 matter, 3 unit, 4.. hours, then the fields."""
    return put(TERMS, TERM_BYTES + 4 * which, "<I", value)


def offsets(*pairs: int) -> Change:
    def change(parts: list[Part]) -> None:
        parts[OFFSETS] = Part(struct.pack(f"<{len(pairs)}q", *pairs), len(pairs) // 2)

    return change


CONTRADICTIONS: dict[str, Change] = {
    "a symbol outside the text": put(SYMBOLS, 8, "<II", WORD, 1),
    "a symbol that ends outside the text": put(SYMBOLS, 8, "<II", 1, WORD),
    "a symbol in the middle of a character": put(SYMBOLS, 0, "<II", SMALL.index("《".encode()) - 256 + 1, 1),
    "a slot of no symbol": taken_slot(SYMBOL_SLOTS, 8, 0, "<I", 10_000),
    "no free slot for symbols": full(SYMBOL_SLOTS, 4, struct.pack("<I", 1)),
    "no free slot for credentials": full(CREDENTIALS, 24, struct.pack("<16sII", b"x", 1, 0)),
    "no free slot for names": full(NAMED, 16, struct.pack("<IIII", 0, 0, 1, 0)),
    "no free slot for holdings": full(HOLDINGS, 16, struct.pack("<IIII", 0, 0, 0, 1)),
    "no slots for symbols": without(SYMBOL_SLOTS),
    "no slots for credentials": without(CREDENTIALS),
    "no slots for names": without(NAMED),
    "no slots for holdings": without(HOLDINGS),
    "no offsets": without(OFFSETS),
    "slots for symbols that are no power of two": three_quarters(SYMBOL_SLOTS),
    "slots for credentials that are no power of two": three_quarters(CREDENTIALS),
    "slots for names that are no power of two": three_quarters(NAMED),
    "slots for holdings that are no power of two": three_quarters(HOLDINGS),
    "a credential of no consumer": taken_slot(CREDENTIALS, 24, 16, "<I", 3),
    "a consumer without a name": put(CONSUMERS, 4, "<I", 10_000),
    "an interface without a name": put(INTERFACES, 0, "<I", WORD),
    "a name of no interface": taken_slot(NAMED, 16, 8, "<I", 2),
    "a name that is no symbol": taken_slot(NAMED, 16, 0, "<I", WORD),
    "a holding from outside the refs": taken_slot(HOLDINGS, 16, 8, "<I", 4),
    "a holding that wraps around": put(HOLDINGS, 8, "<II", WORD, 2),
    "a holding of too many refs": taken_slot(HOLDINGS, 16, 12, "<I", 4),
    "a holding of too few refs": taken_slot(HOLDINGS, 16, 12, "<I", 0),
    "a holding of nobody": taken_slot(HOLDINGS, 16, 0, "<I", WORD),
    "a holding of a consumer that is none": taken_slot(HOLDINGS, 16, 0, "<I", 2),
    "a holding for an interface that is none": taken_slot(HOLDINGS, 16, 4, "<I", WORD),
    "a ref into the middle of a record": put(REFS, 0, "<I", 1),
    "a ref outside the terms": put(REFS, 0, "<I", WORD),
    "offsets out of order": offsets(0, 0, 0, 3_600_000),
    "an offset of more than a day": offsets(0, 86_400_001),
    "an offset that overflows": offsets(0, -(2**63)),
    "a record of no bytes": term("size", 0),
    "a record that is too short": term("size", TERM_BYTES - 8),
    "a record of odd size": term("size", TERM_BYTES + 4),
    "a record that ends outside the terms": term("size", WORD - 7),
    "a record without an interval": term("interval_ns", 0),
    "a burst of less than a call": term("burst_ns", 1),
    "a burst that overflows the clock": term("burst_ns", 2**62 + 1),
    "a record without a counter": term("counter", 0),
    "a flag that is not known": term("flags", 16),
    "a holder that is no symbol": term("holder", WORD),
    "an interface that is no symbol": term("interface", WORD),
    "a legal basis that is no symbol": term("legal_basis", WORD),
    "an embargo class that is no symbol": term("embargo_class", WORD),
    "a purpose that is no symbol": number_of_list(0, WORD),
    "a matter that is no symbol": number_of_list(2, WORD),
    "a unit that is no symbol": number_of_list(3, WORD),
    "hours behind the week": number_of_list(5, 10_081),
    "hours that begin behind the week": number_of_list(4, 10_080),
    "hours of two days": number_of_list(5, 1441),
    "hours that end before they begin": number_of_list(5, 0),
    "a field that is no symbol": number_of_list(4 + 2 * 6, WORD),
    **{f"more {name} than a record holds": term(name, 0xFFFF) for name in list(TERM)[-6:]},
}


def test_the_small_image_is_good_and_sealing_it_again_changes_nothing() -> None:
    assert sealed(parts_of(SMALL)) == SMALL
    image = Image(SMALL)
    assert (image.version, image.grants, len(image.terms())) == (7, 2, 2)
    assert look_everywhere(image) > 0


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in CONTRADICTIONS.items()])
def test_what_contradicts_itself_is_refused_though_its_digest_is_right(change: Change) -> None:
    parts = parts_of(SMALL)
    change(parts)
    changed = sealed(parts)
    assert changed != SMALL, "the change did nothing"
    with pytest.raises(ValueError, match="contradicts itself"):
        Image(changed)


@pytest.mark.parametrize("which", range(12))
@pytest.mark.parametrize("at", [0, 8, 64, 255, SIZE - 8, SIZE, SIZE + 8, 2**31, 2**63, LONG - 7, LONG])
def test_a_section_at_another_place_is_refused(which: int, at: int) -> None:
    changed = bytearray(SMALL)
    struct.pack_into("<Q", changed, DIRECTORY_AT + 16 * which, at)
    with pytest.raises(ValueError, match="contradicts itself"):
        Image(resealed(changed))


@pytest.mark.parametrize("which", range(12))
@pytest.mark.parametrize("count", [SIZE, 2**31, 2**32 - 1, 2**32, 2**60, 2**61, 2**62, 2**63, LONG // 24 + 1, LONG])
def test_a_section_of_more_than_there_is_is_refused(which: int, count: int) -> None:
    changed = bytearray(SMALL)
    struct.pack_into("<Q", changed, DIRECTORY_AT + 16 * which + 8, count)
    with pytest.raises(ValueError, match="contradicts itself"):
        Image(resealed(changed))


def test_every_cut_is_refused() -> None:
    for size in range(len(SMALL)):
        with pytest.raises(ValueError, match=r"is |does not"):
            Image(SMALL[:size])
    with pytest.raises(ValueError, match="cut short"):
        Image(SMALL + bytes(8))


def test_every_bit_turned_over_is_refused() -> None:
    changed = bytearray(SMALL)
    for bit in range(8 * len(SMALL)):
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"is |does not"):
            Image(bytes(changed))
        changed[bit // 8] ^= 1 << bit % 8
    assert Image(bytes(changed)).digest == Image(SMALL).digest


def test_every_byte_changed_under_a_right_digest_is_refused_or_harmless() -> None:
    """What a digest cannot see. The documents are left out: native code does not read them."""
    until = struct.unpack_from("<Q", SMALL, DIRECTORY_AT + 16 * DOCUMENTS)[0]
    accepted = 0
    for at, mask in itertools.product(range(DIRECTORY_AT, until), (0x01, 0x80)):
        changed = bytearray(SMALL)
        changed[at] ^= mask
        try:
            image = Image(resealed(changed))
        except ValueError:
            continue
        look_everywhere(image)
        accepted += 1
    assert accepted > 0


@pytest.mark.parametrize(
    ("at", "form", "value", "text"),
    [
        (0, "<Q", 0, "no|not a policy"),
        (8, "<I", 0, "another format"),
        (8, "<I", 2, "another format"),
        (12, "<I", 1, "another format"),
        (24, "<Q", SIZE - 8, "cut short"),
        (24, "<Q", SIZE + 8, "cut short"),
        (24, "<Q", LONG, "cut short"),
        (32, "<Q", 0, "damaged"),
    ],
)
def test_another_header_is_refused(at: int, form: str, value: int, text: str) -> None:
    changed = bytearray(SMALL)
    struct.pack_into(form, changed, at, value)
    with pytest.raises(ValueError, match=text):
        Image(bytes(changed))


@pytest.mark.parametrize("off", range(9))
def test_bytes_that_do_not_begin_on_a_multiple_of_8_are_refused(off: int) -> None:
    view = memoryview(bytearray(off) + SMALL)[off:]
    if off % 8 == 0:
        assert Image(view).version == 7
    else:
        with pytest.raises(ValueError, match="multiple of 8"):
            Image(view)


def test_a_buffer_that_is_not_in_one_piece_is_refused() -> None:
    with pytest.raises(BufferError):
        Image(memoryview(SMALL * 2)[::2])
    with pytest.raises(TypeError):
        Image("text")  # type: ignore[arg-type]


def test_an_open_image_holds_on_to_its_bytes() -> None:
    data, mapped = bytearray(SMALL), mmap.mmap(-1, len(SMALL))
    mapped.write(SMALL)
    image, of_mapped = Image(data), Image(mapped)
    with pytest.raises(BufferError):
        data.clear()
    with pytest.raises(BufferError):
        mapped.close()
    assert look_everywhere(image) == look_everywhere(of_mapped) > 0
    del image, of_mapped
    data.clear()
    mapped.close()


def test_a_refused_image_holds_on_to_nothing() -> None:
    data = bytearray(SMALL[:-8])
    with pytest.raises(ValueError, match="cut short"):
        Image(data)
    data.clear()


# --- texts ------------------------------------------------------------------------------------------------------------


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# Bytes of which UTF-8 is made, and those around the borders of what it may be made of.
BYTES = st.lists(
    st.sampled_from([0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF])
    | st.sampled_from([0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]),
    max_size=6,
).map(bytes)


@settings(deadline=None)
@given(raw=BYTES | st.text(max_size=6).map(lambda text: text.encode()))
@example(raw="a中\U0010ffff".encode())
def test_a_text_is_accepted_if_and_only_if_it_is_utf_8(raw: bytes) -> None:
    parts = parts_of(SMALL)
    parts[SYMBOLS].data += struct.pack("<II", len(parts[TEXT].data), len(raw))
    parts[SYMBOLS].count += 1
    parts[TEXT].data += raw
    parts[TEXT].count += len(raw)
    if _decodes(raw):
        assert look_everywhere(Image(sealed(parts))) > 0
    else:
        with pytest.raises(ValueError, match="contradicts itself"):
            Image(sealed(parts))


def test_an_id_that_is_not_utf_8_is_refused() -> None:
    parts = parts_of(SMALL)
    parts[TERMS].data = parts[TERMS].data.replace(b"g2", b"g\xff")
    with pytest.raises(ValueError, match="contradicts itself"):
        Image(sealed(parts))


# --- what is asked wrongly --------------------------------------------------------------------------------------------


def test_what_is_no_term_or_consumer_is_an_index_error() -> None:
    image = Image(SMALL)
    for ref in {0, 1, 2, 2**32, LONG} - set(image.terms()):
        with pytest.raises(IndexError):
            image.term(ref)
    with pytest.raises(IndexError):
        image.consumer_id(2)


@pytest.mark.parametrize("at_ms", [2**53, -(2**53), 2**63 - 1, -(2**63)])
def test_a_time_that_would_overflow_is_refused(at_ms: int) -> None:
    image = Image(SMALL)
    for ask in (image.day, image.next_day_ms, lambda at: image.decide(0, "i", 0, "P1", "", "", 0, at, NOW_MS)):
        with pytest.raises(ValueError, match="a time must be"):
            ask(at_ms)
    with pytest.raises(ValueError, match="a time must be"):
        image.decide(0, "i", 0, "P1", "", "", 0, NOW_MS, at_ms)


def test_a_text_that_is_not_unicode_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="not encodable") as caught:
        Image(SMALL).decide(0, "secret\ud800", 0, "P1", "", "", 0, NOW_MS, NOW_MS)
    assert "secret" not in str(caught.value)


# --- tables -----------------------------------------------------------------------------------------------------------

NUMBERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40)


def _words(values: list[int]) -> memoryview:
    return memoryview(struct.pack(f"={len(values)}I", *values)).cast("I")


@settings(deadline=None)
@given(pairs=NUMBERS)
def test_refs_of_one_pair_stand_together_in_the_order_in_which_they_came(pairs: list[tuple[int, int]]) -> None:
    ones, others = [one for one, _ in pairs], [other for _, other in pairs]
    table, refs = holding_slots(_words(ones), _words(others), _words(list(range(len(pairs)))))
    found = {}
    for slot in struct.iter_unpack("<IIII", table):
        if slot[3]:
            found[slot[:2]] = [*struct.unpack_from(f"<{slot[3]}I", refs, 4 * slot[2])]
    assert found == {pair: [at for at, other in enumerate(pairs) if other == pair] for pair in set(pairs)}


def test_tables_of_parts_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        holding_slots(_words([1]), _words([]), _words([1]))
    with pytest.raises(ValueError, match="as many"):
        pair_slots(_words([1]), _words([1]), _words([1]))
    with pytest.raises(TypeError):
        symbol_slots([b"a", None])  # type: ignore[list-item]
