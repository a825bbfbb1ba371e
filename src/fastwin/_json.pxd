"""One JSON object to one event, by RFC 8259, in one pass. Header only, as `_text`.

Wanted values go into cells, all others are skipped, and everything is validated: what `read_json` takes, every strict
parser takes. There is no recursion: open brackets are kept in `Events.nesting`.

Readers of a part take its first byte and return the byte behind it, or NULL if it is not JSON.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memchr

from fastwin._columns cimport BAD, BOOL, Cell, Column, NULL_CELL, STRING, TIMESTAMP, VALUE
from fastwin._events cimport (
    Events, INVALID, Key, NOT_JSON, NO_MEMORY, Outcome, TOO_LARGE, begin_event, end_event, find_key, instant_cell,
    key_is_at, number_cell, reject_event,
)
from fastwin._number cimport Number, scan_number
from fastwin._text cimport likely, string_end, unescape, unlikely


cdef inline const uint8_t* skip_space(const uint8_t* p, const uint8_t* end) noexcept nogil:
    while p < end and p[0] <= c' ':
        if p[0] != c' ' and p[0] != c'\n' and p[0] != c'\r' and p[0] != c'\t':
            break
        p += 1
    return p


cdef inline const uint8_t* skip_word(const uint8_t* p, const uint8_t* end, const char* word, int length) noexcept nogil:
    cdef int i
    if end - p < length:
        return NULL
    for i in range(length):
        if p[i] != <uint8_t>word[i]:
            return NULL
    return p + length


cdef inline const uint8_t* skip_colon(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return the value behind a key; it has a byte at least."""
    p = skip_space(p, end)
    if unlikely(p == end or p[0] != c':'):
        return NULL
    p = skip_space(p + 1, end)
    if unlikely(p == end):
        return NULL
    return p


