"""Records by slot in numpy memory: the state of one pane, or of a fold over panes."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.string cimport memcpy

from fastwin._native cimport address
from fastwin._records cimport record

import numpy as np

cdef enum:
    ALIGNMENT = 64          # bytes; a record of 32 bytes never crosses a cache line


cdef class Store:
    """Records by slot, in numpy memory that is zero, and not paged in, where no record is."""

    def __cinit__(self, int stride, bint append_only=False):
        self.r.stride = stride
        self.r.append_only = append_only
        self._base = np.zeros(ALIGNMENT, np.uint8)
        self._active = np.empty(1, np.int32)
        self._arena = np.empty(1, np.uint8)
        self.r.base = <char*> address(self._base)
        self.r.active = <int32_t*> address(self._active)
        self.r.arena = <uint8_t*> address(self._arena)

    cdef int reserve(self, int64_t slots) except -1:
        if slots <= self.r.capacity:
            return 0
        cdef int64_t wanted = 64
        while wanted < slots:
            wanted *= 2
        base = np.zeros(wanted * self.r.stride + ALIGNMENT, np.uint8)
        active = np.empty(wanted, np.int32)
        cdef uintptr_t at = <uintptr_t> address(base)
        cdef char* new = <char*> ((at + ALIGNMENT - 1) & ~<uintptr_t> (ALIGNMENT - 1))
        cdef int32_t* slot = <int32_t*> address(active)
        cdef int64_t i
        with nogil:
            for i in range(self.r.n_active):
                slot[i] = self.r.active[i]
                memcpy(new + <int64_t> slot[i] * self.r.stride, record(&self.r, slot[i]), <size_t> self.r.stride)
        self._base, self._active = base, active
        self.r.base, self.r.active, self.r.capacity = new, slot, wanted
        return 0

    cdef int reserve_arena(self, int64_t more) except -1:
        if self.r.arena_used + more <= self.r.arena_capacity:
            return 0
        arena = np.empty(max(2 * self.r.arena_capacity, self.r.arena_used + more, 4096), np.uint8)
        arena[:self.r.arena_used] = self._arena[:self.r.arena_used]
        self._arena = arena
        self.r.arena = <uint8_t*> address(arena)
        self.r.arena_capacity = len(arena)
        return 0

    cdef int restride(self, int stride, const char* blank) except -1:
        # Longer records: what is new in them is taken from the blank one.
        cdef Store other = Store(stride)
        cdef int64_t i
        cdef char* rec
        other.reserve(max(self.r.capacity, <int64_t> 1))
        for i in range(self.r.n_active):
            rec = record(&other.r, self.r.active[i])
            memcpy(rec, blank, <size_t> stride)
            memcpy(rec, record(&self.r, self.r.active[i]), <size_t> self.r.stride)
            other.r.active[i] = self.r.active[i]
        self._base, self._active = other._base, other._active
        self.r.base, self.r.active, self.r.capacity = other.r.base, other.r.active, other.r.capacity
        self.r.stride = stride
        return 0
