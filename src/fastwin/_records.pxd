# State records: one for each key and pane, `stride` bytes, and the kernels that update, merge and read them.
#
# a) A record starts with the number of its events; then come its primitives (Prim), each at its own offset.
#    count, sum, min and max of one float64 column are 32 bytes: half a cache line, never two.
# b) Kernels are pure C over one block of events: (records, offset, slots, values).
# c) A record is blank until its first event: `touch` writes the blank template and lists the slot as active, so closing
#    and clearing cost O(active keys), and memory that no key touches is never paged in.
#
# Rejected: one array for each primitive ([primitive][slot]). It touches a cache line for each primitive of a key
# instead of one, and above the L2 size that is what an update costs.

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, INT64_MAX, INT64_MIN
from libc.string cimport memcmp, memcpy

from fastwin._native cimport UNLIKELY, add128, merge128, prefetch

cdef enum:
    NEAR_CACHE = 1 << 18    # bytes

cdef enum PrimKind:
    P_SUM_F         # float64
    P_SUM_I         # 128-bit integer: sums of int64 never wrap
    P_MINMAX_F      # float64 min, max; +inf, -inf when blank; min > max: only NaN so far
    P_MINMAX_I      # int64 min, max
    P_VAR           # float64 shift, sum of (x - shift), sum of (x - shift)^2, which is -1 when blank
    P_FIRST         # int64 tick, 8 bytes of the value
    P_LAST          # int64 tick, 8 bytes of the value
    P_MIN_T         # Text
    P_MAX_T         # Text
    P_FIRST_T       # int64 tick, Text
    P_LAST_T        # int64 tick, Text
    P_NULLS         # int64: events whose value of this column is null

cdef struct Prim:
    int kind        # PrimKind
    int column      # value column it reads
    int offset      # in the record, bytes
    int nulls       # offset of the P_NULLS of its column, -1 while the column has shown no null

cdef struct Text:
    int64_t at      # offset in the arena of its Records
    int32_t length  # bytes; -1: no value
    int32_t room    # bytes reserved at `at`

cdef struct Records:
    char* base          # capacity * stride bytes; record of slot s at s * stride
    int32_t* active     # slots with a record, in the order of their first event
    int64_t n_active
    int64_t capacity    # slots that there is room for
    uint8_t* arena      # bytes of the Texts
    int64_t arena_used
    int64_t arena_capacity
    int64_t pane        # number of the pane: it starts at origin + pane * width
    bint append_only    # Texts are shared with copies of its records: never overwritten in place
    int stride          # bytes of a record, a multiple of 8


cdef inline char* record(const Records* r, int64_t slot) noexcept nogil:
    return r.base + slot * r.stride


cdef inline int64_t* events(char* rec) noexcept nogil:
    return <int64_t*> rec


cdef inline int64_t values_of(const char* rec, int nulls) noexcept nogil:
    # Events of the record whose value is not null.
    return (<const int64_t*> rec)[0] - ((<const int64_t*> (rec + nulls))[0] if nulls >= 0 else 0)


# Blank records

cdef inline void blank_record(char* rec, const Prim* prims, int n) noexcept nogil:
    cdef int i
    cdef char* p
    events(rec)[0] = 0
    for i in range(n):
        p = rec + prims[i].offset
        if prims[i].kind == P_SUM_F:
            (<double*> p)[0] = 0.0
        elif prims[i].kind == P_SUM_I:
            (<int64_t*> p)[0] = 0
            (<int64_t*> p)[1] = 0
        elif prims[i].kind == P_MINMAX_F:
            (<double*> p)[0] = INFINITY
            (<double*> p)[1] = -INFINITY
        elif prims[i].kind == P_MINMAX_I:
            (<int64_t*> p)[0] = INT64_MAX
            (<int64_t*> p)[1] = INT64_MIN
        elif prims[i].kind == P_VAR:
            (<double*> p)[0] = 0.0
            (<double*> p)[1] = 0.0
            (<double*> p)[2] = -1.0
        elif prims[i].kind == P_FIRST or prims[i].kind == P_LAST:
            (<int64_t*> p)[0] = INT64_MAX if prims[i].kind == P_FIRST else INT64_MIN
            (<int64_t*> p)[1] = 0
        elif prims[i].kind == P_NULLS:
            (<int64_t*> p)[0] = 0
        else:
            if prims[i].kind == P_FIRST_T or prims[i].kind == P_LAST_T:
                (<int64_t*> p)[0] = INT64_MAX if prims[i].kind == P_FIRST_T else INT64_MIN
                p += 8
            (<Text*> p).at = 0
            (<Text*> p).length = -1
            (<Text*> p).room = 0


