// What happens between the matrix products when a Llama reads one more token in each of many rows.
//
// Attention reads keys and values of each row as far as the row is filled and no further. PyTorch's attention takes a mask instead and
// reads every row to the length of the longest one, and its single operations each go through memory. `teacher.py` calls these.
#include <cmath>
#include <omp.h>
#include <vector>

#include "numbers.h"

static const int SIZE = 64;   // per head
static const int SHARED = 3;  // heads that share keys and values
static const int AHEAD = 12;  // positions that are fetched from memory before they are needed

static void fetch(const bf16 *place) {
    __builtin_prefetch(place);
    __builtin_prefetch(place + SIZE / 2);
}

// Rotary position embedding of one head (Su et al., 2021, arXiv:2104.09864), in the order of dimensions that transformers uses.
template <class T> static void rotate(const bf16 *from, const bf16 *cosine, const bf16 *sine, T *to) {
    const int HALF = SIZE / 2;
    for (int i = 0; i < HALF; i++) {
        float a = to_float(from[i]), b = to_float(from[i + HALF]);
        store(a * to_float(cosine[i]) - b * to_float(sine[i]), to + i);
        store(b * to_float(cosine[i + HALF]) + a * to_float(sine[i + HALF]), to + i + HALF);
    }
}

// SHARED queries, which are scaled already, attend to the same `length` keys. weights is [SHARED, length], out [SHARED, SIZE].
static void attend_group(const float (*query)[SIZE], const bf16 *key, const bf16 *value, int64_t length, float *weights, bf16 *out) {
    float mixed[SHARED][SIZE] = {};
    for (int64_t t = 0; t < length; t++) {
        fetch(key + (t + AHEAD) * SIZE);
        float dots[SHARED] = {};
        for (int i = 0; i < SIZE; i++)
            for (int q = 0; q < SHARED; q++) dots[q] += query[q][i] * to_float(key[t * SIZE + i]);
        for (int q = 0; q < SHARED; q++) weights[q * length + t] = dots[q];
    }
    for (int q = 0; q < SHARED; q++) {
        float *w = weights + q * length, most = *std::max_element(w, w + length), total = 0;
        for (int64_t t = 0; t < length; t++) w[t] = exponential(w[t] - most);
        for (int64_t t = 0; t < length; t++) total += w[t];
        for (int64_t t = 0; t < length; t++) w[t] /= total;
    }
    for (int64_t t = 0; t < length; t++) {
        fetch(value + (t + AHEAD) * SIZE);
        for (int i = 0; i < SIZE; i++) {
            float v = to_float(value[t * SIZE + i]);
            for (int q = 0; q < SHARED; q++) mixed[q][i] += weights[q * length + t] * v;
        }
    }
    for (int q = 0; q < SHARED; q++)
        for (int i = 0; i < SIZE; i++) store(mixed[q][i], out + q * SIZE + i);
}

// Store one new key and value per row at its position, then attend to all up to there.
// qkv [rows, (SHARED + 2) * groups, SIZE]: queries, keys, values; cosine, sine [capacity, SIZE];
// keys, values [rows of the cache, groups, capacity, SIZE]; mixed [rows, SHARED * groups, SIZE].
extern "C" void attend(const bf16 *qkv, const bf16 *cosine, const bf16 *sine, bf16 *keys, bf16 *values, bf16 *mixed,
                       const int64_t *slots, const int64_t *positions, int rows, int groups, int64_t capacity, int threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> weights(SHARED * capacity);
        float query[SHARED][SIZE], scale = 1 / std::sqrt((float)SIZE);
#pragma omp for schedule(dynamic, 8)
        for (int task = 0; task < rows * groups; task++) {
            int row = task / groups, group = task % groups;
            int64_t position = positions[row], start = ((slots[row] * groups + group) * capacity) * SIZE;
            const bf16 *first = qkv + (int64_t)row * (SHARED + 2) * groups * SIZE;
            const bf16 *c = cosine + position * SIZE, *s = sine + position * SIZE;
            for (int q = 0; q < SHARED; q++) {
                rotate(first + (group * SHARED + q) * SIZE, c, s, query[q]);
                for (int i = 0; i < SIZE; i++) query[q][i] *= scale;
            }
            rotate(first + (SHARED * groups + group) * SIZE, c, s, keys + start + position * SIZE);
            std::copy_n(first + ((SHARED + 1) * groups + group) * SIZE, SIZE, values + start + position * SIZE);
            bf16 *out = mixed + ((int64_t)row * groups + group) * SHARED * SIZE;
            attend_group(query, keys + start, values + start, position + 1, weights.data(), out);
        }
    }
}

// states += change, where there is one; normed = RMSNorm(states) * weight. All but weight are [rows, width].
extern "C" void add_and_norm(bf16 *states, const bf16 *change, const bf16 *weight, bf16 *normed, float eps, int rows, int width,
                             int threads) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < rows; row++) {
        bf16 *x = states + (int64_t)row * width, *out = normed + (int64_t)row * width;
        if (change)
            for (int i = 0; i < width; i++) store(to_float(x[i]) + to_float(change[(int64_t)row * width + i]), x + i);
        float sum = 0;
        for (int i = 0; i < width; i++) sum += to_float(x[i]) * to_float(x[i]);
        float scale = 1 / std::sqrt(sum / width + eps);
        for (int i = 0; i < width; i++) store(to_float(x[i]) * scale * to_float(weight[i]), out + i);
    }
}

// SwiGLU: out = SiLU(gate) * up. both [rows, 2 * inner]: gate, then up; out [rows, inner].
extern "C" void gate(const bf16 *both, bf16 *out, int rows, int inner, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < rows; row++) {
        const bf16 *x = both + (int64_t)row * 2 * inner, *up = x + inner;
        for (int i = 0; i < inner; i++) {
            float g = to_float(x[i]);
            store(g / (1 + exponential(-g)) * to_float(up[i]), out + (int64_t)row * inner + i);
        }
    }
}
