/* Gaussian filtering on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010). */

#include "lattice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t high, low;
} Key;

/* Open addressing; node 0 says that a place is free. */
typedef struct {
    Key *keys;        /* of the nodes, in the order in which they were met */
    int32_t *places;
    int32_t count, room; /* nodes, node 0 included, and how many keys there is memory for */
    uint64_t mask;    /* places - 1, a power of two less one */
} Table;

/* Coordinates of a node, the last left out as all add up to 0, with 21 bits each. */
static Key key_of(const int32_t *coordinate, int dimensions)
{
    uint64_t part[6] = {0};
    for (int i = 0; i < dimensions; i++)
        part[i] = (uint64_t)(coordinate[i] + (1 << 20)) & 0x1fffff;
    return (Key){part[0] | part[1] << 21 | part[2] << 42, part[3] | part[4] << 21};
}

static uint64_t place_of(Key key)
{
    uint64_t hash = key.high * 0x9e3779b97f4a7c15u ^ key.low * 0xc2b2ae3d27d4eb4fu;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

static int32_t find(const Table *table, Key key, uint64_t *place)
{
    uint64_t at = place_of(key) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        const int32_t node = table->places[at];
        if (!node || (table->keys[node].high == key.high && table->keys[node].low == key.low)) {
            *place = at;
            return node;
        }
    }
}

/* Makes room for twice as many; 0 if there is no memory. */
static int grow(Table *table)
{
    const int32_t room = 2 * table->room;
    Key *keys = realloc(table->keys, (size_t)room * sizeof(Key));
    if (!keys)
        return 0;
    table->keys = keys;
    int32_t *places = calloc(2 * (size_t)room, sizeof(int32_t));
    if (!places)
        return 0;
    free(table->places);
    table->places = places, table->room = room, table->mask = 2 * (uint64_t)room - 1;
    for (int32_t node = 1; node < table->count; node++) {
        uint64_t place;
        find(table, keys[node], &place);
        places[place] = node;
    }
    return 1;
}

/* The node with a key, a new one if it is not known yet; 0 if there is no memory. */
static int32_t node_of(Table *table, Key key)
{
    uint64_t place;
    int32_t node = find(table, key, &place);
    if (node)
        return node;
    if (table->count == table->room) {
        if (!grow(table))
            return 0;
        find(table, key, &place);
    }
    node = table->count++;
    table->keys[node] = key, table->places[place] = node;
    return node;
}

/* The simplex around a point: its remainder-0 corner, and the order of the point's distances to it
 * (Sec. 3.1 of the paper: round to the nearest remainder-0 point, rank the differences). */
typedef struct {
    int32_t base[MOST_DIMENSIONS + 1];
    int32_t rank[MOST_DIMENSIONS + 1];
    float weight[MOST_DIMENSIONS + 2];
} Simplex;

/* Coordinates in the hyperplane whose coordinates add up to 0. The scale makes splatting, blurring
 * and slicing together a Gaussian of deviation 1. */
static inline void elevate(const float *feature, const float *scale, int dimensions, float *high)
{
    float sum = 0;
    for (int i = dimensions; i > 0; i--) {
        const float scaled = feature[i - 1] * scale[i - 1];
        high[i] = sum - (float)i * scaled;
        sum += scaled;
    }
    high[0] = sum;
}

static inline int32_t floor_of(float value)
{
    const int32_t whole = (int32_t)value;
    return whole - ((float)whole > value);
}

static inline void enclose(const float *high, int dimensions, Simplex *simplex)
{
    const int corners = dimensions + 1;
    float rest[MOST_DIMENSIONS + 1];
    int32_t excess = 0;
    for (int i = 0; i < corners; i++) {
        const int32_t down = floor_of(high[i] * (1.0f / (float)corners)) * corners;
        const float above = high[i] - (float)down;
        const int up = (float)corners - above < above;
        simplex->base[i] = down + up * corners;
        excess += simplex->base[i];
        rest[i] = high[i] - (float)simplex->base[i];
        simplex->rank[i] = 0;
    }
    for (int i = 0; i < dimensions; i++)
        for (int j = i + 1; j < corners; j++) {
            const int lower = rest[i] < rest[j];
            simplex->rank[i] += lower;
            simplex->rank[j] += !lower;
        }
    excess /= corners; /* off the plane by so many steps: those rounded most wrongly go back */
    for (int i = 0; i < corners; i++) {
        simplex->rank[i] += excess;
        const int wrap = (simplex->rank[i] < 0) - (simplex->rank[i] > dimensions);
        simplex->rank[i] += wrap * corners;
        simplex->base[i] += wrap * corners;
    }
    float *weight = simplex->weight;
    memset(weight, 0, sizeof simplex->weight);
    for (int i = 0; i < corners; i++) {
        const float part = (high[i] - (float)simplex->base[i]) * (1.0f / (float)corners);
        weight[dimensions - simplex->rank[i]] += part;
        weight[corners - simplex->rank[i]] -= part;
    }
    weight[0] += 1.0f + weight[corners];
}

