"""Stretches of a message's bytes: what the compiled modules beside it look at them with.

A stretch is read from `at` up to and without `end`, and by nothing else: each of these functions keeps to that.
"""

from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcmp

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    int PyUnicode_1BYTE_KIND
    char *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef struct Span:
    const char *at
    const char *end


cdef inline object text(Span span):
    return PyUnicode_DecodeLatin1(span.at, span.end - span.at, NULL)


cdef inline bint look_at(text, Span *span):
    """Point at a text's characters, as long as it is held; false where it is none of one byte a character."""
    if type(text) is not str or PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        return False
    span.at = PyUnicode_DATA(text)
    span.end = span.at + PyUnicode_GET_LENGTH(text)
    return True


cdef inline Span until(Span span, char mark) noexcept nogil:
    """What stands before the first such character, or all of it."""
    cdef const char *found = <const char *>memchr(span.at, mark, span.end - span.at)
    if found != NULL:
        span.end = found
    return span


cdef inline void strip(Span *span) noexcept nogil:
    while span.at < span.end and (span.at[0] == b' ' or span.at[0] == b'\t'):
        span.at += 1
    while span.at < span.end and ((span.end - 1)[0] == b' ' or (span.end - 1)[0] == b'\t'):
        span.end -= 1


cdef inline bint are_same(Span one, Span other) noexcept nogil:
    return one.end - one.at == other.end - other.at and memcmp(one.at, other.at, one.end - one.at) == 0


cdef inline bint is_letter(char one) noexcept nogil:
    return b'a' <= one <= b'z' or b'A' <= one <= b'Z'


cdef inline bint holds(Span span, char mark) noexcept nogil:
    return memchr(span.at, mark, span.end - span.at) != NULL


cdef inline bint are_in(Span span, const char *marks, size_t size) noexcept nogil:
    """Whether all are letters, digits or one of the marks."""
    cdef char one
    while span.at < span.end:
        one = span.at[0]
        if not (is_letter(one) or b'0' <= one <= b'9' or memchr(marks, one, size) != NULL):
            return False
        span.at += 1
    return True
