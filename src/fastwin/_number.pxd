"""Numbers by the JSON grammar, exactly: int64, correctly rounded float64, floor. Header only, as `_text`."""

from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod

from fastwin._text cimport every, likely, load64, lowest_bit, unlikely

cdef extern from * nogil:
    """
    #ifndef FASTWIN_NUMBER
    #define FASTWIN_NUMBER
    /* Powers of ten that a double holds exactly, and those that fit 64 bits. */
    static const double fastwin_tens[23] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22};
    static const uint64_t fastwin_whole_tens[20] = {
        1ULL, 10ULL, 100ULL, 1000ULL, 10000ULL, 100000ULL, 1000000ULL, 10000000ULL, 100000000ULL, 1000000000ULL,
        10000000000ULL, 100000000000ULL, 1000000000000ULL, 10000000000000ULL, 100000000000000ULL, 1000000000000000ULL,
        10000000000000000ULL, 100000000000000000ULL, 1000000000000000000ULL, 10000000000000000000ULL};
    /* a * b, rounded once: the product is exact and the conversion rounds correctly. */
    static inline double fastwin_product(uint64_t a, uint64_t b) { return (double)((unsigned __int128)a * b); }
    /* a / b, rounded once, for a and b not 0: a quotient of 63 bits or more, its last bit sticky for the remainder. */
    static inline double fastwin_quotient(uint64_t a, uint64_t b) {
        int shift = __builtin_clzll(a);
        unsigned __int128 wide = (unsigned __int128)(a << shift) << 64, quotient = wide / b;
        return __builtin_ldexp((double)(quotient | (quotient * b != wide)), -64 - shift);
    }
    #endif
    """
    const double* TENS "fastwin_tens"               # 10**0 .. 10**22
    const uint64_t* WHOLE_TENS "fastwin_whole_tens"  # 10**0 .. 10**19
    double product "fastwin_product"(uint64_t a, uint64_t b)
    double quotient "fastwin_quotient"(uint64_t a, uint64_t b)

cdef enum:
    EXACT_DIGITS = 19       # digits that 64 bits always hold
    FLOAT_DIGITS = 800      # more than the 768 that can decide how a float64 rounds
    MAX_EXPONENT = 100_000  # past this, FLOAT_DIGITS digits are infinity or zero

cdef struct Number:
    # What a text says: +-mantissa * 10**exponent, where the mantissa counts only when digits <= EXACT_DIGITS.
    const uint8_t* text     # its first digit
    const uint8_t* end      # end of its digits, fraction included
    uint64_t mantissa
    int64_t digits          # digits written, leading and trailing zeros too
    int64_t exponent        # of the last digit written
    bint negative
    bint whole              # written without fraction and exponent


cdef inline const uint8_t* scan_digits(const uint8_t* p, const uint8_t* end, uint64_t* value) noexcept nogil:
    """Append the digits at `p` to `value` (modulo 2**64) and return their end."""
    cdef uint64_t x, stop
    cdef int count
    while end - p >= 8:
        x = load64(p) ^ every(c'0')
        stop = (((x & every(0x7F)) + every(0x76)) | x) & every(0x80)
        count = lowest_bit(stop) >> 3 if stop else 8
        if count == 0:
            return p
        # The digits move to the top bytes, zeros come in before them; pairs, fours and eights are then joined.
        x = (x << (64 - 8 * count))
        x = (x * 10 + (x >> 8)) & 0x00FF00FF00FF00FFULL
        x = (x * 100 + (x >> 16)) & 0x0000FFFF0000FFFFULL
        x = (x * 10000 + (x >> 32)) & 0x00000000FFFFFFFFULL
        value[0] = value[0] * WHOLE_TENS[count] + x
        p += count
        if count < 8:
            return p
    while p < end and c'0' <= p[0] <= c'9':
        value[0] = value[0] * 10 + (p[0] - c'0')
        p += 1
    return p


cdef inline const uint8_t* scan_number(const uint8_t* p, const uint8_t* end, Number* number) noexcept nogil:
    """Read the longest JSON number at `p` and return its end, or NULL if there is none. What follows is not judged."""
    cdef const uint8_t* start
    cdef int64_t power = 0
    cdef bint negative
    number.negative = p < end and p[0] == c'-'
    p += number.negative
    number.text = start = p
    number.mantissa = 0
    number.exponent = 0
    number.whole = True
    if unlikely(p == end):
        return NULL
    if p[0] == c'0':
        p += 1
    else:
        p = scan_digits(p, end, &number.mantissa)
        if p == start:
            return NULL
    number.digits = p - start
    number.end = p
    if p < end and p[0] == c'.':
        number.whole = False
        start = p + 1
        p = scan_digits(start, end, &number.mantissa)
        if p == start:
            return NULL
        number.digits += p - start
        number.exponent = start - p
        number.end = p
    if p < end and p[0] | 0x20 == c'e':
        number.whole = False
        p += 1
        negative = p < end and p[0] == c'-'
        if p < end and (p[0] == c'-' or p[0] == c'+'):
            p += 1
        start = p
        while p < end and c'0' <= p[0] <= c'9':
            if power < 1_000_000_000_000LL:  # far past any text's length, so the sum below cannot come back
                power = power * 10 + (p[0] - c'0')
            p += 1
        if p == start:
            return NULL
        number.exponent += -power if negative else power
    return p


