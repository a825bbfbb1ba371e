"""C face of the Decoder, for a reader that has pointers instead of Python objects."""

from fastwin._events cimport Events, Outcome


cdef class Decoder:
    cdef Events events              # for read_json, and begin_event, put_pair, end_event
    cdef readonly long long trimmed
    cdef object _schema
    cdef object _empty
    cdef tuple _names               # bytes; Column.name points into them
    cdef bint _busy

    cdef int enter(self) except -1                      # take the Decoder for one thread; RuntimeError if it is taken
    cdef int leave(self, Outcome outcome) except -1     # give it back; MemoryError or LimitError by the outcome
