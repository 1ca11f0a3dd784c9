"""The usual SIP message, read in one pass over its bytes.

What `runtime/sip/message.py` does for every message, for those in which nothing is out of the ordinary: each line ends in
CRLF, nothing is folded, in the topmost Via field nothing is quoted, method and CSeq are letters and agree. All else is
handed back unread, and the Python there reads it and says what is wrong with it; so no rule about errors stands here.
Limits, names and classes are taken from there as well (`learn`).

The bytes are a stranger's. A pointer is read only below an end that was worked out of the object's size: each search
is a `memchr` over what is left of a line, and numbers have so few digits that no int overflows.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Contains
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcmp

from runtime.sip.spans cimport Span, are_in, are_same, holds, is_letter, look_at, strip, text, until

cdef extern from *:
    """
    static PyObject *new_object(PyObject *type, PyObject *arguments) {
        return ((PyTypeObject *)type)->tp_new((PyTypeObject *)type, arguments, NULL);
    }
    /* A named tuple's own __new__ is Python, which takes longer than all the rest of the tuple. */
    static PyObject *new_tuple(PyObject *type, PyObject *arguments) {
        return PyTuple_Type.tp_new((PyTypeObject *)type, arguments, NULL);
    }
    """
    object new_object(object type, tuple arguments)
    object new_tuple(object type, tuple arguments)

cdef enum:
    SPELLINGS = 1024
    SLOTS = 4096
    NAME_CHARS = 64
    PARAMS = 32
    ZERO = 48

cdef enum:
    VIA = 1
    FROM = 2
    TO = 4
    CALL_ID = 8
    CSEQ = 16
    MAX_FORWARDS = 32
    CONTENT_LENGTH = 64

cdef int NEEDED = VIA | FROM | TO | CALL_ID | CSEQ
cdef int ONCE = FROM | TO | CALL_ID | CSEQ | MAX_FORWARDS | CONTENT_LENGTH
cdef dict BITS = {
    "via": VIA, "from": FROM, "to": TO, "call-id": CALL_ID, "cseq": CSEQ, "max-forwards": MAX_FORWARDS,
    "content-length": CONTENT_LENGTH,
}

cdef struct Fields:
    Span via, cseq, length, call_id, hops
    int found
    bint plain

cdef struct Spelling:
    const char *text
    Py_ssize_t size
    int bit
    int next  # the next spelling in the same slot, plus 1; 0 at the end

cdef Spelling[SPELLINGS] spellings
cdef int[SLOTS] slots  # by hash: a spelling, plus 1
cdef list spelt = []  # what `spellings` points into
cdef list names = []  # by spelling: the full name
cdef Span[PARAMS] usual_params
cdef list param_names = []  # by place in `usual_params`: the name, of whose bytes that is
cdef object Request, Reply, Via, NameAddr
cdef tuple NOTHING = ()
cdef Py_ssize_t max_bytes, max_line
cdef int max_headers


def learn(dict known, params, tuple limits, tuple classes):
    """Take over what the Python knows; once, before the first `scan`.

    Args:
        known: `headers.KNOWN_NAMES`.
        params: `fields.USUAL_PARAMS`.
        limits: MAX_DATAGRAM_BYTES, MAX_HEADERS, MAX_LINE_CHARS.
        classes: Request, Reply, Via, NameAddr.
    """
    global max_bytes, max_headers, max_line, Request, Reply, Via, NameAddr
    cdef Spelling *one
    cdef unsigned int slot
    if len(names) or len(known) > SPELLINGS or len(params) > PARAMS:
        raise ValueError("learnt already, or too much to learn")
    max_bytes, max_headers, max_line = limits
    Request, Reply, Via, NameAddr = classes
    for param in params:
        look_at(param, &usual_params[len(param_names)])
        param_names.append(param)
    for spelling, name in known.items():
        one = &spellings[len(names)]
        spelt.append(spelling.encode())
        one.text, one.size = PyBytes_AS_STRING(spelt[-1]), len(spelling)
        one.bit = BITS.get(name, 0)
        slot = hash_of(one.text, one.size)
        one.next = slots[slot]
        names.append(name)
        slots[slot] = <int>len(names)


def scan(data):
    """Read a usual message.

    Args:
        data: one datagram.

    Returns:
        the Request or Reply; None for what is not usual, whatever it is.
    """
    cdef const char *begin
    cdef const char *at
    cdef const char *end
    cdef Span start
    cdef Fields fields
    cdef list lines = [], names = []
    cdef long sequence
    cdef Py_ssize_t body_end
    if not PyBytes_CheckExact(data) or PyBytes_GET_SIZE(data) > max_bytes or PyBytes_GET_SIZE(data) < 1:
        return None
    begin = at = PyBytes_AS_STRING(data)
    end = begin + PyBytes_GET_SIZE(data)
    if <unsigned char>begin[0] <= 32 or not next_line(&at, end, &start):
        return None
    if not read_lines(&at, end, &fields, lines, names) or fields.found & NEEDED != NEEDED:
        return None
    body_end = end_of_body(at, end, fields)
    sequence = cseq_number(&fields.cseq)
    if body_end < 0 or sequence < 0:
        return None
    message = begun(start, fields)
    if message is None:
        return None
    via = via_of(fields.via)
    if via is None:
        return None
    message.raw = data
    message.lines = lines
    message.names = names
    message.via = via
    message.cseq_number = sequence
    message.body_at = at - begin
    message.body_end = at - begin + body_end
    message.folded = False
    fill_asked(message, fields)
    return message


cdef bint read_lines(const char **at, const char *end, Fields *fields, list lines, list heads) except -1:
    """Cut the header into its lines, and go behind it; false where one of them is unusual."""
    cdef Span line, name
    cdef int known, bit = 0, count = 0
    fields.via.at = fields.via.end = NULL
    fields.cseq = fields.length = fields.call_id = fields.hops = fields.via
    fields.found, fields.plain = 0, True
    while next_line(at, end, &line):
        if line.at == line.end:
            return True
        count += 1
        if count > max_headers or line.end - line.at > max_line or not name_of(line, &name):
            return False
        known = spelling_of(name)
        if known >= 0:
            bit = spellings[known].bit
            heads.append(names[known])
        else:
            full = unusual_name(name, &bit)
            if full is None:
                return False
            heads.append(full)
        name.at, name.end = name.end + 1, line.end
        if bit and not take(fields, bit, name):
            return False
        lines.append(text(line))
    return False


cdef bint take(Fields *fields, int bit, Span value) noexcept nogil:
    """Remember where a field stands; false where it may not stand twice and does."""
    if fields.found & bit & ONCE:
        return False
    if bit == VIA:
        if not fields.found & VIA:
            fields.via = value
    elif bit == CSEQ:
        fields.cseq = value
    elif bit == CONTENT_LENGTH:
        fields.length = value
    elif bit == CALL_ID:
        fields.call_id = value
    elif bit == MAX_FORWARDS:
        fields.hops = value
    else:
        fields.plain = fields.plain and is_plain_address(value)
    fields.found |= bit
    return True


cdef Py_ssize_t end_of_body(const char *at, const char *end, Fields fields) noexcept nogil:
    """How many bytes behind the header are the body; -1 where Content-Length is unusual or too long."""
    cdef Py_ssize_t size
    if not fields.found & CONTENT_LENGTH:
        return end - at
    strip(&fields.length)
    size = decimal(fields.length, 5)
    return size if size <= end - at else -1


cdef int fill_asked(message, Fields fields) except -1:
    """What nearly every message is asked for: read later, each takes ten times as long."""
    cdef long hops
    strip(&fields.call_id)
    message.call_id = text(fields.call_id)
    if fields.found & MAX_FORWARDS:
        strip(&fields.hops)
        hops = decimal(fields.hops, 9)
        if hops >= 0:
            message.max_forwards = hops
    return 0


cdef object begun(Span start, Fields fields):
    """The request or reply that a first line starts, with CSeq's method; None for an unusual one."""
    cdef Span first = until(start, b' ')
    cdef Span second, third
    cdef long status
    if first.end == start.end:
        return None
    second.at, second.end = first.end + 1, start.end
    if is_version(first):
        third.at, third.end = second.at, second.at + 3
        if second.end - second.at < 4 or second.at[3] != b' ':
            return None
        status = decimal(third, 3)
        if status < 100 or status > 699:
            return None
        message = new_object(Reply, NOTHING)
        second.at = third.end + 1
        message.status = status
        message.reason = text(second)
        message.cseq_method = text(fields.cseq)
        return message
    third = second
    second = until(second, b' ')
    if second.end == second.at or second.end == third.end or memchr(start.at, b'<', start.end - start.at) != NULL:
        return None
    third.at = second.end + 1
    if not is_version(third) or not are_letters(first) or not are_same(first, fields.cseq):
        return None
    message = new_object(Request, NOTHING)
    message.method = message.cseq_method = text(first)
    message.ruri = text(second)
    message.plain = fields.plain and is_plain_target(second)
    return message


