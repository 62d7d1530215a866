// Attention of one new token per row over that row's own part of a key-value cache.
//
// The work is reading keys and values, so nothing beyond a row's length is read. PyTorch's attention takes a mask instead and reads
// every row to the length of the longest one. `teacher.py` calls it.
#include <cmath>
#include <omp.h>
#include <vector>

#include "numbers.h"

static const int SIZE = 64; // per head

// QUERIES attend to the same `length` keys. asked and out are [QUERIES, SIZE], key and value [length, SIZE], weights [QUERIES, length].
template <int QUERIES>
static void attend_group(const bf16 *asked, const bf16 *key, const bf16 *value, int64_t length, float *weights, bf16 *out) {
    float query[QUERIES][SIZE], mixed[QUERIES][SIZE] = {}, scale = 1 / std::sqrt((float)SIZE);
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < SIZE; i++) query[q][i] = to_float(asked[q * SIZE + i]) * scale;
    for (int64_t t = 0; t < length; t++) {
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
    for (int64_t t = 0; t < length; t++)
        for (int i = 0; i < SIZE; i++) {
            float v = to_float(value[t * SIZE + i]);
            for (int q = 0; q < QUERIES; q++) mixed[q][i] += weights[q * length + t] * v;
        }
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < SIZE; i++) store(mixed[q][i], out + q * SIZE + i);
}

// query and mixed are [rows, heads, SIZE]; keys and values are [rows of the cache, groups, capacity, SIZE]; three heads share a group.
extern "C" void attend(const bf16 *query, const bf16 *keys, const bf16 *values, bf16 *mixed, const int64_t *slots, const int64_t *lengths,
                       int rows, int groups, int64_t capacity, int threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> weights(3 * capacity);
#pragma omp for schedule(dynamic, 8)
        for (int task = 0; task < rows * groups; task++) {
            int64_t row = task / groups, start = (slots[row] * groups + task % groups) * capacity * SIZE, own = (int64_t)task * 3 * SIZE;
            attend_group<3>(query + own, keys + start, values + start, lengths[row], weights.data(), mixed + own);
        }
    }
}
