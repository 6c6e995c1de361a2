# cython: language_level=3
"""C declarations of packed records, their keys and their comparison, and of the objects that hold a layout and a plan.

What must not go in here: what Python sees (`broker/_native/linkage.pyi`).
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from linkage_pack cimport Characters

cdef extern from "linkage_cells.h" nogil:
    enum:
        MOST_FIELDS, MOST_STRIDE, NO_FIELD, KIND_RESIDENT_ID
    const uint64_t ID_VALID
    const uint64_t ID_OTHER
    const uint64_t ID_PRESENT
    const uint64_t ID_NUMBER
    ctypedef struct FieldCell:
        uint8_t kind
        uint8_t partner
        uint16_t at
    ctypedef struct CLayout "Layout":
        FieldCell fields[16]
        uint32_t count
        uint32_t stride
    uint64_t hashed_bytes(const void *data, size_t size)
    void cell_set_rarity(uint8_t kind, uint8_t *cell, uint32_t bits)
    uint64_t cell_value(uint8_t kind, const uint8_t *cell)
    uint64_t cell_u64(const uint8_t *cell)

cdef extern from "linkage_keys.h" nogil:
    enum:
        ATOM_VALUE, ATOM_COUNT, MOST_ATOMS, MOST_RULES, MOST_KEYS, NO_ATOM
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
    uint64_t key_alone(uint64_t value, uint32_t rule)

cdef extern from "linkage_compare.h" nogil:
    ctypedef struct Comparison:
        pass
    int comparison_open(Comparison *comparison, const CLayout *layout, const Characters *characters)
    void comparison_close(Comparison *comparison)
    ctypedef struct Weights:
        float least
    void weights_set(Weights *set, const CLayout *layout, const float *weights, float least)
    int compare_weighed(Comparison *comparison, const Weights *weights, const uint8_t *one, const uint8_t *other,
                        uint64_t *pattern, float *sum)

cdef extern from "linkage_pairs.h" nogil:
    enum:
        WEIGHT_LEVELS

cdef const Characters *loaded_characters() noexcept nogil

@cython.final
cdef class Layout:
    cdef CLayout c
    cdef readonly tuple kinds
    cdef int fill_row(self, uint8_t *row, tuple values) except -1

@cython.final
cdef class KeyPlan:
    cdef CPlan c
    cdef readonly Layout layout
