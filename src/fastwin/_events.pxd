"""Events on their way into columns: what all formats share. Header only, as `_text`.

An event is read into one cell for each declared field, and only a whole, valid event becomes a row:

    begin_event -> (a format's reader fills cells) -> end_event | reject_event

Everything here is plain C on an `Events`, without Python and without the GIL. One thread at a time.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from fastwin._columns cimport (
    BAD, BOOL, Cell, Column, FIRST_ROWS, FLOAT64, INT64, NULL_CELL, STRING, TIMESTAMP, VALUE, begin_nulls, grow_column,
    grow_text, put_cell,
)
from fastwin._number cimport Number, number_float, number_floor, number_int, scan_number
from fastwin._text cimport is_utf8, likely, load64, same_bytes, string_end, unlikely
from fastwin._time cimport read_instant

cdef enum Outcome:
    # What became of one event; below zero, memory or a bound ran out: the event is not counted, and no row is there.
    INVALID = 0
    ROW = 1
    NO_MEMORY = -1
    TEXT_FULL = -2

cdef enum Reason:
    # Index into Events.invalid. From WRONG_TYPE on: one for each field, in their order.
    NOT_JSON = 0
    TOO_LARGE = 1
    NO_FIELD = 2
    MISSING_TIME = 3
    BAD_TIME = 4
    WRONG_TYPE = 5

cdef enum:
    KEY_WORDS = 4       # keys of up to 30 bytes and their quotes are compared as words
    KEYS_LEARNT = 32    # undeclared keys that are remembered

cdef struct Key:
    # A key that events have, and the one that followed it last time: most often it does again, and its bytes need
    # comparing only, no scanning.
    uint64_t words[KEY_WORDS]   # the key in quotes
    uint64_t masks[KEY_WORDS]   # 0xFF for each byte of it
    int words_used              # 0: not known as words
    int column                  # -1: not declared
    Key* follower
    Py_ssize_t length           # without quotes
    const uint8_t* name         # for a key that is not declared: inside words

cdef struct Events:
    Column* columns
    Cell* cells
    int fields
    int time                    # index of the time field
    int64_t rows
    int64_t capacity            # rows that the columns have room for
    int64_t rows_hint           # rows to begin with after a batch has been taken
    int64_t count               # events seen since the last batch, valid or not
    int64_t* row_event          # for each row, the index of its event
    int64_t max_bytes           # of one event
    int64_t max_text            # of one string column
    int64_t* invalid            # events by Reason
    Key* keys                   # of the fields, in order, then what has been learnt; keys_size in all
    int keys_used
    Key other_key               # stands for all that are neither declared nor remembered
    Key root_key                # stands before the first
    uint8_t* scratch            # unescaped strings of one event
    int64_t scratch_used
    int64_t scratch_capacity
    uint8_t* nesting            # the open brackets
    int max_depth
    bint in_long_line           # lines: the rest of one that was too large is still to come


# -- Keys --------------------------------------------------------------------------------------------------------------

cdef inline int keys_size(const Events* self) noexcept nogil:
    """Return how many keys there is room for."""
    return self.fields + KEYS_LEARNT


cdef inline void set_key(Key* key, const uint8_t* name, Py_ssize_t length, int column) noexcept nogil:
    """Describe a key; `name` must outlive it if it is longer than the words."""
    cdef uint8_t quoted[8 * KEY_WORDS]
    cdef uint8_t mask[8 * KEY_WORDS]
    cdef bint escaped
    cdef int i
    memset(key, 0, sizeof(Key))
    key.follower = key
    key.column = column
    key.length = length
    key.name = name
    if length + 2 > 8 * KEY_WORDS:
        return
    memset(quoted, 0, sizeof(quoted))
    memset(mask, 0, sizeof(mask))
    memset(mask, 0xFF, length + 2)
    memcpy(quoted + 1, name, length)
    quoted[0] = quoted[length + 1] = c'"'
    if string_end(quoted + 1, quoted + length + 2, &escaped) != quoted + length + 1 or escaped:
        return  # a name with a quote, a backslash or a control character stands in JSON with escapes only
    key.words_used = <int>((length + 9) // 8)
    for i in range(key.words_used):
        key.words[i] = load64(quoted + 8 * i)
        key.masks[i] = load64(mask + 8 * i)


cdef inline bint key_is_at(const Key* key, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """True if the key in quotes stands at `p`; False also where that cannot be seen by words."""
    cdef uint64_t differ
    if key.words_used == 0 or end - p < 8 * key.words_used:
        return False
    differ = (load64(p) ^ key.words[0]) & key.masks[0]
    if key.words_used > 1:
        differ |= (load64(p + 8) ^ key.words[1]) & key.masks[1]
        if unlikely(key.words_used > 2):
            differ |= (load64(p + 16) ^ key.words[2]) & key.masks[2]
            if key.words_used > 3:
                differ |= (load64(p + 24) ^ key.words[3]) & key.masks[3]
    return differ == 0


cdef inline Key* find_key(Events* self, const uint8_t* name, Py_ssize_t length, bint learn) noexcept nogil:
    """Return the key, which is remembered if `learn`; `other_key` if it is not known."""
    cdef Key* key
    cdef int i
    for i in range(self.keys_used):
        if self.keys[i].length == length and same_bytes(self.keys[i].name, name, length):
            return &self.keys[i]
    if not learn or self.keys_used == keys_size(self) or length + 2 > 8 * KEY_WORDS:
        return &self.other_key
    key = &self.keys[self.keys_used]
    set_key(key, name, length, -1)
    key.name = <const uint8_t*>key.words + 1
    self.keys_used += 1
    return key


# -- One event ---------------------------------------------------------------------------------------------------------

cdef inline void begin_event(Events* self) noexcept nogil:
    cdef int i
    for i in range(self.fields):
        self.cells[i].state = NULL_CELL
    self.scratch_used = 0


cdef inline Outcome reject_event(Events* self, int reason) noexcept nogil:
    """Count the event as invalid."""
    self.invalid[reason] += 1
    self.count += 1
    return INVALID


cdef inline bint grow_rows(Events* self) noexcept nogil:
    """Make room for more rows; False if memory has run out."""
    cdef int64_t capacity = max(self.capacity * 2, self.rows_hint, FIRST_ROWS)
    cdef int64_t* grown
    cdef int i
    for i in range(self.fields):
        if not grow_column(&self.columns[i], self.rows, capacity):
            return False
    grown = <int64_t*>realloc(self.row_event, capacity * sizeof(int64_t))
    if grown == NULL:
        return False
    self.row_event = grown
    self.capacity = capacity
    return True


cdef inline Outcome end_event(Events* self) noexcept nogil:
    """Make the cells a row, or count the event as invalid: first by its time, then by the first field that is bad."""
    cdef Column* column
    cdef Cell* cell = &self.cells[self.time]
    cdef int i
    if unlikely(cell.state != VALUE):
        return reject_event(self, BAD_TIME if cell.state == BAD else MISSING_TIME)
    if unlikely(self.rows == self.capacity) and not grow_rows(self):
        return NO_MEMORY
    for i in range(self.fields):
        column = &self.columns[i]
        cell = &self.cells[i]
        if likely(cell.state == VALUE):
            if column.kind == STRING and unlikely(cell.length > column.text_capacity - column.text_used):
                if cell.length > self.max_text - column.text_used:
                    return TEXT_FULL
                if not grow_text(column, column.text_used + cell.length, self.max_text):
                    return NO_MEMORY
        elif unlikely(cell.state == BAD):
            return reject_event(self, WRONG_TYPE + i)
        elif column.valid == NULL and not begin_nulls(column, self.rows, self.capacity):
            return NO_MEMORY
    for i in range(self.fields):
        put_cell(&self.columns[i], &self.cells[i], self.rows)
    self.row_event[self.rows] = self.count
    self.rows += 1
    self.count += 1
    return ROW


# -- Cells -------------------------------------------------------------------------------------------------------------

cdef inline void number_cell(const Column* column, Cell* cell, const Number* number) noexcept nogil:
    """Set the cell from a number, by the type of its column."""
    cell.state = BAD
    if column.kind == TIMESTAMP:
        if number_floor(number, &cell.whole) and column.lowest <= cell.whole <= column.highest:
            cell.state = VALUE
    elif column.kind == FLOAT64:
        if number_float(number, &cell.real):
            cell.state = VALUE
    elif column.kind == INT64:
        if number_int(number, &cell.whole):
            cell.state = VALUE


cdef inline void instant_cell(const Column* column, Cell* cell, const uint8_t* text, Py_ssize_t length) noexcept nogil:
    """Set the cell from ISO 8601 text."""
    cell.state = BAD
    if read_instant(text, text + length, column.ticks, &cell.whole) and column.lowest <= cell.whole <= column.highest:
        cell.state = VALUE


cdef inline bint is_word(
    const uint8_t* text, Py_ssize_t length, const char* word, Py_ssize_t word_length
) noexcept nogil:
    """True if the text is the lower-case word, in any case."""
    cdef Py_ssize_t i
    if length != word_length:
        return False
    for i in range(length):
        if text[i] | 0x20 != word[i]:
            return False
    return True


cdef inline void text_cell(const Column* column, Cell* cell, const uint8_t* text, Py_ssize_t length) noexcept nogil:
    """Set the cell from bare text, as the format ``fields`` has it, by the type of its column."""
    cdef Number number
    cell.state = BAD
    if column.kind == STRING:
        if is_utf8(text, text + length):
            cell.text = text
            cell.length = length
            cell.state = VALUE
    elif column.kind == BOOL:
        cell.whole = is_word(text, length, b"true", 4) or (length == 1 and text[0] == c'1')
        if cell.whole or is_word(text, length, b"false", 5) or (length == 1 and text[0] == c'0'):
            cell.state = VALUE
    elif scan_number(text, text + length, &number) == text + length:
        number_cell(column, cell, &number)
    elif column.kind == TIMESTAMP:
        instant_cell(column, cell, text, length)


cdef inline void put_pair(
    Events* self, const uint8_t* name, Py_ssize_t name_length, const uint8_t* text, Py_ssize_t length
) noexcept nogil:
    """Set the cell of the field that has this name, if one has; of several values the last stays."""
    cdef int i
    for i in range(self.fields):
        if self.columns[i].name_length == name_length and same_bytes(self.columns[i].name, name, name_length):
            text_cell(&self.columns[i], &self.cells[i], text, length)
            return
