/* Products of bit matrices with vectors; see cleave/ops/bits.py. */

#include <stdint.h>
#include <string.h>

enum { BYTES = 8, SUBSETS = 256 }; /* of a word; sums that eight entries can have */

/* sums[v]: of those of eight entries whose bits are set in v, the first entry's being the highest. */
static void tabulate(const double *entries, double *sums)
{
    sums[0] = 0.0;
    for (int bit = 0; bit < 8; bit++) {
        const double entry = entries[7 - bit];
        const int known = 1 << bit;
        for (int subset = 0; subset < known; subset++)
            sums[known + subset] = sums[subset] + entry;
    }
}

/* The matrix is given by its 64-bit words that are not 0, one block of 64 columns after the other:
 * those of block b are words[starts[b]] to words[starts[b + 1] - 1], first column in the highest bit
 * of the lowest byte, and rows[] says where in the block each is. `vector` has 64 * blocks entries.
 *
 * The tables of one block (16 kB) stay in the first-level cache while all its words use them. The
 * order of the additions does not depend on the machine.
 */
void cleave_bits_product(const uint64_t *words, const int32_t *rows, const int64_t *starts,
                         int64_t blocks, const double *vector, double *product)
{
    double sums[BYTES][SUBSETS];
    for (int64_t block = 0; block < blocks; block++) {
        if (starts[block] == starts[block + 1])
            continue;
        for (int byte = 0; byte < BYTES; byte++)
            tabulate(vector + 8 * (BYTES * block + byte), sums[byte]);
        for (int64_t index = starts[block]; index < starts[block + 1]; index++) {
            const uint64_t word = words[index];
            const double a = sums[0][word & 255] + sums[1][word >> 8 & 255];
            const double b = sums[2][word >> 16 & 255] + sums[3][word >> 24 & 255];
            const double c = sums[4][word >> 32 & 255] + sums[5][word >> 40 & 255];
            const double d = sums[6][word >> 48 & 255] + sums[7][word >> 56];
            product[rows[index]] += (a + b) + (c + d);
        }
    }
}
