# cython: language_level=3
"""Normalisation of whole columns, for Python. The contract is in `broker/_native/normal_columns.pyi`.

A column is a list or tuple of str, or an Arrow array of strings, which is read in place through Arrow's C data interface, without
the lock of the interpreter. What must not go in here: rules (normal_*.pxd), files.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from arrow_array cimport ArrowArray, ArrowSchema, is_null, offset_at
from broker._native.normalise cimport loaded_tables, view_text
from normal_address cimport NormalAddress, normal_address
from normal_name cimport NormalName, normal_name
from normal_tables cimport Tables
from normal_text cimport UTF8, Codes, Text, fold_text

cdef enum:
    FIRST_ROOM = 4096           # bytes of a column; doubled as it fills


# --- growing columns ---------------------------------------------------------------------------------------------

cdef struct Column:
    unsigned char *data
    size_t size
    size_t room


cdef inline bint append(Column *column, const void *data, size_t size) noexcept nogil:
    """Add bytes. False without memory."""
    cdef size_t room = column.room if column.room else FIRST_ROOM
    cdef void *moved
    if size > column.room - column.size:
        while size > room - column.size:
            if room > (<size_t>1 << 62):
                return False
            room *= 2
        moved = realloc(column.data, room)
        if moved == NULL:
            return False
        column.data = <unsigned char *>moved
        column.room = room
    if size > 0:
        memcpy(column.data + column.size, data, size)
    column.size += size
    return True


cdef bytes bytes_of(const Column *column):
    return PyBytes_FromStringAndSize(<const char *>column.data, column.size)


ctypedef bint (*Take)(const Tables *tables, Column *columns, const Text *text) noexcept nogil

cdef enum:
    COLUMNS = 5

cdef enum:                      # of names
    NAME_ENDS
    NAME_CODES_AT
    NAME_READINGS
    NAME_SURNAMES
    NAME_FLAGS

cdef enum:                      # of addresses
    PART_ENDS
    PART_KINDS
    PART_HASHES


cdef bint take_name(const Tables *tables, Column *columns, const Text *text) noexcept nogil:
    cdef Codes codes
    cdef NormalName name
    cdef uint32_t end
    fold_text(tables, text, &codes)
    normal_name(tables, &name, &codes)
    end = <uint32_t>(columns[NAME_CODES_AT].size // sizeof(uint32_t) + name.size)
    return append(&columns[NAME_CODES_AT], name.codes, name.size * sizeof(uint32_t)) \
        and append(&columns[NAME_READINGS], name.readings, name.size * sizeof(uint16_t)) \
        and append(&columns[NAME_SURNAMES], &name.surname, 1) and append(&columns[NAME_FLAGS], &name.flags, 1) \
        and append(&columns[NAME_ENDS], &end, sizeof(end))


cdef bint take_address(const Tables *tables, Column *columns, const Text *text) noexcept nogil:
    cdef Codes codes
    cdef NormalAddress address
    cdef uint32_t end
    cdef int i
    fold_text(tables, text, &codes)
    normal_address(tables, &address, &codes)
    for i in range(address.size):
        if not append(&columns[PART_KINDS], &address.parts[i].kind, 1):
            return False
        if not append(&columns[PART_HASHES], &address.parts[i].hash, sizeof(uint64_t)):
            return False
    end = <uint32_t>columns[PART_KINDS].size
    return append(&columns[PART_ENDS], &end, sizeof(end))


# --- what a column is read from ----------------------------------------------------------------------------------

cdef bint take_arrow(Take take, Column *columns, const ArrowArray *array, bint large) noexcept nogil:
    cdef const Tables *tables = loaded_tables()
    cdef int64_t i, start, end
    cdef Text text
    text.kind = UTF8
    for i in range(array.length):
        start, end = offset_at(array, large, i), offset_at(array, large, i + 1)
        text.data = <const char *>array.buffers[2] + start
        text.size = 0 if is_null(array, i) or end < start else end - start
        if not take(tables, columns, &text):
            return False
    return True


cdef int read_arrow(Take take, Column *columns, object source) except -1:
    """The capsules own the array until they go, which is after the reading."""
    schema_capsule, array_capsule = source.__arrow_c_array__()
    cdef const ArrowSchema *schema = <const ArrowSchema *>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
    cdef const ArrowArray *array = <const ArrowArray *>PyCapsule_GetPointer(array_capsule, "arrow_array")
    cdef bint large = schema.format[0] == c'U', enough
    if schema.format[0] not in (c'u', c'U') or schema.format[1] != 0 or array.n_buffers != 3:
        raise TypeError("texts: must be an Arrow array of string or large_string")
    if array.length > 0:
        with nogil:
            enough = take_arrow(take, columns, array, large)
        if not enough:
            raise MemoryError()
    return 0


cdef int read_sequence(Take take, Column *columns, object source) except -1:
    cdef const Tables *tables = loaded_tables()
    cdef Text text
    cdef tuple texts = tuple(source)        # which cannot change under us
    for item in texts:
        view_text(&text, item)
        if not take(tables, columns, &text):
            raise MemoryError()
    return 0


cdef list read_columns(Take take, object source):
    """Return the columns as bytes, all COLUMNS of them; a kind of value fills its own."""
    cdef Column columns[COLUMNS]
    cdef int i
    for i in range(COLUMNS):
        columns[i].data = NULL
        columns[i].size = columns[i].room = 0
    try:
        if hasattr(source, "__arrow_c_array__"):
            read_arrow(take, columns, source)
        else:
            read_sequence(take, columns, source)
        return [bytes_of(&columns[i]) for i in range(COLUMNS)]
    finally:
        for i in range(COLUMNS):
            free(columns[i].data)


# --- Python's face -----------------------------------------------------------------------------------------------

@cython.final
cdef class NameColumns:
    """See `normal_columns.pyi`."""

    cdef readonly bytes ends
    cdef readonly bytes codes
    cdef readonly bytes readings
    cdef readonly bytes surnames
    cdef readonly bytes flags

    def __init__(self):
        raise TypeError("NameColumns are made by person_names")


def person_names(texts):
    """See `normal_columns.pyi`."""
    cdef NameColumns names = NameColumns.__new__(NameColumns)
    columns = read_columns(take_name, texts)
    names.ends, names.codes, names.readings, names.surnames, names.flags = columns
    return names


@cython.final
cdef class AddressColumns:
    """See `normal_columns.pyi`."""

    cdef readonly bytes ends
    cdef readonly bytes kinds
    cdef readonly bytes hashes

    def __init__(self):
        raise TypeError("AddressColumns are made by addresses")


def addresses(texts):
    """See `normal_columns.pyi`."""
    cdef AddressColumns columns = AddressColumns.__new__(AddressColumns)
    columns.ends, columns.kinds, columns.hashes, _, _ = read_columns(take_address, texts)
    return columns
