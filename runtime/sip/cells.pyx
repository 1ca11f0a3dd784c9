"""The tables of fingerprints, looked at and written to in C.

What `runtime/sip/ownership.py` does with a memoryview, cell by cell in the same order: who reads a table beside one who
writes to it sees what he would see of the Python. A cell is loaded and stored at once, and between an announcement and
the look at those of others stands a fence, which holds on every machine.
"""

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define LOAD(cell) __atomic_load_n(cell, __ATOMIC_ACQUIRE)
    #define STORE(cell, value) __atomic_store_n(cell, value, __ATOMIC_RELEASE)
    #define FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    uint64_t LOAD(uint64_t *cell) nogil
    void STORE(uint64_t *cell, uint64_t value) nogil
    void FENCE() nogil

cdef enum:
    BUCKET = 8
    HEADER = 8
    OVERFLOWS = 1
    ANNOUNCED = 2

NOBODY = -1
BUSY = -2


cdef class Cells:
    """The tables of all processes.

    Args:
        cells: the memory, of at least as many cells as the processes' headers and buckets take.
        processes: how many tables.
        buckets: of each.
    """

    cdef Py_buffer memory
    cdef uint64_t *first
    cdef int processes
    cdef uint64_t buckets

    def __init__(self, cells, int processes, uint64_t buckets):
        # Not a memoryview of Cython's, whose code takes a compiler five times as long as all of this.
        if self.first != NULL:
            raise ValueError("begun already")
        PyObject_GetBuffer(cells, &self.memory, PyBUF_CONTIG)
        self.first, self.processes, self.buckets = <uint64_t *>self.memory.buf, processes, buckets
        cdef uint64_t room = <uint64_t>self.memory.len // sizeof(uint64_t)
        if not (0 < processes <= 65536 and 0 < buckets <= 1 << 32) or room < processes * (HEADER + buckets * BUCKET):
            raise ValueError("too few cells")

    def __dealloc__(self):
        if self.first != NULL:
            PyBuffer_Release(&self.memory)

    def find(self, uint64_t fp, int skip=-1):
        """The process whose table holds the fingerprint, or None."""
        cdef int found = self.found(fp, skip)
        return None if found < 0 else found

    def add(self, int process, uint64_t fp):
        """Publish a fingerprint; False when its buckets are full."""
        self.hold(process)
        return self.added(process, fp)

    def remove(self, int process, uint64_t fp):
        """Take back one publication of a fingerprint; False when there is none."""
        cdef uint64_t *cell
        cdef int half, at
        self.hold(process)
        for half in range(2):
            cell = self.bucket(process, fp, half)
            for at in range(BUCKET):
                if LOAD(cell + at) == fp:
                    STORE(cell + at, 0)
                    self.first[process * HEADER] -= 1
                    return True
        return False

    def claim(self, int process, uint64_t fp):
        """Take a key: NOBODY when no other has it, its owner, or BUSY, with the announcement made."""
        cdef uint64_t *announced = self.first + ANNOUNCED
        cdef int other, owner
        self.hold(process)
        STORE(announced + process * HEADER, fp)
        FENCE()
        for other in range(self.processes):
            if other != process and LOAD(announced + other * HEADER) == fp:
                return BUSY
        owner = self.found(fp, process)
        if owner == NOBODY:
            self.added(process, fp)
        STORE(announced + process * HEADER, 0)
        return owner

    cdef int hold(self, int process) except -1:
        if not 0 <= process < self.processes:
            raise IndexError("no such table")
        return 0

    cdef uint64_t *bucket(self, int process, uint64_t fp, int half) noexcept nogil:
        """Where one of the two buckets of a fingerprint begins, in the part of a process."""
        cdef uint64_t number = (fp >> 32 if half else fp & 0xFFFFFFFFU) % self.buckets
        return self.first + self.processes * HEADER + (number * self.processes + process) * BUCKET

    cdef int found(self, uint64_t fp, int skip) noexcept nogil:
        cdef uint64_t *cell
        cdef int half, at
        for half in range(2):
            cell = self.bucket(0, fp, half)
            for at in range(self.processes * BUCKET):
                if LOAD(cell + at) == fp and at // BUCKET != skip:
                    return at // BUCKET
        return -1

    cdef bint added(self, int process, uint64_t fp) noexcept nogil:
        cdef uint64_t *cell = self.bucket(process, fp, 0)
        cdef uint64_t *other
        cdef int free = self.room(cell)
        if free < BUCKET // 2:
            other = self.bucket(process, fp, 1)
            if self.room(other) > free:
                cell = other
            elif free == 0:
                self.first[process * HEADER + OVERFLOWS] += 1
                return False
        while cell[0] != 0:
            cell += 1
        STORE(cell, fp)
        self.first[process * HEADER] += 1
        return True

    cdef int room(self, uint64_t *cell) noexcept nogil:
        cdef int at, free = 0
        for at in range(BUCKET):
            free += cell[at] == 0
        return free
