/* Gaussian filtering on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010). */

#ifndef CLEAVE_LATTICE_H
#define CLEAVE_LATTICE_H

#include <stdint.h>

/* Values of so many masks lie side by side and are filtered at once. */
enum { LANES = 4, MOST_DIMENSIONS = 5 };
typedef float lanes __attribute__((vector_size(4 * LANES)));

typedef struct {
    int corners;      /* of a simplex: one more than dimensions */
    int64_t points;   /* pixels */
    int32_t nodes;    /* lattice points with a pixel near, and node 0, whose value is always 0 */
    int32_t *corner;  /* (points, corners) nodes around each pixel */
    float *share;     /* (points, corners) barycentric weights, which sum to 1 */
    int32_t *ahead;   /* (corners, nodes) next node in each direction; 0 where there is none */
    int32_t *behind;  /* the same, backwards */
} Lattice;

/* Places points with `dimensions` (2 or 5) features each, in units of the standard deviation.
 * 0 if memory ran out, when the lattice is freed. */
int lattice_build(Lattice *lattice, const float *features, int64_t points, int dimensions);

void lattice_free(Lattice *lattice);

/* Blurs values (nodes) of the lattice; returns which of the two buffers has the result. */
lanes *lattice_blur(const Lattice *lattice, lanes *values, lanes *spare);

#endif