cdef struct Sent:
    Span transport, host
    long port  # -1 where none is written
    const char *params


cdef object via_of(Span field):
    """A Via field's first value; None where one of its values is unusual."""
    cdef Sent sent, other
    cdef Span value, rest
    if holds(field, b'"') or holds(field, b'<'):
        return None
    value = until(field, b',')
    rest = value
    while rest.end != field.end:
        rest.at, rest.end = rest.end + 1, field.end
        rest = until(rest, b',')
        if not is_via(rest, &other):
            return None
    strip(&value)
    if not is_via(value, &sent):
        return None
    params = params_of(sent.params, value.end)
    if params is None:
        return None
    fields = (text(sent.transport), text(sent.host), None if sent.port < 0 else sent.port, params)
    return new_tuple(Via, (fields,))


cdef bint is_via(Span value, Sent *sent) noexcept nogil:
    """Whether it is a usual Via, in which nothing is quoted; what stands before its parameters."""
    cdef Span place, version, port
    strip(&value)
    place = until(value, b';')
    sent.params = place.end
    sent.host = place
    place = until(place, b' ')
    # SIP/2.0/UDP at least, and one blank behind it.
    if place.end - place.at < 9 or place.end == sent.params or place.at[7] != b'/' or sent.params - place.at > 300:
        return False
    sent.host.at = place.end + 1
    version.at, version.end = place.at, place.at + 7
    place.at += 8
    sent.transport = place
    if not is_version(version) or not are_letters(place):
        return False
    port.end = sent.host.end
    sent.host = until(sent.host, b':')
    if sent.host.at == sent.host.end or not are_in(sent.host, b"_.-", 3):
        return False
    sent.port = -1
    if sent.host.end != port.end:
        port.at = sent.host.end + 1
        sent.port = decimal(port, 5)
        return 0 <= sent.port <= 65535
    return True


