/* The physical reference: what a good C programmer writes for this one query and nothing else.
 *
 * Dense keys index an array of 32-byte records {sum, count, min, -max}, so that an event is one load, one add, one min
 * and one store of a vector, without a branch. A window is left by a compare and not found by a division. Events are in
 * order. No nulls, no lateness, no other aggregate, no other key, and nothing is checked.
 */

#include <math.h>
#include <stdint.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

struct state {
    double sum, count, min, negated_max;
} __attribute__((aligned(32)));

struct out {
    int64_t *window_start;
    int32_t *key;
    int64_t *count;
    double *sum, *min, *max;
};

static const struct state EMPTY = {0.0, 0.0, INFINITY, INFINITY};

static inline void update(struct state *s, double x)
{
#ifdef __AVX__
    const __m256d old = _mm256_load_pd(&s->sum);
    const __m256d sums = _mm256_add_pd(old, _mm256_setr_pd(x, 1.0, 0.0, 0.0));
    const __m256d mins = _mm256_min_pd(_mm256_setr_pd(0.0, 0.0, x, -x), old);
    _mm256_store_pd(&s->sum, _mm256_blend_pd(sums, mins, 0xc));
#else
    s->sum += x;
    s->count += 1.0;
    s->min = x < s->min ? x : s->min;
    s->negated_max = -x < s->negated_max ? -x : s->negated_max;
#endif
}

static int64_t close_window(struct state *state, int64_t keys, int64_t start, const struct out *out, int64_t row)
{
    for (int64_t key = 0; key < keys; key++) {
        if (state[key].count == 0.0)
            continue;
        out->window_start[row] = start;
        out->key[row] = (int32_t)key;
        out->count[row] = (int64_t)state[key].count;
        out->sum[row] = state[key].sum;
        out->min[row] = state[key].min;
        out->max[row] = -state[key].negated_max;
        row++;
        state[key] = EMPTY;
    }
    return row;
}

/* Returns the number of rows written, or -1 where they might not fit `capacity`. `state` is aligned to 32 bytes. */
int64_t tumbling(const int64_t *restrict ts, const int32_t *restrict key, const double *restrict value, int64_t events,
                 int64_t size, struct state *restrict state, int64_t keys, const struct out *out, int64_t capacity)
{
    int64_t row = 0, at = 0;

    for (int64_t k = 0; k < keys; k++)
        state[k] = EMPTY;
    while (at < events) {
        const int64_t start = ts[at] - (ts[at] % size + size) % size, end = start + size;
        if (row + keys > capacity)
            return -1;
        for (; at < events && ts[at] < end; at++)
            update(&state[key[at]], value[at]);
        row = close_window(state, keys, start, out, row);
    }
    return row;
}
