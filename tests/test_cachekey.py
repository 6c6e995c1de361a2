"""Native keys and entries against the oracle: equal where both answer, refused where either refuses."""

from __future__ import annotations

import itertools
import os
import struct

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from broker._native import cachekey
from tests.oracle import cachekey as oracle

KEY = bytes(range(32))
U64 = 2**64 - 1
TEXTS = st.text(max_size=40)
# Short texts over the characters that a careless encoding would join with.
TRICKY = st.text(alphabet="a|=&,\0\x01\x02é", max_size=4)


def arguments(values: st.SearchStrategy[str], max_size: int = 12) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.dictionaries(values, values, max_size=max_size).map(lambda pairs: tuple(sorted(pairs.items())))


def requests(values: st.SearchStrategy[str], max_size: int = 12) -> st.SearchStrategy[tuple]:
    return st.tuples(
        values,
        st.integers(0, 3) | st.integers(0, 2**32 - 1),
        st.integers(0, 3) | st.integers(0, 255),
        st.binary(max_size=3) | st.binary(max_size=255),
        arguments(values, max_size),
    )


@st.composite
def entries(draw: st.DrawFn) -> tuple:
    stored, fresh, *later = sorted(draw(st.lists(st.integers(0, U64), min_size=4, max_size=4)))
    revalidate, error = draw(st.permutations(later))
    body = draw(st.binary(max_size=64) | st.binary(min_size=200, max_size=600))
    return draw(st.integers(0, 255)), stored, fresh, revalidate, error, body


def as_tuple(entry: cachekey.Entry | None) -> oracle.Entry | None:
    return None if entry is None else oracle.Entry(*(getattr(entry, field) for field in oracle.Entry._fields))


# --- CRC-32C ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crc32c", [cachekey.crc32c, cachekey._crc32c_portable, oracle.crc32c])
def test_crc32c_agrees_with_the_vectors_of_rfc_3720(crc32c):
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    for data, expected in oracle.CRC32C_VECTORS:
        assert crc32c(data) == expected


@given(data=st.binary(max_size=100), start=st.integers(0, 8))
def test_both_crc32c_paths_agree_at_every_length_and_alignment(data, start):
    view = memoryview(bytes(start) + data)[start:]
    assert cachekey.crc32c(view) == cachekey._crc32c_portable(view) == oracle.crc32c(data)


# --- keys -------------------------------------------------------------------------------------------------------------


@given(request=requests(TEXTS))
@example(request=("", 0, 0, b"", ()))
@example(request=("i" * 2000, 1, 1, b"m" * 255, (("n", "中" * 5000),)))
@example(request=("i", 1, 1, b"", tuple((f"{n:02}", "v") for n in range(9))))
def test_a_key_equals_the_oracles(request):
    assert cachekey.cache_key(*request) == oracle.cache_key(*request)


@pytest.mark.parametrize("size", range(1024 - 8, 1024 + 9))
def test_a_key_is_right_on_both_sides_of_the_stack_buffers_end(size):
    filler = size - len(oracle.preimage("", 1, 1, b"", [("n", "")]))
    request = ("", 1, 1, b"", [("n", "x" * filler)])
    assert len(oracle.preimage(*request)) == size
    assert cachekey.cache_key(*request) == oracle.cache_key(*request)


@given(left=requests(TRICKY, max_size=3), right=requests(TRICKY, max_size=3))
def test_different_requests_never_share_a_key(left, right):
    assert (cachekey.cache_key(*left) == cachekey.cache_key(*right)) == (left == right)


@given(word=st.text(alphabet="a|=\0", min_size=1, max_size=8))
def test_moving_the_border_between_two_texts_changes_the_key(word):
    """The same characters, split at another place or given to another part of the request."""
    splits = [(word[:cut], word[cut:]) for cut in range(len(word) + 1)]
    forms = [("i", 1, 1, b"", ((name, value),)) for name, value in splits]
    forms += [(interface, 1, 1, b"", (("n", value),)) for interface, value in splits]
    forms += [("i", 1, 1, head.encode(), (("n", tail),)) for head, tail in splits]
    forms += [("i", 1, 1, b"", (("n", head), ("o", tail))) for head, tail in splits]
    distinct = set(forms)
    assert len({cachekey.cache_key(*form) for form in distinct}) == len(distinct)


