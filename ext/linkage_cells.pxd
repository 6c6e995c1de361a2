# cython: language_level=3
"""Packed records as Cython knows them (linkage_cells.h).

What must not go in here: rules.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "linkage_cells.h" nogil:
    enum:
        KIND_PERSON_NAME, KIND_GIVEN_NAME, KIND_SURNAME, KIND_RESIDENT_ID, KIND_IDENTIFIER, KIND_DATE, KIND_PHONE
        KIND_ADDRESS, KIND_TEXT, KIND_NUMBER, KIND_CATEGORY, KIND_COUNT
        MOST_FIELDS, MOST_STRIDE, NO_FIELD
        NAME_UNITS, NAME_LONGER, NAME_SURNAME_SHIFT, NAME_IN_LETTERS, REGION_HASH, TEXT_BYTES, CODE_BYTES, FIGURES
    const uint64_t ID_VALID
    const uint64_t ID_OTHER
    const uint64_t ID_PRESENT
    const uint64_t ID_NUMBER
    ctypedef struct AddressCell:
        uint32_t region
        uint32_t community
        uint32_t road
        uint16_t figures[4]
    ctypedef struct Characters:
        uint16_t readings[0x10000]
        uint16_t shapes[0x10000]
    uint32_t cell_size(uint8_t kind)
    uint64_t mixed(uint64_t value)
    ctypedef struct FieldCell:
        uint8_t kind
        uint8_t partner
        uint16_t at
    ctypedef struct CLayout "Layout":
        FieldCell fields[16]
        uint32_t count
        uint32_t stride
    uint64_t hashed_bytes(const void *data, size_t size)

cdef enum:
    MOST_READINGS = 0x4000

cdef struct Letters:            # a sum over the letters of each reading
    uint32_t sums[MOST_READINGS]
