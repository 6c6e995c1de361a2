# cython: language_level=3
"""Many texts against many: Jaro, Jaro-Winkler, Levenshtein. The contract is in `broker/_native/matching.pyi`.

The boundary of the C of `matching_kernels.h`: texts of Python are borrowed as they lie in memory, and the lock of the
interpreter is let go while they are packed and compared. What must not go in here: how anything is compared.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memset

cdef extern from "Python.h":
    int PyUnicode_READY(object) except -1
    unsigned int PyUnicode_KIND(object)
    void *PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)

cdef extern from "matching_kernels.h" nogil:
    ctypedef struct Text:
        const void *data
        uint32_t length
        uint32_t kind
    ctypedef struct Corpus:
        pass
    ctypedef struct Results:
        void *data
        ResultKind kind
    ctypedef enum Metric:
        JARO, JARO_WINKLER, LEVENSHTEIN
    ctypedef enum Path:
        PATH_SCALAR, PATH_AVX2, PATH_AVX512, PATH_COUNT
    ctypedef enum ResultKind:
        RESULT_FLOAT, RESULT_U8, RESULT_U16, RESULT_U32, RESULT_DOUBLE
    int corpus_pack(Corpus *corpus, const Text *choices, size_t count, int in_blocks)
    void corpus_free(Corpus *corpus)
    int path_is_supported(Path path)
    void matching_prepare()
    int matching_cdist(const Corpus *corpus, Path path, const Text *queries, size_t count, Metric metric, Results results)
    int matching_cpdist(const Text *queries, const Text *choices, size_t count, Metric metric, Results results)

METRICS = {"jaro": JARO, "jaro_winkler": JARO_WINKLER, "levenshtein": LEVENSHTEIN}

cdef tuple _PATHS = ("scalar", "avx2", "avx512")  # as in Path, the fastest last
cdef dict _KINDS = {"f": RESULT_FLOAT, "B": RESULT_U8, "H": RESULT_U16, "I": RESULT_U32}
cdef Py_ssize_t[5] _GREATEST = [0, 0xFF, 0xFFFF, 0xFFFFFFFF, 0]
cdef Py_ssize_t _LONGEST_TEXT = 0x7FFFFFFF

matching_prepare()


# --- which path -------------------------------------------------------------------------------------------------------

def paths():
    """See `matching.pyi`."""
    return tuple(name for number, name in enumerate(_PATHS) if path_is_supported(<Path>number))


cdef int _path = len(paths()) - 1  # each processor that has one path has those before it


def path():
    """See `matching.pyi`."""
    return _PATHS[_path]


def use(name):
    """See `matching.pyi`."""
    global _path
    if name not in paths():
        raise ValueError(f"path: must be one of {', '.join(paths())}")
    _path = _PATHS.index(name)


# --- texts ------------------------------------------------------------------------------------------------------------

cdef str position(str what, Py_ssize_t i):
    return what if i < 0 else f"{what}[{i}]"


cdef int borrow(Text *text, object value, str what, Py_ssize_t i=-1) except -1:
    """Point at a text as Python keeps it; valid as long as the object lives."""
    if not isinstance(value, str):
        raise TypeError(f"{position(what, i)}: must be str, not {type(value).__name__}")
    PyUnicode_READY(value)
    if PyUnicode_GET_LENGTH(value) > _LONGEST_TEXT:
        raise ValueError(f"{position(what, i)}: is longer than {_LONGEST_TEXT} code points")
    text.data = PyUnicode_DATA(value)
    text.length = <uint32_t>PyUnicode_GET_LENGTH(value)
    text.kind = PyUnicode_KIND(value)
    return 0


@cython.final
cdef class Texts:
    """See `matching.pyi`."""

    cdef tuple held
    cdef Text *texts
    cdef size_t count
    cdef readonly Py_ssize_t longest

    def __cinit__(self, values, str what not None):
        cdef Py_ssize_t i
        if isinstance(values, (str, bytes)):
            raise TypeError(f"{what}: must be a sequence of texts, not one text")
        self.held = tuple(values)
        self.count = <size_t>PyTuple_GET_SIZE(self.held)
        self.texts = <Text *>PyMem_Malloc((self.count + 1) * sizeof(Text))
        if self.texts == NULL:
            raise MemoryError()
        for i in range(<Py_ssize_t>self.count):
            borrow(&self.texts[i], <object>PyTuple_GET_ITEM(self.held, i), what, i)
            self.longest = max(self.longest, <Py_ssize_t>self.texts[i].length)

    def __dealloc__(self):
        PyMem_Free(self.texts)

    def __len__(self):
        return self.count


@cython.final
cdef class Choices:
    """See `matching.pyi`."""

    cdef Corpus corpus
    cdef Path path
    cdef size_t count
    cdef readonly Py_ssize_t longest

    def __cinit__(self, values):
        cdef Texts texts = Texts(values, "choices")
        cdef int failed, in_blocks = _path != PATH_SCALAR
        memset(&self.corpus, 0, sizeof(self.corpus))
        with nogil:
            failed = corpus_pack(&self.corpus, texts.texts, texts.count, in_blocks)
        if failed:
            raise MemoryError()
        self.path = <Path>_path
        self.count = texts.count
        self.longest = texts.longest

    def __dealloc__(self):
        corpus_free(&self.corpus)

    def __len__(self):
        return self.count


# --- comparing --------------------------------------------------------------------------------------------------------

cdef int fill_results(Results *results, Py_buffer *view, object metric, size_t items, Py_ssize_t longest) except -1:
    """Check that an array can take all results, whatever they are."""
    cdef ResultKind kind
    format = view.format.decode() if view.format != NULL else "B"
    if format not in _KINDS:
        raise ValueError("out: must be of floats or unsigned integers of 1, 2 or 4 bytes")
    kind = _KINDS[format]
    if (metric == LEVENSHTEIN) == (kind == RESULT_FLOAT):
        raise ValueError("out: similarities are floating point, distances are unsigned integers")
    if metric == LEVENSHTEIN and longest > _GREATEST[<int>kind]:
        raise ValueError("out: cannot hold distances of texts this long")
    if <size_t>(view.len // view.itemsize) != items or view.len % view.itemsize:
        raise ValueError("out: must have as many items as there are comparisons")
    results.data = view.buf
    results.kind = kind
    return 0


cdef object known(metric):
    if metric not in METRICS.values():
        raise ValueError("metric: must be one of METRICS")
    return metric


def compare(query, choice, metric):
    """See `matching.pyi`."""
    cdef Text texts[2]
    cdef double result
    cdef Results results
    cdef Metric which = known(metric)
    cdef int failed
    borrow(&texts[0], query, "query")
    borrow(&texts[1], choice, "choice")
    results.data = &result
    results.kind = RESULT_DOUBLE
    with nogil:
        failed = matching_cpdist(&texts[0], &texts[1], 1, which, results)
    if failed:
        raise MemoryError()
    return int(result) if which == LEVENSHTEIN else result


def cdist(Texts queries not None, Choices choices not None, metric, out):
    """See `matching.pyi`."""
    cdef Py_buffer view
    cdef Results results
    cdef Metric which = known(metric)
    cdef int failed
    PyObject_GetBuffer(out, &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        fill_results(&results, &view, metric, queries.count * choices.count, max(queries.longest, choices.longest))
        with nogil:
            failed = matching_cdist(&choices.corpus, choices.path, queries.texts, queries.count, which, results)
        if failed:
            raise MemoryError()
    finally:
        PyBuffer_Release(&view)


def cpdist(Texts queries not None, Texts choices not None, metric, out):
    """See `matching.pyi`."""
    cdef Py_buffer view
    cdef Results results
    cdef Metric which = known(metric)
    cdef int failed
    if queries.count != choices.count:
        raise ValueError("choices: must be as many as queries")
    PyObject_GetBuffer(out, &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        fill_results(&results, &view, metric, queries.count, max(queries.longest, choices.longest))
        with nogil:
            failed = matching_cpdist(queries.texts, choices.texts, queries.count, which, results)
        if failed:
            raise MemoryError()
    finally:
        PyBuffer_Release(&view)