cdef dict params_of(const char *at, const char *end):
    """Parameters, from a first semicolon on; None where a name is not ASCII."""
    cdef dict params = {}
    cdef Span rest, piece, name
    cdef char[NAME_CHARS] lowered
    cdef int place
    while at < end:
        rest.at, rest.end = at + 1, end
        piece = until(rest, b';')
        name = until(piece, b'=')
        at = piece.end
        place = param_of(name)
        if place >= 0:
            key = param_names[place]
        else:
            strip(&name)
            if not lower(name, lowered):
                return None
            if name.at == name.end:
                continue
            key = PyUnicode_DecodeLatin1(lowered, name.end - name.at, NULL)
        if PyDict_Contains(params, key):
            continue
        name = until(piece, b'=')
        if name.end == piece.end:
            params[key] = None
        else:
            piece.at = name.end + 1
            strip(&piece)
            params[key] = text(piece)
    return params


def name_addr(written):
    """What `fields.parse_name_addr` gives, for an address in angle brackets; None for what is not usual."""
    cdef Span field, display, uri
    if NameAddr is None or not look_at(written, &field) or holds(field, b'\r') or holds(field, b'\n'):
        return None
    strip(&field)
    display, uri = field, field
    if field.at < field.end and field.at[0] == b'"':
        uri.at += 1
        display = until(uri, b'"')
        if display.end == field.end or holds(display, b'\\'):
            return None
        uri.at = display.end + 1
        display.at = field.at
    uri = until(uri, b'<')
    if uri.end == field.end:
        return None
    display.end = uri.end
    uri.at, uri.end = uri.end + 1, field.end
    uri = until(uri, b'>')
    if uri.end == field.end:
        return None
    field.at = uri.end + 1
    strip(&field)
    strip(&uri)
    strip(&display)
    if field.at < field.end and (field.at[0] != b';' or holds(field, b'"')):
        return None
    params = params_of(field.at, field.end)
    return None if params is None else new_tuple(NameAddr, ((text(display), text(uri), params),))


