// One decoding step of a GPT-2 or Llama model: a new token for each of a few rows, in one parallel region.
//
// Decoding is bound by memory: every weight is read once per step, whatever the number of rows. So each thread streams its own share of a
// matrix's rows from memory, prefetches what comes next, and uses a row for all tokens while it is in the cache. Plain C++ with the vector
// types of GCC and Clang; `decode_kernel.py` calls `step_*`.
#include <algorithm>
#include <cmath>
#include <omp.h>
#include <type_traits>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "numbers.h"

typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(64), aligned(4), may_alias));

static const int AHEAD = 4096;  // bytes; the best of 0, 1024 ... 8192 by measurement
static const int TOGETHER = 8;  // tokens that one pass over a row of weights serves

// 64 bytes of weights: how they are loaded, multiplied with as many inputs and added to sixteen sums.
template <class T> struct Block;
template <> struct Block<float> {
    enum { SIZE = 16 };
    typedef floats Values;
    static Values load(const float *from) { return *(const floats *)from; }
    static floats add(floats sum, Values weights, Values inputs) { return sum + weights * inputs; }
};
template <> struct Block<bf16> {
    enum { SIZE = 32 };
#ifdef __AVX512BF16__
    typedef __m512bh Values;
    static Values load(const bf16 *from) { return (Values)_mm512_loadu_si512(from); }
    static floats add(floats sum, Values weights, Values inputs) { return (floats)_mm512_dpbf16_ps((__m512)sum, weights, inputs); }
#else
    typedef words Values;
    static Values load(const bf16 *from) { return *(const words *)from; }
    static floats add(floats sum, Values weights, Values inputs) { // the odd elements are the upper halves, the even ones the lower
        sum += (floats)(weights << 16) * (floats)(inputs << 16);
        return sum + (floats)(weights & 0xffff0000u) * (floats)(inputs & 0xffff0000u);
    }
#endif
};

static inline float total(floats values) {
    float sum = 0;
    for (int i = 0; i < 16; i++) sum += values[i];
    return sum;
}

// sums[r][t] = the product of weights' row r and token t's inputs, for R rows and N tokens.
template <class T, int R, int N>
__attribute__((noinline)) static void products(const T *weights, const T *inputs, int width, float sums[R][TOGETHER]) {
    floats sum[R][N] = {};
    for (int k = 0; k < width; k += Block<T>::SIZE) {
        typename Block<T>::Values row[R];
        for (int r = 0; r < R; r++) {
            const T *from = weights + (int64_t)r * width + k;
            row[r] = Block<T>::load(from);
            __builtin_prefetch((const char *)from + AHEAD);
        }
        for (int t = 0; t < N; t++) {
            typename Block<T>::Values in = Block<T>::load(inputs + (int64_t)t * width + k);
            for (int r = 0; r < R; r++) sum[r][t] = Block<T>::add(sum[r][t], row[r], in);
        }
    }
    for (int r = 0; r < R; r++)
        for (int t = 0; t < N; t++) sums[r][t] = total(sum[r][t]);
}

template <class T, int R> static inline void products(const T *weights, const T *inputs, int width, int tokens, float sums[R][TOGETHER]) {
    switch (tokens) {
    case 1: return products<T, R, 1>(weights, inputs, width, sums);
    case 2: return products<T, R, 2>(weights, inputs, width, sums);
    case 3: return products<T, R, 3>(weights, inputs, width, sums);
    case 4: return products<T, R, 4>(weights, inputs, width, sums);
    case 5: return products<T, R, 5>(weights, inputs, width, sums);
    case 6: return products<T, R, 6>(weights, inputs, width, sums);
    case 7: return products<T, R, 7>(weights, inputs, width, sums);
    default: return products<T, R, 8>(weights, inputs, width, sums);
    }
}

// The calling thread's share of [0, count).
static void share(int count, int &from, int &to) {
    int threads = omp_get_num_threads(), me = omp_get_thread_num();
    from = (int64_t)count * me / threads;
    to = (int64_t)count * (me + 1) / threads;
}

