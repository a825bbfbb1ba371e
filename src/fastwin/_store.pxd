# Data sheet of a store of records.

from libc.stdint cimport int64_t

from fastwin._records cimport Records

cdef class Store:
    cdef Records r
    cdef object _base       # numpy owners of the three memories of r
    cdef object _active
    cdef object _arena

    cdef int reserve(self, int64_t slots) except -1
    cdef int reserve_arena(self, int64_t more) except -1
    cdef int restride(self, int stride, const char* blank) except -1