static inline int place(Lattice *lattice, Table *table, const float *features, int dimensions)
{
    const int corners = dimensions + 1;
    float scale[MOST_DIMENSIONS], high[MOST_DIMENSIONS + 1];
    for (int i = 0; i < dimensions; i++)
        scale[i] = (float)(corners * sqrt(2.0 / 3.0) / sqrt((i + 1.0) * (i + 2.0)));
    for (int64_t point = 0; point < lattice->points; point++) {
        Simplex simplex;
        elevate(features + point * dimensions, scale, dimensions, high);
        enclose(high, dimensions, &simplex);
        int32_t *corner = lattice->corner + point * corners;
        for (int remainder = 0; remainder < corners; remainder++) {
            int32_t coordinate[MOST_DIMENSIONS + 1];
            for (int i = 0; i < dimensions; i++)
                coordinate[i] = simplex.base[i] + remainder -
                                (simplex.rank[i] > dimensions - remainder ? corners : 0);
            corner[remainder] = node_of(table, key_of(coordinate, dimensions));
            if (!corner[remainder])
                return 0;
        }
        memcpy(lattice->share + point * corners, simplex.weight, (size_t)corners * sizeof(float));
    }
    return 1;
}

/* A step in direction i adds 1 to all coordinates but takes `dimensions` from the i-th. */
static inline int connect(Lattice *lattice, const Table *table, int dimensions)
{
    const size_t cells = (size_t)(dimensions + 1) * (size_t)table->count;
    lattice->ahead = calloc(cells, sizeof(int32_t));
    lattice->behind = calloc(cells, sizeof(int32_t));
    if (!lattice->ahead || !lattice->behind)
        return 0;
    const int32_t one[MOST_DIMENSIONS] = {1, 1, 1, 1, 1}, none[MOST_DIMENSIONS] = {0};
    const Key origin = key_of(none, dimensions);
    Key step = key_of(one, dimensions);
    step.high -= origin.high, step.low -= origin.low;
    for (int direction = 0; direction <= dimensions; direction++) {
        int32_t *ahead = lattice->ahead + (size_t)direction * (size_t)table->count;
        int32_t *behind = lattice->behind + (size_t)direction * (size_t)table->count;
        Key taken = {0, 0};
        if (direction < dimensions) {
            const uint64_t less = (uint64_t)(dimensions + 1) << 21 * (direction % 3);
            *(direction < 3 ? &taken.high : &taken.low) = less;
        }
        for (int32_t node = 1; node < table->count; node++) {
            uint64_t unused;
            Key key = table->keys[node];
            key.high += step.high - taken.high, key.low += step.low - taken.low;
            ahead[node] = find(table, key, &unused);
            if (ahead[node])
                behind[ahead[node]] = node;
        }
    }
    return 1;
}

int lattice_build(Lattice *lattice, const float *features, int64_t points, int dimensions)
{
    const size_t cells = (size_t)(dimensions + 1) * (size_t)points;
    Table table = {.room = 1 << 15, .count = 1};
    memset(lattice, 0, sizeof *lattice);
    lattice->corners = dimensions + 1;
    lattice->points = points;
    lattice->corner = malloc(cells * sizeof(int32_t));
    lattice->share = malloc(cells * sizeof(float));
    int good = lattice->corner && lattice->share && grow(&table);
    if (dimensions == 2) /* the compiler makes a special case of each */
        good = good && place(lattice, &table, features, 2) && connect(lattice, &table, 2);
    else
        good = good && place(lattice, &table, features, 5) && connect(lattice, &table, 5);
    lattice->nodes = table.count;
    free(table.keys);
    free(table.places);
    if (!good)
        lattice_free(lattice);
    return good;
}

void lattice_free(Lattice *lattice)
{
    free(lattice->corner);
    free(lattice->share);
    free(lattice->ahead);
    free(lattice->behind);
    memset(lattice, 0, sizeof *lattice);
}

lanes *lattice_blur(const Lattice *lattice, lanes *values, lanes *spare)
{
    for (int direction = 0; direction < lattice->corners; direction++) {
        const int32_t *ahead = lattice->ahead + (size_t)direction * (size_t)lattice->nodes;
        const int32_t *behind = lattice->behind + (size_t)direction * (size_t)lattice->nodes;
        spare[0] = values[0];
        for (int32_t node = 1; node < lattice->nodes; node++)
            spare[node] = values[node] + 0.5f * (values[ahead[node]] + values[behind[node]]);
        lanes *blurred = spare;
        spare = values, values = blurred;
    }
    return values;
}