cdef inline void clear(Records* r) noexcept nogil:
    cdef int64_t i
    for i in range(r.n_active):
        events(record(r, r.active[i]))[0] = 0
    r.n_active = 0
    r.arena_used = 0


# Update: one block of events, m of them, all of one pane

cdef inline void fetch(const Records* r, const int32_t* slot, int64_t m) noexcept nogil:
    # Records that do not fit the near caches are asked for all at once, before the kernels wait for them one by one.
    cdef int64_t i
    if r.capacity * r.stride > NEAR_CACHE:
        for i in range(m):
            prefetch(r.base + <int64_t> slot[i] * r.stride)


cdef inline void touch(Records* r, const char* blank, const int32_t* slot, int64_t m) noexcept nogil:
    # Counts the events, and makes a record for each slot that has none.
    cdef int64_t i, n = r.n_active
    cdef int stride = r.stride
    cdef char* base = r.base
    cdef char* rec
    for i in range(m):
        rec = base + <int64_t> slot[i] * stride
        if UNLIKELY(events(rec)[0] == 0):
            memcpy(rec, blank, stride)
            r.active[n] = slot[i]
            n += 1
        events(rec)[0] += 1
    r.n_active = n


cdef inline void touch_sum_minmax(Records* r, const char* blank, const int32_t* slot, const double* x,
                                  int64_t m) noexcept nogil:
    # touch, P_SUM_F at 8 and P_MINMAX_F at 16 in one pass over records of any stride.
    cdef int64_t i, n = r.n_active
    cdef int stride = r.stride
    cdef char* base = r.base
    cdef char* rec
    cdef double* s
    cdef double v
    for i in range(m):
        rec = base + <int64_t> slot[i] * stride
        v = x[i]
        if UNLIKELY(events(rec)[0] == 0):
            memcpy(rec, blank, stride)
            r.active[n] = slot[i]
            n += 1
        s = <double*> rec
        events(rec)[0] += 1
        s[1] += v
        s[2] = v if v < s[2] else s[2]
        s[3] = v if v > s[3] else s[3]
    r.n_active = n


cdef inline void sum_f(char* base, int stride, const int32_t* slot, const double* x, int64_t m) noexcept nogil:
    cdef int64_t i
    for i in range(m):
        (<double*> (base + <int64_t> slot[i] * stride))[0] += x[i]


cdef inline void sum_i(char* base, int stride, const int32_t* slot, const int64_t* x, int64_t m) noexcept nogil:
    cdef int64_t i
    for i in range(m):
        add128(base + <int64_t> slot[i] * stride, x[i])


cdef inline void minmax_f(char* base, int stride, const int32_t* slot, const double* x, int64_t m) noexcept nogil:
    # A NaN compares false with everything, so it leaves both as they are.
    cdef int64_t i
    cdef double* s
    for i in range(m):
        s = <double*> (base + <int64_t> slot[i] * stride)
        s[0] = x[i] if x[i] < s[0] else s[0]
        s[1] = x[i] if x[i] > s[1] else s[1]


cdef inline void minmax_i(char* base, int stride, const int32_t* slot, const int64_t* x, int64_t m) noexcept nogil:
    cdef int64_t i
    cdef int64_t* s
    for i in range(m):
        s = <int64_t*> (base + <int64_t> slot[i] * stride)
        s[0] = x[i] if x[i] < s[0] else s[0]
        s[1] = x[i] if x[i] > s[1] else s[1]


