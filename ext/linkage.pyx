# cython: language_level=3
"""Packed records: layouts, packing, rarity. The contract is in `broker/_native/linkage.pyi`.

The boundary of the C of `linkage_*.h`: buffers are checked here, and the lock of the interpreter is let go while a table is
worked on. What must not go in here: how a value is packed (linkage_pack.pxd), keys and pairs (linkage_index.pyx).
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from arrow_array cimport ArrowArray, ArrowSchema, is_null, offset_at
from broker._native.normalise cimport loaded_tables, view_text
from linkage_cells cimport (
    KIND_ADDRESS,
    KIND_COUNT,
    KIND_DATE,
    KIND_GIVEN_NAME,
    KIND_PHONE,
    KIND_SURNAME,
    MOST_FIELDS,
    MOST_READINGS,
    MOST_STRIDE,
    NO_FIELD,
    Characters,
    CLayout,
    Letters,
    cell_set_rarity,
    cell_size,
    cell_value,
    hashed_bytes,
)
from linkage_pack cimport letter_sum, pack_days, pack_value
from normal_tables cimport READING, Tables, reading_value, shape_class
from normal_text cimport UTF8, Text

from broker._native.normalise import SYLLABLES

cdef extern from "linkage_rarity.h" nogil:
    enum:
        RARITY_STEPS
    ctypedef struct CountedRows:
        uint8_t *rows
        uint32_t count
    int rarity_count(const CLayout *layout, uint32_t field, const CountedRows *tables, uint32_t table_count,
                     double *agreement, uint64_t *values, uint64_t *placeholders)

cdef enum:
    ADDRESS_BYTES = 20          # of a cell
    KNOWN_ADDRESSES = 1 << 16
    MOST_ROWS = 0x7FFFFFFF


# --- characters --------------------------------------------------------------------------------------------------

cdef Characters CHARACTERS
cdef Letters LETTERS


cdef int load_characters() except -1:
    cdef const Tables *tables = loaded_tables()
    cdef uint32_t code
    if len(SYLLABLES) > MOST_READINGS:
        raise ImportError("normalisation.bin has more readings than a packed record can name")
    for code in range(0x10000):
        CHARACTERS.readings[code] = <uint16_t>(reading_value(tables, code) & READING)
        CHARACTERS.shapes[code] = <uint16_t>shape_class(tables, code)
    for number, syllable in enumerate(SYLLABLES):
        for letter in syllable:
            LETTERS.sums[<int>number] += letter_sum(<uint32_t>ord(letter))
    return 0


load_characters()


cdef const Characters *loaded_characters() noexcept nogil:
    return &CHARACTERS


# --- layouts and packing -----------------------------------------------------------------------------------------

cdef inline int rank_of(int kind) noexcept:
    """Cells of words stand first, so that they are aligned where they can be."""
    return 0 if kind == KIND_PHONE else 1 if kind in (KIND_ADDRESS, KIND_DATE) else 2 if cell_size(kind) > 1 else 3


cdef int partner_of(tuple kinds, int i) except -1:
    """Of a given name the only surname, and the other way round."""
    wanted = {KIND_GIVEN_NAME: KIND_SURNAME, KIND_SURNAME: KIND_GIVEN_NAME}.get(kinds[i])
    if wanted is None or kinds.count(kinds[i]) != 1 or kinds.count(wanted) != 1:
        return NO_FIELD
    return kinds.index(wanted)


@cython.final
cdef class Layout:
    """See `linkage.pyi`."""

    def __cinit__(self, kinds):
        cdef uint32_t at = 0
        self.kinds = tuple(kinds)
        if not 0 < len(self.kinds) <= MOST_FIELDS or not all(0 <= kind < KIND_COUNT for kind in self.kinds):
            raise ValueError("kinds: must be 1 to 16 kinds of fields")
        for i in sorted(range(len(self.kinds)), key=lambda i: rank_of(self.kinds[i])):
            self.c.fields[<int>i].kind = self.kinds[i]
            self.c.fields[<int>i].partner = partner_of(self.kinds, i)
            self.c.fields[<int>i].at = <uint16_t>at
            at += cell_size(self.kinds[i])
        self.c.count = len(self.kinds)
        self.c.stride = (at + 7) // 8 * 8
        if self.c.stride > MOST_STRIDE:
            raise ValueError("kinds: a record would be longer than 512 bytes")

    @property
    def stride(self):
        return self.c.stride

    @property
    def places(self):
        return tuple([self.c.fields[i].at for i in range(self.c.count)])

    def pack(self, columns, rows):
        """See `linkage.pyi`."""
        cdef Py_buffer view
        cdef uint32_t i
        if len(columns) != self.c.count:
            raise ValueError("columns: must be as many as fields")
        open_rows(&view, rows, self.c.stride, True)
        try:
            memset(view.buf, 0, view.len)
            for i in range(self.c.count):
                pack_column(&self.c, i, <uint8_t *>view.buf, view.len // self.c.stride, columns[i])
        finally:
            PyBuffer_Release(&view)

    def pack_one(self, tuple values not None):
        """See `linkage.pyi`."""
        cdef bytes row = PyBytes_FromStringAndSize(NULL, self.c.stride)
        memset(PyBytes_AS_STRING(row), 0, self.c.stride)
        self.fill_cells(<uint8_t *>PyBytes_AS_STRING(row), values, True, True)
        return row

    cdef int fill_cells(self, uint8_t *row, tuple values, bint addresses, bint others) except -1:
        """Fill cells of zeros: those of addresses, which take the longest, the others, or all."""
        cdef Text text
        cdef uint32_t i
        if len(values) != <Py_ssize_t>self.c.count:
            raise ValueError("values: must be as many as fields")
        for i in range(self.c.count):
            if (addresses if self.c.fields[i].kind == KIND_ADDRESS else others) and values[i] is not None:
                view_text(&text, values[i])
                pack_value(loaded_tables(), &LETTERS, self.c.fields[i].kind, row + self.c.fields[i].at, &text)
        return 0


cdef int open_rows(Py_buffer *view, object rows, uint32_t stride, bint writable) except -1:
    PyObject_GetBuffer(rows, view, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else PyBUF_SIMPLE))
    if view.len % stride != 0 or view.len // stride > MOST_ROWS:
        PyBuffer_Release(view)
        raise ValueError("rows: must be a whole number of records")
    return 0


cdef int pack_column(const CLayout *layout, uint32_t field, uint8_t *rows, Py_ssize_t count, object column) except -1:
    """The capsules own the array until they go, which is after the reading."""
    schema_capsule, array_capsule = column.__arrow_c_array__()
    cdef const ArrowSchema *schema = <const ArrowSchema *>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
    cdef const ArrowArray *array = <const ArrowArray *>PyCapsule_GetPointer(array_capsule, "arrow_array")
    cdef bytes form = schema.format
    if array.length != count:
        raise ValueError(f"columns[{field}]: must have as many values as there are rows")
    if form == b"tdD" and layout.fields[field].kind == KIND_DATE and array.n_buffers == 2:
        with nogil:
            pack_date_column(layout, field, rows, array)
    elif form in (b"u", b"U") and array.n_buffers == 3:
        if count > 0:
            pack_texts(layout, field, rows, array, form == b"U")
    else:
        raise TypeError(f"columns[{field}]: must be an Arrow array of string or large_string, or date32 for a date")
    return 0


cdef void pack_date_column(const CLayout *layout, uint32_t field, uint8_t *rows, const ArrowArray *array) noexcept nogil:
    cdef const int32_t *days = <const int32_t *>array.buffers[1]
    cdef uint8_t *cell = rows + layout.fields[field].at
    cdef int64_t i
    for i in range(array.length):
        if not is_null(array, i):
            pack_days(cell + i * layout.stride, days[i + array.offset])


cdef struct Packed:             # an address that was packed before, and as what
    const char *text
    int64_t size
    uint8_t cell[ADDRESS_BYTES]


cdef int pack_texts(const CLayout *layout, uint32_t field, uint8_t *rows, const ArrowArray *array, bint large) except -1:
    """Addresses come again and again (who lives together stands close together), and reading one takes microseconds."""
    cdef Packed *known = NULL
    if layout.fields[field].kind == KIND_ADDRESS:
        known = <Packed *>calloc(KNOWN_ADDRESSES, sizeof(Packed))
        if known == NULL:
            raise MemoryError()
    with nogil:
        pack_text_column(layout, field, rows, array, large, known)
    free(known)
    return 0


cdef void pack_text_column(const CLayout *layout, uint32_t field, uint8_t *rows, const ArrowArray *array, bint large,
                           Packed *known) noexcept nogil:
    cdef const Tables *tables = loaded_tables()
    cdef uint8_t *cell = rows + layout.fields[field].at
    cdef Packed *place
    cdef int64_t i, start, end
    cdef Text text
    text.kind = UTF8
    for i in range(array.length):
        if is_null(array, i):
            continue
        start, end = offset_at(array, large, i), offset_at(array, large, i + 1)
        text.data = <const char *>array.buffers[2] + start
        text.size = 0 if end < start else end - start
        if known == NULL:
            pack_value(tables, &LETTERS, layout.fields[field].kind, cell + i * layout.stride, &text)
            continue
        place = &known[hashed_bytes(text.data, text.size) % KNOWN_ADDRESSES]
        if place.text == NULL or place.size != text.size or memcmp(place.text, text.data, text.size) != 0:
            memset(place.cell, 0, sizeof(place.cell))
            pack_value(tables, &LETTERS, KIND_ADDRESS, place.cell, &text)
            place.text, place.size = <const char *>text.data, text.size
        memcpy(cell + i * layout.stride, place.cell, sizeof(place.cell))


# --- rarity ------------------------------------------------------------------------------------------------------

def count_rarity(Layout layout not None, field, tables):
    """See `linkage.pyi`."""
    cdef CountedRows counted[2]
    cdef Py_buffer views[2]
    cdef double agreement[RARITY_STEPS]
    cdef uint64_t values, placeholders
    cdef uint32_t which = field, count = 0
    cdef int failed
    if which >= layout.c.count or not 1 <= len(tables) <= 2:
        raise ValueError("field, tables: must be a field of the layout, and one table or two")
    try:
        for rows in tables:
            open_rows(&views[count], rows, layout.c.stride, True)
            counted[count].rows = <uint8_t *>views[count].buf
            counted[count].count = <uint32_t>(views[count].len // layout.c.stride)
            count += 1
        with nogil:
            failed = rarity_count(&layout.c, which, counted, count, agreement, &values, &placeholders)
        if failed:
            raise MemoryError()
        return [agreement[i] for i in range(RARITY_STEPS)], values, placeholders
    finally:
        for i in range(count):
            PyBuffer_Release(&views[<int>i])


def note_rarity(Layout layout not None, rows, bits):
    """See `linkage.pyi`."""
    cdef Py_buffer view
    cdef uint8_t *cell
    cdef Py_ssize_t i
    cdef uint32_t f, noted
    if len(bits) != layout.c.count or not all(0 <= one < RARITY_STEPS for one in bits):
        raise ValueError("bits: must be 0 to 31 for each field")
    open_rows(&view, rows, layout.c.stride, True)
    try:
        for f in range(layout.c.count):
            noted = bits[f]
            for i in range(view.len // layout.c.stride):
                cell = <uint8_t *>view.buf + i * layout.c.stride + layout.c.fields[f].at
                if cell_value(layout.c.fields[f].kind, cell) != 0:
                    cell_set_rarity(layout.c.fields[f].kind, cell, noted)
    finally:
        PyBuffer_Release(&view)
