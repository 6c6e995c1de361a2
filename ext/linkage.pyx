# cython: language_level=3
"""Linkage of records: packing, blocking keys, candidate pairs, patterns. The contract is in `broker/_native/linkage.pyi`.

The boundary of the C of `linkage_*.h`: buffers are checked here, and the lock of the interpreter is let go while a table is
worked on. What must not go in here: how anything is compared, what a pattern means.
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
from linkage_pack cimport (
    KIND_ADDRESS,
    KIND_COUNT,
    KIND_DATE,
    KIND_GIVEN_NAME,
    KIND_PERSON_NAME,
    KIND_PHONE,
    KIND_SURNAME,
    MOST_READINGS,
    Characters,
    Letters,
    cell_size,
    letter_sum,
    pack_days,
    pack_value,
)
from normal_tables cimport READING, Tables, reading_value, shape_class
from normal_text cimport UTF8, Text

from broker._native.normalise import SYLLABLES

cdef extern from "linkage_cells.h" nogil:
    enum:
        MOST_FIELDS, MOST_STRIDE, NO_FIELD
    ctypedef struct FieldCell:
        uint8_t kind
        uint8_t partner
        uint16_t at
    ctypedef struct CLayout "Layout":
        FieldCell fields[16]
        uint32_t count
        uint32_t stride
    uint64_t hashed_bytes(const void *data, size_t size)

cdef extern from "linkage_keys.h" nogil:
    enum:
        ATOM_COUNT, MOST_ATOMS, MOST_RULES, NO_ATOM
    ctypedef struct CAtom "Atom":
        uint8_t field
        uint8_t kind
    ctypedef struct CRule "Rule":
        uint8_t first
        uint8_t second
    ctypedef struct CPlan "Plan":
        CAtom atoms[32]
        CRule rules[64]
        uint16_t places[65]
        uint32_t atom_count
        uint32_t rule_count
        uint32_t keys
    int plan_places(CPlan *plan, const CLayout *layout)
    void record_keys(const CPlan *plan, const CLayout *layout, const Characters *characters, const uint8_t *record,
                     uint64_t *keys)

cdef extern from "linkage_rarity.h" nogil:
    enum:
        RARITY_STEPS
    ctypedef struct CountedRows:
        uint8_t *rows
        uint32_t count
    int rarity_count(const CLayout *layout, uint32_t field, const CountedRows *tables, uint32_t table_count,
                     double *agreement, uint64_t *values, uint64_t *placeholders)

cdef extern from "postings.h" nogil:
    ctypedef struct Postings:
        const uint32_t *directory
        const uint32_t *slots
        uint32_t count
        uint32_t bits
    ctypedef struct PostingsBuild:
        uint64_t added
    ctypedef struct PostingsBuilt:
        uint32_t slots
        uint32_t dropped_buckets
        uint64_t dropped_slots
    ctypedef enum PostingsStatus:
        POSTINGS_OK
    size_t postings_scratch_bytes(uint64_t most_pairs)
    PostingsStatus postings_begin(PostingsBuild *build, void *scratch, size_t scratch_bytes, uint64_t most_pairs)
    PostingsStatus postings_add(PostingsBuild *build, const uint64_t *keys, size_t rows, size_t keys_per_row, uint32_t first)
    uint32_t postings_bits(uint64_t pairs)
    PostingsStatus postings_finish(PostingsBuild *build, uint32_t bits, uint32_t cap, uint32_t *directory, uint32_t *slots,
                                   uint64_t room, PostingsBuilt *built)

cdef extern from "linkage_memory.h" nogil:
    void *table_memory(size_t size)

cdef extern from "linkage_pairs.h" nogil:
    enum:
        WEIGHT_LEVELS
    ctypedef struct Records:
        const uint8_t *rows
        uint32_t count
    ctypedef struct Pairs:
        uint32_t *left
        uint32_t *right
        uint64_t *patterns
        float *weights
        size_t count
        uint64_t compared
        uint64_t cut
    ctypedef struct Search:
        const CLayout *layout
        const CPlan *plan
        const Characters *characters
        const Postings *index
        Records left
        Records right
        int within
        const float *weights
        float least
    int pairs_find(Pairs *pairs, const Search *search, uint32_t first, uint32_t step, uint32_t count)
    void pairs_free(Pairs *pairs)
    int pairs_compare(const Search *search, const uint32_t *left, const uint32_t *right, size_t count, uint64_t *patterns)

cdef enum:
    ADDRESS_BYTES = 20          # of a cell
    KNOWN_ADDRESSES = 1 << 16
    CHUNK_ROWS = 1024           # of which keys are made at a time
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

    cdef CLayout c
    cdef readonly tuple kinds

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
        cdef uint8_t *at = <uint8_t *>PyBytes_AS_STRING(row)
        cdef Text text
        cdef uint32_t i
        if len(values) != <Py_ssize_t>self.c.count:
            raise ValueError("values: must be as many as fields")
        memset(at, 0, self.c.stride)
        for i in range(self.c.count):
            if values[i] is not None:
                view_text(&text, values[i])
                pack_value(loaded_tables(), &LETTERS, self.c.fields[i].kind, at + self.c.fields[i].at, &text)
        return row


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


# --- keys --------------------------------------------------------------------------------------------------------

@cython.final
cdef class KeyPlan:
    """See `linkage.pyi`."""

    cdef CPlan c
    cdef readonly Layout layout

    def __cinit__(self, Layout layout not None, atoms, rules):
        cdef int i
        self.layout = layout
        if len(atoms) > MOST_ATOMS or len(rules) > MOST_RULES:
            raise ValueError("atoms, rules: must be at most 32 and 64")
        for i, (field, kind) in enumerate(atoms):
            self.c.atoms[i].field, self.c.atoms[i].kind = field, kind
        for i, (first, second) in enumerate(rules):
            self.c.rules[i].first, self.c.rules[i].second = first, NO_ATOM if second is None else second
        self.c.atom_count, self.c.rule_count = len(atoms), len(rules)
        if plan_places(&self.c, &layout.c) != 0:
            raise ValueError("rules: name an atom or a field that there is not, or make more than 128 keys a record")

    @property
    def width(self):
        return self.c.keys

    @property
    def places(self):
        return tuple([self.c.places[i] for i in range(self.c.rule_count + 1)])

    def keys(self, rows, out):
        """See `linkage.pyi`."""
        cdef Py_buffer view, room
        cdef Py_ssize_t i, count
        open_rows(&view, rows, self.layout.c.stride, False)
        try:
            open_rows(&room, out, 8, True)
            try:
                count = view.len // self.layout.c.stride
                if room.len != count * self.c.keys * 8:
                    raise ValueError("out: must have a key of 64 bits for each row and place")
                with nogil:
                    for i in range(count):
                        record_keys(&self.c, &self.layout.c, &CHARACTERS, <uint8_t *>view.buf + i * self.layout.c.stride,
                                    <uint64_t *>room.buf + i * self.c.keys)
            finally:
                PyBuffer_Release(&room)
        finally:
            PyBuffer_Release(&view)


# --- pairs -------------------------------------------------------------------------------------------------------

@cython.final
cdef class Index:
    """See `linkage.pyi`."""

    cdef KeyPlan plan
    cdef Py_buffer view
    cdef bint is_open
    cdef Postings postings
    cdef uint32_t *directory
    cdef uint32_t *slots
    cdef readonly object dropped

    def __cinit__(self, KeyPlan plan not None, rows, cap):
        self.plan = plan
        open_rows(&self.view, rows, plan.layout.c.stride, False)
        self.is_open = True
        self.build(cap)

    def __dealloc__(self):
        free(self.directory)
        free(self.slots)
        if self.is_open:
            PyBuffer_Release(&self.view)

    cdef int build(self, uint32_t cap) except -1:
        cdef size_t count = self.view.len // self.plan.layout.c.stride
        cdef uint64_t most = <uint64_t>count * self.plan.c.keys
        cdef size_t scratch_bytes = postings_scratch_bytes(most)
        cdef void *scratch = table_memory(scratch_bytes)
        cdef uint64_t *keys = <uint64_t *>malloc(CHUNK_ROWS * (self.plan.c.keys + 1) * sizeof(uint64_t))
        cdef PostingsBuild building
        cdef int failed = scratch == NULL or keys == NULL
        try:
            if not failed:
                with nogil:
                    failed = postings_begin(&building, scratch, scratch_bytes, most) != POSTINGS_OK \
                        or self.add_keys(&building, keys, count) != 0 or self.finish(&building, cap) != 0
            if failed:
                raise MemoryError()
        finally:
            free(scratch)
            free(keys)
        return 0

    cdef int add_keys(self, PostingsBuild *building, uint64_t *keys, size_t count) noexcept nogil:
        cdef const uint8_t *rows = <const uint8_t *>self.view.buf
        cdef size_t i = 0, k, chunk
        while i < count:
            chunk = CHUNK_ROWS if count - i > CHUNK_ROWS else count - i
            for k in range(chunk):
                record_keys(&self.plan.c, &self.plan.layout.c, &CHARACTERS, rows + (i + k) * self.plan.layout.c.stride,
                            keys + k * self.plan.c.keys)
            if postings_add(building, keys, chunk, self.plan.c.keys, <uint32_t>i) != POSTINGS_OK:
                return -1
            i += chunk
        return 0

    cdef int finish(self, PostingsBuild *building, uint32_t cap) noexcept nogil:
        """Twice the buckets that do for space: a bucket that keys share costs a comparison."""
        cdef uint32_t bits = postings_bits(4 * building.added)
        cdef PostingsBuilt built
        self.directory = <uint32_t *>table_memory(((<size_t>1 << bits) + 1) * sizeof(uint32_t))
        self.slots = <uint32_t *>table_memory((building.added + 1) * sizeof(uint32_t))
        if self.directory == NULL or self.slots == NULL:
            return -1
        if postings_finish(building, bits, cap, self.directory, self.slots, building.added, &built) != POSTINGS_OK:
            return -1
        self.postings.directory, self.postings.slots = self.directory, self.slots
        self.postings.count, self.postings.bits = built.slots, bits
        with gil:
            self.dropped = built.dropped_slots
        return 0

    def find(self, left, first, step, count, weights, float least, bint within):
        """See `linkage.pyi`."""
        cdef Search search
        cdef Pairs pairs
        cdef Py_buffer view, table
        cdef uint32_t begin = first, stride = step, rows = count
        cdef int failed
        memset(&pairs, 0, sizeof(pairs))
        open_rows(&view, left, self.plan.layout.c.stride, False)
        try:
            PyObject_GetBuffer(weights, &table, PyBUF_C_CONTIGUOUS)
            try:
                if table.len != WEIGHT_LEVELS * sizeof(float):
                    raise ValueError("weights: must be 256 floats")
                self.fill(&search, &view, <const float *>table.buf, least, within)
                if rows > 0 and (stride == 0 or <uint64_t>begin + <uint64_t>stride * (rows - 1) >= search.left.count):
                    raise ValueError("first, step, count: must be within the table")
                with nogil:
                    failed = pairs_find(&pairs, &search, begin, stride, rows)
                if failed:
                    raise MemoryError()
                return (copied(pairs.left, pairs.count * 4), copied(pairs.right, pairs.count * 4),
                        copied(pairs.patterns, pairs.count * 8), copied(pairs.weights, pairs.count * 4),
                        pairs.compared, pairs.cut)
            finally:
                pairs_free(&pairs)
                PyBuffer_Release(&table)
        finally:
            PyBuffer_Release(&view)

    cdef void fill(self, Search *search, const Py_buffer *left, const float *weights, float least, bint within) noexcept:
        search.layout, search.plan, search.characters = &self.plan.layout.c, &self.plan.c, &CHARACTERS
        search.index = &self.postings
        search.left.rows, search.left.count = <const uint8_t *>left.buf, <uint32_t>(left.len // self.plan.layout.c.stride)
        search.right.rows = <const uint8_t *>self.view.buf
        search.right.count = <uint32_t>(self.view.len // self.plan.layout.c.stride)
        search.weights, search.least, search.within = weights, least, within


cdef bytes copied(const void *data, size_t size):
    return PyBytes_FromStringAndSize(<const char *>data, size) if size else b""


def compare(Layout layout not None, left, right, lefts, rights, out):
    """See `linkage.pyi`."""
    cdef Py_buffer views[5]
    cdef Search search
    cdef Py_ssize_t count
    cdef int failed, opened = 0
    memset(&search, 0, sizeof(search))
    search.layout, search.characters = &layout.c, &CHARACTERS
    try:
        for rows, unit in ((left, layout.c.stride), (right, layout.c.stride), (lefts, 4), (rights, 4), (out, 8)):
            open_rows(&views[opened], rows, unit, opened == 4)
            opened += 1
        search.left.rows, search.left.count = <const uint8_t *>views[0].buf, <uint32_t>(views[0].len // layout.c.stride)
        search.right.rows, search.right.count = <const uint8_t *>views[1].buf, <uint32_t>(views[1].len // layout.c.stride)
        count = views[2].len // 4
        if views[3].len // 4 != count or views[4].len // 8 != count:
            raise ValueError("lefts, rights, out: must be as long as one another")
        with nogil:
            failed = pairs_compare(&search, <const uint32_t *>views[2].buf, <const uint32_t *>views[3].buf, count,
                                   <uint64_t *>views[4].buf)
        if failed:
            raise ValueError("lefts, rights: must be rows of their tables")
    finally:
        for i in range(opened):
            PyBuffer_Release(&views[<int>i])
