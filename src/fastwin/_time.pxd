"""Instants as text: ISO 8601 to ticks since the epoch. Header only, as `_text`.

Taken is ``YYYY-MM-DD``, or that with ``T``, ``t`` or a space and ``HH:MM[:SS[.fraction]]`` (a comma will do for the
point), and after a time a zone: ``Z``, ``z``, ``+HH``, ``+HHMM`` or ``+HH:MM``. No zone is UTC. Years are 0000 to 9999;
hour 24 and second 60 are not taken. Digits below the unit are cut off, which is the floor before 1970 too.
"""

from libc.stdint cimport int64_t, uint8_t

cdef extern from * nogil:
    bint product_overflows "__builtin_mul_overflow"(int64_t a, int64_t b, int64_t* out)
    bint sum_overflows "__builtin_add_overflow"(int64_t a, int64_t b, int64_t* out)


cdef inline int two_digits(const uint8_t* p) noexcept nogil:
    """Return the number that two digits write, or -1000, which no sum makes valid."""
    cdef uint8_t high = p[0] - c'0', low = p[1] - c'0'
    return high * 10 + low if high <= 9 and low <= 9 else -1000


cdef inline int days_in_month(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline int64_t days_since_epoch(int year, int month, int day) noexcept nogil:
    """Return the days from 1970-01-01 in the proleptic Gregorian calendar; years from 0.

    The year is counted from March, so that the leap day is its last, and from 400 years earlier, so that nothing is
    negative (Hinnant, "chrono-compatible low-level date algorithms").
    """
    cdef int64_t years = year + 400 - (month <= 2)
    cdef int64_t of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return years * 365 + years // 4 - years // 100 + years // 400 + of_year - 719_468 - 146_097


cdef inline bint read_instant(const uint8_t* p, const uint8_t* end, int64_t ticks, int64_t* out) noexcept nogil:
    """Set `out` to the instant in units of 1/`ticks` s; False if the text is not one, or does not fit 64 bits."""
    cdef int year, month, day, hour, minute, second = 0, zone, zone_minutes = 0
    cdef int64_t seconds, unit = ticks, part = 0
    cdef bint west
    if end - p < 10 or p[4] != c'-' or p[7] != c'-':
        return False
    year = two_digits(p) * 100 + two_digits(p + 2)
    month = two_digits(p + 5)
    day = two_digits(p + 8)
    if year < 0 or month < 1 or month > 12 or day < 1 or day > days_in_month(year, month):
        return False
    seconds = days_since_epoch(year, month, day) * 86_400
    p += 10
    if p < end:
        if end - p < 6 or (p[0] | 0x20 != c't' and p[0] != c' ') or p[3] != c':':
            return False
        hour = two_digits(p + 1)
        minute = two_digits(p + 4)
        p += 6
        if p < end and p[0] == c':':
            if end - p < 3:
                return False
            second = two_digits(p + 1)
            p += 3
            if p < end and (p[0] == c'.' or p[0] == c','):
                p += 1
                if p == end or not c'0' <= p[0] <= c'9':
                    return False
                while p < end and c'0' <= p[0] <= c'9':
                    unit //= 10
                    part += (p[0] - c'0') * unit
                    p += 1
        if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
            return False
        seconds += hour * 3600 + minute * 60 + second
    if p < end and p[0] | 0x20 == c'z':
        p += 1
    elif p < end:
        if end - p < 3 or (p[0] != c'+' and p[0] != c'-'):
            return False
        west = p[0] == c'-'
        zone = two_digits(p + 1)
        p += 3
        if p < end:
            p += p[0] == c':'
            if end - p < 2:
                return False
            zone_minutes = two_digits(p)
            p += 2
        if zone < 0 or zone > 23 or zone_minutes < 0 or zone_minutes > 59:
            return False
        zone = zone * 3600 + zone_minutes * 60
        seconds += zone if west else -zone
    if seconds < 0:  # towards zero, so that the product fits wherever the sum does
        seconds += 1
        part -= ticks
    return p == end and not product_overflows(seconds, ticks, &seconds) and not sum_overflows(seconds, part, out)
