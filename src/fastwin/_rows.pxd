# Data sheet of the result rows: growing columns over numpy memory, handed over as they are.

from libc.stdint cimport int32_t, int64_t, uint8_t

from fastwin._keys cimport KeyTable
from fastwin._records cimport Records

cdef enum OutKind:
    OUT_KEY         # a key column
    OUT_EVENTS      # int64 count()
    OUT_VALUES      # int64 count(x)
    OUT_SUM_F       # float64
    OUT_SUM_I       # int64; null when the exact sum does not fit
    OUT_MEAN_F      # float64
    OUT_MEAN_I      # float64
    OUT_VAR         # float64, sample
    OUT_STDDEV      # float64, sample
    OUT_MIN_F       # float64
    OUT_MAX_F       # float64
    OUT_WORD        # 8 bytes as they are in the record
    OUT_TEXT        # utf8

cdef struct OutColumn:
    int kind                # OutKind
    bint text               # its values are bytes with offsets, not words
    int key                 # OUT_KEY: which key column
    int offset              # of its primitive (the value itself for OUT_WORD and OUT_TEXT) in the record
    int nulls               # offset of the null counter of its column, -1: none
    int64_t* words          # one value a row; for texts the end of the row's bytes
    uint8_t* valid          # one byte a row
    uint8_t* bytes          # texts only
    int64_t used            # bytes in use
    int64_t room            # bytes allocated

cdef class RowBuffer:
    cdef OutColumn* columns
    cdef int n_columns
    cdef int64_t n_rows
    cdef int64_t capacity       # rows allocated
    cdef int64_t* start         # window_start, µs
    cdef int64_t* end           # window_end, µs
    cdef int64_t* rev
    cdef readonly int64_t overflows     # sums that did not fit int64
    cdef list _arrays           # the numpy arrays behind the pointers, in the order of _point
    cdef list _bytes

    cdef int reserve(self, int64_t rows) except -1
    cdef int _point(self) except -1
    cdef int _more_bytes(self, int column, int64_t need) except -1
    cdef int append(self, const Records* records, KeyTable keys, int64_t start, int64_t end, int64_t rev) except -1
    cdef int _fill(self, int c, const Records* records, KeyTable keys) except -1
    cdef void _fill_words(self, OutColumn* column, const Records* records) noexcept nogil
    cdef int64_t _text_bytes(self, OutColumn* column, const Records* records, KeyTable keys) noexcept nogil
    cdef void _fill_text(self, OutColumn* column, const Records* records, KeyTable keys) noexcept nogil
    cdef void _fill_key_words(self, OutColumn* column, const Records* records, KeyTable keys) noexcept nogil
