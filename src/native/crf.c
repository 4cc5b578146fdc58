/* Mean field in a fully connected CRF with two labels; see dense_crf in cleave/ops/crf.py. */

#include "lattice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KERNELS = 2, BLOCK = 64 /* pixels */ };

typedef struct {
    int64_t points;
    Lattice lattice[KERNELS];
    float gain[KERNELS]; /* factor of what is sliced: weight of the kernel, sum of the blur */
} Field;

/* exp to 2 units in the last place, and 0 or a large number where it would not be finite. */
static inline lanes exponential(lanes x)
{
    typedef int32_t whole __attribute__((vector_size(4 * LANES)));
    const whole low = x < -87.0f, high = x > 87.0f;
    x = (lanes)(((whole)x & ~low & ~high) | ((whole)(lanes)((lanes){0} - 87.0f) & low) |
                ((whole)((lanes){0} + 87.0f) & high));
    const lanes shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to whole numbers */
    const lanes power = shifted - 12582912.0f;
    const lanes rest = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    lanes sum = rest * 1.9875691500e-4f + 1.3981999507e-3f; /* minimax on |x| < ln(2)/2 (Cephes) */
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    return (lanes)((whole)sum + (((whole)shifted - 0x4b400000) << 23));
}

static inline void splat(const Lattice *lattice, int corners, int64_t point, lanes value,
                         lanes *restrict to)
{
    const int32_t *corner = lattice->corner + point * corners;
    const float *share = lattice->share + point * corners;
    for (int i = 0; i < corners; i++)
        to[corner[i]] += share[i] * value;
}

static inline lanes slice(const Lattice *lattice, int corners, int64_t point,
                          const lanes *restrict from)
{
    const int32_t *corner = lattice->corner + point * corners;
    const float *share = lattice->share + point * corners;
    lanes sum[3];
    for (int i = 0; i < 3; i++)
        sum[i] = share[i] * from[corner[i]];
    for (int i = 3; i < corners; i++)
        sum[i - 3] += share[i] * from[corner[i]];
    return sum[0] + sum[1] + sum[2];
}

/* The values of a lattice while it is filtered, and room for the splatting of the next ones. */
typedef struct {
    lanes *blurred, *spare, *next;
} Buffers;

static void *aligned(size_t count)
{
    void *memory = aligned_alloc(sizeof(lanes), count * sizeof(lanes));
    if (memory)
        memset(memory, 0, count * sizeof(lanes));
    return memory;
}

static int buffers_new(Buffers *buffers, int32_t nodes)
{
    buffers->blurred = aligned((size_t)nodes);
    buffers->spare = aligned((size_t)nodes);
    buffers->next = aligned((size_t)nodes);
    return buffers->blurred && buffers->spare && buffers->next;
}

static void buffers_free(Buffers *buffers)
{
    free(buffers->blurred);
    free(buffers->spare);
    free(buffers->next);
}

/* Blurs what was splatted, and empties the buffer for the next. */
static void advance(const Lattice *lattice, Buffers *buffers)
{
    lanes *splatted = buffers->next, *old = buffers->blurred;
    lanes *blurred = lattice_blur(lattice, splatted, buffers->spare);
    buffers->blurred = blurred;
    buffers->spare = blurred == splatted ? buffers->spare : splatted;
    buffers->next = old;
    memset(old, 0, (size_t)lattice->nodes * sizeof(lanes));
}

/* Normalises a kernel from both sides: pixels' shares of the nodes get the factor 1 / sqrt(K 1). */
static void normalise(Lattice *lattice, float alpha, Buffers *buffers)
{
    const int corners = lattice->corners;
    for (int64_t point = 0; point < lattice->points; point++)
        splat(lattice, corners, point, (lanes){0} + 1.0f, buffers->next);
    advance(lattice, buffers);
    for (int64_t point = 0; point < lattice->points; point++) {
        const lanes sum = slice(lattice, corners, point, buffers->blurred);
        const float norm = 1.0f / sqrtf(alpha * sum[0] + 1e-20f);
        for (int i = 0; i < corners; i++)
            lattice->share[point * corners + i] *= norm;
    }
}

void cleave_crf_free(Field *field)
{
    if (!field)
        return;
    for (int kernel = 0; kernel < KERNELS; kernel++)
        lattice_free(&field->lattice[kernel]);
    free(field);
}

