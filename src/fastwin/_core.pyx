"""Windows over a ring of panes: blocks of events in, rows of closed windows out.

a) Three phases for each block of BLOCK events: keys to slots (`_keys`); runs of events of one pane (`_update`); kernels
   on the run (`_apply`, `_records`), into the records of the pane (`_store`).
b) The loop runs without the GIL and stops for a service (`Service`): a new pane, a window to close, more room.
c) Closing: a window over few panes merges them; a sliding one over many takes them from two folds (`_fold`).

Events are taken in their order and every decision is made at an event, never at the end of a block or batch: the rows
depend on the events and their order alone, not on how they were cut into batches.

Rejected: a hash map from (key, window) to state, as most engines do. It costs a probe for each window that an event is
in; here an event is one update whatever the sizes and slides, and time decides with one comparison a block.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t, INT64_MAX, INT64_MIN
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastwin._keys cimport (
    KEY_BOOL, KEY_INT, KEY_STR, KEYS_FULL, KEYS_GROW, KEYS_NO_MEMORY, KEYS_OK, SLOT_MASKED, SLOT_REJECTED, KeyColumn,
    KeyTable,
)
from fastwin._native cimport UNLIKELY, address, bit, floordiv, minmax
from fastwin._records cimport (
    P_FIRST, P_FIRST_T, P_LAST, P_LAST_T, P_MAX_T, P_MIN_T, P_MINMAX_F, P_MINMAX_I, P_NULLS, P_SUM_F, P_SUM_I, P_VAR,
    Prim, Records, blank_record, clear, events, fetch, first_word, last_word, merge, minmax_f, minmax_i, record, sum_f,
    sum_i, text_room, text_update, touch, touch_sum_minmax, var_f, var_i,
)
from fastwin._rows cimport (
    OUT_EVENTS, OUT_KEY, OUT_MAX_F, OUT_MEAN_F, OUT_MEAN_I, OUT_MIN_F, OUT_STDDEV, OUT_SUM_F, OUT_SUM_I, OUT_TEXT,
    OUT_VALUES, OUT_VAR, OUT_WORD, RowBuffer,
)
from fastwin._store cimport Store

import numpy as np

NEVER = INT64_MIN
"""The tick before all ticks: nothing has been seen or closed yet."""

cdef enum:
    POOL = 8                # stores kept for new panes
    FEW_PANES = 4           # up to so many panes are merged one by one at a close


cdef class PaneGroup:
    """All windows with the same key columns and one pane width.

    Args:
        width, origin: ticks of a pane, and the tick at which pane 0 starts.
        windows: (size, every, grace, phase, first rev) of each, in ticks.
        key_kinds: `KeyKind` of each key column; max_keys: keys that open windows may hold at a time.
        prims: (PrimKind, value column, offset) of each primitive, ordered by value column.
        n_values: number of value columns.
        fused: value column whose sum and min/max stand first in the record, or -1.
        columns: for each window the result columns of its `RowBuffer`.
        us_times, us_over: µs = ticks * us_times // us_over.
        max_span: panes that the ring may span.
    """

    def __cinit__(self, int64_t width, int64_t origin, list windows, tuple key_kinds, int64_t max_keys, list prims,
                  int n_values, int fused, list columns, int64_t us_times, int64_t us_over, int64_t max_span):
        self.width, self.origin = width, origin
        self.us_times, self.us_over, self.max_span = us_times, us_over, max_span
        self.n_windows, self.n_values, self.fused = <int> len(windows), n_values, fused
        self.windows = <WindowState*> calloc(max(self.n_windows, 1), sizeof(WindowState))
        self.values = <ValueColumn*> calloc(max(n_values, 1), sizeof(ValueColumn))
        self.first_prim = <int*> calloc(n_values + 1, sizeof(int))
        self.nulls = <int*> calloc(max(n_values, 1), sizeof(int))
        self.key_columns = <KeyColumn*> calloc(max(len(key_kinds), 1), sizeof(KeyColumn))
        # Room for a null counter of each value column.
        self.prims = <Prim*> calloc(len(prims) + n_values + 1, sizeof(Prim))
        self.ring = <Records**> calloc(64, sizeof(Records*))
        if (self.windows == NULL or self.values == NULL or self.first_prim == NULL or self.nulls == NULL
                or self.key_columns == NULL or self.prims == NULL or self.ring == NULL):
            raise MemoryError("no memory for a pane group")
        self.mask = 63
        self.stores = [None] * 64
        self.lowest, self.highest = 0, -1
        self.accept_from, self.accept_all = INT64_MIN, INT64_MIN
        self.trigger, self.folded_to, self.stale_from = INT64_MIN + 1, INT64_MIN, INT64_MAX
        self.keys = KeyTable(key_kinds, max_keys)
        self.pool = []
        for c in range(n_values):
            self.nulls[c] = -1
        self._lay_out(prims)
        self.scratch = Store(self.stride)
        self.fronts, self.backs, self.suffixes, self.rows = [], [], [], []
        for w, (size, every, grace, phase, rev) in enumerate(windows):
            self.windows[w].size, self.windows[w].every, self.windows[w].grace = size, every, grace
            self.windows[w].phase, self.windows[w].rev = phase, rev
            self.windows[w].panes = size // width
            self.windows[w].next_end = INT64_MIN
            self.windows[w].folds = every < size and size // width > FEW_PANES
            self._forget_folds(w)
            self.rows.append(RowBuffer(columns[w]))
        self.columns = columns

    def __init__(self, *args):
        pass

    def __dealloc__(self):
        free(self.windows)
        free(self.values)
        free(self.first_prim)
        free(self.nulls)
        free(self.key_columns)
        free(self.prims)
        free(self.ring)
        free(self.blank)

    # Definition

    def _lay_out(self, list prims):
        self.n_prims = <int> len(prims)
        self.stride = 8
        self.n_texts = 0
        for c in range(self.n_values + 1):
            self.first_prim[c] = 0
        for i, (kind, column, offset) in enumerate(prims):
            self.prims[i].kind, self.prims[i].column, self.prims[i].offset = kind, column, offset
            self.prims[i].nulls = self.nulls[column]
            self.first_prim[column + 1] = i + 1
            self.n_texts += kind > P_LAST and kind != P_NULLS
            self.stride = max(self.stride, offset + size_of(kind))
        for c in range(self.n_values):
            self.first_prim[c + 1] = max(self.first_prim[c + 1], self.first_prim[c])
        self._renew_blank()

    def _renew_blank(self):
        free(self.blank)
        self.blank = <char*> calloc(1, <size_t> self.stride)
        if self.blank == NULL:
            raise MemoryError("no memory for a record")
        blank_record(self.blank, self.prims, self.n_prims)

    def count_nulls(self, int column):
        """From now on records count the nulls of a value column: called when it first shows one. Returns the offset.

        The counters are appended, so no other offset moves; a column that never shows a null costs nothing.
        """
        cdef Store store
        cdef Prim* new = &self.prims[self.n_prims]
        new.kind, new.column, new.offset, new.nulls = P_NULLS, column, self.stride, -1
        self.nulls[column] = self.stride
        self.n_prims += 1
        self.stride += 8
        for i in range(self.n_prims):
            if self.prims[i].kind != P_NULLS and self.prims[i].column == column:
                self.prims[i].nulls = self.nulls[column]
        self._renew_blank()
        for store in self.stores:
            if store is not None:
                store.restride(self.stride, self.blank)
        self.pool = []
        self.scratch = Store(self.stride)
        for w in range(self.n_windows):
            self._forget_folds(w)
        return self.nulls[column]

    def _forget_folds(self, int w):
        """Drop the folds of a window: they are made again from the panes at its next close."""
        self.windows[w].front_block = self.windows[w].back_block = INT64_MIN
        folds = bool(self.windows[w].folds)
        while len(self.fronts) <= w:
            self.fronts.append(None)
            self.backs.append(None)
            self.suffixes.append({})
        self.fronts[w] = Store(self.stride, True) if folds else None
        self.backs[w] = [Store(self.stride) for _ in range(LEVELS + 1)] if folds else []
        self.suffixes[w] = {}

    # Events

    def push(self, int64_t n, uintptr_t ticks, uintptr_t keep, uintptr_t fate, list keys, list values, int64_t seen,
             int64_t others, int64_t progress):
        """Take n events.

        Args:
            ticks: address of int64[n]; keep: of uint8[n], or 0; fate: of uint8[n], bits of `Fate` are set in it.
            keys, values: (kind, address of validity or 0, of data, of offsets or 0, Arrow offset) of each column.
            seen: greatest tick that this partition has shown; others: the least of the other partitions' (INT64_MAX
                when there are none, NEVER while one of them has shown nothing).
            progress: event time so far; it never goes back.

        The memory behind the addresses stays as it is during the call.
        """
        cdef int service
        self.n, self.row, self.length, self.at = n, 0, 0, 0
        self.ticks, self.keep, self.fate = <const int64_t*> ticks, <const uint8_t*> keep, <uint8_t*> fate
        self.seen, self.others = seen, others
        for c, (kind, valid, data, offsets, start) in enumerate(keys):
            self.key_columns[c] = KeyColumn(
                kind, <const uint8_t*> <uintptr_t> valid, <const void*> <uintptr_t> data,
                <const int32_t*> <uintptr_t> offsets, start,
            )
        for c, (kind, valid, data, offsets, start) in enumerate(values):
            self.values[c] = ValueColumn(
                kind, <const uint8_t*> <uintptr_t> valid, <const void*> <uintptr_t> data,
                <const int32_t*> <uintptr_t> offsets, start,
            )
        self.keys.status = KEYS_OK
        while True:
            with nogil:
                service = self._run()
            if service == DONE:
                break
            if service == CLOSE:
                self._close(max(progress, min(self.seen, self.others)))
            elif service == PANE:
                self._serve_pane()
            elif service == SLOTS:
                self._owner().reserve(self.keys.n_slots)
            elif service == ARENA:
                self._owner().reserve_arena(self.arena_need)
            else:
                self._serve_keys()

    cdef int _run(self) noexcept nogil:
        cdef int service
        while True:
            if self.at == self.length:
                if self.keys.status != KEYS_OK:
                    return KEYS
                self.row += self.length
                self.at = self.length = 0
                if self.row == self.n:
                    return DONE
                self.length = self.keys.lookup(
                    self.key_columns, self.row, min(<int64_t> BLOCK, self.n - self.row), self.keep, self.slot)
                self.skips = self.keep != NULL or self.keys.rejecting
                if self.length == 0:
                    continue
            service = self._update()
            if service != DONE:
                return service

    cdef int _update(self) noexcept nogil:
        # The rest of the block, run by run. A run is events of one pane that close nothing before its end.
        cdef const int64_t* ticks = self.ticks + self.row
        cdef int64_t t, k, low, high, limit, pane
        cdef uint64_t span
        cdef int service, w
        if self.current != NULL:
            minmax(ticks + self.at, self.length - self.at, &low, &high)
            if low >= self.current_from and high < self.current_to and min(high, self.others) < self.trigger:
                service = self._apply(self.at, self.length)
                if service == DONE:
                    self.seen = max(self.seen, high)
                    self.at = self.length
                return service
        while self.at < self.length:
            t = ticks[self.at]
            if t > self.seen:
                self.seen = t
            if min(self.seen, self.others) >= self.trigger:
                return CLOSE
            if self.slot[self.at] == SLOT_MASKED:
                self.at += 1
                continue
            if t < self.accept_from:
                for w in range(self.n_windows):
                    self.windows[w].late += 1
                self.at += 1
                continue
            if self.current == NULL or t < self.current_from or t >= self.current_to:
                pane = floordiv(t - self.origin, self.width)
                self.current = self._pane(pane)
                if self.current == NULL:
                    self.missing_pane = pane
                    return PANE
                self.current_from = self._pane_from(pane)
                self.current_to = self.current_from + self.width
            limit = self.current_to
            if self.others >= self.trigger and self.trigger < limit:
                limit = self.trigger
            span = <uint64_t> (limit - self.current_from)
            k = self.at + 1
            high = t
            while k < self.length and <uint64_t> ticks[k] - <uint64_t> self.current_from < span:
                high = max(high, ticks[k])
                k += 1
            service = self._apply(self.at, k)
            if service != DONE:
                return service
            self.seen = max(self.seen, high)
            self.at = k
        return DONE

    cdef int _apply(self, int64_t lo, int64_t hi) noexcept nogil:
        # Events [lo, hi) of the block into the current pane.
        cdef Records* r = self.current
        cdef int64_t i, m = hi - lo
        cdef const int32_t* slots = self.slot + lo
        cdef const int32_t* rows = NULL
        cdef const double* x
        cdef uint8_t* fate = self.fate + self.row
        cdef int c, w
        cdef bint fused
        if r.capacity < self.keys.n_slots:
            return SLOTS
        if self.n_texts:
            self.arena_need = self._text_need(lo, hi)
            if r.arena_used + self.arena_need > r.arena_capacity:
                return ARENA
        if self.skips:
            m = 0
            for i in range(lo, hi):
                if self.slot[i] >= 0:
                    self.picked[m] = <int32_t> i
                    self.picked_slot[m] = self.slot[i]
                    m += 1
                    fate[i] |= WINDOWED
                elif self.slot[i] == SLOT_REJECTED:
                    fate[i] |= REJECTED
                    self.rejected += 1
            slots, rows = self.picked_slot, self.picked
            if m == 0:
                return DONE
        else:
            for i in range(lo, hi):
                fate[i] |= WINDOWED
        if r.pane < self.folded_to:
            self.stale_from = min(self.stale_from, r.pane)
        if UNLIKELY(self.current_from < self.accept_all):
            for w in range(self.n_windows):
                if (self.windows[w].next_end != INT64_MIN
                        and self.current_from < self.windows[w].next_end - self.windows[w].size):
                    self.windows[w].late += m
        fetch(r, slots, m)
        fused = self.fused >= 0 and self.values[self.fused].valid == NULL
        if fused:
            x = <const double*> self.values[self.fused].data + self.values[self.fused].start + self.row
            if rows != NULL:
                for i in range(m):
                    (<double*> self.value_word)[i] = x[rows[i]]
                x = <const double*> self.value_word
            else:
                x += lo
            touch_sum_minmax(r, self.blank, slots, x, m)
        else:
            touch(r, self.blank, slots, m)
        for c in range(self.n_values):
            self._apply_column(c, slots, rows, lo, m, fused and c == self.fused)
        return DONE

    cdef void _apply_column(self, int c, const int32_t* slots, const int32_t* rows, int64_t lo, int64_t m,
                            bint skip_fused) noexcept nogil:
        # Primitives of one value column. rows: NULL for the m rows from lo on, or which rows of the block.
        cdef ValueColumn* v = &self.values[c]
        cdef Records* r = self.current
        cdef const int64_t* ticks = self.ticks + self.row
        cdef const int64_t* words
        cdef const int32_t* offsets
        cdef int64_t i, row, base = v.start + self.row, n = m
        cdef int p, stride = r.stride
        cdef char* start
        cdef const Prim* prim
        if self.first_prim[c] + (2 if skip_fused else 0) == self.first_prim[c + 1] and v.valid == NULL:
            return
        if v.valid != NULL:
            n = 0
            for i in range(m):
                row = rows[i] if rows != NULL else lo + i
                if bit(v.valid, base + row):
                    self.value_row[n] = <int32_t> row
                    self.value_slot[n] = slots[i]
                    n += 1
                else:
                    (<int64_t*> (record(r, slots[i]) + self.nulls[c]))[0] += 1
            slots, rows = self.value_slot, self.value_row
            if n == 0:
                return
        if v.kind == V_TEXT:
            offsets = v.offsets + base
            for p in range(self.first_prim[c], self.first_prim[c + 1]):
                for i in range(n):
                    row = rows[i] if rows != NULL else lo + i
                    text_update(r, &self.prims[p], slots[i], ticks[row], <const uint8_t*> v.data + offsets[row],
                                offsets[row + 1] - offsets[row])
            return
        if v.kind == V_BOOL:
            for i in range(n):
                row = rows[i] if rows != NULL else lo + i
                self.value_word[i] = bit(<const uint8_t*> v.data, base + row)
            words = self.value_word
        elif rows != NULL:
            for i in range(n):
                self.value_word[i] = (<const int64_t*> v.data)[base + rows[i]]
            words = self.value_word
        else:
            words = <const int64_t*> v.data + base + lo
        if rows != NULL:
            for i in range(n):
                self.value_tick[i] = ticks[rows[i]]
            ticks = self.value_tick
        else:
            ticks += lo
        for p in range(self.first_prim[c] + (2 if skip_fused else 0), self.first_prim[c + 1]):
            prim = &self.prims[p]
            start = r.base + prim.offset
            if prim.kind == P_SUM_F:
                sum_f(start, stride, slots, <const double*> words, n)
            elif prim.kind == P_SUM_I:
                sum_i(start, stride, slots, words, n)
            elif prim.kind == P_MINMAX_F:
                minmax_f(start, stride, slots, <const double*> words, n)
            elif prim.kind == P_MINMAX_I:
                minmax_i(start, stride, slots, words, n)
            elif prim.kind == P_VAR and v.kind == V_F64:
                var_f(start, stride, slots, <const double*> words, n)
            elif prim.kind == P_VAR:
                var_i(start, stride, slots, words, n)
            elif prim.kind == P_FIRST:
                first_word(start, stride, slots, ticks, words, n)
            else:
                last_word(start, stride, slots, ticks, words, n)

    cdef int64_t _text_need(self, int64_t lo, int64_t hi) noexcept nogil:
        # Arena bytes that the texts of these events may take, at most.
        cdef int64_t need = 0, at
        cdef int c, n
        for c in range(self.n_values):
            n = self.first_prim[c + 1] - self.first_prim[c]
            if self.values[c].kind == V_TEXT and n:
                at = self.values[c].start + self.row
                need += n * (2 * <int64_t> (self.values[c].offsets[at + hi] - self.values[c].offsets[at + lo])
                             + text_room(0) * (hi - lo))
        return need

    # Services

    cdef Store _owner(self):
        return self.stores[self.current.pane & self.mask]

    cdef int _serve_keys(self) except -1:
        # Keys that no pane holds give their slots back before the table grows, or before a new key is refused.
        cdef int status = self.keys.status
        cdef int64_t freed = 0
        self.keys.status = KEYS_OK
        if status == KEYS_NO_MEMORY:
            raise MemoryError(f"no memory for key {self.keys.in_use() + 1}")
        if status == KEYS_FULL and self.ticks[self.row + self.length] < self.accept_from:
            # A late event needs no slot. Without this each one would cost a sweep, for the slot of the one before it.
            self.row += self.length
            self.slot[0], self.at, self.length, self.skips = SLOT_REJECTED, 0, 1, True
            return 0
        # Late events leave keys behind as well, without a pane: before one is refused, all are looked at.
        if self.dropped or status == KEYS_FULL:
            self.dropped = False
            freed = self._sweep()
        if status == KEYS_GROW and 4 * freed < self.keys.in_use():
            self.keys.grow()
        if status == KEYS_FULL and freed == 0:
            self.keys.rejecting = True
        return 0

    def _sweep(self):
        cdef Store store
        cdef int64_t i
        live = np.zeros(max(self.keys.n_slots, 1), np.uint8)
        cdef uint8_t* p = <uint8_t*> address(live)
        for store in self.stores:
            if store is not None:
                for i in range(store.r.n_active):
                    p[store.r.active[i]] = 1
        return self.keys.sweep(p)

    cdef int _serve_pane(self) except -1:
        # Makes the pane, or sets the event aside where the ring may not reach.
        cdef int64_t pane = self.missing_pane
        cdef int64_t low = min(self.lowest, pane), high = max(self.highest, pane)
        cdef Store store
        if self.lowest > self.highest:
            low = high = pane
        if <uint64_t> high - <uint64_t> low >= <uint64_t> self.max_span:
            self.fate[self.row + self.at] |= BEYOND
            self.at += 1
            return 0
        if high - low > self.mask:
            self._widen_ring(high - low + 1)
        store = self.pool.pop() if self.pool else Store(self.stride)
        store.reserve(max(self.keys.n_slots, <int64_t> 1))
        store.r.pane = pane
        self.stores[pane & self.mask] = store
        self.ring[pane & self.mask] = &store.r
        self.lowest, self.highest = low, high
        return 0

    def _widen_ring(self, int64_t span):
        cdef int64_t size = self.mask + 1
        cdef Store store
        while size < span:
            size *= 2
        cdef Records** ring = <Records**> calloc(<size_t> size, sizeof(Records*))
        if ring == NULL:
            raise MemoryError(f"no memory for a ring of {size} panes")
        stores = [None] * size
        for store in self.stores:
            if store is not None:
                stores[store.r.pane & (size - 1)] = store
                ring[store.r.pane & (size - 1)] = &store.r
        free(self.ring)
        self.ring, self.stores, self.mask = ring, stores, size - 1

    cdef Records* _pane(self, int64_t pane) noexcept nogil:
        # NULL where there is none.
        cdef Records* r
        if pane < self.lowest or pane > self.highest:
            return NULL
        r = self.ring[pane & self.mask]
        return r if r != NULL and r.pane == pane else NULL

    cdef int64_t _pane_from(self, int64_t pane) noexcept nogil:
        return self.origin + pane * self.width

    # Closing

    cdef int64_t _end_after(self, int w, int64_t tick) noexcept nogil:
        # The first end of window w that is later than `tick`.
        cdef WindowState* s = &self.windows[w]
        return s.phase + (floordiv(tick - s.phase, s.every) + 1) * s.every

    def close(self, int64_t progress):
        """Close what event time `progress` (a tick) closes."""
        if progress >= self.trigger:
            self._close(progress)

    def finish(self):
        """Close every window that holds an event."""
        cdef int w
        cdef int64_t reach = 0
        if self.lowest > self.highest:
            return
        for w in range(self.n_windows):
            reach = max(reach, self.windows[w].size + self.windows[w].grace)
        self._close(self._pane_from(self.highest + 1) + reach)

    cdef int _close(self, int64_t progress) except -1:
        cdef int w
        cdef int64_t start
        self.trigger, self.accept_from, self.accept_all = INT64_MAX, INT64_MAX, INT64_MIN
        for w in range(self.n_windows):
            self._close_window(w, progress - self.windows[w].grace)
            self.trigger = min(self.trigger, self.windows[w].next_end + self.windows[w].grace)
            start = self.windows[w].next_end - self.windows[w].size
            self.accept_from, self.accept_all = min(self.accept_from, start), max(self.accept_all, start)
        return self._drop_before(floordiv(self.accept_from - self.origin, self.width))

    cdef int _close_window(self, int w, int64_t watermark) except -1:
        # Emits the ends up to the watermark, oldest first, that hold an event; time without events is skipped over.
        cdef WindowState* s = &self.windows[w]
        cdef int64_t end = s.next_end, pane = self.lowest
        while True:
            if end != INT64_MIN:
                pane = max(pane, floordiv(end - s.size - self.origin, self.width))
            while pane <= self.highest and self._pane(pane) == NULL:
                pane += 1
            if pane > self.highest:
                break
            end = max(end, self._end_after(w, self._pane_from(pane)))
            if end > watermark:
                break
            self._emit(w, end, self.rows[w])
            end += s.every
        s.next_end = max(s.next_end, self._end_after(w, watermark))
        return 0

    cdef int _emit(self, int w, int64_t end, RowBuffer rows) except -1:
        cdef int64_t past = floordiv(end - self.origin, self.width)
        cdef int64_t first = past - self.windows[w].panes
        cdef const Records* records
        if self.windows[w].panes == 1:
            records = self._pane(first)
        else:
            records = &self.scratch.r
            if self.windows[w].folds:
                self._fold(w, first, past)
            else:
                self._collect(w, first, past)
        if records.n_active:
            rows.append(records, self.keys, self._us(end - self.windows[w].size), self._us(end), self.windows[w].rev)
            self.windows[w].rev += 1
        if self.windows[w].panes > 1:
            clear(&self.scratch.r)
        return 0

    cdef int64_t _us(self, int64_t tick):
        return floordiv(tick * self.us_times, self.us_over)

    cdef int _collect(self, int w, int64_t first, int64_t past) except -1:
        # The panes [first, past) into the scratch records, one by one.
        cdef int64_t pane
        cdef Records* r
        for pane in range(max(first, self.lowest), min(past, self.highest + 1)):
            r = self._pane(pane)
            if r != NULL:
                self._merge(self.scratch, r)
        return 0

    cdef int _merge(self, Store into, const Records* other) except -1:
        into.reserve(other.capacity)
        if self.n_texts:
            into.reserve_arena(2 * other.arena_used + text_room(0) * self.n_texts * other.n_active)
        with nogil:
            merge(&into.r, other, self.blank, self.prims, self.n_prims)
        return 0

    cdef int _fold(self, int w, int64_t first, int64_t past) except -1:
        # The panes [first, past) into the scratch records, from two folds. Two-Stacks (Tangwongsan, Hirzel, Schneider,
        # "In-order sliding-window aggregation in worst-case constant time", 2021, section 2) with its flips at fixed
        # places, as van Herk (1992) has them: time is cut into blocks as long as the window, so a window is a suffix of
        # one block and a prefix of the next. The result then depends on the panes alone, not on where closing began: a
        # restart gives the same bits. The front holds the suffix, the back the prefix.
        cdef WindowState* s = &self.windows[w]
        cdef int64_t block = floordiv(past - 1, s.panes)
        cdef Store front, back = self.backs[w][LEVELS]
        cdef int other, level
        if self.stale_from != INT64_MAX:
            for other in range(self.n_windows):
                self._spoil(other)
            self.stale_from = INT64_MAX
        if s.back_block != block:
            s.back_block, s.spoilt = block, False
            for level in range(LEVELS + 1):
                back = self.backs[w][level]
                clear(&back.r)
                s.back_next[level] = block * s.panes
        self._advance_back(w, past)
        self.folded_to = max(self.folded_to, past)
        front = self.fronts[w]
        if first < block * s.panes:
            if s.front_block != block - 1:
                self._flip(w, first, block * s.panes)
                s.front_block, s.front_at = block - 1, first
            else:
                self._advance_front(w, first)
            self._merge(self.scratch, &front.r)
        return self._merge(self.scratch, &back.r)

    cdef int _spoil(self, int w) except -1:
        # Late events have changed panes from stale_from on: what the folds of window w hold of them is taken back. The
        # back goes back to the newest of its older states without them.
        cdef WindowState* s = &self.windows[w]
        cdef Store back
        cdef int level
        if s.front_block != INT64_MIN and self.stale_from < (s.front_block + 1) * s.panes:
            s.front_block = INT64_MIN
        if s.back_block == INT64_MIN:
            return 0
        for level in range(LEVELS + 1):
            # Each by itself: the back may have been taken back before, and not have gone on since.
            if s.back_next[level] > self.stale_from:
                s.spoilt = True
                back = self.backs[w][level]
                clear(&back.r)
                s.back_next[level] = s.back_block * s.panes
        return 0

    cdef int _advance_back(self, int w, int64_t past) except -1:
        # The back and its older states are one fold, seen at different times: each goes on from the one before it where
        # that is further, so their bits do not depend on which are kept. A late event then costs about as many panes as
        # it is late by, instead of all since the block began.
        cdef WindowState* s = &self.windows[w]
        cdef int64_t lag = FIRST_LAG, pane, to
        cdef int level
        cdef Store back, older
        cdef Records* r
        for _level in range(1, LEVELS):
            lag *= 8
        for level in range(0 if s.spoilt else LEVELS, LEVELS + 1):
            to = past if level == LEVELS else floordiv(past - lag, lag) * lag
            lag //= 8
            if to <= s.back_next[level]:
                continue
            back = self.backs[w][level]
            if level and s.back_next[level - 1] > s.back_next[level]:
                older = self.backs[w][level - 1]
                clear(&back.r)
                self._merge(back, &older.r)
                s.back_next[level] = s.back_next[level - 1]
            for pane in range(max(s.back_next[level], self.lowest), min(to, self.highest + 1)):
                r = self._pane(pane)
                if r != NULL:
                    self._merge(back, r)
            s.back_next[level] = to
        return 0

    cdef int _flip(self, int w, int64_t first, int64_t past) except -1:
        # The front becomes the fold of [first, past), newest pane first. For each pane it keeps, for the keys active in
        # it, what the front was without the pane: evicting the pane puts that back, so it costs O(keys active in it).
        cdef Store front = self.fronts[w]
        cdef int64_t pane, i, n
        cdef Records* r
        cdef char* rec
        cdef char* left
        cdef int stride = self.stride
        suffixes = {}
        clear(&front.r)
        for pane in range(min(past - 1, self.highest), max(first, self.lowest) - 1, -1):
            r = self._pane(pane)
            if r == NULL:
                continue
            n = r.n_active
            slots, records = np.empty(n, np.int32), np.empty(max(n * stride, 1), np.uint8)
            left = <char*> address(records)
            front.reserve(r.capacity)
            if self.n_texts:
                front.reserve_arena(r.arena_used + text_room(0) * self.n_texts * n)
            with nogil:
                for i in range(n):
                    rec = record(&front.r, r.active[i])
                    memcpy(left + i * stride, rec if events(rec)[0] else self.blank, <size_t> stride)
            if n:
                memcpy(address(slots), r.active, <size_t> n * sizeof(int32_t))
            with nogil:
                merge(&front.r, r, self.blank, self.prims, self.n_prims)
            suffixes[pane] = (slots, records)
        self.suffixes[w] = suffixes
        return 0

    cdef int _advance_front(self, int w, int64_t first) except -1:
        # Evicts the panes before `first` from the front.
        cdef WindowState* s = &self.windows[w]
        cdef Store front = self.fronts[w]
        cdef int64_t pane, i, n, m = 0
        cdef int32_t* slot
        cdef char* left
        for pane in range(s.front_at, first):
            kept = self.suffixes[w].pop(pane, None)
            if kept is None:
                continue
            slots, records = kept
            slot, left, n = <int32_t*> address(slots), <char*> address(records), len(slots)
            for i in range(n):
                memcpy(record(&front.r, slot[i]), left + i * self.stride, <size_t> self.stride)
        s.front_at = first
        for i in range(front.r.n_active):
            if events(record(&front.r, front.r.active[i]))[0]:
                front.r.active[m] = front.r.active[i]
                m += 1
        front.r.n_active = m
        return 0

    cdef int _drop_before(self, int64_t pane) except -1:
        # Panes that no open window covers.
        cdef int64_t i
        cdef Store store
        while self.lowest <= self.highest and (self.lowest < pane or self._pane(self.lowest) == NULL):
            i = self.lowest & self.mask
            store = self.stores[i]
            if store is not None and store.r.pane == self.lowest:
                self.stores[i], self.ring[i] = None, NULL
                clear(&store.r)
                if len(self.pool) < POOL:
                    self.pool.append(store)
                self.dropped = True
            self.lowest += 1
        self.current = NULL
        if self.dropped and self.keys.rejecting:
            # Keys that are refused further on in the block may have room now: the rest of it is looked up again.
            self.keys.rejecting = False
            self.keys.status = KEYS_OK
            self.length = self.at
        return 0

    def open_rows(self, int w):
        """Return ``(RowBuffer, rows of each window_end, newest first)`` of the open windows of w that hold an event.

        Newest first, because the windows that reach past the newest pane then grow by a pane at a time.
        """
        cdef WindowState* s = &self.windows[w]
        cdef RowBuffer rows = RowBuffer.__new__(RowBuffer, self.columns[w])
        cdef int64_t end, pane, first, past, collected = self.highest + 1, before
        counts = []
        if self.lowest > self.highest:
            return rows, counts
        end = self._end_after(w, self._pane_from(self.highest) + s.size) - s.every
        while end > self._pane_from(self.lowest) and (s.next_end == INT64_MIN or end >= s.next_end):
            past = floordiv(end - self.origin, self.width)
            first = past - s.panes
            before = len(rows)
            if past > self.highest:
                # Newest pane last in the fold's order; the records are those of the window all the same.
                for pane in range(min(collected, self.highest + 1) - 1, max(first, self.lowest) - 1, -1):
                    if self._pane(pane) != NULL:
                        self._merge(self.scratch, self._pane(pane))
                collected = min(collected, first)
            else:
                clear(&self.scratch.r)
                self._collect(w, first, past)
            rows.append(&self.scratch.r, self.keys, self._us(end - s.size), self._us(end), s.rev)
            if len(rows) > before:
                counts.append(len(rows) - before)
            end -= s.every
        clear(&self.scratch.r)
        return rows, counts

    @property
    def revs(self):
        """Next revision of each window."""
        return [self.windows[w].rev for w in range(self.n_windows)]

    @property
    def late(self):
        """Events late for each window."""
        return [self.windows[w].late for w in range(self.n_windows)]

    @property
    def n_panes(self):
        """Panes that exist."""
        return sum(store is not None for store in self.stores)


def size_of(int kind):
    """Bytes of a primitive in a record."""
    if kind == P_SUM_F or kind == P_NULLS:
        return 8
    if kind == P_VAR or kind == P_FIRST_T or kind == P_LAST_T:
        return 24
    return 16


# The numbers behind the names that the plan of a group is written in.

KEY_KINDS = {"int": KEY_INT, "bool": KEY_BOOL, "text": KEY_STR}
VALUE_KINDS = {"float": V_F64, "int": V_I64, "bool": V_BOOL, "text": V_TEXT}
PRIMS = {
    "sum_f": P_SUM_F, "minmax_f": P_MINMAX_F, "sum_i": P_SUM_I, "minmax_i": P_MINMAX_I, "var": P_VAR, "first": P_FIRST,
    "last": P_LAST, "min_t": P_MIN_T, "max_t": P_MAX_T, "first_t": P_FIRST_T, "last_t": P_LAST_T,
}
OUT_KINDS = {
    "key": OUT_KEY, "events": OUT_EVENTS, "values": OUT_VALUES, "sum_f": OUT_SUM_F, "sum_i": OUT_SUM_I,
    "mean_f": OUT_MEAN_F, "mean_i": OUT_MEAN_I, "var": OUT_VAR, "stddev": OUT_STDDEV, "min_f": OUT_MIN_F,
    "max_f": OUT_MAX_F, "word": OUT_WORD, "text": OUT_TEXT,
}
FATES = {"windowed": WINDOWED, "rejected": REJECTED, "beyond": BEYOND}
