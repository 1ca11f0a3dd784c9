"""Taking one datagram from the kernel and giving one to it, without what Python's sockets do around it.

What `runtime/transports/datagrams.py` does with a `socket.socket`. No room for the longest datagram is made and given
back for each, a sender who is known is the same object again, and Python's lock is kept, since neither call waits.

One datagram to a call. Of 64 in one the kernel takes 0.35 us each instead of 0.6 (recvmmsg), and those that were taken
and not yet dealt with would be held up by a message whose script blocks. Sending 64 by one call (sendmmsg) was no
faster than one by one, 2.4 to 2.5 us each.

What comes in is a stranger's: it is read into room for the longest datagram that there is.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, ECONNABORTED, ECONNREFUSED, ECONNRESET, EINTR, EPIPE, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset, strlen

cdef extern from "<sys/uio.h>":
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>":
    ctypedef unsigned int socklen_t
    enum: AF_INET, AF_INET6, MSG_DONTWAIT, SOL_SOCKET
    struct sockaddr:
        pass
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cmsghdr *CMSG_FIRSTHDR(msghdr *head)
    unsigned char *CMSG_DATA(cmsghdr *head)
    size_t CMSG_LEN(size_t length)
    ssize_t recvmsg(int fd, msghdr *head, int flags)
    ssize_t sendto(int fd, const void *data, size_t length, int flags, const sockaddr *to, socklen_t to_length)

cdef extern from "<netinet/in.h>":
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr

cdef extern from "<arpa/inet.h>":
    uint16_t htons(uint16_t)
    uint16_t ntohs(uint16_t)
    const char *inet_ntop(int family, const void *packed, char *text, socklen_t room)
    int inet_pton(int family, const char *text, void *packed)

cdef extern from "<time.h>":
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    enum: CLOCK_REALTIME

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *length) except NULL

cdef enum:
    ROOM = 65536
    CONTROL = 64
    KNOWN = 256
    TEXT = 64

cdef struct Name:
    uint16_t port
    unsigned char address[16]

cdef union Room:
    sockaddr_in four
    sockaddr_in6 six

cdef union Control:
    # The union aligns it as a header has to be.
    cmsghdr head
    char bytes[CONTROL]

cdef char _room[ROOM]  # the lock is held from the read to the copy


cdef class Intake:
    """As `runtime.transports.datagrams` says of it."""

    cdef int _fd
    cdef Py_buffer _memory
    cdef int64_t *_mark
    cdef object _make
    cdef int64_t _late_ns
    cdef int _stamp
    cdef int64_t _reading
    cdef Name _names[KNOWN]
    cdef list _known
    cdef public long late

    def __cinit__(self, int fd, mark, make, int64_t late_ns, int stamp, int64_t reading):
        # Not a memoryview of Cython's, which makes the module five times as large.
        PyObject_GetBuffer(mark, &self._memory, PyBUF_WRITABLE)
        if self._memory.len < <Py_ssize_t> sizeof(int64_t):
            raise ValueError("no room for a mark")
        self._mark = <int64_t *> self._memory.buf
        self._fd, self._make = fd, make
        self._late_ns, self._stamp, self._reading = late_ns, stamp, reading
        self._known = [None] * KNOWN
        self.late = 0

    def __dealloc__(self):
        PyBuffer_Release(&self._memory)

    def take(self):
        """As `runtime.transports.datagrams` says of it."""
        cdef Room source
        cdef Control control
        cdef iovec into
        cdef msghdr head
        cdef ssize_t length
        cdef int wrong
        cdef int64_t received_ns
        memset(&head, 0, sizeof(head))
        memset(&source, 0, sizeof(source))
        into.iov_base, into.iov_len = _room, ROOM
        head.msg_name, head.msg_namelen = &source, sizeof(source)
        head.msg_iov, head.msg_iovlen = &into, 1
        head.msg_control, head.msg_controllen = &control, sizeof(control)
        self._mark[0] = self._reading
        length = recvmsg(self._fd, &head, MSG_DONTWAIT)
        if length < 0:
            wrong = errno
            self._mark[0] = 0
            if wrong in (EAGAIN, EINTR, ECONNREFUSED, ECONNRESET, ECONNABORTED, EPIPE):
                return None
            raise OSError(wrong, "recvmsg")
        received_ns = _stamp_of(&head, self._stamp)
        self._mark[0] = received_ns
        if received_ns and _now_ns() - received_ns > self._late_ns:
            self.late += 1
        return PyBytes_FromStringAndSize(_room, length), self._source(&source)

    cdef object _source(self, Room *source):
        cdef Name name
        cdef unsigned int place
        cdef int at
        memset(&name, 0, sizeof(name))
        if source.four.sin_family == AF_INET6:
            name.port = source.six.sin6_port
            memcpy(name.address, &source.six.sin6_addr, 16)
        else:
            name.port = source.four.sin_port
            memcpy(name.address, &source.four.sin_addr, 4)
        place = name.port
        for at in range(16):
            place = place * 31 + name.address[at]
        place = (place ^ (place >> 8) ^ (place >> 16)) % KNOWN
        known = self._known[place]
        if known is None or memcmp(&name, &self._names[place], sizeof(name)) != 0:
            known = self._make(_text_of(source), ntohs(name.port))
            self._names[place] = name
            self._known[place] = known
        return known


cdef class Outlet:
    """As `runtime.transports.datagrams` says of it."""

    cdef int _fd
    cdef int _family
    cdef object _otherwise

    def __init__(self, int fd, int family, otherwise):
        self._fd, self._family, self._otherwise = fd, family, otherwise

    def send(self, bytes data not None, to):
        """As `runtime.transports.datagrams` says of it."""
        cdef Room target
        cdef Py_ssize_t length
        cdef long port = to.port
        cdef const char *host = PyUnicode_AsUTF8AndSize(to.host, &length)
        cdef socklen_t size
        cdef void *packed
        memset(&target, 0, sizeof(target))
        target.four.sin_family = self._family
        if self._family == AF_INET6:
            packed, size = &target.six.sin6_addr, sizeof(target.six)
        else:
            packed, size = &target.four.sin_addr, sizeof(target.four)
        # A name, or what only begins like an address: Python's own call knows what to do with it, and what to say.
        if not 0 <= port <= 65535 or strlen(host) != <size_t> length or inet_pton(self._family, host, packed) != 1:
            return self._otherwise(data, to)
        target.four.sin_port = htons(port)
        return sendto(self._fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), MSG_DONTWAIT,
                      <sockaddr *> &target, size) >= 0


cdef int64_t _stamp_of(msghdr *head, int stamp) noexcept:
    cdef cmsghdr *first = CMSG_FIRSTHDR(head)
    cdef timespec at
    if first == NULL or first.cmsg_level != SOL_SOCKET or first.cmsg_type != stamp:
        return 0
    if first.cmsg_len < CMSG_LEN(sizeof(at)):
        return 0
    memcpy(&at, CMSG_DATA(first), sizeof(at))
    return at.tv_sec * 1_000_000_000 + at.tv_nsec


cdef int64_t _now_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef object _text_of(Room *source):
    cdef char text[TEXT]
    cdef const char *written
    if source.four.sin_family == AF_INET6:
        written = inet_ntop(AF_INET6, &source.six.sin6_addr, text, TEXT)
    else:
        written = inet_ntop(AF_INET, &source.four.sin_addr, text, TEXT)
    if written == NULL:
        raise OSError(errno, "inet_ntop")
    return (<bytes> written).decode("ascii")