// Multiplies this thread's share of the rows of weights [height, width] with inputs [tokens, width]; put(row, token, result) takes each.
template <class T, class Put>
static inline void multiply(const T *weights, const float *bias, const T *inputs, int height, int width, int tokens, Put put) {
    int from, to;
    share(height, from, to);
    float sums[3][TOGETHER];
    auto some = [&](int row, auto rows) {
        constexpr int R = decltype(rows)::value;
        for (int t = 0; t < tokens; t += TOGETHER) {
            int now = std::min(TOGETHER, tokens - t);
            products<T, R>(weights + (int64_t)row * width, inputs + (int64_t)t * width, width, now, sums);
            for (int r = 0; r < R; r++)
                for (int i = 0; i < now; i++) put(row + r, t + i, sums[r][i] + (bias ? bias[row + r] : 0));
        }
    };
    int row = from;
    // Three rows share each load of the inputs; one token alone has few inputs, and one stream from memory is read fastest.
    if (tokens > 1)
        for (; row + 3 <= to; row += 3) some(row, std::integral_constant<int, 3>());
    for (; row < to; row++) some(row, std::integral_constant<int, 1>());
}

struct Shape { // as in decode_kernel.py
    int32_t layers, width, heads, groups, size, inner, vocabulary, capacity, cache_rows, rms;
    float eps;
};

struct Outer { // weights outside the layers, as in decode_kernel.py; positions, cosine, sine and biases may be null
    const void *embedding;
    const float *positions, *cosine, *sine, *norm, *norm_bias;
    const void *head;
};

struct Layer { // weights of a layer, as in decode_kernel.py; gate is null without a gated feed-forward part
    const float *norm1, *norm1_bias;
    const void *query, *key, *value, *output;
    const float *query_bias, *key_bias, *value_bias, *output_bias, *norm2, *norm2_bias;
    const void *gate, *up, *down;
    const float *gate_bias, *up_bias, *down_bias;
};