cdef inline const uint8_t* skip_scalar(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Skip a value that is neither an object nor an array. There is a byte at `p`."""
    cdef bint escaped
    cdef Number number
    if p[0] == c'"':
        p = string_end(p + 1, end, &escaped)
        return p if p == NULL else p + 1
    if p[0] == c't':
        return skip_word(p, end, b"true", 4)
    if p[0] == c'f':
        return skip_word(p, end, b"false", 5)
    if p[0] == c'n':
        return skip_word(p, end, b"null", 4)
    return scan_number(p, end, &number)


cdef inline const uint8_t* skip_key(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return the value behind the key at `p`; it has a byte at least."""
    cdef bint escaped
    if p == end or p[0] != c'"':
        return NULL
    p = string_end(p + 1, end, &escaped)
    return p if p == NULL else skip_colon(p + 1, end)


cdef inline const uint8_t* skip_nested(Events* self, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Skip an object or an array. `Events.nesting` is a stack of the brackets that will close it."""
    cdef int depth = 0
    cdef uint8_t closing
    while True:
        # At a value, or behind an opening bracket at what may also be the closing one.
        if p == end:
            return NULL
        if p[0] == c'{' or p[0] == c'[':
            depth += 1
            if depth >= self.max_depth:  # the event itself is the first level
                return NULL
            closing = p[0] + 2  # in ASCII, for both
            self.nesting[depth] = closing
            p = skip_space(p + 1, end)
            if p == end:
                return NULL
            if p[0] != closing:
                if closing == c'}':
                    p = skip_key(p, end)
                    if p == NULL:
                        return NULL
                continue
        else:
            p = skip_scalar(p, end)
            if p == NULL:
                return NULL
            p = skip_space(p, end)
            if p == end:
                return NULL
        while p[0] == self.nesting[depth]:
            depth -= 1
            if depth == 0:
                return p + 1
            p = skip_space(p + 1, end)
            if p == end:
                return NULL
        if p[0] != c',':
            return NULL
        p = skip_space(p + 1, end)
        if self.nesting[depth] == c'}':
            p = skip_key(p, end)
            if p == NULL:
                return NULL


cdef inline const uint8_t* skip_value(Events* self, const uint8_t* p, const uint8_t* end) noexcept nogil:
    if unlikely(p[0] == c'{' or p[0] == c'['):
        return skip_nested(self, p, end)
    return skip_scalar(p, end)


cdef inline uint8_t* unescaped(Events* self, const uint8_t* p, const uint8_t* close, Py_ssize_t* length) noexcept nogil:
    """Return the text of a string in `Events.scratch`, which `read_json` has made large enough for the whole event."""
    cdef uint8_t* text = self.scratch + self.scratch_used
    length[0] = unescape(p, close, text) - text
    self.scratch_used += length[0]
    return text


cdef inline const uint8_t* read_value(
    Events* self, const uint8_t* p, const uint8_t* end, const Column* column, Cell* cell
) noexcept nogil:
    """Set the cell from the JSON value at `p`. There is a byte at `p`."""
    cdef Number number
    cdef const uint8_t* text
    cdef Py_ssize_t length
    cdef bint escaped
    if p[0] == c'"':
        text = p + 1
        p = string_end(text, end, &escaped)
        if unlikely(p == NULL):
            return NULL
        length = p - text
        if unlikely(escaped):
            text = unescaped(self, text, p, &length)
        if likely(column.kind == STRING):
            cell.text = text
            cell.length = length
            cell.state = VALUE
        elif column.kind == TIMESTAMP:
            instant_cell(column, cell, text, length)
        else:
            cell.state = BAD
        return p + 1
    if c'0' <= p[0] <= c'9' or p[0] == c'-':
        p = scan_number(p, end, &number)
        if likely(p != NULL):
            number_cell(column, cell, &number)
        return p
    if p[0] == c'n':
        cell.state = NULL_CELL
    elif column.kind == BOOL and (p[0] == c't' or p[0] == c'f'):
        cell.whole = p[0] == c't'
        cell.state = VALUE
    else:
        cell.state = BAD
    return skip_value(self, p, end)


cdef inline const uint8_t* read_key(Events* self, const uint8_t* p, const uint8_t* end, Key** key) noexcept nogil:
    """Read the key at `p`, of which nothing is known, and set `key`."""
    cdef const uint8_t* text = p + 1
    cdef Py_ssize_t length
    cdef bint escaped
    if p == end or p[0] != c'"':
        return NULL
    p = string_end(text, end, &escaped)
    if p == NULL:
        return NULL
    length = p - text
    if escaped:
        text = unescaped(self, text, p, &length)
    key[0] = find_key(self, text, length, not escaped)  # escapes: what is learnt are bytes as they stand
    return p + 1


cdef inline const uint8_t* read_members(Events* self, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Read the members of the event's object, from behind its opening bracket to behind its closing one."""
    cdef Key* before = &self.root_key
    cdef Key* key
    p = skip_space(p, end)
    if p < end and p[0] == c'}':
        return p + 1
    while True:
        key = before.follower
        if likely(key_is_at(key, p, end)):
            p += key.length + 2
        else:
            p = read_key(self, p, end, &key)
            if p == NULL:
                return NULL
            before.follower = key
        before = key
        p = skip_colon(p, end)
        if unlikely(p == NULL):
            return NULL
        if key.column < 0:
            p = skip_value(self, p, end)
        else:
            p = read_value(self, p, end, &self.columns[key.column], &self.cells[key.column])
        if unlikely(p == NULL):
            return NULL
        p = skip_space(p, end)
        if unlikely(p == end):
            return NULL
        if p[0] == c'}':
            return p + 1
        if unlikely(p[0] != c','):
            return NULL
        p = skip_space(p + 1, end)


cdef inline bint reserve_scratch(Events* self, Py_ssize_t length) noexcept nogil:
    """Make room to unescape every string of an event of this length; False if memory has run out."""
    cdef uint8_t* grown
    if likely(length <= self.scratch_capacity):
        return True
    grown = <uint8_t*>realloc(self.scratch, length * 2)
    if grown == NULL:
        return False
    self.scratch = grown
    self.scratch_capacity = length * 2
    return True


cdef inline Outcome read_json(Events* self, const uint8_t* p, Py_ssize_t length) noexcept nogil:
    """Read one event: exactly one JSON object, with white space around it at most."""
    cdef const uint8_t* end = p + length
    if unlikely(length > self.max_bytes):
        return reject_event(self, TOO_LARGE)
    if unlikely(not reserve_scratch(self, length)):
        return NO_MEMORY
    begin_event(self)
    p = skip_space(p, end)
    if unlikely(p == end or p[0] != c'{'):
        return reject_event(self, NOT_JSON)
    p = read_members(self, p + 1, end)
    if unlikely(p == NULL or skip_space(p, end) != end):
        return reject_event(self, NOT_JSON)
    return end_event(self)


cdef inline Outcome read_lines(
    Events* self, const uint8_t* p, Py_ssize_t length, bint final, Py_ssize_t* consumed
) noexcept nogil:
    """Read one event from each line that is not blank; set `consumed` to the bytes that need not come again.

    A line without its end waits for the next call, unless this one is `final` or the line is too large already: it is
    then counted once, and what follows of it is dropped as it comes.
    """
    cdef const uint8_t* start = p
    cdef const uint8_t* end = p + length
    cdef const uint8_t* stop
    cdef Outcome outcome = INVALID
    cdef bint whole
    while p < end and outcome >= 0:
        stop = <const uint8_t*>memchr(p, c'\n', end - p)
        whole = final or stop != NULL
        if stop == NULL:
            stop = end
        if self.in_long_line:
            self.in_long_line = not whole
        elif stop - p > self.max_bytes:
            outcome = reject_event(self, TOO_LARGE)
            self.in_long_line = not whole
        elif not whole:
            break
        elif skip_space(p, stop) != stop:
            outcome = read_json(self, p, stop - p)
        p = stop if stop == end else stop + 1
    consumed[0] = p - start
    return outcome
