# cython: language_level=3
"""Normalisation for matching, one value at a time, for Python. The contract is in `broker/_native/normalise.pyi`.

The rules are in normal_*.pxd, without Python objects; here are the tables of this process and what turns results into Python
values. What must not go in here: rules, columns of values (normal_columns.pyx).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import sys
from pathlib import Path

from normal_address cimport NormalAddress, normal_address
from normal_company cimport COMPANY_BRANCH, COMPANY_GROUP, COMPANY_REMARK, NormalCompany, normal_company
from normal_date cimport normal_date
from normal_identifier cimport (
    IDENTIFIER_CHARS,
    INVALID as STANDS_INVALID,
    MOST_REPAIRS,
    REPAIRABLE as STANDS_REPAIRABLE,
    VALID as STANDS_VALID,
    NormalIdentifier,
    normal_company_code,
    normal_licence,
    normal_resident_id,
    repairs_of,
)
from normal_name cimport NAME_CUT, NAME_LATIN, NAME_PARTS, NAME_REMARK, NAME_UNKNOWN, NormalName, normal_name
from normal_phone cimport (
    PHONE_FIXED,
    PHONE_FOREIGN,
    PHONE_MOBILE,
    PHONE_MORE,
    PHONE_PLACEHOLDER,
    PHONE_SERVICE,
    NormalPhone,
    normal_phone,
)
from normal_tables cimport READING, Tables, is_sign, reading_value, shape_class, view_tables
from normal_text cimport Codes, Text, fold_text, single_spaces

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_FromKindAndData(int kind, const void *data, Py_ssize_t size)

if sys.byteorder != "little":
    raise ImportError("the tables of normalisation are read as they lie, which needs a little-endian machine")

FLAGS = {
    "person": {"unknown": NAME_UNKNOWN, "parts": NAME_PARTS, "remark": NAME_REMARK, "latin": NAME_LATIN, "cut": NAME_CUT},
    "company": {"group": COMPANY_GROUP, "branch": COMPANY_BRANCH, "remark": COMPANY_REMARK},
    "phone": {
        "mobile": PHONE_MOBILE,
        "fixed": PHONE_FIXED,
        "service": PHONE_SERVICE,
        "foreign": PHONE_FOREIGN,
        "more": PHONE_MORE,
        "placeholder": PHONE_PLACEHOLDER,
    },
}
INVALID, REPAIRABLE, VALID = STANDS_INVALID, STANDS_REPAIRABLE, STANDS_VALID
FORMS = ("", "limited", "joint stock", "company", "partnership", "limited partnership", "sole")
PARTS = ("", "region", "road", "number", "community", "building", "unit", "floor", "room", "group", "lane")


# --- tables ------------------------------------------------------------------------------------------------------

cdef Tables TABLES
cdef const Tables *tables = &TABLES


cdef const Tables *loaded_tables() noexcept nogil:
    return tables


cdef unsigned char *aligned_copy(const void *data, Py_ssize_t size) except NULL:
    cdef unsigned char *copy = <unsigned char *>malloc(size if size > 0 else 1)
    if copy == NULL:
        raise MemoryError()
    if size > 0:
        memcpy(copy, data, size)
    return copy


cdef int load(bytes data) except -1:
    """Take a copy that is as old as the process, at an address that suits the tables."""
    cdef unsigned char *copy = aligned_copy(<const char *>data, len(data))
    if not view_tables(&TABLES, copy, len(data)):
        free(copy)
        raise ImportError("normalisation.bin is damaged or of another format; install the package again")
    return 0


load(Path(__file__).with_name("normalisation.bin").read_bytes())
SYLLABLES = ("", *TABLES.names[:TABLES.names_size].decode().split("\n"))
MADE_FROM = TABLES.about[:TABLES.about_size].decode()


def is_table_file(data):
    """See `normalise.pyi`."""
    cdef Tables read
    cdef Py_buffer buffer
    cdef unsigned char *copy
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    try:
        copy = aligned_copy(buffer.buf, buffer.len)
        sound = view_tables(&read, copy, buffer.len)
        free(copy)
        return bool(sound)
    finally:
        PyBuffer_Release(&buffer)


# --- Python values -----------------------------------------------------------------------------------------------

cdef int view_text(Text *view, object text) except -1:
    """Point at the characters that the text object itself keeps; valid as long as the object lives."""
    if not isinstance(text, str):
        raise TypeError("text: must be str")
    view.data = PyUnicode_DATA(text)
    view.size = PyUnicode_GET_LENGTH(text)
    view.kind = PyUnicode_KIND(text)
    return 0


cdef inline int fold_object(Codes *codes, object text) except -1:
    cdef Text view
    view_text(&view, text)
    fold_text(tables, &view, codes)
    return 0


cdef inline str text_of(const uint32_t *codes, Py_ssize_t size):
    return PyUnicode_FromKindAndData(4, codes, size)


cdef inline str ascii_of(const uint8_t *chars, Py_ssize_t size):
    return PyUnicode_DecodeASCII(<const char *>chars, size, NULL)


cdef uint32_t code_of(object character) except? 0:
    if not isinstance(character, str) or len(character) != 1:
        raise TypeError("character: must be one character")
    return ord(character)


def fold(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    fold_object(&codes, text)
    return text_of(codes.at, codes.size)


def free_text(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    fold_object(&codes, text)
    single_spaces(&codes)
    return text_of(codes.at, codes.size)


def syllable(character):
    """See `normalise.pyi`."""
    return reading_value(tables, code_of(character)) & READING


def shape(character):
    """See `normalise.pyi`."""
    return shape_class(tables, code_of(character))


@cython.final
cdef class PersonName:
    """See `normalise.pyi`."""

    cdef readonly str text
    cdef readonly tuple readings
    cdef readonly int surname
    cdef readonly int first_part
    cdef readonly int flags

    def __init__(self):
        raise TypeError("a PersonName is made by person_name")


def person_name(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    cdef NormalName raw
    fold_object(&codes, text)
    normal_name(tables, &raw, &codes)
    cdef PersonName name = PersonName.__new__(PersonName)
    name.text = text_of(raw.codes, raw.size)
    name.readings = tuple([raw.readings[i] for i in range(raw.size)])
    name.surname, name.first_part, name.flags = raw.surname, raw.first_part, raw.flags
    return name


@cython.final
cdef class CompanyName:
    """See `normalise.pyi`."""

    cdef readonly str text
    cdef readonly str core
    cdef readonly str place
    cdef readonly str branch
    cdef readonly int form
    cdef readonly int flags

    def __init__(self):
        raise TypeError("a CompanyName is made by company_name")


def company_name(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    cdef NormalCompany raw
    fold_object(&codes, text)
    normal_company(tables, &raw, &codes)
    cdef CompanyName name = CompanyName.__new__(CompanyName)
    name.text = text_of(raw.text.at, raw.text.size)
    name.core = text_of(raw.core.at, raw.core.size)
    name.place = text_of(&raw.text.at[raw.place.at], raw.place.size) if raw.place.size else ""
    name.branch = text_of(&raw.text.at[raw.branch.at], raw.branch.size) if raw.branch.size else ""
    name.form, name.flags = raw.form, raw.flags
    return name


def date(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    fold_object(&codes, text)
    return normal_date(&codes)


@cython.final
cdef class Identifier:
    """See `normalise.pyi`."""

    cdef readonly str text
    cdef readonly str organisation
    cdef readonly int standing

    def __init__(self):
        raise TypeError("an Identifier is made by resident_id or company_code")


cdef Identifier identifier_of(const NormalIdentifier *raw):
    cdef Identifier id = Identifier.__new__(Identifier)
    id.text = ascii_of(raw.chars, raw.size)
    id.organisation = ascii_of(raw.chars + raw.organisation, raw.organisation_size)
    id.standing = raw.standing
    return id


def resident_id(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    cdef NormalIdentifier raw
    fold_object(&codes, text)
    normal_resident_id(&raw, &codes)
    return identifier_of(&raw)


def resident_id_repairs(text):
    """See `normalise.pyi`."""
    cdef uint8_t repairs[MOST_REPAIRS * IDENTIFIER_CHARS]
    cdef Codes codes
    cdef NormalIdentifier raw
    fold_object(&codes, text)
    normal_resident_id(&raw, &codes)
    cdef int i, count = repairs_of(&raw, repairs)
    return tuple([ascii_of(repairs + IDENTIFIER_CHARS * i, IDENTIFIER_CHARS) for i in range(count)])


def company_code(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    cdef NormalIdentifier raw
    fold_object(&codes, text)
    normal_company_code(&raw, &codes)
    return identifier_of(&raw)


def licence_no(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    fold_object(&codes, text)
    normal_licence(tables, &codes)
    return text_of(codes.at, codes.size)


@cython.final
cdef class Phone:
    """See `normalise.pyi`."""

    cdef readonly str digits
    cdef readonly str extension
    cdef readonly int flags

    def __init__(self):
        raise TypeError("a Phone is made by phone")


def phone(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    cdef NormalPhone raw
    fold_object(&codes, text)
    normal_phone(&raw, &codes)
    cdef Phone number = Phone.__new__(Phone)
    number.digits = ascii_of(raw.digits, raw.size)
    number.extension = ascii_of(raw.extension, raw.extension_size)
    number.flags = raw.flags
    return number


@cython.final
cdef class Address:
    """See `normalise.pyi`."""

    cdef readonly str text
    cdef readonly tuple parts

    def __init__(self):
        raise TypeError("an Address is made by address")


cdef tuple part_of(const NormalAddress *raw, int i):
    return (raw.parts[i].kind, text_of(&raw.text.at[raw.parts[i].at], raw.parts[i].size), raw.parts[i].hash)


def address(text):
    """See `normalise.pyi`."""
    cdef Codes codes
    cdef NormalAddress raw
    fold_object(&codes, text)
    normal_address(tables, &raw, &codes)
    cdef Address read = Address.__new__(Address)
    read.text = text_of(raw.text.at, raw.text.size)
    read.parts = tuple([part_of(&raw, i) for i in range(raw.size)])
    return read
