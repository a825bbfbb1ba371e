# What C says better than Cython: 128-bit arithmetic, restrict, floor division. Header only.

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>

    #if defined(__GNUC__) || defined(__clang__)
      #define FW_LIKELY(x) __builtin_expect(!!(x), 1)
      #define FW_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #else
      #define FW_LIKELY(x) (x)
      #define FW_UNLIKELY(x) (x)
    #endif

    /* Both halves of the 128-bit product, folded: the mixing step of the key hash. */
    static inline uint64_t fw_fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    /* Seeded hash of n bytes; never reads past them. */
    static inline uint64_t fw_hash_bytes(const uint8_t *p, int64_t n, uint64_t seed) {
        uint64_t h = seed ^ ((uint64_t)n * 0x9E3779B97F4A7C15ull), word;
        while (n >= 8) {
            memcpy(&word, p, 8);
            h = fw_fold(h ^ word, 0xD6E8FEB86659FD93ull) + seed;
            p += 8;
            n -= 8;
        }
        word = 0;
        if (n > 0) memcpy(&word, p, (size_t)n);
        h = fw_fold(h ^ word, 0xA0761D6478BD642Full) ^ seed;
        return fw_fold(h, 0xE7037ED1A0B428DBull);
    }

    static inline uint64_t fw_hash_int(int64_t x, uint64_t seed) {
        return fw_fold((uint64_t)x ^ seed, 0xD6E8FEB86659FD93ull) ^ fw_fold((uint64_t)x + seed, 0xA0761D6478BD642Full);
    }

    /* Quotient rounded toward minus infinity; d > 0. */
    static inline int64_t fw_floordiv(int64_t x, int64_t d) {
        int64_t q = x / d;
        return q - ((x % d) < 0);
    }

    static inline void fw_minmax(const int64_t *restrict x, int64_t n, int64_t *lo, int64_t *hi) {
        int64_t a = x[0], b = x[0];
        for (int64_t i = 1; i < n; i++) {
            a = x[i] < a ? x[i] : a;
            b = x[i] > b ? x[i] : b;
        }
        *lo = a;
        *hi = b;
    }

    /* A 128-bit sum lives in a record as two 64-bit words, low first: no alignment beyond 8 is asked of it. */
    static inline void fw_add128(void *at, int64_t x) {
        __int128 sum;
        memcpy(&sum, at, 16);
        sum += x;
        memcpy(at, &sum, 16);
    }
    static inline void fw_merge128(void *into, const void *from) {
        __int128 a, b;
        memcpy(&a, into, 16);
        memcpy(&b, from, 16);
        a += b;
        memcpy(into, &a, 16);
    }
    static inline double fw_double128(const void *at) {
        __int128 sum;
        memcpy(&sum, at, 16);
        return (double)sum;
    }
    /* 1 and the value when the sum fits 64 bits, else 0. */
    static inline int fw_int64_of128(const void *at, int64_t *out) {
        __int128 sum;
        memcpy(&sum, at, 16);
        *out = (int64_t)sum;
        return sum == (__int128)*out;
    }
    """
    bint LIKELY "FW_LIKELY"(bint x)
    bint UNLIKELY "FW_UNLIKELY"(bint x)
    uint64_t hash_bytes "fw_hash_bytes"(const uint8_t* p, int64_t n, uint64_t seed)
    uint64_t hash_int "fw_hash_int"(int64_t x, uint64_t seed)
    int64_t floordiv "fw_floordiv"(int64_t x, int64_t d)
    void minmax "fw_minmax"(const int64_t* x, int64_t n, int64_t* lo, int64_t* hi)
    void add128 "fw_add128"(void* at, int64_t x)
    void merge128 "fw_merge128"(void* into, const void* other)
    double double128 "fw_double128"(const void* at)
    bint int64_of128 "fw_int64_of128"(const void* at, int64_t* out)


cdef inline bint bit(const uint8_t* bitmap, int64_t i) noexcept nogil:
    return (bitmap[i >> 3] >> (i & 7)) & 1


cdef inline void* address(object array) except NULL:
    # Of a numpy array's memory; the caller keeps the array.
    return <void*> <uintptr_t> array.ctypes.data