template <class T> static void normalize(const Shape &s, const float *x, const float *weight, const float *bias, T *to) {
    float mean = 0, square = 0;
    if (!s.rms)
        for (int i = 0; i < s.width; i++) mean += x[i];
    mean /= s.width;
    for (int i = 0; i < s.width; i++) square += (x[i] - mean) * (x[i] - mean);
    float scale = 1 / std::sqrt(square / s.width + s.eps);
    for (int i = 0; i < s.width; i++) store((x[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0), to + i);
}

static void rotate(float *x, int size, const float *cosine, const float *sine) {
    for (int i = 0; i < size / 2; i++) {
        float low = x[i], high = x[i + size / 2];
        x[i] = low * cosine[i] - high * sine[i];
        x[i + size / 2] = high * cosine[i] + low * sine[i];
    }
}

// One group of query heads attends to its key and value head, where the new position is written first.
template <class T>
static void attend(const Shape &s, float *query, float *key, const float *value, T *keys, T *values, int position, float *weights,
                   float *mixed, T *to, const Outer &outer) {
    int size = s.size;
    float scale = 1 / std::sqrt((float)size);
    if (outer.cosine) rotate(key, size, outer.cosine + (int64_t)position * size, outer.sine + (int64_t)position * size);
    for (int i = 0; i < size; i++) {
        store(key[i], keys + (int64_t)position * size + i);
        store(value[i], values + (int64_t)position * size + i);
    }
    for (int head = 0; head < s.heads / s.groups; head++, query += size, to += size) {
        if (outer.cosine) rotate(query, size, outer.cosine + (int64_t)position * size, outer.sine + (int64_t)position * size);
        for (int i = 0; i < size; i++) store(query[i] * scale, to + i); // the result's memory serves as scratch
        float largest = -INFINITY, all = 0;
        for (int p = 0; p <= position; p++) {
            const T *from = keys + (int64_t)p * size;
            floats sum = {};
            int i = 0;
            for (; i + Block<T>::SIZE <= size; i += Block<T>::SIZE)
                sum = Block<T>::add(sum, Block<T>::load(from + i), Block<T>::load(to + i));
            weights[p] = total(sum);
            for (; i < size; i++) weights[p] += to_float(from[i]) * to_float(to[i]);
            largest = std::max(largest, weights[p]);
        }
        for (int i = 0; i < size; i++) mixed[i] = 0;
        for (int p = 0; p <= position; p++) all += weights[p] = exponential(weights[p] - largest);
        for (int p = 0; p <= position; p++)
            for (int i = 0; i < size; i++) mixed[i] += weights[p] * to_float(values[(int64_t)p * size + i]);
        for (int i = 0; i < size; i++) store(mixed[i] / all, to + i);
    }
}

// ids, slots, positions int32 [tokens]: the new tokens, the cache rows they belong to and their positions there.
// cache T [layers, 2, cache_rows, groups, capacity, size]; logits float [tokens, vocabulary].
template <class T>
static void step(const Shape &s, const Outer &outer, const Layer *layers, int tokens, const int32_t *ids, const int32_t *slots,
                 const int32_t *positions, T *cache, float *logits, int threads) {
    int rows = s.heads * s.size, group_rows = s.groups * s.size;
    std::vector<float> x(tokens * s.width), queries(tokens * rows), keys(tokens * group_rows), values(tokens * group_rows);
    std::vector<float> opened(tokens * s.inner);
    std::vector<T> attended(tokens * rows), inner(tokens * s.inner);
#pragma omp parallel num_threads(threads)
    {
        // Every thread normalizes for itself: that is cheaper than waiting for the others.
        std::vector<T> inputs(tokens * s.width);
        std::vector<float> weights(s.capacity), mixed(s.size);
        auto norm = [&](const float *weight, const float *bias) {
            for (int t = 0; t < tokens; t++) normalize(s, &x[t * s.width], weight, bias, &inputs[t * s.width]);
        };
        int from, to;
        share(tokens * s.width, from, to);
        for (int i = from; i < to; i++) {
            int t = i / s.width, k = i % s.width;
            x[i] = to_float(((const T *)outer.embedding)[(int64_t)ids[t] * s.width + k]);
            if (outer.positions) x[i] += outer.positions[(int64_t)positions[t] * s.width + k];
        }
#pragma omp barrier
        for (int l = 0; l < s.layers; l++) {
            const Layer &layer = layers[l];
            norm(layer.norm1, layer.norm1_bias);
            auto project = [&](const void *matrix, const float *bias, std::vector<float> &into, int height) {
                multiply((const T *)matrix, bias, inputs.data(), height, s.width, tokens,
                         [&](int row, int t, float result) { into[t * height + row] = result; });
            };
            project(layer.query, layer.query_bias, queries, rows);
            project(layer.key, layer.key_bias, keys, group_rows);
            project(layer.value, layer.value_bias, values, group_rows);
#pragma omp barrier
            share(tokens * s.groups, from, to);
            for (int i = from; i < to; i++) {
                int t = i / s.groups, group = i % s.groups, heads = s.heads / s.groups;
                int64_t plane = (int64_t)s.capacity * s.size, half = plane * s.groups * s.cache_rows;
                T *own = cache + 2 * l * half + ((int64_t)slots[t] * s.groups + group) * plane;
                int64_t first = (int64_t)t * rows + group * heads * s.size, single = (int64_t)t * group_rows + group * s.size;
                attend(s, &queries[first], &keys[single], &values[single], own, own + half, positions[t], weights.data(), mixed.data(),
                       &attended[first], outer);
            }
#pragma omp barrier
            auto add = [&](int row, int t, float result) { x[t * s.width + row] += result; };
            multiply((const T *)layer.output, layer.output_bias, attended.data(), s.width, rows, tokens, add);
#pragma omp barrier
            norm(layer.norm2, layer.norm2_bias);
            if (layer.gate) // silu; the same thread handles the same rows again below
                multiply((const T *)layer.gate, layer.gate_bias, inputs.data(), s.inner, s.width, tokens,
                         [&](int row, int t, float g) { opened[t * s.inner + row] = g / (1 + exponential(-g)); });
            multiply((const T *)layer.up, layer.up_bias, inputs.data(), s.inner, s.width, tokens, [&](int row, int t, float u) {
                // gelu's tanh form (Hendrycks and Gimpel, 2016): u (1 + tanh(a)) / 2 is u / (1 + exp(-2a))
                float a = 0.7978845608f * (u + 0.044715f * u * u * u);
                store(layer.gate ? opened[t * s.inner + row] * u : u / (1 + exponential(-2 * a)), &inner[t * s.inner + row]);
            });
#pragma omp barrier
            multiply((const T *)layer.down, layer.down_bias, inner.data(), s.width, s.inner, tokens, add);
#pragma omp barrier
        }
        norm(outer.norm, outer.norm_bias);
        multiply((const T *)outer.head, (const float *)nullptr, inputs.data(), s.vocabulary, s.width, tokens,
                 [&](int row, int t, float result) { logits[(int64_t)t * s.vocabulary + row] = result; });
    }
}

extern "C" void step_fp32(const Shape *s, const Outer *outer, const Layer *layers, int tokens, const int32_t *ids, const int32_t *slots,
                          const int32_t *positions, float *cache, float *logits, int threads) {
    step(*s, *outer, layers, tokens, ids, slots, positions, cache, logits, threads);
}

extern "C" void step_bf16(const Shape *s, const Outer *outer, const Layer *layers, int tokens, const int32_t *ids, const int32_t *slots,
                          const int32_t *positions, bf16 *cache, float *logits, int threads) {
    step(*s, *outer, layers, tokens, ids, slots, positions, cache, logits, threads);
}
