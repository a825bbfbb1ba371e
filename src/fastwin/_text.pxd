"""Text as bytes: eight bytes at a time, UTF-8, JSON strings.

Header only: the functions are compiled into the module that cimports them. They read from ``p`` (included) to ``end``
(excluded), never past it, and need no padding behind it.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>
    #ifndef FASTWIN_TEXT
    #define FASTWIN_TEXT
    static inline uint64_t fastwin_load64(const void *p) {
        uint64_t x;
        memcpy(&x, p, 8);
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        x = __builtin_bswap64(x);
    #endif
        return x;
    }
    static inline uint64_t fastwin_every(uint8_t byte) { return 0x0101010101010101ULL * byte; }
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #define FASTWIN_HAS_16 1
    /* Bit i: byte i is a quote, a backslash, a control character or not ASCII. */
    static inline unsigned fastwin_stops_16(const void *p) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i quote = _mm_cmpeq_epi8(x, _mm_set1_epi8('"')), slash = _mm_cmpeq_epi8(x, _mm_set1_epi8('\\\\'));
        __m128i rest = _mm_cmplt_epi8(x, _mm_set1_epi8(' ')); /* signed: what is not ASCII is negative */
        return (unsigned)_mm_movemask_epi8(_mm_or_si128(rest, _mm_or_si128(quote, slash)));
    }
    #else
    #define FASTWIN_HAS_16 0
    #define fastwin_stops_16(p) 0u
    #endif
    #endif
    """
    uint64_t load64 "fastwin_load64"(const void* p)     # first byte lowest, on every machine
    uint64_t every "fastwin_every"(uint8_t byte)        # the byte, eight times
    const bint HAS_16 "FASTWIN_HAS_16"                  # this machine compares 16 bytes at once
    unsigned int stops_16 "fastwin_stops_16"(const void* p)
    int lowest_bit "__builtin_ctzll"(unsigned long long x)  # x is not 0
    bint likely(bint condition)
    bint unlikely(bint condition)


cdef inline bint same_bytes(const uint8_t* a, const uint8_t* b, Py_ssize_t length) noexcept nogil:
    """True if `length` bytes at `a` and `b` are equal; for short texts, where a call of memcmp costs more."""
    while length >= 8:
        if load64(a) != load64(b):
            return False
        a += 8
        b += 8
        length -= 8
    while length > 0:
        if a[0] != b[0]:
            return False
        a += 1
        b += 1
        length -= 1
    return True


# -- UTF-8 -------------------------------------------------------------------------------------------------------------

