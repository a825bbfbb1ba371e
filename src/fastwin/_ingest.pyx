"""Bytes to columns: events as JSON or as text fields in, one Arrow record batch out.

In layers, each of which knows only those above it (all but the last are plain C, header only):

a. ``_text``, ``_number``, ``_time``: what bytes mean. No state.
b. ``_columns``: cells into Arrow memory that grows.
c. ``_events``: one event is one cell for each field, then one row or one count of `Reason`.
d. ``_json``: one pass over an object, wanted values into cells. No tree and no index of the structure is built first:
   for events of a few hundred bytes that costs more than it saves.
e. `Decoder`: Python objects to (pointer, length), and batches out. One call for many events.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.stdint cimport INT32_MAX, INT64_MAX, INT64_MIN, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastwin._columns cimport (
    BOOL, Cell, Column, FLOAT64, INT64, STRING, TIMESTAMP, clear_column, values_size,
)
from fastwin._events cimport (
    INVALID, Key, NO_FIELD, NO_MEMORY, ROW, TEXT_FULL, TOO_LARGE, WRONG_TYPE, begin_event, end_event,
    keys_size, put_pair, reject_event, set_key,
)
from fastwin._json cimport read_json, read_lines
from fastwin._text cimport same_bytes

import numpy as np
import pyarrow as pa

from fastwin.errors import ConfigError, LimitError
from fastwin.fields import arrow_schema
from fastwin.units import TICKS_PER_SECOND

__all__ = ["Decoder"]

cdef extern from "Python.h" nogil:
    # Without the GIL only on objects that nobody else can change: bytes, tuples, and a list of our own.
    Py_ssize_t list_size "PyList_GET_SIZE"(PyObject* items)
    PyObject* list_item "PyList_GET_ITEM"(PyObject* items, Py_ssize_t index)
    PyObject* tuple_item "PyTuple_GET_ITEM"(PyObject* items, Py_ssize_t index)
    Py_ssize_t tuple_size "PyTuple_GET_SIZE"(PyObject* items)
    bint is_bytes "PyBytes_Check"(PyObject* item)
    const uint8_t* bytes_start "(const uint8_t *)PyBytes_AS_STRING"(PyObject* item)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE"(PyObject* item)
    PyObject* Py_None
    const Py_ssize_t PY_SSIZE_T_MAX

_REASONS = ("not_json", "too_large", "no_field", "missing_time", "bad_time")
_KINDS = {"string": STRING, "bool": BOOL, "int64": INT64, "float64": FLOAT64, "timestamp": TIMESTAMP}

# The time range that windows can work with: 146,000 years on either side of the epoch.
cdef int64_t LATEST_US = <int64_t>1 << 62


@cython.final
cdef class _Memory:
    """Memory from malloc, as a read-only buffer; freed with the last user."""

    cdef void* start
    cdef Py_ssize_t length

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.start, self.length, 1, flags)

    def __dealloc__(self):
        free(self.start)


cdef object hand_over(uint8_t** start, int64_t length):
    """Return an Arrow buffer that owns the memory, of which `length` bytes are used; None for no memory."""
    cdef _Memory memory
    if start[0] == NULL:
        return None
    memory = _Memory.__new__(_Memory)
    memory.start = start[0]
    memory.length = length
    start[0] = NULL
    return pa.py_buffer(memory)


cdef object payload_of(list body, bytes field):
    """Return the value of the last pair with this name, or the empty tuple if there is none."""
    cdef Py_ssize_t i = (len(body) & ~1) - 2
    cdef Py_ssize_t length = PyBytes_GET_SIZE(field)
    while i >= 0:
        name = body[i]
        if not isinstance(name, bytes):
            raise TypeError(f"the name of an entry field is bytes; found {type(name).__name__}")
        if PyBytes_GET_SIZE(name) == length and same_bytes(
            <const uint8_t*>PyBytes_AS_STRING(name), <const uint8_t*>PyBytes_AS_STRING(field), length
        ):
            value = body[i + 1]
            if not isinstance(value, bytes):
                raise TypeError(f"the value of an entry field is bytes; found {type(value).__name__}")
            return value
        i -= 2
    return ()


cdef tuple pairs_of(list body):
    """Return names and values as a tuple, which no other thread can change."""
    cdef tuple pairs = tuple(body)
    for item in pairs:
        if not isinstance(item, bytes):
            raise TypeError(f"names and values of an entry are bytes; found {type(item).__name__}")
    return pairs


cdef Outcome read_pairs(Events* events, PyObject* pairs) noexcept nogil:
    """Read one event from a tuple of names and values, all bytes."""
    cdef Py_ssize_t length = tuple_size(pairs), total = 0, i
    cdef PyObject* name
    cdef PyObject* value
    if length & 1:
        return reject_event(events, NO_FIELD)
    for i in range(length):
        total += bytes_size(tuple_item(pairs, i))
    if total > events.max_bytes:
        return reject_event(events, TOO_LARGE)
    begin_event(events)
    for i in range(0, length, 2):
        name = tuple_item(pairs, i)
        value = tuple_item(pairs, i + 1)
        put_pair(events, bytes_start(name), bytes_size(name), bytes_start(value), bytes_size(value))
    return end_event(events)


cdef Outcome read_parts(Events* events, PyObject* parts, bint is_json, long long* trimmed) noexcept nogil:
    """Read one event from each part, until memory or a bound runs out.

    A part is bytes, the JSON; or a tuple, names and values (with `is_json` that there is no JSON); or None, trimmed.
    """
    cdef Outcome outcome = INVALID
    cdef PyObject* part
    cdef Py_ssize_t i
    for i in range(list_size(parts)):
        part = list_item(parts, i)
        if is_bytes(part):
            outcome = read_json(events, bytes_start(part), bytes_size(part))
        elif part == Py_None:
            trimmed[0] += 1
            events.count += 1
        elif is_json:
            outcome = reject_event(events, NO_FIELD)
        else:
            outcome = read_pairs(events, part)
        if outcome < 0:
            break
    return outcome


@cython.final
cdef class Decoder:
    """Reads events into columns; `take` gives them as a record batch with the schema of `fields`.

    An event that breaks a rule leaves no row: it is counted under one reason, see `take_invalid`. All append methods
    may be mixed. A Decoder is used by one thread at a time (`RuntimeError` otherwise).

    Args:
        fields: the declared fields; names are unique.
        time: the field that holds the event time; a timestamp. It is never null in a batch.
        max_depth: levels of nesting that a JSON event may have, itself included; at least 1.
        max_bytes: size of one event; a larger one is invalid.
        max_text: bytes of one string column in one batch, at most 2 GiB; more is a `LimitError`: take() sooner.

    Raises:
        ConfigError: an argument breaks one of these rules.
    """

    def __cinit__(
        self,
        tuple fields not None,
        str time not None,
        *,
        int max_depth=64,
        int64_t max_bytes=4 << 20,
        int64_t max_text=INT32_MAX,
    ):
        cdef Events* events = &self.events
        cdef Column* column
        cdef int i
        names = [field.name for field in fields]
        if len(set(names)) != len(names):
            raise ConfigError(f"fields: a name is declared once; found {names}")
        if time not in names or fields[names.index(time)].kind.value != "timestamp":
            raise ConfigError(f"time: it names a declared timestamp field; found {time!r}")
        for limit, value, highest in (
            ("max_depth", max_depth, 1 << 20), ("max_bytes", max_bytes, INT32_MAX), ("max_text", max_text, INT32_MAX)
        ):
            if not 1 <= value <= highest:
                raise ConfigError(f"{limit}: it is 1 to {highest}; found {value}")
        self._names = tuple(name.encode() for name in names)
        self._schema = arrow_schema(fields)
        self._empty = pa.RecordBatch.from_arrays(
            [pa.array([], type=kind) for kind in self._schema.types], schema=self._schema
        )
        events.fields = <int>len(fields)
        events.time = <int>names.index(time)
        events.max_depth = max_depth
        events.max_bytes = max_bytes
        events.max_text = max_text
        events.columns = <Column*>calloc(events.fields, sizeof(Column))
        events.cells = <Cell*>calloc(events.fields, sizeof(Cell))
        events.invalid = <int64_t*>calloc(WRONG_TYPE + events.fields, sizeof(int64_t))
        events.keys = <Key*>calloc(keys_size(events), sizeof(Key))
        events.nesting = <uint8_t*>calloc(max_depth, 1)
        if (
            events.columns == NULL or events.cells == NULL or events.invalid == NULL or events.keys == NULL
            or events.nesting == NULL
        ):
            raise MemoryError
        set_key(&events.root_key, NULL, PY_SSIZE_T_MAX // 2, -1)  # too long for words: matches nothing
        set_key(&events.other_key, NULL, PY_SSIZE_T_MAX // 2, -1)
        for i in range(events.fields):
            column = &events.columns[i]
            name = self._names[i]
            column.name = <const uint8_t*>PyBytes_AS_STRING(name)
            column.name_length = PyBytes_GET_SIZE(name)
            column.kind = _KINDS[fields[i].kind.value]
            if column.kind == TIMESTAMP:
                column.ticks = TICKS_PER_SECOND[fields[i].unit]
                column.highest = LATEST_US // (1_000_000 // column.ticks) if column.ticks <= 1_000_000 else INT64_MAX
                column.lowest = -column.highest if column.ticks <= 1_000_000 else INT64_MIN
            set_key(&events.keys[i], column.name, column.name_length, i)
        events.keys_used = events.fields

    def __dealloc__(self):
        cdef int i
        if self.events.columns != NULL:
            for i in range(self.events.fields):
                clear_column(&self.events.columns[i])
        free(self.events.columns)
        free(self.events.cells)
        free(self.events.invalid)
        free(self.events.keys)
        free(self.events.nesting)
        free(self.events.row_event)
        free(self.events.scratch)

    cdef int enter(self) except -1:
        if self._busy:
            raise RuntimeError("a Decoder is used by one thread at a time; another one is in it: give each its own")
        self._busy = True
        return 0

    cdef int leave(self, Outcome outcome) except -1:
        self._busy = False
        if outcome == NO_MEMORY:
            raise MemoryError("no memory for more rows; the rows so far are kept")
        if outcome == TEXT_FULL:
            raise LimitError(f"a string column of one batch holds at most {self.events.max_text} bytes: take() sooner")
        return 0

    def append_json(self, bytes payload not None) -> bool:
        """Read one event from `payload`, exactly one JSON object; return whether it is valid and so a row.

        Raises:
            MemoryError, LimitError: there is no room; the event is not counted, the rows so far are kept.
        """
        cdef Outcome outcome
        self.enter()
        outcome = read_json(&self.events, <const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        self.leave(outcome)
        return outcome == ROW

    def append_fields(self, list pairs not None) -> bool:
        """Read one event from ``[name, value, ...]``, all bytes; return whether it is valid and so a row.

        Values are text: a number by the JSON grammar, ``true``, ``false`` (any case), ``1`` or ``0``, UTF-8, a number
        or ISO 8601 for a timestamp. Of a name that comes twice the last value counts. A list of odd length is
        ``no_field``.

        Raises:
            TypeError: something in `pairs` is not bytes.
            MemoryError, LimitError: as `append_json`.
        """
        cdef Outcome outcome
        cdef tuple owned = pairs_of(pairs)
        self.enter()
        outcome = read_pairs(&self.events, <PyObject*>owned)
        self.leave(outcome)
        return outcome == ROW

    def append_entries(self, list entries not None, bytes field) -> None:
        """Read one event from each of the stream entries ``[[id, [name, value, ...] | None], ...]``, all bytes.

        The JSON is the value of `field`; with None the names and values themselves are the event, as `append_fields`
        reads them. An entry with None for its body has been trimmed from the stream: it is no event, but `trimmed`
        grows. The GIL is released while the events are read.

        Raises:
            TypeError: an entry does not look like that; no event has been read.
            MemoryError, LimitError: as `append_json`; the events before are rows.
        """
        cdef list parts = []  # for read_parts
        cdef PyObject* items = <PyObject*>parts
        cdef Events* events = &self.events
        cdef Outcome outcome
        cdef bint is_json = field is not None
        cdef long long trimmed = 0
        for entry in entries:
            body = (<list>entry)[1] if isinstance(entry, list) and len(<list>entry) == 2 else ()
            if body is None:
                parts.append(None)
            elif not isinstance(body, list):
                raise TypeError(f"an entry is a list [id, [name, value, ...] or None]; found {type(entry).__name__}")
            elif field is None:
                parts.append(pairs_of(<list>body))
            else:
                parts.append(payload_of(<list>body, field))
        self.enter()
        with nogil:
            outcome = read_parts(events, items, is_json, &trimmed)
        self.trimmed += trimmed
        self.leave(outcome)

    def feed_ndjson(self, data, bint final=False) -> int:
        """Read one event from each whole line of `data` (any contiguous buffer), all of it when `final`.

        Return the bytes consumed; the caller puts the rest in front of what comes next. Blank lines are no events. A
        line that is too large is counted once and dropped as it comes, so that the rest is never more than `max_bytes`.
        The GIL is released.

        Raises:
            MemoryError, LimitError: as `append_json`; the events before are rows.
        """
        cdef Py_buffer view
        cdef Events* events = &self.events
        cdef Outcome outcome
        cdef Py_ssize_t consumed = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.enter()
            with nogil:
                outcome = read_lines(events, <const uint8_t*>view.buf, view.len, final, &consumed)
            self.leave(outcome)
        finally:
            PyBuffer_Release(&view)
        return consumed

    @property
    def rows(self) -> int:
        """Rows held now."""
        return self.events.rows

    @property
    def row_entry(self):
        """For each row held, the index of its event since the last `take`; int64 array of `rows` values, a copy.

        Invalid events have an index too, and so have trimmed entries: with `append_entries` it is that of the entry.
        """
        cdef int64_t[::1] values
        entries = np.empty(self.events.rows, dtype=np.int64)
        if self.events.rows:
            values = entries
            memcpy(&values[0], self.events.row_event, self.events.rows * sizeof(int64_t))
        return entries

    def take(self):
        """Return the rows as a record batch that owns their memory, without a copy, and start anew."""
        cdef Events* events = &self.events
        cdef Column* column
        cdef int64_t rows = events.rows
        cdef int i
        self.enter()
        try:
            events.count = 0
            if rows == 0:
                return self._empty
            arrays = []
            for i in range(events.fields):
                column = &events.columns[i]
                valid = hand_over(&column.valid, (rows + 7) // 8) if column.nulls else None
                buffers = [valid, hand_over(&column.values, values_size(column, rows))]
                if column.kind == STRING:
                    buffers.append(hand_over(&column.text, column.text_used) or pa.py_buffer(b""))
                arrays.append(pa.Array.from_buffers(self._schema.types[i], rows, buffers, column.nulls))
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        finally:
            if rows:
                for i in range(events.fields):
                    column = &events.columns[i]
                    column.text_hint = column.text_used
                    clear_column(column)
                events.rows_hint = (rows + 63) // 64 * 64
                events.rows = events.capacity = 0
            self._busy = False

    def take_invalid(self) -> dict:
        """Return for which reasons events were invalid since the last call, and how many for each.

        ``not_json``: not exactly one JSON object in UTF-8, or nested too deep. ``too_large``: see `max_bytes`.
        ``no_field``: the entry lacks the field, or a name lacks its value. ``missing_time``: the event time is absent
        or null. ``bad_time``: it cannot be read, or is not within ±2**62 µs. ``type:<name>``: the value of this field,
        the first such one declared, is of another type or out of range.
        """
        cdef int i
        reasons = {}
        for i in range(WRONG_TYPE + self.events.fields):
            if self.events.invalid[i]:
                reason = _REASONS[i] if i < WRONG_TYPE else f"type:{self._schema.names[i - WRONG_TYPE]}"
                reasons[reason] = self.events.invalid[i]
                self.events.invalid[i] = 0
        return reasons
