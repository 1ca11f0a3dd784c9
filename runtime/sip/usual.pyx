"""What is made of a usual message: the key of its transaction, the head of its reply.

Each function does what the Python function that asks it does, and gives None for what is not usual: then Python does it.
What is usual is text of one byte a character, as all is that `message.py` and `scan.pyx` read.

Pointers go into strings that are held while they are looked at; room is made for the sum of what is then copied.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memchr, memcmp, memcpy

from runtime.sip.spans cimport Span, are_in, holds, look_at, strip, text, until

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    bint PyUnicode_IS_ASCII(object text)
    char *PyUnicode_DATA(object text)

cdef enum:
    ZERO = 48
    PIECES = 96  # of a reply, at most
    DIGITS = 20
    HEX = 16

cdef struct Pieces:
    Span[PIECES] spans
    int count
    Py_ssize_t size
    bint too_many  # of a message with dozens of Vias

cdef struct Echoed:
    Span sender, to, call_id, cseq
    bint stamped  # the topmost Via is down


def server_key(request):
    """What `keys.server_key` gives, for a request whose branch has the magic cookie."""
    cdef Span method, host, port, branch
    cdef char[DIGITS] room
    cdef char *to
    cdef Py_ssize_t size
    via, written = request.via, request.method
    if not isinstance(via, tuple):
        return None
    _, place, number, params = <tuple>via
    value = params.get("branch")
    if not look_at(value, &branch) or not look_at(written, &method) or not look_at(place, &host):
        return None
    if branch.end - branch.at < 8 or memcmp(branch.at, b"z9hG4bK", 7) != 0:
        return None
    if not (PyUnicode_IS_ASCII(value) and PyUnicode_IS_ASCII(written) and PyUnicode_IS_ASCII(place)):
        return None
    if method.end - method.at == 3 and memcmp(method.at, b"ACK", 3) == 0:
        method.at = b"INVITE"
        method.end = method.at + 6
    port.at = port.end = NULL
    if number is not None:
        port = decimal(number, room)
    size = (method.end - method.at) + (host.end - host.at) + (branch.end - branch.at) + 2
    if port.at != NULL:
        size += port.end - port.at + 1
    key = PyUnicode_New(size, 127)
    to = copied(method, PyUnicode_DATA(key))
    to[0] = b' '
    to = lowered(host, to + 1)
    if port.at != NULL:
        to[0] = b':'
        to = copied(port, to + 1)
    to[0] = b' '
    copied(branch, to + 1)
    return key


def to_tag(request):
    """What `server_transactions.to_tag` gives."""
    cdef list names = request.names, lines = request.lines
    cdef Span line
    cdef Py_ssize_t at
    cdef char[HEX] digits
    cdef unsigned long long mixed
    call_id = sender = None
    if len(lines) != len(names):
        return None
    for at in range(len(names)):
        what = name_of(names[at])
        if (what == FROM and sender is None) or (what == CALL_ID and call_id is None):
            if not look_at(lines[at], &line):
                return None
            value = text(value_of(line))
            if what == FROM:
                sender = value
            else:
                call_id = value
    if sender is None or call_id is None:
        return None
    mixed = <unsigned long long><Py_ssize_t>hash((call_id, sender, request.cseq_number))
    for at in range(HEX):
        digits[HEX - 1 - at] = b"0123456789abcdef"[mixed & 15]
        mixed >>= 4
    line.at, line.end = digits, digits + HEX
    return text(line)


def reply_head(request, int status, reason, source, tag, added, Py_ssize_t body, bint routes):
    """A reply's bytes up to its body, as `build.build_reply` has them, where nothing has to be changed but the usual.

    Args:
        request: what is answered.
        status: 100 to 699.
        reason: the reason phrase.
        source: the address that the request came from.
        tag: for To, where it has none.
        added: lines to add, each with its CRLF.
        body: how many bytes follow.
        routes: whether Record-Route is to be kept.
    """
    cdef list names = request.names, lines = request.lines
    cdef Span more
    cdef char[DIGITS] room, port, length
    cdef Pieces pieces
    cdef Echoed echoed
    cdef Py_ssize_t at
    cdef int what
    via, host = request.via, source.host
    if len(lines) != len(names) or not isinstance(via, tuple):
        return None
    echoed.sender.at = echoed.sender.end = NULL
    echoed.to = echoed.call_id = echoed.cseq = echoed.sender
    echoed.stamped = False
    if not look_at(reason, &more) or holds(more, b'\r') or holds(more, b'\n') or holds(more, 0):
        return None
    begin(&pieces)
    put(&pieces, b"SIP/2.0 ", 8)
    add(&pieces, decimal(status, room))
    put(&pieces, b" ", 1)
    add(&pieces, more)
    for at in range(len(names)):
        what = name_of(names[at])
        if (what == TIMESTAMP and status == 100) or (what == RECORD_ROUTE and routes):
            return None
        if what != OTHER and not echo(&pieces, &echoed, what, lines[at], <tuple>via, host, source.port, port):
            return None
    if not echoed.stamped or echoed.sender.at == NULL or echoed.to.at == NULL or echoed.call_id.at == NULL \
            or echoed.cseq.at == NULL:
        return None
    put_line(&pieces, echoed.sender)
    if status == 100:
        put_line(&pieces, echoed.to)
    else:
        if not look_at(tag, &more) or more.at == more.end or not are_in(more, b".!%*_+`'~-", 10):
            return None
        if may_have_tag(echoed.to):
            return None
        strip(&echoed.to)
        put_line(&pieces, echoed.to)
        put(&pieces, b";tag=", 5)
        add(&pieces, more)
    put_line(&pieces, echoed.call_id)
    put_line(&pieces, echoed.cseq)
    if not add_text(&pieces, added, b"\r\n", 2):
        return None
    put(&pieces, b"Content-Length: ", 16)
    add(&pieces, decimal(body, length))
    put(&pieces, b"\r\n\r\n", 4)
    return None if pieces.too_many else joined(&pieces)


cdef bint echo(Pieces *pieces, Echoed *echoed, int what, written, tuple via, host, int port, char *room) except -1:
    """Put a Via down, or see where another line is that a reply takes over; false where it is unusual.

    Of a line that stands there twice, as it may in what is refused, the first counts.
    """
    cdef Span line
    if not look_at(written, &line):
        return False
    if what == VIA:
        put(pieces, b"\r\nVia: ", 7)
        if not echoed.stamped:
            echoed.stamped = True
            return stamp(pieces, value_of(line), via, host, port, room)
        add(pieces, value_of(line))
    elif what == FROM and echoed.sender.at == NULL:
        echoed.sender = line
    elif what == TO and echoed.to.at == NULL:
        echoed.to = line
    elif what == CALL_ID and echoed.call_id.at == NULL:
        echoed.call_id = line
    elif what == CSEQ and echoed.cseq.at == NULL:
        echoed.cseq = line
    return True


def forwarded(request, ruri, own_via, record_routes, hops, source, bint unrouted):
    """A request's bytes for its next hop, as `forward.forwarded_request` has them, where no more has to be changed.

    Args:
        request: as received.
        ruri, own_via, record_routes, source: as there.
        hops: its new Max-Forwards.
        unrouted: whether its Route is left out.
    """
    cdef list names = request.names, lines = request.lines
    cdef Span line, left
    cdef char[DIGITS] room, rooms
    cdef Pieces pieces
    cdef Py_ssize_t at
    cdef int what, limits = 0
    cdef bint stamped = False
    via, host, method = request.via, source.host, request.method
    if len(lines) != len(names) or not isinstance(via, tuple) or request.folded or not 0 <= hops < 1_000_000_000:
        return None
    if not isinstance(record_routes, (list, tuple)):  # which hold what is in them until all is copied
        return None
    left = decimal(hops, room)
    for name in names:
        limits += name_of(name) == MAX_FORWARDS
    if limits > 1:  # as only what is refused has it
        return None
    begin(&pieces)
    if not add_text(&pieces, method, b"", 0) or not add_text(&pieces, ruri, b" ", 1):
        return None
    if not add_text(&pieces, own_via, b" SIP/2.0\r\nVia: ", 15):
        return None
    for route in record_routes:
        if not add_text(&pieces, route, b"\r\nRecord-Route: ", 16):
            return None
    if not limits:
        put(&pieces, b"\r\nMax-Forwards: ", 16)
        add(&pieces, left)
    for at in range(len(names)):
        what = name_of(names[at])
        if not look_at(lines[at], &line):
            return None
        if what == ROUTE and unrouted:
            continue
        if what == MAX_FORWARDS:
            put(&pieces, b"\r\nMax-Forwards: ", 16)
            add(&pieces, left)
            continue
        if what == VIA and not stamped:
            stamped = True
            if "rport" in <dict>(<tuple>via)[3]:
                put(&pieces, b"\r\nVia: ", 7)
                if not stamp(&pieces, value_of(line), <tuple>via, host, source.port, rooms):
                    return None
                continue
            if "received" in <dict>(<tuple>via)[3] or (<tuple>via)[1] != host:
                return None
        put_line(&pieces, line)
    put(&pieces, b"\r\n\r\n", 4)
    return None if pieces.too_many else joined(&pieces)


cdef inline bint add_text(Pieces *pieces, written, const char *before, Py_ssize_t size) except -1:
    """Put a text down behind another; false where it is none of one byte a character."""
    cdef Span span
    if not look_at(written, &span):
        return False
    put(pieces, before, size)
    add(pieces, span)
    return True


cdef enum:
    OTHER = 0
    VIA = 1
    FROM = 2
    TO = 3
    CALL_ID = 4
    CSEQ = 5
    TIMESTAMP = 6
    RECORD_ROUTE = 7
    MAX_FORWARDS = 8
    ROUTE = 9


cdef int name_of(name):
    """Which header it is of those that are looked for. By its letters: two equal names may be two objects."""
    cdef Span span
    if not look_at(name, &span):
        return OTHER
    cdef Py_ssize_t size = span.end - span.at
    if size == 2:
        return TO if memcmp(span.at, b"to", 2) == 0 else OTHER
    if size == 3:
        return VIA if memcmp(span.at, b"via", 3) == 0 else OTHER
    if size == 4:
        return FROM if memcmp(span.at, b"from", 4) == 0 else CSEQ if memcmp(span.at, b"cseq", 4) == 0 else OTHER
    if size == 5:
        return ROUTE if memcmp(span.at, b"route", 5) == 0 else OTHER
    if size == 7:
        return CALL_ID if memcmp(span.at, b"call-id", 7) == 0 else OTHER
    if size == 9:
        return TIMESTAMP if memcmp(span.at, b"timestamp", 9) == 0 else OTHER
    if size == 12:
        if memcmp(span.at, b"max-forwards", 12) == 0:
            return MAX_FORWARDS
        return RECORD_ROUTE if memcmp(span.at, b"record-route", 12) == 0 else OTHER
    return OTHER


cdef bint stamp(Pieces *pieces, Span field, tuple via, host, int port, char *room) except -1:
    """Put the topmost Via field down, with ``rport`` and ``received`` filled in; false where more has to change."""
    cdef dict params = via[3]
    cdef Span place, rest, digits
    cdef const char *asked
    cdef PyObject *rport = PyDict_GetItem(params, "rport")
    if PyDict_GetItem(params, "received") != NULL or not look_at(host, &place):
        return False
    if rport == NULL:
        if via[1] != host:
            return False
        add(pieces, field)
        return True
    if <object>rport is not None or holds(field, b',') or holds(field, b'"'):
        return False
    asked = found(field, b";rport", 6)
    if asked == NULL or (asked + 6 != field.end and asked[6] != b';'):
        return False
    rest.at, rest.end = asked + 6, field.end
    field.end = asked + 6
    add(pieces, field)
    put(pieces, b"=", 1)
    digits = decimal(port, room)
    add(pieces, digits)
    put(pieces, b";received=", 10)
    add(pieces, place)
    add(pieces, rest)
    return True


cdef inline Span value_of(Span line) noexcept nogil:
    """A line's value."""
    cdef Span name = until(line, b':')
    line.at = name.end if name.end == line.end else name.end + 1
    strip(&line)
    return line


