"""Key columns to dense slots, and back.

A slot is a small int that stands for one key while any open window holds it. Three ways to store keys, chosen once:

none      no key columns: everything is slot 0
int       one int64 or bool column: the key is the word itself; small ones are looked up in an array, without a hash
bytes     one string column: the key is its bytes in an arena
row       several columns: the key is their values, encoded one after another, in the same arena

Rejected: one table for each column and pairs of codes on top. It needs no encoding, but a key that goes out of use then
leaves its parts behind in every table, and giving slots back is what keeps an endless stream in bounded memory.
"""

import os

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from fastwin._native cimport UNLIKELY, bit, equal, hash_bytes, hash_int, prefetch

cdef enum Mode:
    MODE_NONE
    MODE_INT
    MODE_BYTES
    MODE_ROW

cdef enum:
    DIRECT = 1 << 22    # int keys below it need no hash: 16 MiB of addresses, paged in where keys are
    AHEAD = 16          # keys that prefetching runs ahead

cdef enum Refusal:
    NO_ROOM = -3     # internal to a lookup: stop before this row

cdef extern from *:
    """
    static const uint8_t FW_NO_BYTES[1] = {0};
    """
    const uint8_t* NO_BYTES "FW_NO_BYTES"


cdef class KeyTable:
    """Slots of the keys of one set of key columns."""

    def __cinit__(self, tuple kinds, int64_t max_keys):
        self.kinds = kinds
        self.n_columns = <int> len(kinds)
        self.max_keys = max_keys
        self.seed = int.from_bytes(os.urandom(8), "little") | 1
        self.null_slot = -1
        if self.n_columns == 0:
            self.mode = MODE_NONE
            self.n_slots = 1
        elif self.n_columns > 1:
            self.mode = MODE_ROW
        else:
            self.mode = MODE_BYTES if kinds[0] == KEY_STR else MODE_INT
        if not self._rehash(64):
            raise MemoryError("no memory for a key table")

    def __dealloc__(self):
        free(self.table)
        free(self.direct)
        free(self.free)
        free(self.words)
        free(self.lengths)
        free(self.arena)
        free(self.row)

    def __len__(self):
        return self.in_use()

    cdef int64_t in_use(self) noexcept nogil:
        return self.n_slots - self.n_free

    cdef int64_t lookup(self, const KeyColumn* columns, int64_t row, int64_t n, const uint8_t* keep,
                        int32_t* out) noexcept nogil:
        # Slots of rows [row, row + n) into out; returns how many were resolved. Fewer than n: `status` says why the
        # next row stopped it. keep: NULL, or one byte a row of the batch, 0 for a row that is filtered out.
        cdef int64_t i, at, length
        cdef int32_t slot
        cdef const KeyColumn* c = columns
        cdef const uint8_t* data
        self.status = KEYS_OK
        if self.n_columns == 1 and keep == NULL and c.valid == NULL:
            if c.kind == KEY_INT:
                return self._lookup_ints(<const int64_t*> c.data + c.start + row, n, out)
            if c.kind == KEY_STR:
                return self._lookup_texts(<const uint8_t*> c.data, c.offsets + c.start + row, n, out)
        for i in range(n):
            if keep != NULL and not keep[row + i]:
                out[i] = SLOT_MASKED
                continue
            if self.mode == MODE_NONE:
                out[i] = 0
                continue
            at = c.start + row + i
            if self.mode == MODE_ROW:
                length = self._encode(columns, row + i)
                slot = NO_ROOM
                if length >= 0:
                    slot = self._find_bytes(self.row, length, hash_bytes(self.row, length, self.seed))
            elif c.valid != NULL and not bit(c.valid, at):
                slot = self._find_null()
            elif self.mode == MODE_BYTES:
                data = <const uint8_t*> c.data + c.offsets[at]
                length = c.offsets[at + 1] - c.offsets[at]
                slot = self._find_bytes(data, length, hash_bytes(data, length, self.seed))
            elif c.kind == KEY_INT:
                slot = self._find_int((<const int64_t*> c.data)[at])
            else:
                slot = self._find_int(bit(<const uint8_t*> c.data, at))
            if UNLIKELY(slot == NO_ROOM):
                return i
            out[i] = slot
        return n

    cdef int64_t _lookup_ints(self, const int64_t* keys, int64_t n, int32_t* out) noexcept nogil:
        # As lookup, for n keys none of which is null.
        cdef const int32_t* direct = self.direct
        cdef int64_t i
        cdef int32_t slot
        for i in range(n):
            if direct != NULL and <uint64_t> keys[i] < DIRECT and direct[keys[i]]:
                out[i] = direct[keys[i]] - 1
                continue
            slot = self._find_int(keys[i])
            if UNLIKELY(slot == NO_ROOM):
                return i
            out[i] = slot
            direct = self.direct
        return n

    cdef int64_t _lookup_texts(self, const uint8_t* data, const int32_t* offsets, int64_t n,
                               int32_t* out) noexcept nogil:
        # As lookup, for n <= HASHED keys none of which is null.
        cdef uint64_t mask = <uint64_t> self.capacity - 1
        cdef int64_t i
        cdef int32_t slot
        for i in range(n):
            self.hashes[i] = hash_bytes(data + offsets[i], offsets[i + 1] - offsets[i], self.seed)
        for i in range(n):
            if i + AHEAD < n:
                prefetch(&self.table[self.hashes[i + AHEAD] & mask])
            slot = self._find_bytes(data + offsets[i], offsets[i + 1] - offsets[i], self.hashes[i])
            if UNLIKELY(slot == NO_ROOM):
                return i
            out[i] = slot
        return n

    cdef int32_t _find_int(self, int64_t key) noexcept nogil:
        if <uint64_t> key < DIRECT:
            return self._find_direct(key)
        cdef uint64_t h = hash_int(key, self.seed)
        cdef uint64_t mask = <uint64_t> self.capacity - 1
        cdef uint64_t at = h & mask
        cdef int32_t slot
        while self.table[at].slot >= 0:
            slot = self.table[at].slot
            if self.table[at].hash == h and self.words[slot] == key:
                return slot
            at = (at + 1) & mask
        slot = self._new_slot()
        if slot >= 0:
            self.words[slot] = key
            self.lengths[slot] = 8
            self.table[at].hash = h
            self.table[at].slot = slot
        return slot

    cdef int32_t _find_direct(self, int64_t key) noexcept nogil:
        cdef int32_t slot
        if self.direct == NULL:
            self.direct = <int32_t*> calloc(DIRECT, sizeof(int32_t))
            if self.direct == NULL:
                self.status = KEYS_NO_MEMORY
                return NO_ROOM
        if self.direct[key]:
            return self.direct[key] - 1
        slot = self._new_slot()
        if slot >= 0:
            self.words[slot] = key
            self.lengths[slot] = 8
            self.direct[key] = slot + 1
        return slot

    cdef int32_t _find_bytes(self, const uint8_t* p, int64_t n, uint64_t h) noexcept nogil:
        cdef uint64_t mask = <uint64_t> self.capacity - 1
        cdef uint64_t at = h & mask
        cdef int32_t slot
        cdef int64_t wanted
        cdef uint8_t* bigger
        while self.table[at].slot >= 0:
            slot = self.table[at].slot
            if (self.table[at].hash == h and self.lengths[slot] == n
                    and equal(self.arena + self.words[slot], p, n)):
                return slot
            at = (at + 1) & mask
        if self.arena_used + n > self.arena_capacity:
            wanted = max(2 * self.arena_capacity, self.arena_used + n, <int64_t> 4096)
            bigger = <uint8_t*> realloc(self.arena, <size_t> wanted)
            if bigger == NULL:
                self.status = KEYS_NO_MEMORY
                return NO_ROOM
            self.arena = bigger
            self.arena_capacity = wanted
        slot = self._new_slot()
        if slot >= 0:
            if n:
                memcpy(self.arena + self.arena_used, p, <size_t> n)
            self.words[slot] = self.arena_used
            self.lengths[slot] = <int32_t> n
            self.arena_used += n
            self.table[at].hash = h
            self.table[at].slot = slot
        return slot

    cdef int32_t _find_null(self) noexcept nogil:
        if self.null_slot < 0:
            slot = self._new_slot()
            if slot < 0:
                return slot
            self.lengths[slot] = -1
            self.words[slot] = 0
            self.null_slot = slot
        return self.null_slot

    cdef int32_t _new_slot(self) noexcept nogil:
        # A slot for a new key; SLOT_REJECTED, or NO_ROOM with `status` set.
        if self.in_use() >= self.max_keys:
            if self.rejecting:
                return SLOT_REJECTED
            self.status = KEYS_FULL
            return NO_ROOM
        if 2 * (self.in_use() + 1) > self.capacity:
            self.status = KEYS_GROW
            return NO_ROOM
        if self.n_free:
            self.n_free -= 1
            return self.free[self.n_free]
        if self.n_slots == self.slot_capacity and not self._room():
            self.status = KEYS_NO_MEMORY
            return NO_ROOM
        self.n_slots += 1
        return <int32_t> (self.n_slots - 1)

    cdef bint _room(self) noexcept nogil:
        # Doubles the arrays by slot.
        cdef int64_t wanted = max(2 * self.slot_capacity, <int64_t> 64)
        cdef int64_t* words = <int64_t*> realloc(self.words, <size_t> wanted * sizeof(int64_t))
        if words == NULL:
            return False
        self.words = words
        cdef int32_t* lengths = <int32_t*> realloc(self.lengths, <size_t> wanted * sizeof(int32_t))
        if lengths == NULL:
            return False
        self.lengths = lengths
        self.slot_capacity = wanted
        return True

    cdef int64_t _encode(self, const KeyColumn* columns, int64_t row) noexcept nogil:
        # A composite key into `row`: by column an int32 length (-1 null), then its bytes. Returns the whole length.
        cdef int64_t used = 0, at, wanted, n
        cdef int32_t length
        cdef int c
        cdef int64_t word
        cdef const void* data
        cdef uint8_t* bigger
        for c in range(self.n_columns):
            at = columns[c].start + row
            word = 0
            data = &word
            if columns[c].valid != NULL and not bit(columns[c].valid, at):
                length = -1
            elif columns[c].kind == KEY_STR:
                length = columns[c].offsets[at + 1] - columns[c].offsets[at]
                data = <const uint8_t*> columns[c].data + columns[c].offsets[at]
            elif columns[c].kind == KEY_INT:
                length = 8
                data = <const int64_t*> columns[c].data + at
            else:
                length = 8
                word = bit(<const uint8_t*> columns[c].data, at)
            n = length if length > 0 else 0
            if used + 4 + n > self.row_capacity:
                wanted = max(2 * self.row_capacity, used + 4 + n, <int64_t> 256)
                bigger = <uint8_t*> realloc(self.row, <size_t> wanted)
                if bigger == NULL:
                    self.status = KEYS_NO_MEMORY
                    return -1
                self.row = bigger
                self.row_capacity = wanted
            memcpy(self.row + used, &length, 4)
            if n:
                memcpy(self.row + used + 4, data, <size_t> n)
            used += 4 + n
        return used

    cdef bint _rehash(self, int64_t capacity) noexcept nogil:
        # A table of `capacity` entries with the same keys in it.
        cdef Entry* old = self.table
        cdef Entry* new = <Entry*> malloc(<size_t> capacity * sizeof(Entry))
        cdef int64_t i
        cdef uint64_t at, mask = <uint64_t> capacity - 1
        if new == NULL:
            return False
        for i in range(capacity):
            new[i].slot = -1
        for i in range(self.capacity):
            if old[i].slot >= 0:
                at = old[i].hash & mask
                while new[at].slot >= 0:
                    at = (at + 1) & mask
                new[at] = old[i]
        free(old)
        self.table = new
        self.capacity = capacity
        return True

    cdef int grow(self) except -1:
        if not self._rehash(2 * self.capacity):
            raise MemoryError(f"no memory for a table of {2 * self.capacity} keys")
        return 0

    cdef uint64_t _hash_of(self, int64_t slot) noexcept nogil:
        if self.mode == MODE_INT:
            return hash_int(self.words[slot], self.seed)
        return hash_bytes(self.arena + self.words[slot], self.lengths[slot], self.seed)

    cdef int64_t sweep(self, const uint8_t* live) except -1:
        # Gives back every slot whose byte in `live` is 0; returns how many. The others keep their slot.
        if self.mode == MODE_NONE:
            return 0
        cdef int64_t slot, i, before = self.n_free, n = 0
        cdef uint64_t h, at, mask = <uint64_t> self.capacity - 1
        cdef uint8_t* arena = NULL
        cdef uint8_t* given = <uint8_t*> calloc(<size_t> max(self.n_slots, <int64_t> 1), 1)
        cdef int32_t* spare = <int32_t*> malloc(<size_t> max(self.n_slots, <int64_t> 1) * sizeof(int32_t))
        if self.mode != MODE_INT:
            arena = <uint8_t*> malloc(<size_t> max(self.arena_capacity, <int64_t> 1))
        if given == NULL or spare == NULL or (arena == NULL and self.mode != MODE_INT):
            free(given)
            free(spare)
            free(arena)
            raise MemoryError("no memory to give back unused keys")
        with nogil:
            for i in range(self.n_free):
                given[self.free[i]] = 1
                spare[i] = self.free[i]
            n = self.n_free
            for i in range(self.capacity):
                self.table[i].slot = -1
            self.arena_used = 0
            for slot in range(self.n_slots):
                if given[slot]:
                    continue
                if not live[slot]:
                    spare[n] = <int32_t> slot
                    n += 1
                    if slot == self.null_slot:
                        self.null_slot = -1
                    elif self.mode == MODE_INT and <uint64_t> self.words[slot] < DIRECT:
                        self.direct[self.words[slot]] = 0
                    continue
                if slot == self.null_slot or (self.mode == MODE_INT and <uint64_t> self.words[slot] < DIRECT):
                    continue
                h = self._hash_of(slot)
                if self.mode != MODE_INT:
                    memcpy(arena + self.arena_used, self.arena + self.words[slot], <size_t> self.lengths[slot])
                    self.words[slot] = self.arena_used
                    self.arena_used += self.lengths[slot]
                at = h & mask
                while self.table[at].slot >= 0:
                    at = (at + 1) & mask
                self.table[at].hash = h
                self.table[at].slot = <int32_t> slot
            free(self.free)
            self.free = spare
            self.n_free = n
            if self.mode != MODE_INT:
                free(self.arena)
                self.arena = arena
        free(given)
        return n - before

    cdef const uint8_t* part(self, int32_t slot, int column, int64_t* length) noexcept nogil:
        # The bytes of one column of a key (8 for an int or bool); *length is -1 for null. Valid until the next lookup.
        cdef const uint8_t* p
        cdef int32_t n = 0
        cdef int c
        if self.mode != MODE_ROW:
            length[0] = self.lengths[slot]
            if length[0] < 0:
                return NO_BYTES
            if self.mode == MODE_INT:
                return <const uint8_t*> &self.words[slot]
            return self.arena + self.words[slot]
        p = self.arena + self.words[slot]
        for c in range(column + 1):
            memcpy(&n, p, 4)
            if c < column:
                p += 4 + (n if n > 0 else 0)
        length[0] = n
        return p + 4
