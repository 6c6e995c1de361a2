# cython: language_level=3
"""Plans of blocking keys, and comparison, for other native modules: what `linkage_index.pyx` shares with the search.

What must not go in here: pairs and clusters.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from broker._native.linkage cimport Layout
from linkage_cells cimport Characters, CLayout

cdef extern from "linkage_keys.h" nogil:
    enum:
        ATOM_VALUE, ATOM_COUNT, MOST_ATOMS, MOST_RULES, NO_ATOM
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
    ctypedef struct Weights:
        float least
    void weights_known(Weights *known, const Weights *set, uint64_t own)
    uint64_t compare_records(Comparison *comparison, const uint8_t *one, const uint8_t *other)
    int comparison_open(Comparison *comparison, const CLayout *layout, const Characters *characters)
    void comparison_close(Comparison *comparison)
    void weights_set(Weights *set, const CLayout *layout, const float *weights, float least)
    int compare_weighed(Comparison *comparison, const Weights *weights, const uint8_t *one, const uint8_t *other,
                        uint64_t *pattern, float *sum)

cdef class KeyPlan:
    cdef CPlan c
    cdef readonly Layout layout