cdef inline void var_one(double* s, double x) noexcept nogil:
    # Sums shifted by the record's first value. That value is one of the data, so what cancels in s2 - s1^2/n is at most
    # a factor n of the result: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, section 3.
    cdef double d
    if UNLIKELY(s[2] == -1.0):
        s[0] = x
        s[2] = 0.0
    d = x - s[0]
    s[1] += d
    s[2] += d * d


cdef inline void var_f(char* base, int stride, const int32_t* slot, const double* x, int64_t m) noexcept nogil:
    cdef int64_t i
    for i in range(m):
        var_one(<double*> (base + <int64_t> slot[i] * stride), x[i])


cdef inline void var_i(char* base, int stride, const int32_t* slot, const int64_t* x, int64_t m) noexcept nogil:
    cdef int64_t i
    for i in range(m):
        var_one(<double*> (base + <int64_t> slot[i] * stride), <double> x[i])


cdef inline void first_word(char* base, int stride, const int32_t* slot, const int64_t* tick, const int64_t* x,
                            int64_t m) noexcept nogil:
    # Of events with one tick the one that came first.
    cdef int64_t i
    cdef int64_t* s
    for i in range(m):
        s = <int64_t*> (base + <int64_t> slot[i] * stride)
        if tick[i] < s[0]:
            s[0] = tick[i]
            s[1] = x[i]


cdef inline void last_word(char* base, int stride, const int32_t* slot, const int64_t* tick, const int64_t* x,
                           int64_t m) noexcept nogil:
    # Of events with one tick the one that came last.
    cdef int64_t i
    cdef int64_t* s
    for i in range(m):
        s = <int64_t*> (base + <int64_t> slot[i] * stride)
        if tick[i] >= s[0]:
            s[0] = tick[i]
            s[1] = x[i]


cdef inline int64_t text_room(int64_t length) noexcept nogil:
    # Arena bytes that one write of a Text may take, at most.
    return 2 * length + 16


cdef inline void text_set(Records* r, Text* t, const uint8_t* p, int32_t n) noexcept nogil:
    # Contract: the arena has text_room(n) bytes left.
    if r.append_only or t.length < 0 or n > t.room:
        t.at = r.arena_used
        t.room = n if r.append_only else <int32_t> min(text_room(n) & ~<int64_t> 7, <int64_t> INT32_LIMIT)
        r.arena_used += t.room
    t.length = n
    if n:
        memcpy(r.arena + t.at, p, <size_t> n)


cdef enum:
    INT32_LIMIT = 0x7FFFFFFF


cdef inline int text_order(const uint8_t* a, int32_t n, const uint8_t* b, int32_t m) noexcept nogil:
    # By bytes, which for UTF-8 is by code points.
    cdef int order = memcmp(a, b, <size_t> min(n, m)) if min(n, m) else 0
    return order if order else (n > m) - (n < m)


cdef inline bint text_wins(int kind, const uint8_t* new, int32_t n, const uint8_t* old, int32_t m) noexcept nogil:
    # Whether a new text replaces the old one of length m (-1: none) as P_MIN_T or P_MAX_T.
    cdef int order
    if m < 0:
        return True
    order = text_order(new, n, old, m)
    return order < 0 if kind == P_MIN_T else order > 0


cdef inline void text_update(Records* r, const Prim* prim, int32_t slot, int64_t tick, const uint8_t* p,
                             int32_t n) noexcept nogil:
    cdef char* s = record(r, slot) + prim.offset
    cdef Text* t
    if prim.kind == P_FIRST_T or prim.kind == P_LAST_T:
        t = <Text*> (s + 8)
        if tick < (<int64_t*> s)[0] if prim.kind == P_FIRST_T else tick >= (<int64_t*> s)[0]:
            (<int64_t*> s)[0] = tick
            text_set(r, t, p, n)
    else:
        t = <Text*> s
        if text_wins(prim.kind, p, n, r.arena + t.at, t.length):
            text_set(r, t, p, n)


# Merge: records of later events into records of earlier ones

