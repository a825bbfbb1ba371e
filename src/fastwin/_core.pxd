# Data sheet of the window core: window state, and the group that holds the panes.

from libc.stdint cimport int32_t, int64_t, uint8_t

from fastwin._keys cimport KeyColumn, KeyTable
from fastwin._records cimport Prim, Records
from fastwin._rows cimport RowBuffer
from fastwin._store cimport Store

cdef enum:
    BLOCK = 1024        # events that go through the phases together: their columns stay in the L1 and L2 caches

cdef enum:
    LEVELS = 4          # older states of a back fold that are kept, once late events change panes that it holds
    FIRST_LAG = 4       # panes by which the newest of them lags, up to twice as many; each other one 8 times more

cdef enum ValueKind:
    V_F64
    V_I64
    V_BOOL              # bit-packed
    V_TEXT              # utf8 with int32 offsets

cdef enum Fate:         # of an event, bits
    WINDOWED = 1        # a window holds it
    REJECTED = 2        # its key is new and max_keys are in use
    BEYOND = 4          # further from the open panes than the ring may reach

cdef enum Service:      # why the loop without the GIL stops
    DONE
    CLOSE               # event time reached a window's end
    PANE                # the event's pane is not there yet
    SLOTS               # the pane has no room for the newest slots
    ARENA               # the pane has no room for the texts of the block
    KEYS                # the key table stopped: see its status

cdef struct ValueColumn:
    int kind                # ValueKind
    const uint8_t* valid    # Arrow validity bitmap, NULL when nothing is null
    const void* data
    const int32_t* offsets  # V_TEXT only
    int64_t start           # offset of the Arrow array, in elements; applies to all three above

cdef struct WindowState:    # times in ticks
    int64_t size
    int64_t every
    int64_t grace
    int64_t phase           # ends are at phase + k * every
    int64_t panes           # size in panes
    int64_t next_end        # first end that is not closed, NEVER before the first event
    int64_t rev             # of the next emission
    int64_t late            # events that came when all their windows were closed
    bint folds              # many overlapping panes: closed from a front and a back fold, not pane by pane
    int64_t front_block     # block of `panes` panes that the front holds suffixes of, NEVER: none
    int64_t front_at        # first pane of the suffix that the front holds now
    int64_t back_block      # block that the back holds a prefix of, NEVER: none
    int64_t back_next[LEVELS + 1]   # first pane that each state of the back does not hold yet, the back itself last
    bint spoilt             # a late event has changed a pane of the back's block: older states are kept

cdef class PaneGroup:
    # Definition
    cdef int64_t width          # ticks of a pane
    cdef int64_t origin         # tick at which pane 0 starts
    cdef int64_t us_times       # µs = ticks * us_times // us_over
    cdef int64_t us_over
    cdef int64_t max_span       # panes that the ring may span
    cdef WindowState* windows
    cdef int n_windows
    cdef Prim* prims
    cdef int n_prims
    cdef int* first_prim        # by value column: prims [first_prim[c], first_prim[c + 1]) read it, nulls excepted
    cdef int n_values
    cdef int n_texts            # primitives that are texts
    cdef int* nulls             # by value column: offset of its null counter, -1: none
    cdef int fused              # value column whose sum and min/max go with the count, -1: none
    cdef int stride
    cdef char* blank            # a record without events
    # State
    cdef readonly KeyTable keys
    cdef Records** ring         # by pane & mask; NULL: no such pane
    cdef list stores            # by pane & mask: owners of what ring points at
    cdef int64_t mask
    cdef int64_t lowest         # panes that exist are in [lowest, highest]; empty ring: lowest > highest
    cdef int64_t highest
    cdef list pool              # cleared stores for new panes
    cdef Store scratch          # where the panes of one window are merged
    cdef list fronts            # by window: Store of suffixes, None where it does not fold
    cdef list backs             # by window: Stores of prefixes, the shortest first; the last is the back
    cdef list suffixes          # by window: {pane: (slots, records)}: what is left of the front when the pane leaves it
    cdef list columns           # by window: result columns of its RowBuffer
    cdef readonly list rows     # by window: RowBuffer of closed rows
    cdef int64_t accept_from    # events before this tick are late for every window
    cdef int64_t accept_all     # events from this tick on are late for no window
    cdef int64_t trigger        # progress at which the next window closes
    cdef int64_t folded_to      # panes before this one are in a fold
    cdef int64_t stale_from     # least pane in a fold that a late event has changed since, INT64_MAX: none
    cdef readonly int64_t rejected      # events whose key had no room
    cdef bint dropped           # panes went since the last sweep of the keys
    # One push
    cdef int64_t n
    cdef const int64_t* ticks
    cdef const uint8_t* keep    # NULL, or 0 for a filtered event
    cdef uint8_t* fate
    cdef KeyColumn* key_columns
    cdef ValueColumn* values
    cdef int64_t seen           # greatest tick of this partition
    cdef int64_t others         # the least of the other partitions' greatest ticks
    cdef int64_t row            # first row of the block
    cdef int64_t length         # of the block
    cdef int64_t at             # next event, in the block
    cdef bint skips             # some slots of the block may be negative
    cdef int64_t missing_pane   # for PANE
    cdef int64_t arena_need     # for ARENA
    cdef Records* current       # pane of the last event
    cdef int64_t current_from   # its ticks: [current_from, current_to)
    cdef int64_t current_to
    cdef int32_t slot[BLOCK]
    cdef int32_t picked[BLOCK]          # rows of the run that have a slot
    cdef int32_t picked_slot[BLOCK]
    cdef int32_t value_row[BLOCK]       # rows of the run whose value is there
    cdef int32_t value_slot[BLOCK]
    cdef int64_t value_tick[BLOCK]
    cdef int64_t value_word[BLOCK]

    cdef int _run(self) noexcept nogil
    cdef int _update(self) noexcept nogil
    cdef int _apply(self, int64_t lo, int64_t hi) noexcept nogil
    cdef void _apply_column(self, int c, const int32_t* slots, const int32_t* rows, int64_t lo, int64_t m,
                            bint skip_fused) noexcept nogil
    cdef int64_t _text_need(self, int64_t lo, int64_t hi) noexcept nogil
    cdef Store _owner(self)
    cdef int64_t _us(self, int64_t tick)
    cdef int _serve_keys(self) except -1
    cdef int _serve_pane(self) except -1
    cdef int _close(self, int64_t progress) except -1
    cdef int _close_window(self, int w, int64_t watermark) except -1
    cdef int _emit(self, int w, int64_t end, RowBuffer rows) except -1
    cdef int _collect(self, int w, int64_t first, int64_t past) except -1
    cdef int _fold(self, int w, int64_t first, int64_t past) except -1
    cdef int _spoil(self, int w) except -1
    cdef int _advance_back(self, int w, int64_t past) except -1
    cdef int _flip(self, int w, int64_t first, int64_t past) except -1
    cdef int _advance_front(self, int w, int64_t first) except -1
    cdef int _merge(self, Store into, const Records* other) except -1
    cdef int _drop_before(self, int64_t pane) except -1
    cdef Records* _pane(self, int64_t pane) noexcept nogil
    cdef int64_t _pane_from(self, int64_t pane) noexcept nogil
    cdef int64_t _end_after(self, int w, int64_t tick) noexcept nogil