cdef inline int utf8_length(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return the length (2 to 4) of the well-formed sequence at `p`, or 0. Its first byte is not ASCII.

    Unicode standard, table 3-7: no overlong form, no surrogate, nothing above U+10FFFF.
    """
    cdef uint8_t lead = p[0], second
    if end - p < 2 or lead < 0xC2 or lead > 0xF4:
        return 0
    second = p[1]
    if second & 0xC0 != 0x80:
        return 0
    if lead < 0xE0:
        return 2
    if end - p < 3 or p[2] & 0xC0 != 0x80:
        return 0
    if lead < 0xF0:
        if (lead == 0xE0 and second < 0xA0) or (lead == 0xED and second >= 0xA0):
            return 0
        return 3
    if end - p < 4 or p[3] & 0xC0 != 0x80:
        return 0
    if (lead == 0xF0 and second < 0x90) or (lead == 0xF4 and second >= 0x90):
        return 0
    return 4


cdef inline bint is_utf8(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """True if the bytes are UTF-8; any code point is taken, NUL and controls too."""
    cdef int length
    while p < end:
        if end - p >= 8 and load64(p) & every(0x80) == 0:
            p += 8
        elif p[0] < 0x80:
            p += 1
        else:
            length = utf8_length(p, end)
            if length == 0:
                return False
            p += length
    return True


cdef inline uint8_t* put_utf8(uint8_t* out, uint32_t code) noexcept nogil:
    """Write the code point as UTF-8 and return the end of what was written."""
    if code < 0x80:
        out[0] = <uint8_t>code
        return out + 1
    if code < 0x800:
        out[0] = <uint8_t>(0xC0 | code >> 6)
        out[1] = <uint8_t>(0x80 | (code & 0x3F))
        return out + 2
    if code < 0x10000:
        out[0] = <uint8_t>(0xE0 | code >> 12)
        out[1] = <uint8_t>(0x80 | (code >> 6 & 0x3F))
        out[2] = <uint8_t>(0x80 | (code & 0x3F))
        return out + 3
    out[0] = <uint8_t>(0xF0 | code >> 18)
    out[1] = <uint8_t>(0x80 | (code >> 12 & 0x3F))
    out[2] = <uint8_t>(0x80 | (code >> 6 & 0x3F))
    out[3] = <uint8_t>(0x80 | (code & 0x3F))
    return out + 4


# -- JSON strings ------------------------------------------------------------------------------------------------------

cdef inline const uint8_t* plain_end(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return the first byte that is a quote, a backslash, a control character or not ASCII; `end` if there is none."""
    cdef uint64_t x, quote, slash, stop
    while HAS_16 and end - p >= 16:
        stop = stops_16(p)
        if stop:
            return p + lowest_bit(stop)
        p += 16
    while end - p >= 8:
        x = load64(p)
        quote = x ^ every(c'"')
        slash = x ^ every(c'\\')
        # Top bit of a byte = it stops. A borrow can set it wrongly only above a byte that truly stops.
        stop = (((quote - every(1)) & ~quote) | ((slash - every(1)) & ~slash) | (x - every(0x20)) | x) & every(0x80)
        if stop:
            return p + (lowest_bit(stop) >> 3)
        p += 8
    while p < end and p[0] != c'"' and p[0] != c'\\' and p[0] >= 0x20 and p[0] < 0x80:
        p += 1
    return p


cdef inline int hex4(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return the value of four hexadecimal digits, or -1."""
    cdef int value = 0, i
    cdef uint8_t c
    if end - p < 4:
        return -1
    for i in range(4):
        c = p[i]
        if c'0' <= c <= c'9':
            value = value * 16 + (c - c'0')
        elif c'a' <= c | 0x20 <= c'f':
            value = value * 16 + ((c | 0x20) - c'a' + 10)
        else:
            return -1
    return value


cdef inline const uint8_t* escape_end(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Return the end of the escape at `p` (a backslash), or NULL. A surrogate without its pair has no UTF-8: NULL."""
    cdef int unit
    if end - p < 2:
        return NULL
    if p[1] != c'u':
        return p + 2 if p[1] in b'"\\/bfnrt' else NULL
    unit = hex4(p + 2, end)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return NULL
    p += 6
    if 0xD800 <= unit <= 0xDBFF:
        if end - p < 6 or p[0] != c'\\' or p[1] != c'u' or hex4(p + 2, end) & ~0x3FF != 0xDC00:
            return NULL
        p += 6
    return p


cdef inline const uint8_t* string_end(const uint8_t* p, const uint8_t* end, bint* escaped) noexcept nogil:
    """Return the closing quote of the string whose text begins at `p`, or NULL if it is not a JSON string in UTF-8.

    `escaped` is set to whether it has escapes, and so must go through `unescape`.
    """
    cdef int length
    escaped[0] = False
    while True:
        p = plain_end(p, end)
        if unlikely(p == end):
            return NULL
        if likely(p[0] == c'"'):
            return p
        if p[0] >= 0x80:
            length = utf8_length(p, end)
            if length == 0:
                return NULL
            p += length
        elif p[0] == c'\\':
            escaped[0] = True
            p = escape_end(p, end)
            if p == NULL:
                return NULL
        else:
            return NULL


cdef inline uint8_t* unescape(const uint8_t* p, const uint8_t* end, uint8_t* out) noexcept nogil:
    """Write the text of a string that `string_end` has accepted; return its end. It is never longer than the source."""
    cdef uint32_t code
    cdef uint8_t c
    while p < end:
        c = p[0]
        if c != c'\\':
            out[0] = c
            out += 1
            p += 1
            continue
        c = p[1]
        p += 2
        if c != c'u':
            if c == c'n':
                c = c'\n'
            elif c == c't':
                c = c'\t'
            elif c == c'r':
                c = c'\r'
            elif c == c'b':
                c = 0x08
            elif c == c'f':
                c = 0x0C
            out[0] = c
            out += 1
            continue
        code = <uint32_t>hex4(p, end)
        p += 4
        if 0xD800 <= code <= 0xDBFF:
            code = 0x10000 + ((code & 0x3FF) << 10) + (<uint32_t>hex4(p + 2, end) & 0x3FF)
            p += 6
        out = put_utf8(out, code)
    return out
