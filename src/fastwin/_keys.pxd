# Data sheet of the key table: key columns in, dense slots out.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef enum:
    HASHED = 1024       # keys hashed together, before the first of them is looked for

cdef enum KeyKind:
    KEY_INT             # int64
    KEY_BOOL            # bit-packed
    KEY_STR             # utf8 with int32 offsets

cdef enum KeyStatus:
    KEYS_OK
    KEYS_GROW           # the next row is a new key and the table wants to double first
    KEYS_FULL           # the next row is a new key and max_keys are in use
    KEYS_NO_MEMORY

cdef enum Slot:
    SLOT_MASKED = -1    # the row is filtered out: it has a time and nothing else
    SLOT_REJECTED = -2  # a new key, and max_keys were in use

cdef struct KeyColumn:
    int kind                # KeyKind
    const uint8_t* valid    # Arrow validity bitmap, NULL when nothing is null
    const void* data        # values, or utf8 bytes
    const int32_t* offsets  # KEY_STR only
    int64_t start           # offset of the Arrow array, in elements; applies to all three above

cdef struct Entry:
    uint64_t hash
    int32_t slot            # -1: free
    int32_t unused

cdef class KeyTable:
    cdef int mode               # how keys are stored: none, one int, one string, or rows of several
    cdef readonly tuple kinds   # KeyKind of each key column
    cdef int n_columns
    cdef uint64_t seed          # random for each table: no flooding by chosen keys
    cdef Entry* table           # open addressing, linear probing, at most half full
    cdef int64_t capacity       # entries of the table, a power of two
    cdef int32_t* direct        # int keys in [0, DIRECT): their slot + 1, 0 for none; NULL before the first of them
    cdef uint64_t hashes[HASHED]
    cdef int64_t n_slots        # slots given out, free ones included
    cdef int64_t n_free
    cdef int32_t* free          # slots that a sweep gave back
    cdef int64_t slot_capacity  # length of the arrays by slot
    cdef int64_t* words         # by slot: the int key, or the offset of its bytes in the arena
    cdef int32_t* lengths       # by slot: bytes of the key; -1 null key of a one-column table
    cdef uint8_t* arena         # bytes of all keys
    cdef int64_t arena_used
    cdef int64_t arena_capacity
    cdef uint8_t* row           # scratch: one composite key, encoded
    cdef int64_t row_capacity
    cdef int32_t null_slot      # slot of the null key of a one-column table, -1 when unseen
    cdef readonly int64_t max_keys
    cdef bint rejecting         # full, and a sweep brought nothing: new keys are refused without stopping
    cdef int status             # KeyStatus of the last lookup

    cdef int64_t in_use(self) noexcept nogil
    cdef int64_t lookup(self, const KeyColumn* columns, int64_t row, int64_t n, const uint8_t* keep,
                        int32_t* out) noexcept nogil
    cdef int64_t _lookup_ints(self, const int64_t* keys, int64_t n, int32_t* out) noexcept nogil
    cdef int64_t _lookup_texts(self, const uint8_t* data, const int32_t* offsets, int64_t n,
                               int32_t* out) noexcept nogil
    cdef int32_t _find_int(self, int64_t key) noexcept nogil
    cdef int32_t _find_bytes(self, const uint8_t* p, int64_t n, uint64_t h) noexcept nogil
    cdef int32_t _find_direct(self, int64_t key) noexcept nogil
    cdef int32_t _find_null(self) noexcept nogil
    cdef int32_t _new_slot(self) noexcept nogil
    cdef int64_t _encode(self, const KeyColumn* columns, int64_t row) noexcept nogil
    cdef bint _room(self) noexcept nogil
    cdef bint _rehash(self, int64_t capacity) noexcept nogil
    cdef uint64_t _hash_of(self, int64_t slot) noexcept nogil
    cdef int grow(self) except -1
    cdef int64_t sweep(self, const uint8_t* live) except -1
    cdef const uint8_t* part(self, int32_t slot, int column, int64_t* length) noexcept nogil
