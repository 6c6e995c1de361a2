# cython: language_level=3
"""What a front must know of each interface version to make a question of a call's arguments. The contract is in `plans.pyi`.

The native half of step 4 of a call: arguments that are in canonical form already become a question; whatever would have to be
changed, or is wrong, is for the core (`broker/model/question.py`, the oracle). What must not go in here: grants and keys.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from broker._native.cachekey cimport Pair, Slice
from broker._native.policy cimport Image
from canonical cimport chars_of, is_canonical
from image cimport NOBODY, find_interface


cdef inline bint same(const Slice *one, const Slice *other) noexcept nogil:
    return one.size == other.size and (one.size == 0 or memcmp(one.data, other.data, one.size) == 0)


cdef Py_ssize_t question_of(Pair *into, const Plan *plan, const CallView *call) noexcept nogil:
    """Write the canonical arguments, as many as the plan has at most; returns how many, or -1 if the core is to be asked."""
    cdef Py_ssize_t i, at = 0, count = 0
    cdef const Argument *argument
    cdef const Slice *text
    for i in range(plan.count):
        argument = &plan.arguments[i]
        text = NULL
        if at < call.count and same(&argument.name, &call.arguments[at].name):
            text = &call.arguments[at].value
            at += 1
        if text == NULL or text.size == 0:
            if argument.required:
                return -1
            continue
        if not is_canonical(argument.kind, text) or chars_of(text) > argument.max_chars:
            return -1
        into[count].name, into[count].value = argument.name, text[0]
        count += 1
    return count if at == call.count else -1   # what is left over is no argument of the interface


cdef Slice subject_of(const Plan *plan, const Pair *question, Py_ssize_t count) noexcept nogil:
    """Return whom a question is about; of size 0 where it names nobody."""
    cdef Py_ssize_t i
    cdef Slice nobody
    for i in range(count):
        if same(&question[i].name, &plan.subject):
            return question[i].value
    nobody.data, nobody.size = NULL, 0
    return nobody


cdef dict texts_of(const Pair *pairs, Py_ssize_t count):
    """Return pairs, which are UTF-8, as Python has them."""
    cdef dict texts = {}
    cdef Py_ssize_t i
    cdef const Slice *name
    cdef const Slice *value
    for i in range(count):
        name, value = &pairs[i].name, &pairs[i].value
        texts[PyUnicode_DecodeUTF8(<const char *>name.data, name.size, NULL)] = PyUnicode_DecodeUTF8(
            <const char *>value.data, value.size, NULL
        )
    return texts


@cython.final
@cython.no_gc_clear        # the texts stay as long as what points into them
cdef class Plans:
    """See `plans.pyi`."""

    def __cinit__(self, Image image not None, interfaces not None):
        cdef Slice name
        cdef uint32_t number
        self.image, self._texts = image, []
        self.count = image.policy.interface_count
        self.plans = <Plan *>calloc(self.count + 1, sizeof(Plan))
        if self.plans == NULL:
            raise MemoryError()
        self.answers = [None] * self.count
        for planned in interfaces:
            self._point(&name, planned.interface)
            number = find_interface(&image.policy, &name, planned.version)
            if number == NOBODY:
                raise ValueError("the image has no such interface")
            self._fill(&self.plans[number], planned)
            self.answers[number] = planned.answers

    def __dealloc__(self):
        cdef uint32_t i
        if self.plans != NULL:
            for i in range(self.count):
                free(self.plans[i].arguments)
        free(self.plans)

    cdef int _fill(self, Plan *plan, planned) except -1:
        if plan.known:
            raise ValueError("an interface stands twice")
        self._fill_arguments(plan, sorted(planned.arguments))
        self._point(&plan.origin, planned.origin)
        self._point(&plan.subject, planned.subject)
        plan.call_slot, plan.match_slot = planned.call_slot, planned.match_slot
        plan.is_held, plan.waits, plan.known = planned.is_held, planned.waits, True
        return 0

    cdef int _fill_arguments(self, Plan *plan, list arguments) except -1:
        plan.arguments = <Argument *>calloc(len(arguments) + 1, sizeof(Argument))
        if plan.arguments == NULL:
            raise MemoryError()
        for i, (name, kind, required, max_chars) in enumerate(arguments):
            self._point(&plan.arguments[i].name, name)
            plan.arguments[i].kind = kind
            plan.arguments[i].required = required
            plan.arguments[i].max_chars = max_chars
        plan.count = len(arguments)
        return 0

    cdef int _point(self, Slice *into, bytes text) except -1:
        if text is None:
            raise TypeError("must be bytes")
        self._texts.append(text)
        into.data = <const unsigned char *>PyBytes_AS_STRING(text)
        into.size = PyBytes_GET_SIZE(text)
        return 0
