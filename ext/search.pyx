# cython: language_level=3
"""A search: from what is known of somebody to the records that may be theirs, and how likely each is. See `search.pyi`.

In stages, until one settles it: by the resident id alone; by every key but those of addresses (which take longest to read), and
what a wrong id may be a slip of; by every key. Of a stage the rarest keys come first: who agrees on all that is known has all of
the query's keys, so nobody else behind the others comes near. Candidates are weighed against strangers, and those of most weight
against kin and one another: at most one of them is the one meant. What must not go in here: what is compared and weighed how
(`linkage_*.h`), files, record bases.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport exp
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from broker._native.linkage cimport loaded_characters
from broker._native.linkage_index cimport (
    ATOM_VALUE,
    NO_ATOM,
    Comparison,
    KeyPlan,
    Weights,
    compare_records,
    compare_weighed,
    comparison_close,
    comparison_open,
    key_alone,
    record_keys,
    weights_known,
    weights_set,
)
from broker._native.query_index cimport PROBE_MOST_KEYS, Index, Probed, index_record, query_probe
from linkage_cells cimport (
    ID_NUMBER,
    ID_OTHER,
    ID_PRESENT,
    ID_VALID,
    KIND_ADDRESS,
    KIND_RESIDENT_ID,
    MOST_STRIDE,
    cell_u64,
    cell_value,
)
from normal_identifier cimport IDENTIFIER_CHARS, MOST_REPAIRS, NormalIdentifier, repairs_of

cdef extern from "linkage_compare.h" nogil:
    enum:
        LEVEL_SAME

cdef extern from "linkage_posterior.h" nogil:
    enum:
        MOST_CLASSES, CLASS_LEVELS
    ctypedef struct Posterior:
        uint32_t fields
        uint32_t classes
        double pairs[8]
        double levels[8][256]
        double guarded
        uint16_t other_name[16]
        uint16_t same_number[16]
        uint16_t contradicted[16]
    uint32_t posterior_guard(const Posterior *posterior, uint64_t pattern)
    double posterior_log_odds(const Posterior *posterior, uint64_t pattern, uint32_t *rival)

cdef enum:
    MOST_COMPARED = 256        # candidates of one probe
    FIRST_COMPARED = 24        # those with the rarest keys: enough to begin with
    ODDS_BITS = 10             # of the place of a pattern
    MOST_WEIGHED = 32          # of them by all classes
    NO_RULE = 0xFFFFFFFF

cdef uint64_t PATTERN_MIX = 0x9E3779B97F4A7C15  # 2^64 by the golden ratio
cdef double SETTLED = 9.0      # logarithm of odds: one in 8,000 that it is somebody else
cdef double LEAST_LOG = -9.0   # what is less likely is no candidate
cdef double MOST_LOG = 60.0    # beyond which odds are as good as certain, and sums of them stay numbers

cdef struct Candidate:
    uint32_t slot
    uint32_t rival
    uint64_t pattern
    double log_odds            # until it is weighed by all classes, against strangers alone

cdef struct Odds:
    uint64_t pattern
    double log_odds
    uint32_t rival

cdef struct Query:
    uint8_t row[MOST_STRIDE]
    uint64_t keys[PROBE_MOST_KEYS]
    uint32_t key_count
    uint32_t own_keys          # of them: whoever agrees on all has those, and not what an id may be a slip of
    Candidate best[MOST_WEIGHED]
    uint32_t found
    uint64_t own               # pattern of the row with itself
    Weights weights            # of what is known
    Probed probed


@cython.final
cdef class Search:
    """See `search.pyi`."""

    cdef Index index
    cdef KeyPlan plan
    cdef Comparison comparison
    cdef bint is_open
    cdef Weights weights       # of a match against strangers
    cdef Posterior posterior
    cdef Odds odds[1 << ODDS_BITS]
    cdef uint32_t id_field
    cdef uint32_t id_rule

    def __cinit__(self, Index index not None, KeyPlan plan not None, levels, pairs, guards, double guarded):
        index.check_open()
        self.index, self.plan = index, plan
        if index.index.stride != plan.layout.c.stride or index.index.header.keys_per_record != plan.c.keys:
            raise ValueError("index: is not of this layout and plan")
        self.load(levels, pairs)
        self.load_guards(guards, guarded)
        self.clear_odds()
        self.id_field = self.id_rule = NO_RULE
        self.find_id_rule()
        if comparison_open(&self.comparison, &plan.layout.c, loaded_characters()) != 0:
            raise MemoryError()
        self.is_open = True

    def __dealloc__(self):
        if self.is_open:
            comparison_close(&self.comparison)

    cdef int load(self, levels, pairs) except -1:
        """Copy the model: logarithms of probabilities by class, field and level, and of shares by class."""
        cdef Py_buffer view
        cdef float weights[CLASS_LEVELS]
        cdef uint32_t i
        if not 2 <= len(pairs) <= MOST_CLASSES:
            raise ValueError("pairs: must be of 2 to 8 classes")
        PyObject_GetBuffer(levels, &view, PyBUF_C_CONTIGUOUS)
        try:
            if view.len != <Py_ssize_t>(len(pairs) * CLASS_LEVELS * sizeof(double)):
                raise ValueError("levels: must be 256 doubles a class")
            memcpy(self.posterior.levels, view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        self.posterior.classes, self.posterior.fields = len(pairs), self.plan.layout.c.count
        for i in range(self.posterior.classes):
            self.posterior.pairs[i] = pairs[i]
        for i in range(CLASS_LEVELS):
            weights[i] = <float>(self.posterior.levels[0][i] - self.posterior.levels[1][i])
        weights_set(&self.weights, &self.plan.layout.c, weights, <float>(LEAST_LOG + pairs[1] - pairs[0]))
        return 0

    cdef int load_guards(self, guards, double guarded) except -1:
        cdef Py_buffer view
        PyObject_GetBuffer(guards, &view, PyBUF_C_CONTIGUOUS)
        try:
            if view.len != 3 * sizeof(self.posterior.other_name):
                raise ValueError("guards: must be 16 words of 16 bits for each of three")
            memcpy(self.posterior.other_name, view.buf, sizeof(self.posterior.other_name))
            memcpy(self.posterior.same_number, <char *>view.buf + 32, sizeof(self.posterior.same_number))
            memcpy(self.posterior.contradicted, <char *>view.buf + 64, sizeof(self.posterior.contradicted))
        finally:
            PyBuffer_Release(&view)
        self.posterior.guarded = guarded
        return 0

    cdef void clear_odds(self) noexcept:
        """Every place holds a pattern: that of two of whom nothing is known."""
        cdef uint32_t i
        memset(self.odds, 0, sizeof(self.odds))
        self.odds[0].log_odds = posterior_log_odds(&self.posterior, 0, &self.odds[0].rival)
        for i in range(1, 1 << ODDS_BITS):
            self.odds[i] = self.odds[0]

    cdef void find_id_rule(self) noexcept:
        cdef uint32_t r
        for r in range(self.plan.c.rule_count):
            atom = self.plan.c.atoms[self.plan.c.rules[r].first]
            if self.plan.c.rules[r].second == NO_ATOM and atom.kind == ATOM_VALUE \
                    and self.plan.layout.c.fields[atom.field].kind == KIND_RESIDENT_ID:
                self.id_field, self.id_rule = atom.field, r

    # --- a search ----------------------------------------------------------------------------------------------------

    def find(self, tuple values not None, uint32_t most, double least=0.0):
        """See `search.pyi`."""
        cdef Query query
        self.index.check_open()
        memset(query.row, 0, self.plan.layout.c.stride)
        self.take_values(&query, values, False)
        if self.take_id_key(&query):
            self.probe(&query, MOST_COMPARED)
        if not is_settled(&query):
            self.take_every_key(&query)
            self.probe(&query, FIRST_COMPARED)
        if not is_settled(&query):
            if self.has_address(values):
                self.take_values(&query, values, True)
                self.take_every_key(&query)
                self.probe(&query, FIRST_COMPARED)
            if query.probed.is_cut and not is_settled(&query) and not self.is_agreed(&query):
                self.probe(&query, MOST_COMPARED)
        return self.told(&query, min(most, <uint32_t>MOST_WEIGHED), least)

    cdef int take_values(self, Query *query, tuple values, bint addresses) except -1:
        """Pack what is known: all but addresses, or those."""
        self.plan.layout.fill_cells(query.row, values, addresses, not addresses)
        query.own = compare_records(&self.comparison, query.row, query.row)
        weights_known(&query.weights, &self.weights, query.own)
        query.found = 0
        return 0

    cdef inline uint64_t id_of(self, const Query *query) noexcept:
        """The resident id as it is packed; 0 if none is known."""
        return 0 if self.id_rule == NO_RULE else cell_u64(query.row + self.plan.layout.c.fields[self.id_field].at)

    cdef bint take_id_key(self, Query *query) noexcept:
        """Take the key of an id that is right; whether there is one."""
        query.key_count = 0
        if self.id_of(query) & ID_VALID:
            self.take_id(query, self.id_of(query))
        query.own_keys = query.key_count
        return query.key_count > 0

    cdef bint has_address(self, tuple values) noexcept:
        cdef uint32_t i
        for i in range(self.plan.layout.c.count):
            if self.plan.layout.c.fields[i].kind == KIND_ADDRESS and values[i] is not None:
                return True
        return False

    cdef inline void take_id(self, Query *query, uint64_t id) noexcept:
        query.keys[query.key_count] = key_alone(cell_value(KIND_RESIDENT_ID, <const uint8_t *>&id), self.id_rule)
        query.key_count += 1

    cdef void take_repairs(self, Query *query) noexcept:
        """Add the keys of the numbers that a wrong id may be a slip of."""
        cdef NormalIdentifier id
        cdef uint8_t repairs[MOST_REPAIRS * IDENTIFIER_CHARS]
        cdef uint64_t value, number = self.id_of(query) & ID_NUMBER, rest = number // 11
        cdef int i, k
        if not self.id_of(query) & ID_PRESENT or self.id_of(query) & (ID_VALID | ID_OTHER):
            return
        id.size = IDENTIFIER_CHARS
        id.chars[17] = <uint8_t>(c'X' if number % 11 == 10 else c'0' + number % 11)
        for i in range(16, -1, -1):
            id.chars[i] = <uint8_t>(c'0' + rest % 10)
            rest //= 10
        for i in range(repairs_of(&id, repairs)):
            value = 0
            for k in range(17):
                value = 10 * value + (repairs[IDENTIFIER_CHARS * i + k] - c'0')
            k = IDENTIFIER_CHARS * i + 17
            value = 11 * value + (10 if repairs[k] == c'X' else repairs[k] - c'0')
            self.take_id(query, value | ID_PRESENT | ID_VALID)

    cdef void take_every_key(self, Query *query) noexcept:
        record_keys(&self.plan.c, &self.plan.layout.c, loaded_characters(), query.row, query.keys)
        query.key_count = query.own_keys = self.plan.c.keys
        self.take_repairs(query)

    cdef void probe(self, Query *query, uint32_t enough) noexcept:
        """Find candidates until there are enough, keep those of most weight, weigh these by all classes; the likeliest first."""
        cdef uint32_t slots[MOST_COMPARED]
        cdef Candidate candidate
        cdef float weight
        cdef uint32_t i
        query.probed = query_probe(
            &self.index.index, query.keys, query.key_count, query.own_keys, slots, MOST_COMPARED, enough
        )
        query.found = 0
        for i in range(query.probed.count):
            candidate.slot = slots[i]
            if compare_weighed(&self.comparison, &query.weights, query.row, index_record(&self.index.index, slots[i]),
                               &candidate.pattern, &weight):
                candidate.log_odds = weight
                keep(query, &candidate)
        for i in range(query.found):
            self.weigh(&query.best[i])
        sort(query.best, query.found)

    cdef inline void weigh(self, Candidate *candidate) noexcept:
        """Weigh by all classes. Many share a pattern, and what it comes to takes logarithms."""
        cdef Odds *odds = &self.odds[(candidate.pattern * PATTERN_MIX) >> (64 - ODDS_BITS)]
        if odds.pattern != candidate.pattern:
            odds.pattern = candidate.pattern
            odds.log_odds = posterior_log_odds(&self.posterior, candidate.pattern, &odds.rival)
        candidate.log_odds, candidate.rival = odds.log_odds, odds.rival

    cdef bint is_agreed(self, const Query *query) noexcept:
        """Whether somebody agrees on all that is known, and whoever else does was found as well."""
        cdef uint64_t own = query.own, pattern = query.best[0].pattern
        if query.found == 0 or not query.probed.has_rarest:
            return False
        while own != 0:
            if own & 0xF and (pattern & 0xF) < LEVEL_SAME:
                return False           # nor if it is known in part: who agrees on that may have other keys
            own, pattern = own >> 4, pattern >> 4
        return True

    cdef list told(self, Query *query, uint32_t most, double least):
        """Of all candidates at most one is the one meant: each counts against the others."""
        cdef double every = 1.0, probability
        cdef uint32_t i
        cdef list found = []
        for i in range(query.found):
            every += exp(min(query.best[i].log_odds, MOST_LOG))
        for i in range(min(query.found, most)):
            probability = exp(min(query.best[i].log_odds, MOST_LOG)) / every
            if probability < least:
                break
            found.append((query.best[i].slot, probability, query.best[i].log_odds, query.best[i].rival,
                          posterior_guard(&self.posterior, query.best[i].pattern), query.best[i].pattern))
        return found


cdef inline bint is_settled(const Query *query) noexcept nogil:
    """Whether one is certain, and no other comes near: whoever else has the rarest of its own keys was compared too."""
    if query.found == 0 or not query.probed.has_rarest or query.best[0].log_odds < SETTLED:
        return False
    return query.found == 1 or query.best[0].log_odds - query.best[1].log_odds >= SETTLED


cdef inline void keep(Query *query, const Candidate *candidate) noexcept nogil:
    """Insert in order of weight; the least makes room."""
    cdef uint32_t at = query.found
    if at == MOST_WEIGHED:
        at -= 1
        if query.best[at].log_odds >= candidate.log_odds:
            return
    else:
        query.found += 1
    while at > 0 and query.best[at - 1].log_odds < candidate.log_odds:
        query.best[at] = query.best[at - 1]
        at -= 1
    query.best[at] = candidate[0]


cdef inline void sort(Candidate *best, uint32_t count) noexcept nogil:
    """By insertion: they are few, and nearly in order."""
    cdef Candidate moved
    cdef uint32_t i, at
    for i in range(1, count):
        moved, at = best[i], i
        while at > 0 and best[at - 1].log_odds < moved.log_odds:
            best[at] = best[at - 1]
            at -= 1
        best[at] = moved
