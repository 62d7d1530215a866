// Attention of one new token per row over that row's own part of a key-value cache.
//
// The work is reading keys and values, so nothing beyond a row's length is read. PyTorch's attention takes a mask instead and reads
// every row to the length of the longest one. `teacher.py` calls it.
#include <cmath>
#include <omp.h>
#include <vector>

#include "numbers.h"

static const int SIZE = 64;  // per head
static const int AHEAD = 12; // positions that are fetched from memory before they are needed

static void fetch(const bf16 *place) {
    __builtin_prefetch(place);
    __builtin_prefetch(place + SIZE / 2);
}

// QUERIES attend to the same `length` keys. asked and out are [QUERIES, SIZE], key and value [length, SIZE], weights [QUERIES, length].
template <int QUERIES>
static void attend_group(const bf16 *asked, const bf16 *key, const bf16 *value, int64_t length, float *weights, bf16 *out) {
    float query[QUERIES][SIZE], mixed[QUERIES][SIZE] = {}, scale = 1 / std::sqrt((float)SIZE);
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < SIZE; i++) query[q][i] = to_float(asked[q * SIZE + i]) * scale;
    for (int64_t t = 0; t < length; t++) {
        fetch(key + (t + AHEAD) * SIZE);
        float dots[QUERIES] = {};
        for (int i = 0; i < SIZE; i++)
            for (int q = 0; q < QUERIES; q++) dots[q] += query[q][i] * to_float(key[t * SIZE + i]);
        for (int q = 0; q < QUERIES; q++) weights[q * length + t] = dots[q];
    }
    for (int q = 0; q < QUERIES; q++) {
        float *w = weights + q * length, most = *std::max_element(w, w + length), total = 0;
        for (int64_t t = 0; t < length; t++) w[t] = exponential(w[t] - most);
        for (int64_t t = 0; t < length; t++) total += w[t];
        for (int64_t t = 0; t < length; t++) w[t] /= total;
    }
    for (int64_t t = 0; t < length; t++) {
        fetch(value + (t + AHEAD) * SIZE);
        for (int i = 0; i < SIZE; i++) {
            float v = to_float(value[t * SIZE + i]);
            for (int q = 0; q < QUERIES; q++) mixed[q][i] += weights[q * length + t] * v;
        }
    }
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < SIZE; i++) store(mixed[q][i], out + q * SIZE + i);
}

// Store one new key and value per row at its position, then attend to all up to there. query and mixed are [rows, heads, SIZE]; key and
// value [rows, groups, SIZE]; keys and values [rows of the cache, groups, capacity, SIZE]; three heads share a group.
extern "C" void attend(const bf16 *query, const bf16 *key, const bf16 *value, bf16 *keys, bf16 *values, bf16 *mixed, const int64_t *slots,
                       const int64_t *positions, int rows, int groups, int64_t capacity, int threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> weights(3 * capacity);
#pragma omp for schedule(dynamic, 8)
        for (int64_t task = 0; task < (int64_t)rows * groups; task++) {
            int64_t row = task / groups, start = (slots[row] * groups + task % groups) * capacity * SIZE, own = task * 3 * SIZE;
            int64_t position = positions[row];
            std::copy_n(key + task * SIZE, SIZE, keys + start + position * SIZE);
            std::copy_n(value + task * SIZE, SIZE, values + start + position * SIZE);
            attend_group<3>(query + own, keys + start, values + start, position + 1, weights.data(), mixed + own);
        }
    }
}