def split_outside(written, separator):
    """What `fields.split_outside` gives, for a text without quotations; None for another."""
    cdef Span all, piece, mark
    cdef bint bracketed = False
    cdef list pieces = []
    if not look_at(written, &all) or holds(all, b'"') or holds(all, b'\r') or holds(all, b'\n'):
        return None
    if not look_at(separator, &mark) or mark.end - mark.at != 1:
        return None
    piece = all
    while all.at < all.end:
        if bracketed:
            bracketed = all.at[0] != b'>'
        elif all.at[0] == b'<':
            bracketed = True
        elif all.at[0] == mark.at[0]:
            piece.end = all.at
            add_piece(pieces, piece)
            piece.at = all.at + 1
        all.at += 1
    piece.end = all.end
    add_piece(pieces, piece)
    return pieces


cdef int add_piece(list pieces, Span piece) except -1:
    strip(&piece)
    if piece.at < piece.end:
        pieces.append(text(piece))
    return 0


cdef object unusual_name(Span name, int *bit):
    """The full name of a header whose spelling is not known; None for what is no token."""
    cdef char[NAME_CHARS] lowered
    cdef Span low
    cdef int known
    if not are_in(name, b".!%*_+`'~-", 10) or not lower(name, lowered):
        return None
    low.at, low.end = lowered, lowered + (name.end - name.at)
    known = spelling_of(low)
    if known >= 0:
        bit[0] = spellings[known].bit
        return names[known]
    bit[0] = 0
    return text(low)


cdef bint next_line(const char **at, const char *end, Span *line) noexcept nogil:
    """Cut a line that ends in CRLF and has no other CR or LF in it, and go behind it; false where there is none."""
    cdef const char *stop = <const char *>memchr(at[0], b'\n', end - at[0])
    if stop == NULL or stop == at[0] or (stop - 1)[0] != b'\r':
        return False
    line.at, line.end = at[0], stop - 1
    at[0] = stop + 1
    return memchr(line.at, b'\r', line.end - line.at) == NULL


cdef inline bint name_of(Span line, Span *name) noexcept nogil:
    name[0] = until(line, b':')
    return name.at < name.end < line.end


cdef long decimal(Span span, int digits) noexcept nogil:
    """A number of one to so many digits, at most nine; -1 for anything else."""
    cdef long value = 0
    if not 0 < span.end - span.at <= digits:
        return -1
    while span.at < span.end:
        if not b'0' <= span.at[0] <= b'9':
            return -1
        value = value * 10 + (span.at[0] - ZERO)
        span.at += 1
    return value


cdef long cseq_number(Span *field) noexcept nogil:
    """CSeq's number, and the field becomes its method; -1 where one of them is unusual."""
    cdef Span digits
    strip(field)
    digits = until(field[0], b' ')
    if digits.end == field.end:
        return -1
    field.at = digits.end + 1
    return decimal(digits, 9) if are_letters(field[0]) else -1


cdef inline bint is_version(Span span) noexcept nogil:
    return span.end - span.at == 7 and memcmp(span.at, b"SIP/2.0", 7) == 0


cdef bint are_letters(Span span) noexcept nogil:
    if span.at == span.end:
        return False
    while span.at < span.end:
        if not is_letter(span.at[0]):
            return False
        span.at += 1
    return True