/* near (points, 2) and alike (points, 5): features of the two kernels, divided by deviations. */
Field *cleave_crf_new(int64_t points, const float *near, float near_weight, const float *alike,
                      float alike_weight)
{
    Field *field = calloc(1, sizeof *field);
    if (!field)
        return NULL;
    field->points = points;
    int good = lattice_build(&field->lattice[0], near, points, 2) &&
               lattice_build(&field->lattice[1], alike, points, 5);
    for (int kernel = 0; good && kernel < KERNELS; kernel++) {
        Lattice *lattice = &field->lattice[kernel];
        const float alpha = 1.0f / (1.0f + 1.0f / (float)(1 << (lattice->corners - 1)));
        Buffers buffers;
        good = buffers_new(&buffers, lattice->nodes);
        if (good)
            normalise(lattice, alpha, &buffers);
        buffers_free(&buffers);
        field->gain[kernel] = alpha * (kernel ? alike_weight : near_weight);
    }
    if (good)
        return field;
    cleave_crf_free(field);
    return NULL;
}

/* One step for the `count` pixels from `first` on: what the last beliefs say to each of them, and
 * with `logits` unset its new beliefs. In loops of their own, as one pixel's steps wait for each
 * other but pixels do not. */
static inline void step(const Field *field, Buffers *buffers, const lanes *prior, int64_t first,
                        int64_t count, int listen, lanes *logits)
{
    const Lattice *near = &field->lattice[0], *alike = &field->lattice[1];
    lanes value[BLOCK];
    for (int64_t i = 0; i < count; i++)
        value[i] = prior[i];
    for (int64_t i = 0; listen && i < count; i++)
        value[i] += field->gain[0] * slice(near, 3, first + i, buffers[0].blurred);
    for (int64_t i = 0; listen && i < count; i++)
        value[i] += field->gain[1] * slice(alike, 6, first + i, buffers[1].blurred);
    if (logits) {
        memcpy(logits, value, (size_t)count * sizeof(lanes));
        return;
    }
    for (int64_t i = 0; i < count; i++)
        value[i] = 1.0f - 2.0f / (1.0f + exponential(value[i]));
    for (int64_t i = 0; i < count; i++)
        splat(near, 3, first + i, value[i], buffers[0].next);
    for (int64_t i = 0; i < count; i++)
        splat(alike, 6, first + i, value[i], buffers[1].next);
}

/* Each step slices what the last one's beliefs became and splats the new beliefs in one pass over
 * the pixels. With two labels K q - K (1 - q) = K (2 q - 1) is all that counts, and 2 q - 1 is
 * tanh(logit / 2). */
static void mean_field(const Field *field, Buffers *buffers, const uint8_t *pattern,
                       const lanes *choice, int64_t count, int64_t iterations, float *logits)
{
    const int64_t points = field->points;
    for (int64_t iteration = 0; iteration <= iterations; iteration++) {
        for (int64_t first = 0; first < points; first += BLOCK) {
            const int64_t size = points - first < BLOCK ? points - first : BLOCK;
            lanes before[BLOCK], after[BLOCK];
            for (int64_t i = 0; i < size; i++)
                before[i] = choice[pattern[first + i]];
            if (iteration < iterations) {
                step(field, buffers, before, first, size, iteration > 0, NULL);
                continue;
            }
            step(field, buffers, before, first, size, iteration > 0, after);
            for (int64_t mask = 0; mask < count; mask++)
                for (int64_t i = 0; i < size; i++)
                    logits[mask * points + first + i] = after[i][mask];
        }
        for (int kernel = 0; kernel < KERNELS && iteration < iterations; kernel++)
            advance(&field->lattice[kernel], &buffers[kernel]);
    }
}

/* pattern[i]: bit m is set if pixel i is in mask m; choice[p]: what a pattern says beforehand. */
static void encode(const uint8_t *masks, int64_t points, int64_t count, float prior,
                   uint8_t *pattern, lanes *choice)
{
    memset(pattern, 0, (size_t)points);
    for (int64_t mask = 0; mask < count; mask++)
        for (int64_t i = 0; i < points; i++)
            pattern[i] |= (uint8_t)(masks[mask * points + i] << mask);
    for (int subset = 0; subset < 1 << LANES; subset++)
        for (int mask = 0; mask < LANES; mask++)
            choice[subset][mask] = subset >> mask & 1 ? prior : -prior;
}

/* masks (count, points) of 0 and 1 -> logits (count, points); 0 < count <= LANES, and `prior` is
 * the logit inside a mask before the first of the iterations. 0 if memory ran out. */
int cleave_crf_infer(const Field *field, const uint8_t *masks, int64_t count, float prior,
                     int64_t iterations, float *logits)
{
    Buffers buffers[KERNELS] = {{0}};
    lanes choice[1 << LANES];
    uint8_t *pattern = malloc((size_t)field->points);
    int good = pattern != NULL;
    for (int kernel = 0; good && kernel < KERNELS; kernel++)
        good = buffers_new(&buffers[kernel], field->lattice[kernel].nodes);
    if (good) {
        encode(masks, field->points, count, prior, pattern, choice);
        mean_field(field, buffers, pattern, choice, count, iterations, logits);
    }
    for (int kernel = 0; kernel < KERNELS; kernel++)
        buffers_free(&buffers[kernel]);
    free(pattern);
    return good;
}