def test_every_part_of_a_request_changes_the_key():
    base = ("person", 1, 1, b"mask", (("a", "1"), ("b", "2")))
    changed = [
        ("persoN", *base[1:]),
        (base[0], 2, *base[2:]),
        (*base[:2], 2, *base[3:]),
        (*base[:3], b"mast", base[4]),
        (*base[:3], b"", base[4]),
        (*base[:4], ()),
        (*base[:4], (("a", "1"),)),
        (*base[:4], (("a", "1"), ("b", "3"))),
        (*base[:4], (("a", "1"), ("c", "2"))),
        (*base[:4], (("a", "2"), ("b", "1"))),
    ]
    assert len({cachekey.cache_key(*request) for request in [base, *changed]}) == len(changed) + 1


@pytest.mark.parametrize(
    "names",
    [("b", "a"), ("a", "a"), ("ab", "a"), ("a\0", "a"), ("￿", "a"), ("\U00010000", "￿")],
)
def test_names_that_do_not_rise_are_refused(names):
    with pytest.raises(ValueError, match="strictly rising"):
        cachekey.cache_key("i", 1, 1, b"", [(name, "v") for name in names])


@given(names=st.lists(st.text(alphabet="a\0é￿\U00010000", max_size=3), min_size=2, max_size=5))
def test_the_order_of_names_is_the_order_of_code_points(names):
    pairs = [(name, "v") for name in names]
    if all(left < right for left, right in itertools.pairwise(names)):
        assert cachekey.cache_key("i", 1, 1, b"", pairs) == oracle.cache_key("i", 1, 1, b"", pairs)
    else:
        with pytest.raises(ValueError, match="strictly rising"):
            cachekey.cache_key("i", 1, 1, b"", pairs)


@pytest.mark.parametrize("place", ["interface", "name", "value"])
def test_a_text_that_is_not_unicode_is_refused_without_repeating_it(place):
    bad = {"interface": "i", "name": "n", "value": "v"} | {place: "secret\ud800"}
    with pytest.raises(ValueError, match=f"{place}: is not encodable") as caught:
        cachekey.cache_key(bad["interface"], 1, 1, b"", [(bad["name"], bad["value"])])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "encoding", "mask"),
    [(-1, 1, b""), (2**32, 1, b""), (2**80, 1, b""), (1, -1, b""), (1, 256, b""), (1, 1, b"m" * 256)],
)
def test_a_number_out_of_range_is_refused(version, encoding, mask):
    with pytest.raises(ValueError, match=r"must be|mask"):
        cachekey.cache_key("i", version, encoding, mask, [])


@pytest.mark.parametrize("pairs", [[("a",)], [("a", "b", "c")], [("a", b"b")], [(1, "b")], [["a", "b"]], [None], 5])
def test_arguments_that_are_not_pairs_of_text_are_refused(pairs):
    with pytest.raises(TypeError):
        cachekey.cache_key("i", 1, 1, b"", pairs)


def test_more_pairs_than_fit_the_stack_are_refused_like_few():
    pairs = [(f"{n:03}", "v") for n in range(300)]
    assert cachekey.cache_key("i", 1, 1, b"", pairs) == oracle.cache_key("i", 1, 1, b"", pairs)
    with pytest.raises(TypeError):
        cachekey.cache_key("i", 1, 1, b"", [*pairs, ("zzz", None)])


# --- entries ----------------------------------------------------------------------------------------------------------


@given(entry=entries())
@example(entry=(0, 0, 0, 0, 0, b""))
@example(entry=(255, U64, U64, U64, U64, b"x"))
def test_an_entry_is_packed_and_read_like_the_oracles(entry):
    packed = cachekey.pack_entry(KEY, *entry)
    assert packed == oracle.pack_entry(KEY, *entry)
    for data in (packed, bytearray(packed), memoryview(packed), memoryview(b"_" + packed)[1:]):
        assert as_tuple(cachekey.read_entry(KEY, data)) == entry


