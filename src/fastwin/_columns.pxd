"""Columns that grow: cells in, Arrow memory out. Header only, as `_text`.

A row is put in two steps, so that nothing is ever half there: `reserve_row` and `reserve_text` make room and may fail,
`put_cell` writes and cannot. All memory is from malloc, zero where Arrow has bits, laid out as Arrow's columnar format.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef enum Kind:
    STRING = 0
    BOOL = 1
    INT64 = 2
    FLOAT64 = 3
    TIMESTAMP = 4

cdef enum State:
    NULL_CELL = 0
    VALUE = 1
    BAD = 2             # of another type, or out of range

cdef enum:
    FIRST_ROWS = 1024   # a multiple of 64

cdef struct Cell:
    State state
    int64_t whole           # BOOL, INT64, TIMESTAMP
    double real             # FLOAT64
    const uint8_t* text     # STRING: not owned, lives as long as the event
    Py_ssize_t length

cdef struct Column:
    Kind kind
    const uint8_t* name     # the field's name in UTF-8, owned by the Decoder
    Py_ssize_t name_length
    int64_t ticks           # TIMESTAMP: units in a second
    int64_t lowest          # TIMESTAMP: range of valid values
    int64_t highest
    uint8_t* values         # BOOL: bits; STRING: int32 offsets, one more than rows; else 8 bytes a row
    uint8_t* valid          # bits; NULL until the first null
    int64_t nulls
    uint8_t* text           # STRING: all texts, one behind the other
    int64_t text_used
    int64_t text_capacity
    int64_t text_hint       # bytes to begin with after the batch has been taken


cdef inline int64_t values_size(const Column* column, int64_t rows) noexcept nogil:
    """Return the bytes that the values of `rows` rows take."""
    if column.kind == BOOL:
        return (rows + 7) // 8
    if column.kind == STRING:
        return (rows + 1) * <int64_t>sizeof(int32_t)
    return rows * 8


cdef inline bint grow_column(Column* column, int64_t rows, int64_t capacity) noexcept nogil:
    """Make room for `capacity` rows, a multiple of 8; False if memory has run out, and all stays as it was."""
    cdef uint8_t* grown
    grown = <uint8_t*>realloc(column.values, values_size(column, capacity))
    if grown == NULL:
        return False
    column.values = grown
    if column.kind == BOOL:
        memset(grown + values_size(column, rows), 0, values_size(column, capacity) - values_size(column, rows))
    elif column.kind == STRING and rows == 0:
        (<int32_t*>grown)[0] = 0
    if column.valid != NULL:
        grown = <uint8_t*>realloc(column.valid, capacity // 8)
        if grown == NULL:
            return False
        column.valid = grown
        memset(grown + (rows + 7) // 8, 0, capacity // 8 - (rows + 7) // 8)
    return True


cdef inline bint begin_nulls(Column* column, int64_t rows, int64_t capacity) noexcept nogil:
    """Make the validity bits, all set for the rows so far; False if memory has run out."""
    cdef int64_t row
    column.valid = <uint8_t*>realloc(NULL, capacity // 8)
    if column.valid == NULL:
        return False
    memset(column.valid, 0, capacity // 8)
    memset(column.valid, 0xFF, rows // 8)
    for row in range(rows // 8 * 8, rows):
        column.valid[row >> 3] |= 1 << (row & 7)
    return True


cdef inline bint grow_text(Column* column, int64_t needed, int64_t limit) noexcept nogil:
    """Make room for `needed` bytes of text, at most `limit`; False if memory has run out."""
    cdef int64_t capacity = max(column.text_capacity * 2, column.text_hint, needed, 64)
    cdef uint8_t* grown
    capacity = max(min(capacity, limit), needed)
    grown = <uint8_t*>realloc(column.text, capacity)
    if grown == NULL:
        return False
    column.text = grown
    column.text_capacity = capacity
    return True


cdef inline void put_cell(Column* column, const Cell* cell, int64_t row) noexcept nogil:
    """Write the cell of the next row, `row`; room for it has been made."""
    if column.kind == STRING:
        if cell.state == VALUE and cell.length:  # before the first text there is no memory, not even for none
            memcpy(column.text + column.text_used, cell.text, cell.length)
            column.text_used += cell.length
        (<int32_t*>column.values)[row + 1] = <int32_t>column.text_used
    elif column.kind == BOOL:
        if cell.state == VALUE and cell.whole:
            column.values[row >> 3] |= 1 << (row & 7)
    elif column.kind == FLOAT64:
        (<double*>column.values)[row] = cell.real if cell.state == VALUE else 0.0
    else:
        (<int64_t*>column.values)[row] = cell.whole if cell.state == VALUE else 0
    if cell.state != VALUE:
        column.nulls += 1
    elif column.valid != NULL:
        column.valid[row >> 3] |= 1 << (row & 7)


cdef inline void clear_column(Column* column) noexcept nogil:
    """Forget the rows and give back the memory that has no other owner yet."""
    free(column.values)
    free(column.valid)
    free(column.text)
    column.values = column.valid = column.text = NULL
    column.nulls = column.text_used = column.text_capacity = 0