cdef inline int significant(
    const Number* number, uint8_t* out, int limit, int64_t* exponent, bint* more
) noexcept nogil:
    """Write the first `limit` digits from the first that is not zero, as ASCII; return how many.

    `exponent` is set to that of the last digit written; `more` to whether a digit other than zero was left out.
    """
    cdef const uint8_t* p = number.text
    cdef int count = 0
    cdef int64_t left = number.digits
    more[0] = False
    exponent[0] = number.exponent
    while p < number.end:
        if p[0] != c'.':
            if count < limit:
                if count or p[0] != c'0':
                    out[count] = p[0]
                    count += 1
                left -= 1
            elif p[0] != c'0':
                more[0] = True
        p += 1
    exponent[0] += left
    return count


cdef inline double long_float(const Number* number) noexcept nogil:
    """Return the magnitude, correctly rounded, by the C library; infinity if it is too large.

    The text it gets has digits and an exponent only, so that no locale has a say in it, and a last digit 1 stands for
    all that were left out.
    """
    cdef char text[FLOAT_DIGITS + 32]
    cdef int64_t exponent
    cdef bint more
    cdef int count = significant(number, <uint8_t*>text, FLOAT_DIGITS, &exponent, &more)
    if count == 0 or exponent < -MAX_EXPONENT:
        return 0.0
    if exponent > MAX_EXPONENT:
        return INFINITY
    if more:
        text[count] = c'1'
        count += 1
        exponent -= 1
    snprintf(text + count, 32, b"e%lld", <long long>exponent)
    return strtod(text, NULL)


cdef inline bint number_float(const Number* number, double* out) noexcept nogil:
    """Set `out` to the nearest float64, ties to even; False if it is out of range."""
    cdef double value
    cdef uint64_t mantissa = number.mantissa
    cdef int64_t exponent = number.exponent
    if likely(number.digits <= EXACT_DIGITS and -22 <= exponent <= 22):
        if likely(mantissa <= <uint64_t>1 << 53):
            # Both operands are exact, so one operation rounds once (Clinger 1990).
            value = <double>mantissa
            value = value / TENS[-exponent] if exponent < 0 else value * TENS[exponent]
        elif exponent < -EXACT_DIGITS or exponent > EXACT_DIGITS:
            value = long_float(number)
        elif exponent < 0:
            value = quotient(mantissa, WHOLE_TENS[-exponent])
        else:
            value = product(mantissa, WHOLE_TENS[exponent])
    else:
        value = long_float(number)
        if value == INFINITY:
            return False
    out[0] = -value if number.negative else value
    return True


cdef inline bint number_int(const Number* number, int64_t* out) noexcept nogil:
    """Set `out`; False if it is out of range or written with a fraction or an exponent."""
    if unlikely(not number.whole or number.digits > EXACT_DIGITS):
        return False
    if number.mantissa > <uint64_t>INT64_MAX + number.negative:
        return False
    out[0] = <int64_t>(0 - number.mantissa if number.negative else number.mantissa)
    return True


cdef inline bint number_floor(const Number* number, int64_t* out) noexcept nogil:
    """Set `out` to the greatest integer that is not above the number; False if it is out of range."""
    cdef uint8_t digits[EXACT_DIGITS]
    cdef uint64_t mantissa = number.mantissa, divisor
    cdef int64_t exponent = number.exponent
    cdef bint more = False
    cdef int count, i
    if likely(number.whole):
        return number_int(number, out)
    if number.digits > EXACT_DIGITS:
        mantissa = 0
        count = significant(number, digits, EXACT_DIGITS, &exponent, &more)
        for i in range(count):
            mantissa = mantissa * 10 + (digits[i] - c'0')
    if mantissa == 0:
        out[0] = 0
        return True
    if exponent > 0:
        if exponent >= EXACT_DIGITS or mantissa > <uint64_t>INT64_MAX // WHOLE_TENS[exponent] + 1:
            return False
        mantissa *= WHOLE_TENS[exponent]
    elif exponent < -EXACT_DIGITS:
        mantissa = 0
        more = True
    elif exponent < 0:
        divisor = WHOLE_TENS[-exponent]
        more = more or mantissa % divisor != 0
        mantissa //= divisor
    if number.negative:
        mantissa += more
    if mantissa > <uint64_t>INT64_MAX + number.negative:
        return False
    out[0] = <int64_t>(0 - mantissa if number.negative else mantissa)
    return True
