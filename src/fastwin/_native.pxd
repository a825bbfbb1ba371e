# What C says better than Cython: 128-bit arithmetic, restrict, floor division. Header only.

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>

    #if defined(__GNUC__) || defined(__clang__)
      #define FW_LIKELY(x) __builtin_expect(!!(x), 1)
      #define FW_UNLIKELY(x) __builtin_expect(!!(x), 0)
      #define FW_PREFETCH(p) __builtin_prefetch(p)
    #else
      #define FW_LIKELY(x) (x)
      #define FW_UNLIKELY(x) (x)
      #define FW_PREFETCH(p) ((void)(p))
    #endif

    /* Both halves of the 128-bit product, folded: the mixing step of the key hash. */
    static inline uint64_t fw_fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    static inline uint64_t fw_word8(const uint8_t *p) { uint64_t w; memcpy(&w, p, 8); return w; }
    static inline uint32_t fw_word4(const uint8_t *p) { uint32_t w; memcpy(&w, p, 4); return w; }

    /* All of fewer than 8 bytes in one word, by loads that overlap: no loop, no call. */
    static inline uint64_t fw_short(const uint8_t *p, int64_t n) {
        if (n >= 4) return (uint64_t)fw_word4(p) << 32 | fw_word4(p + n - 4);
        if (n > 0) return (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1];
        return 0;
    }

    /* Seeded hash of n bytes; never reads past them. The last step takes the last 8 bytes, again where they overlap. */
    static inline uint64_t fw_hash_bytes(const uint8_t *p, int64_t n, uint64_t seed) {
        uint64_t h = seed ^ ((uint64_t)n * 0x9E3779B97F4A7C15ull);
        if (n < 8) return fw_fold(fw_fold(h ^ fw_short(p, n), 0xA0761D6478BD642Full) ^ seed, 0xE7037ED1A0B428DBull);
        for (int64_t left = n; left > 8; left -= 8, p += 8)
            h = fw_fold(h ^ fw_word8(p), 0xD6E8FEB86659FD93ull) + seed;
        p -= (8 - (n & 7)) & 7;
        return fw_fold(fw_fold(h ^ fw_word8(p), 0xA0761D6478BD642Full) ^ seed, 0xE7037ED1A0B428DBull);
    }

    static inline int fw_equal(const uint8_t *a, const uint8_t *b, int64_t n) {
        if (n < 8) return fw_short(a, n) == fw_short(b, n);
        int64_t i = 0;
        for (; i + 8 < n; i += 8)
            if (fw_word8(a + i) != fw_word8(b + i)) return 0;
        return fw_word8(a + n - 8) == fw_word8(b + n - 8);
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
    bint equal "fw_equal"(const uint8_t* a, const uint8_t* b, int64_t n)
    void prefetch "FW_PREFETCH"(const void* p)
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
