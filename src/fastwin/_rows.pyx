"""Records to result columns: closed windows are appended here, and taken away as numpy arrays that become Arrow."""

from libc.math cimport NAN, sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastwin._keys cimport KeyTable
from fastwin._native cimport address, double128, int64_of128
from fastwin._records cimport Records, Text, record, values_of

import numpy as np


cdef class RowBuffer:
    """Rows of one window's results.

    columns: one tuple (OutKind, text, key, offset, nulls) for each result column between window_end and rev.
    """

    def __cinit__(self, list columns):
        self.n_columns = <int> len(columns)
        self.columns = <OutColumn*> calloc(max(self.n_columns, 1), sizeof(OutColumn))
        if self.columns == NULL:
            raise MemoryError("no memory for result columns")
        self.define(columns)
        self._renew()

    def __dealloc__(self):
        free(self.columns)

    def __len__(self):
        return self.n_rows

    def define(self, list columns):
        """Set kinds and offsets anew, after the records got a new layout; rows already held stay."""
        for c, (kind, text, key, offset, nulls) in enumerate(columns):
            self.columns[c].kind = kind
            self.columns[c].text = text
            self.columns[c].key = key
            self.columns[c].offset = offset
            self.columns[c].nulls = nulls

    def _renew(self):
        self.n_rows = 0
        self.capacity = 0
        self._arrays = [np.empty(0, np.int64) for _ in range(3)]
        for _ in range(self.n_columns):
            self._arrays += [np.empty(0, np.int64), np.empty(0, np.uint8)]
        self._bytes = [np.empty(0, np.uint8) for _ in range(self.n_columns)]
        for c in range(self.n_columns):
            self.columns[c].used = 0
            self.columns[c].room = 0
        self._point()

    cdef int _point(self) except -1:
        self.start = <int64_t*> address(self._arrays[0])
        self.end = <int64_t*> address(self._arrays[1])
        self.rev = <int64_t*> address(self._arrays[2])
        for c in range(self.n_columns):
            self.columns[c].words = <int64_t*> address(self._arrays[3 + 2 * c])
            self.columns[c].valid = <uint8_t*> address(self._arrays[4 + 2 * c])
            self.columns[c].bytes = <uint8_t*> address(self._bytes[c])
        return 0

    cdef int reserve(self, int64_t rows) except -1:
        if self.n_rows + rows <= self.capacity:
            return 0
        cdef int64_t wanted = max(2 * self.capacity, self.n_rows + rows, <int64_t> 64)
        bigger = []
        for old in self._arrays:
            new = np.empty(wanted, old.dtype)
            new[:self.n_rows] = old[:self.n_rows]
            bigger.append(new)
        self._arrays = bigger
        self.capacity = wanted
        return self._point()

    cdef int _more_bytes(self, int column, int64_t need) except -1:
        cdef OutColumn* c = &self.columns[column]
        if c.used + need <= c.room:
            return 0
        new = np.empty(max(2 * c.room, c.used + need, 1024), np.uint8)
        new[:c.used] = self._bytes[column][:c.used]
        self._bytes[column] = new
        c.room = len(new)
        return self._point()

    cdef int append(self, const Records* records, KeyTable keys, int64_t start, int64_t end, int64_t rev) except -1:
        # One row for each active record, in the order of the active list.
        cdef int64_t i, n = records.n_active
        cdef int c
        self.reserve(n)
        for i in range(self.n_rows, self.n_rows + n):
            self.start[i] = start
            self.end[i] = end
            self.rev[i] = rev
        for c in range(self.n_columns):
            self._fill(c, records, keys)
        self.n_rows += n
        return 0

    cdef int _fill(self, int c, const Records* records, KeyTable keys) except -1:
        cdef OutColumn* column = &self.columns[c]
        cdef int64_t need
        if column.text:
            with nogil:
                need = self._text_bytes(column, records, keys)
            self._more_bytes(c, need)
            with nogil:
                self._fill_text(column, records, keys)
        elif column.kind == OUT_KEY:
            with nogil:
                self._fill_key_words(column, records, keys)
        else:
            with nogil:
                self._fill_words(column, records)
        return 0

    cdef void _fill_words(self, OutColumn* column, const Records* records) noexcept nogil:
        cdef int64_t i, n
        cdef const char* rec
        cdef const char* p
        cdef int64_t* words = column.words + self.n_rows
        cdef double* doubles = <double*> words
        cdef uint8_t* valid = column.valid + self.n_rows
        cdef double squares
        for i in range(records.n_active):
            rec = record(records, records.active[i])
            p = rec + column.offset
            n = values_of(rec, column.nulls)
            valid[i] = n > 0
            words[i] = 0
            if column.kind == OUT_EVENTS:
                words[i] = (<const int64_t*> rec)[0]
            elif column.kind == OUT_VALUES:
                words[i] = n
                valid[i] = 1
            elif n == 0:
                continue
            elif column.kind == OUT_SUM_F:
                doubles[i] = (<const double*> p)[0]
            elif column.kind == OUT_SUM_I:
                if not int64_of128(p, &words[i]):
                    words[i] = 0
                    valid[i] = 0
                    self.overflows += 1
            elif column.kind == OUT_MEAN_F:
                doubles[i] = (<const double*> p)[0] / <double> n
            elif column.kind == OUT_MEAN_I:
                doubles[i] = double128(p) / <double> n
            elif column.kind == OUT_MIN_F or column.kind == OUT_MAX_F:
                if (<const double*> p)[0] > (<const double*> p)[1]:
                    doubles[i] = NAN
                else:
                    doubles[i] = (<const double*> p)[0 if column.kind == OUT_MIN_F else 1]
            elif column.kind == OUT_WORD:
                memcpy(&words[i], p, 8)
            elif n == 1:
                valid[i] = 0
            else:
                squares = (<const double*> p)[2] - (<const double*> p)[1] * (<const double*> p)[1] / <double> n
                squares = (squares if not squares < 0.0 else 0.0) / <double> (n - 1)
                doubles[i] = sqrt(squares) if column.kind == OUT_STDDEV else squares

    cdef void _fill_key_words(self, OutColumn* column, const Records* records, KeyTable keys) noexcept nogil:
        cdef int64_t i, length = 0
        cdef const uint8_t* p
        for i in range(self.n_rows, self.n_rows + records.n_active):
            p = keys.part(records.active[i - self.n_rows], column.key, &length)
            column.words[i] = 0
            column.valid[i] = length >= 0
            if length >= 0:
                memcpy(&column.words[i], p, 8)

    cdef int64_t _text_bytes(self, OutColumn* column, const Records* records, KeyTable keys) noexcept nogil:
        cdef int64_t i, length = 0, total = 0
        for i in range(records.n_active):
            if column.kind == OUT_KEY:
                keys.part(records.active[i], column.key, &length)
            else:
                length = (<const Text*> (record(records, records.active[i]) + column.offset)).length
            if length > 0:
                total += length
        return total

    cdef void _fill_text(self, OutColumn* column, const Records* records, KeyTable keys) noexcept nogil:
        cdef int64_t i, length = 0
        cdef const uint8_t* p
        cdef const Text* t
        for i in range(self.n_rows, self.n_rows + records.n_active):
            if column.kind == OUT_KEY:
                p = keys.part(records.active[i - self.n_rows], column.key, &length)
            else:
                t = <const Text*> (record(records, records.active[i - self.n_rows]) + column.offset)
                length = t.length
                p = records.arena + t.at
            column.valid[i] = length >= 0
            if length > 0:
                memcpy(column.bytes + column.used, p, <size_t> length)
                column.used += length
            column.words[i] = column.used

    def take(self):
        """Return ``(rows, window_start, window_end, rev, [(words, valid, bytes), ...])`` and start anew.

        int64 arrays of length rows; words of a text column are the ends of the texts in bytes (uint8); valid is uint8
        of 0 and 1.
        """
        rows = self.n_rows
        arrays, data = self._arrays, self._bytes
        columns = [
            (arrays[3 + 2 * c][:rows], arrays[4 + 2 * c][:rows], data[c][:self.columns[c].used])
            for c in range(self.n_columns)
        ]
        result = (rows, arrays[0][:rows], arrays[1][:rows], arrays[2][:rows], columns)
        self._renew()
        return result