cdef const char *found(Span span, const char *mark, Py_ssize_t size) noexcept nogil:
    """Where such a text first stands, or NULL."""
    cdef const char *at = span.at
    while span.end - at >= size:
        at = <const char *>memchr(at, mark[0], span.end - at - size + 1)
        if at == NULL or memcmp(at, mark, size) == 0:
            return at
        at += 1
    return NULL


cdef bint may_have_tag(Span line) noexcept nogil:
    """Whether the three letters stand anywhere, in any case."""
    while line.end - line.at >= 3:
        if (line.at[0] | 32) == b't' and (line.at[1] | 32) == b'a' and (line.at[2] | 32) == b'g':
            return True
        line.at += 1
    return False


cdef Span decimal(long value, char *room) noexcept nogil:
    """A number from 0 on, written into DIGITS bytes."""
    cdef Span span
    cdef char *at = room + DIGITS
    span.end = at
    while True:
        at -= 1
        at[0] = <char>(ZERO + value % 10)
        value = value // 10
        if value <= 0 or at == room:
            break
    span.at = at
    return span


cdef inline void begin(Pieces *pieces) noexcept nogil:
    pieces.count, pieces.size, pieces.too_many = 0, 0, False


cdef inline void add(Pieces *pieces, Span span) noexcept nogil:
    if pieces.count == PIECES:
        pieces.too_many = True
        return
    pieces.spans[pieces.count] = span
    pieces.count += 1
    pieces.size += span.end - span.at


cdef inline void put(Pieces *pieces, const char *text, Py_ssize_t size) noexcept nogil:
    cdef Span span
    span.at, span.end = text, text + size
    add(pieces, span)


cdef inline void put_line(Pieces *pieces, Span line) noexcept nogil:
    """A line behind the end of the one before it."""
    put(pieces, b"\r\n", 2)
    add(pieces, line)


cdef bytes joined(Pieces *pieces):
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, pieces.size)
    cdef char *to = PyBytes_AS_STRING(whole)
    cdef int at
    for at in range(pieces.count):
        to = copied(pieces.spans[at], to)
    return whole


cdef inline char *copied(Span span, char *to) noexcept nogil:
    memcpy(to, span.at, span.end - span.at)
    return to + (span.end - span.at)


cdef char *lowered(Span span, char *to) noexcept nogil:
    while span.at < span.end:
        to[0] = span.at[0] + 32 if b'A' <= span.at[0] <= b'Z' else span.at[0]
        to += 1
        span.at += 1
    return to
