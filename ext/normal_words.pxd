# cython: language_level=3
"""What native code sees of `normal_words.h`: tables of words and how a word is found in folded characters.

What must not go in here: words.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "normal_words.h" nogil:
    ctypedef struct word:
        uint8_t size
        uint8_t kind
    ctypedef struct unit_word:
        word written
        const uint32_t *compared
        uint8_t compared_size

    const word *word_at(const word *words, const uint32_t *codes, int count)
    const word *word_before(const word *words, const uint32_t *codes, int count)
    const unit_word *unit_at(const unit_word *units, const uint32_t *codes, int count)

    int signs_of(const uint8_t *signs, uint32_t code)
    void note_address_signs(uint8_t *signs)

    const word company_forms[]
    const word english_forms[]
    const word parts_of_companies[]
    const word branch_words[]
    const word group_words[]
    const word bracketed_places[]
    const word place_ends[]
    const word no_places[]
    const unit_word unit_words[]
    const word committees[]
    const word counted[]
    const word region_ends[]
    const word road_ends[]
    const word village_roads[]

    cdef enum:
        ADDRESS_SIGNS
        ENDS_PART
        REGION_END
        ROAD_END
        COMMUNITY_END
        ROAD_SECTION
        FIGURE
        ONLY_BEFORE_NO_IDEOGRAPH
        FORM_NONE
        FORM_LIMITED
        FORM_JOINT_STOCK
        FORM_COMPANY
        FORM_PARTNERSHIP
        FORM_LIMITED_PARTNERSHIP
        FORM_SOLE
        PART_NONE
        PART_REGION
        PART_ROAD
        PART_NUMBER
        PART_COMMUNITY
        PART_BUILDING
        PART_UNIT
        PART_FLOOR
        PART_ROOM
        PART_GROUP
        PART_LANE