cdef inline void merge_text(Records* into, char* a, const Records* other, const char* b, int kind) noexcept nogil:
    cdef const Text* t
    cdef Text* old
    if kind == P_FIRST_T or kind == P_LAST_T:
        t = <const Text*> (b + 8)
        if t.length < 0:
            return
        if kind == P_FIRST_T and (<int64_t*> a)[0] <= (<const int64_t*> b)[0]:
            return
        if kind == P_LAST_T and (<int64_t*> a)[0] > (<const int64_t*> b)[0]:
            return
        (<int64_t*> a)[0] = (<const int64_t*> b)[0]
        text_set(into, <Text*> (a + 8), other.arena + t.at, t.length)
    else:
        t = <const Text*> b
        old = <Text*> a
        if t.length >= 0 and text_wins(kind, other.arena + t.at, t.length, into.arena + old.at, old.length):
            text_set(into, old, other.arena + t.at, t.length)


cdef inline void merge_var(double* a, double n, const double* b, double m) noexcept nogil:
    # Means and squared deviations from them, combined pairwise: Chan, Golub, LeVeque 1983, equation 1.5.
    cdef double mean_a, mean_b, squares, d
    if b[2] == -1.0:
        return
    if a[2] == -1.0:
        memcpy(a, b, 24)
        return
    mean_a = a[0] + a[1] / n
    mean_b = b[0] + b[1] / m
    d = mean_b - mean_a
    squares = (a[2] - a[1] * a[1] / n) + (b[2] - b[1] * b[1] / m) + d * d * (n * m / (n + m))
    a[0] = mean_a + d * (m / (n + m))
    a[1] = 0.0
    a[2] = squares if not squares < 0.0 else 0.0


cdef inline void merge_record(Records* into, char* a, const Records* other, const char* b, const Prim* prims,
                              int n) noexcept nogil:
    # Contract: b holds at least one event; the arena of `into` has room for the texts of b.
    cdef int i, kind
    cdef char* p
    cdef const char* q
    for i in range(n):
        p = a + prims[i].offset
        q = b + prims[i].offset
        kind = prims[i].kind
        if kind == P_SUM_F:
            (<double*> p)[0] += (<const double*> q)[0]
        elif kind == P_SUM_I:
            merge128(p, q)
        elif kind == P_MINMAX_F:
            if (<const double*> q)[0] < (<double*> p)[0]:
                (<double*> p)[0] = (<const double*> q)[0]
            if (<const double*> q)[1] > (<double*> p)[1]:
                (<double*> p)[1] = (<const double*> q)[1]
        elif kind == P_MINMAX_I:
            if (<const int64_t*> q)[0] < (<int64_t*> p)[0]:
                (<int64_t*> p)[0] = (<const int64_t*> q)[0]
            if (<const int64_t*> q)[1] > (<int64_t*> p)[1]:
                (<int64_t*> p)[1] = (<const int64_t*> q)[1]
        elif kind == P_VAR:
            merge_var(<double*> p, <double> values_of(a, prims[i].nulls), <const double*> q,
                      <double> values_of(b, prims[i].nulls))
        elif kind == P_FIRST:
            if (<const int64_t*> q)[0] < (<int64_t*> p)[0]:
                memcpy(p, q, 16)
        elif kind == P_LAST:
            if (<const int64_t*> q)[0] >= (<int64_t*> p)[0]:
                memcpy(p, q, 16)
        elif kind != P_NULLS:
            merge_text(into, p, other, q, kind)
    # The counts last: merge_var reads both of them as they were.
    for i in range(n):
        if prims[i].kind == P_NULLS:
            (<int64_t*> (a + prims[i].offset))[0] += (<const int64_t*> (b + prims[i].offset))[0]
    events(a)[0] += (<const int64_t*> b)[0]


cdef inline void merge(Records* into, const Records* other, const char* blank, const Prim* prims, int n) noexcept nogil:
    # Contract: `into` has the capacity and the arena for all of `other`.
    cdef int64_t i
    cdef int32_t slot
    cdef char* a
    cdef const char* b
    for i in range(other.n_active):
        slot = other.active[i]
        b = record(other, slot)
        if (<const int64_t*> b)[0] == 0:
            continue
        a = record(into, slot)
        if events(a)[0] == 0:
            memcpy(a, blank, into.stride)
            into.active[into.n_active] = slot
            into.n_active += 1
        merge_record(into, a, other, b, prims, n)
