# cython: language_level=3
"""Blocking keys, candidate pairs, patterns and clusters. The contract is in `broker/_native/linkage_index.pyi`.

The boundary of the C of `linkage_keys.h`, `linkage_pairs.h` and `linkage_clusters.h`: buffers are checked here, and the lock of
the interpreter is let go while a table is worked on. What must not go in here: how anything is compared, what a pattern means.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from broker._native.linkage cimport Layout, loaded_characters, open_rows
from linkage_cells cimport Characters, CLayout

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

cdef extern from "linkage_clusters.h" nogil:
    ctypedef struct OddsOfPairs:
        const uint32_t *left
        const uint32_t *right
        const double *log_odds
        size_t count
    ctypedef struct Clustering:
        double least
        double clip
        double uncompared
    int cluster_rows(uint32_t *clusters, uint32_t rows, const OddsOfPairs *pairs, const Clustering *clustering)

cdef enum:
    CHUNK_ROWS = 1024           # of which keys are made at a time


# --- keys --------------------------------------------------------------------------------------------------------

@cython.final
cdef class KeyPlan:
    """See `linkage_index.pyi`."""

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
        """See `linkage_index.pyi`."""
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
                        record_keys(&self.c, &self.layout.c, loaded_characters(), <uint8_t *>view.buf + i * self.layout.c.stride,
                                    <uint64_t *>room.buf + i * self.c.keys)
            finally:
                PyBuffer_Release(&room)
        finally:
            PyBuffer_Release(&view)


# --- pairs -------------------------------------------------------------------------------------------------------

@cython.final
cdef class Index:
    """See `linkage_index.pyi`."""

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
                record_keys(&self.plan.c, &self.plan.layout.c, loaded_characters(), rows + (i + k) * self.plan.layout.c.stride,
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
        """See `linkage_index.pyi`."""
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
        search.layout, search.plan, search.characters = &self.plan.layout.c, &self.plan.c, loaded_characters()
        search.index = &self.postings
        search.left.rows, search.left.count = <const uint8_t *>left.buf, <uint32_t>(left.len // self.plan.layout.c.stride)
        search.right.rows = <const uint8_t *>self.view.buf
        search.right.count = <uint32_t>(self.view.len // self.plan.layout.c.stride)
        search.weights, search.least, search.within = weights, least, within


cdef bytes copied(const void *data, size_t size):
    return PyBytes_FromStringAndSize(<const char *>data, size) if size else b""


def compare(Layout layout not None, left, right, lefts, rights, out):
    """See `linkage_index.pyi`."""
    cdef Py_buffer views[5]
    cdef Search search
    cdef Py_ssize_t count
    cdef int failed, opened = 0
    memset(&search, 0, sizeof(search))
    search.layout, search.characters = &layout.c, loaded_characters()
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


# --- clusters ----------------------------------------------------------------------------------------------------

def cluster(rows, lefts, rights, log_odds, double least, double clip, double uncompared, out):
    """See `linkage_index.pyi`."""
    cdef Py_buffer views[4]
    cdef OddsOfPairs pairs
    cdef Clustering clustering
    cdef uint32_t count = rows
    cdef int failed, opened = 0
    clustering.least, clustering.clip, clustering.uncompared = least, clip, uncompared
    try:
        for column, unit in ((lefts, 4), (rights, 4), (log_odds, 8), (out, 4)):
            open_rows(&views[opened], column, unit, opened == 3)
            opened += 1
        pairs.count = views[0].len // 4
        if views[1].len != views[0].len or views[2].len != 2 * views[0].len or views[3].len != <Py_ssize_t>count * 4:
            raise ValueError("lefts, rights, log_odds, out: must be as long as one another, and a cluster a row")
        pairs.left, pairs.right = <const uint32_t *>views[0].buf, <const uint32_t *>views[1].buf
        pairs.log_odds = <const double *>views[2].buf
        with nogil:
            failed = cluster_rows(<uint32_t *>views[3].buf, count, &pairs, &clustering)
        if failed == -2:
            raise ValueError("lefts, rights: must be two rows of the table")
        if failed:
            raise MemoryError()
    finally:
        for i in range(opened):
            PyBuffer_Release(&views[<int>i])