@given(entry=entries(), other=st.binary(min_size=32, max_size=32))
def test_an_entry_under_another_key_reads_as_none(entry, other):
    assume(other != KEY)
    assert cachekey.read_entry(other, cachekey.pack_entry(KEY, *entry)) is None


@pytest.mark.parametrize("body", [b"", b"b", os.urandom(300)])
def test_damage_reads_as_none(body):
    """Whole, cut at every byte, with bytes behind, and with every single bit turned over."""
    whole = cachekey.pack_entry(KEY, cachekey.NOT_FOUND, 1000, 2000, 3000, 2500, body)
    assert cachekey.read_entry(KEY, whole) is not None
    for cut in range(len(whole)):
        assert cachekey.read_entry(KEY, whole[:cut]) is None
    for behind in (b"\0", whole):
        assert cachekey.read_entry(KEY, whole + behind) is None
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert cachekey.read_entry(KEY, damaged) is None, f"bit {bit}"


@given(
    form=st.integers(0, 2),
    reserved=st.sampled_from([0, 1, 256]),
    tail=st.sampled_from([0, 1]),
    off=st.integers(-1, 1),
    times=st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_a_header_with_a_right_checksum_is_still_checked(form, reserved, tail, off, times):
    """Damage that the checksum cannot see, because whoever wrote it also wrote the checksum."""
    body = b"body"
    head = struct.pack("<BBH", form, 0, reserved)
    rest = struct.pack("<QQQQII", *times, len(body) + off, tail) + body
    data = head + struct.pack("<I", oracle.crc32c(KEY + head + rest)) + rest
    assert as_tuple(cachekey.read_entry(KEY, data)) == oracle.read_entry(KEY, data)


@given(data=st.binary(max_size=120))
def test_any_bytes_read_like_the_oracles(data):
    assert as_tuple(cachekey.read_entry(KEY, data)) == oracle.read_entry(KEY, data)


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1])
def test_a_length_beyond_the_bytes_reads_as_none(length):
    packed = bytearray(cachekey.pack_entry(KEY, 0, 1, 2, 3, 4, b"body"))
    packed[40:44] = struct.pack("<I", length)
    assert cachekey.read_entry(KEY, packed) is None


@pytest.mark.parametrize("times", [(2, 1, 3, 3), (1, 3, 2, 3), (1, 3, 3, 2)])
def test_times_that_run_backwards_are_not_packed(times):
    with pytest.raises(ValueError, match="times"):
        cachekey.pack_entry(KEY, 0, *times, b"")


@pytest.mark.parametrize(
    ("key", "flags", "stored"),
    [(KEY[:31], 0, 0), (KEY + b"x", 0, 0), (KEY, 256, 0), (KEY, -1, 0), (KEY, 0, -1), (KEY, 0, U64 + 1)],
)
def test_an_entry_out_of_range_is_not_packed(key, flags, stored):
    with pytest.raises(ValueError, match="must be"):
        cachekey.pack_entry(key, flags, stored, U64, U64, U64, b"")


def test_a_key_of_another_length_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="key"):
        cachekey.read_entry(b"short", b"")


def test_an_entry_cannot_be_made_or_changed_and_its_repr_does_not_show_the_body():
    entry = cachekey.read_entry(KEY, cachekey.pack_entry(KEY, 0, 1, 2, 3, 4, b"secret"))
    assert entry is not None
    assert "secret" not in repr(entry)
    with pytest.raises(AttributeError):
        entry.flags = 7
    with pytest.raises(TypeError):
        cachekey.Entry()


def test_reading_holds_on_to_nothing():
    """A buffer of a read transaction dies with it, so no view of it may be left behind."""
    data = bytearray(cachekey.pack_entry(KEY, 0, 1, 2, 3, 4, b"body"))
    entry = cachekey.read_entry(KEY, data)
    assert entry is not None
    data.clear()  # raises BufferError while a view is out
    assert entry.body == b"body"