cdef bint is_plain_target(Span uri) noexcept nogil:
    """Whether a Request-URI is like ``sip:user@host:5060;transport=udp``, as `judge` has it."""
    cdef Span part
    cdef long port
    if uri.end - uri.at < 5 or memcmp(uri.at, b"sip", 3) != 0:
        return False
    uri.at += 4 if uri.at[3] == b's' else 3
    if uri.at[0] != b':':
        return False
    uri.at += 1
    part = until(uri, b'@')
    if part.end != uri.end:
        if part.at == part.end or not are_in(part, b"_.+-", 4):
            return False
        uri.at = part.end + 1
    part = until(uri, b';')
    if part.end != uri.end:
        uri.at = part.end + 1
        if uri.end - uri.at < 11 or memcmp(uri.at, b"transport=", 10) != 0:
            return False
        uri.at += 10
        while uri.at < uri.end:
            if not b'a' <= uri.at[0] <= b'z':
                return False
            uri.at += 1
    uri = part
    part = until(uri, b':')
    if part.end != uri.end:
        uri.at = part.end + 1
        port = decimal(uri, 5)
        if port < 0 or (uri.end - uri.at == 5 and not b'1' <= uri.at[0] <= b'5'):
            return False
    return part.at != part.end and are_in(part, b".-", 2)


cdef bint is_plain_address(Span field) noexcept nogil:
    """Whether a From or To is like ``"Name" <uri>;tag=1``, as `judge` has it."""
    cdef Span part
    while field.at < field.end and field.at[0] == b' ':
        field.at += 1
    if field.at < field.end and field.at[0] == b'"':
        field.at += 1
        part = until(field, b'"')
        if part.end == field.end or memchr(part.at, b'\\', part.end - part.at) != NULL:
            return False
        field.at = part.end + 1
        while field.at < field.end and field.at[0] == b' ':
            field.at += 1
        part = until(field, b'<')
        if part.at != part.end:
            return False
    else:
        part = until(field, b'<')
        if not are_in(part, b" .!%*_+`'~-", 11):
            return False
    if part.end == field.end:
        return False
    field.at = part.end + 1
    part = until(field, b'>')
    if part.at == part.end or part.end == field.end or holds(part, b'<') or holds(part, b'"') or holds(part, b' ') \
            or holds(part, b'\t'):
        return False
    field.at = part.end + 1
    return field.at == field.end or (field.at[0] == b';' and are_in(field, b".!%*_+`'~;=-", 12))


cdef bint lower(Span span, char *into) noexcept nogil:
    """Write it in lower case; false where it is too long or not ASCII."""
    if span.end - span.at > NAME_CHARS:
        return False
    while span.at < span.end:
        if <unsigned char>span.at[0] > 127:
            return False
        into[0] = span.at[0] + 32 if b'A' <= span.at[0] <= b'Z' else span.at[0]
        into += 1
        span.at += 1
    return True


cdef inline int param_of(Span name) noexcept nogil:
    """The number of a usual parameter's name, or -1."""
    cdef int at
    for at in range(PARAMS):
        if usual_params[at].at != NULL and are_same(usual_params[at], name):
            return at
    return -1


cdef inline unsigned int hash_of(const char *at, Py_ssize_t size) noexcept nogil:
    return (
        <unsigned char>at[0] * 31U + <unsigned char>at[size - 1] * 7U + <unsigned char>at[size >> 1] * 3U
        + <unsigned int>size * 131U
    ) & (SLOTS - 1)


cdef inline int spelling_of(Span name) noexcept nogil:
    """The number of a known spelling, or -1."""
    cdef Py_ssize_t size = name.end - name.at
    cdef int at
    if not 0 < size <= NAME_CHARS:
        return -1
    at = slots[hash_of(name.at, size)]
    while at:
        if spellings[at - 1].size == size and memcmp(spellings[at - 1].text, name.at, size) == 0:
            return at - 1
        at = spellings[at - 1].next
    return -1
