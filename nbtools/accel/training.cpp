// The parts of a training step that PyTorch has as several passes over memory: causal attention over packed documents, GELU, and the
// softmax of the loss. `kernels.py` calls them. Numbers are stored as fp32 or bf16, and computed in fp32.
#include <algorithm>
#include <cmath>
#include <omp.h>
#include <vector>

#include "numbers.h"

#if defined(__AVX512F__)
enum { BYTES = 64, ROWS = 8 };
#elif defined(__AVX__)
enum { BYTES = 32, ROWS = 6 };
#else
enum { BYTES = 16, ROWS = 6 };
#endif
typedef float vector __attribute__((vector_size(BYTES), aligned(4), may_alias));
enum { LANES = BYTES / 4, COLUMNS = 2 * LANES }; // a tile of ROWS x COLUMNS sums stays in the registers
static const int QUERIES = 64;                    // rows of the scores that are held at a time

static inline int64_t padded(int64_t count) { return (count + COLUMNS - 1) / COLUMNS * COLUMNS; }

template <class T> static float largest_of(const T *values, int64_t count) {
    float tops[LANES]; // one for each lane: compilers do not vectorize a single one
    std::fill(tops, tops + LANES, -INFINITY);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int k = 0; k < LANES; k++) {
            float value = to_float(values[i + k]);
            tops[k] = value > tops[k] ? value : tops[k];
        }
    for (; i < count; i++) tops[0] = std::max(tops[0], to_float(values[i]));
    return *std::max_element(tops, tops + LANES);
}

// c[r][0..COLUMNS) = or += the products of R rows of a with COLUMNS columns of b.
template <int R>
static inline void tile(const float *a, int64_t a_row, int64_t a_column, const float *b, int64_t b_row, float *c, int64_t c_row, int depth,
                        bool add) {
    vector sum[R][2] = {};
    for (int k = 0; k < depth; k++) {
        vector left = *(const vector *)(b + k * b_row), right = *(const vector *)(b + k * b_row + LANES);
        for (int r = 0; r < R; r++) {
            float factor = a[r * a_row + k * a_column];
            sum[r][0] += factor * left;
            sum[r][1] += factor * right;
        }
    }
    for (int r = 0; r < R; r++)
        for (int half = 0; half < 2; half++) {
            vector *place = (vector *)(c + r * c_row + half * LANES);
            *place = add ? *place + sum[r][half] : sum[r][half];
        }
}

// c = or += a @ b for a [rows, depth] with any strides, b [depth, columns], c [rows, columns]; columns is a multiple of COLUMNS.
static void product(const float *a, int64_t a_row, int64_t a_column, const float *b, int64_t b_row, float *c, int64_t c_row, int rows,
                    int columns, int depth, bool add) {
    for (int column = 0; column < columns; column += COLUMNS)
        for (int row = 0; row < rows; row += ROWS) {
            const float *from = a + row * a_row, *with = b + column;
            float *to = c + row * c_row + column;
            int64_t s = a_row, t = a_column, u = b_row, v = c_row;
            switch (std::min((int)ROWS, rows - row)) {
            case 1: tile<1>(from, s, t, with, u, to, v, depth, add); break;
            case 2: tile<2>(from, s, t, with, u, to, v, depth, add); break;
            case 3: tile<3>(from, s, t, with, u, to, v, depth, add); break;
            case 4: tile<4>(from, s, t, with, u, to, v, depth, add); break;
            case 5: tile<5>(from, s, t, with, u, to, v, depth, add); break;
            case 6: tile<6>(from, s, t, with, u, to, v, depth, add); break;
            case 7: tile<7>(from, s, t, with, u, to, v, depth, add); break;
            default: tile<8>(from, s, t, with, u, to, v, depth, add);
            }
        }
}

// A tensor [rows, heads, tokens, size] whose last dimension is contiguous.
struct Heads {
    void *data;
    int64_t row, head, token; // strides in elements
};

struct Attention { // as in kernels.py
    Heads query, key, value, out, grad_out, grad_query, grad_key, grad_value;
    float *log_sums;          // [rows, heads, tokens]: the logarithm of the sum of each query's exponentials
    const int32_t *documents; // [count][3]: row, first token, end
    int32_t count, heads, groups, size, tokens, threads;
    float scaling;
};

template <class T> static const T *at(const Heads &h, int row, int head, int token) {
    return (const T *)h.data + row * h.row + head * h.head + token * h.token;
}

// to [n, width] in fp32, times `factor`; columns from `size` on are 0.
template <class T> static void copy_rows(const Heads &h, int row, int head, int begin, int n, int size, int width, float factor, float *to) {
    for (int i = 0; i < n; i++) {
        const T *from = at<T>(h, row, head, begin + i);
        for (int k = 0; k < size; k++) to[(int64_t)i * width + k] = to_float(from[k]) * factor;
        for (int k = size; k < width; k++) to[(int64_t)i * width + k] = 0;
    }
}

// to [size, width]: the same, transposed; columns from n on are 0.
template <class T> static void copy_columns(const Heads &h, int row, int head, int begin, int n, int size, int width, float *to) {
    for (int i = 0; i < n; i++) {
        const T *from = at<T>(h, row, head, begin + i);
        for (int k = 0; k < size; k++) to[(int64_t)k * width + i] = to_float(from[k]);
    }
    for (int k = 0; k < size; k++)
        for (int i = n; i < width; i++) to[(int64_t)k * width + i] = 0;
}

template <class T> static void write_rows(const Heads &h, int row, int head, int begin, int n, int size, int width, float factor, const float *from) {
    for (int i = 0; i < n; i++) {
        T *to = (T *)at<T>(h, row, head, begin + i);
        for (int k = 0; k < size; k++) store(from[(int64_t)i * width + k] * factor, to + k);
    }
}

struct Memory { // of one thread, reused from document to document
    std::vector<float> buffers[12];
    float *get(int number, int64_t count) {
        auto &buffer = buffers[number];
        if ((int64_t)buffer.size() < count) buffer.resize(count);
        return buffer.data();
    }
};

// Scores of `rows` queries, the first of which is query `first` of its document, and their softmax over the keys up to each.
static void probabilities(const float *query, int size_width, const float *keys, int keys_width, int first, int rows, int size, float *scores,
                          float *log_sums, bool known) {
    int seen = first + rows, columns = padded(seen);
    product(query, size_width, 1, keys, keys_width, scores, keys_width, rows, columns, size, false);
    for (int i = 0; i < rows; i++) {
        float *row = scores + (int64_t)i * keys_width;
        int count = first + i + 1;
        float total = log_sums[i];
        if (!known) {
            float largest = largest_of(row, count), sum = 0;
            for (int j = 0; j < count; j++) sum += row[j] = exponential(row[j] - largest);
            log_sums[i] = largest + std::log(sum);
            float inverse = 1 / sum;
            for (int j = 0; j < count; j++) row[j] *= inverse;
        } else
            for (int j = 0; j < count; j++) row[j] = exponential(row[j] - total);
        for (int j = count; j < columns; j++) row[j] = 0;
    }
}

template <class T> static void forward(const Attention &a, int document, int head, Memory &memory) {
    const int32_t *d = a.documents + 3 * document;
    int row = d[0], begin = d[1], n = d[2] - d[1], size = a.size, width = padded(size), wide = padded(n), group = head / (a.heads / a.groups);
    float *keys = memory.get(0, (int64_t)size * wide), *values = memory.get(1, (int64_t)n * width);
    float *query = memory.get(2, QUERIES * width), *scores = memory.get(3, (int64_t)QUERIES * wide), *out = memory.get(4, QUERIES * width);
    copy_columns<T>(a.key, row, group, begin, n, size, wide, keys);
    copy_rows<T>(a.value, row, group, begin, n, size, width, 1, values);
    for (int first = 0; first < n; first += QUERIES) {
        int rows = std::min(QUERIES, n - first), seen = first + rows;
        float *log_sums = a.log_sums + ((int64_t)row * a.heads + head) * a.tokens + begin + first;
        copy_rows<T>(a.query, row, head, begin + first, rows, size, width, a.scaling, query);
        probabilities(query, width, keys, wide, first, rows, size, scores, log_sums, false);
        product(scores, wide, 1, values, width, out, width, rows, width, seen, false);
        write_rows<T>(a.out, row, head, begin + first, rows, size, width, 1, out);
    }
}

// All heads of queries that share one head of keys: their gradients are summed here.
template <class T> static void backward(const Attention &a, int document, int group, Memory &memory) {
    const int32_t *d = a.documents + 3 * document;
    int row = d[0], begin = d[1], n = d[2] - d[1], size = a.size, width = padded(size), wide = padded(n), sharing = a.heads / a.groups;
    float *keys = memory.get(0, (int64_t)size * wide), *values = memory.get(1, (int64_t)size * wide), *key = memory.get(2, (int64_t)n * width);
    float *query = memory.get(3, QUERIES * width), *outer = memory.get(4, QUERIES * width);
    float *weights = memory.get(5, (int64_t)QUERIES * wide), *errors = memory.get(6, (int64_t)QUERIES * wide);
    float *grad_key = memory.get(7, (int64_t)n * width), *grad_value = memory.get(8, (int64_t)n * width), *grad_query = memory.get(9, QUERIES * width);
    copy_columns<T>(a.key, row, group, begin, n, size, wide, keys);
    copy_columns<T>(a.value, row, group, begin, n, size, wide, values);
    copy_rows<T>(a.key, row, group, begin, n, size, width, 1, key);
    std::fill(grad_key, grad_key + (int64_t)n * width, 0.0f);
    std::fill(grad_value, grad_value + (int64_t)n * width, 0.0f);
    for (int head = group * sharing; head < (group + 1) * sharing; head++)
        for (int first = 0; first < n; first += QUERIES) {
            int rows = std::min(QUERIES, n - first), seen = first + rows, columns = padded(seen);
            float *log_sums = a.log_sums + ((int64_t)row * a.heads + head) * a.tokens + begin + first;
            copy_rows<T>(a.query, row, head, begin + first, rows, size, width, a.scaling, query);
            copy_rows<T>(a.grad_out, row, head, begin + first, rows, size, width, 1, outer);
            probabilities(query, width, keys, wide, first, rows, size, weights, log_sums, true);
            product(outer, width, 1, values, wide, errors, wide, rows, columns, size, false);
            product(weights, 1, wide, outer, width, grad_value, width, seen, width, rows, true);
            for (int i = 0; i < rows; i++) { // the softmax's backward pass: p · (error - the mean error under p)
                float *error = errors + (int64_t)i * wide, *p = weights + (int64_t)i * wide, mean = 0;
                for (int j = 0; j < columns; j++) mean += p[j] * error[j];
                for (int j = 0; j < columns; j++) error[j] = p[j] * (error[j] - mean);
            }
            product(errors, wide, 1, key, width, grad_query, width, rows, width, seen, false);
            product(errors, 1, wide, query, width, grad_key, width, seen, width, rows, true); // the queries carry the scaling
            write_rows<T>(a.grad_query, row, head, begin + first, rows, size, width, a.scaling, grad_query);
        }
    write_rows<T>(a.grad_key, row, group, begin, n, size, width, 1, grad_key);
    write_rows<T>(a.grad_value, row, group, begin, n, size, width, 1, grad_value);
}

template <class T> static void attend(const Attention &a, bool training) {
    int units = training ? a.groups : a.heads;
#pragma omp parallel num_threads(a.threads)
    {
        Memory memory;
#pragma omp for schedule(dynamic)
        for (int task = 0; task < a.count * units; task++) {
            if (training) backward<T>(a, task / units, task % units, memory);
            else forward<T>(a, task / units, task % units, memory);
        }
    }
}

extern "C" void attention_forward(const Attention *a, bool half) { half ? attend<bf16>(*a, false) : attend<float>(*a, false); }
extern "C" void attention_backward(const Attention *a, bool half) { half ? attend<bf16>(*a, true) : attend<float>(*a, true); }

// GELU in the form with tanh (Hendrycks and Gimpel, 2016): x · (1 + tanh(u)) / 2. Below 2e-9 the factor is 0, as in PyTorch, which
// computes 1 + tanh(u); see `exponential` for what tiny numbers cost.
static inline float gate(float x) {
    float twice = 1.5957691216f * (x + 0.044715f * x * x * x);
    return twice < -20 ? 0.0f : 1 / (1 + exponential(-twice));
}

static const int64_t PIECE = 1 << 13;

template <class T> static void gelu(const T *__restrict in, const T *__restrict outer, T *__restrict out, int64_t count, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < count; from += PIECE) {
        int64_t end = std::min(count, from + PIECE);
        if (!outer)
            for (int64_t i = from; i < end; i++) {
                float x = to_float(in[i]);
                store(x * gate(x), out + i);
            }
        else
            for (int64_t i = from; i < end; i++) {
                float x = to_float(in[i]), g = gate(x);
                float slope = g + x * g * (1 - g) * 1.5957691216f * (1 + 0.134145f * x * x);
                store(to_float(outer[i]) * slope, out + i);
            }
    }
}

// outer null: out = gelu(in); else out = outer · gelu'(in).
extern "C" void gelu_tanh(const void *in, const void *outer, void *out, int64_t count, int threads, bool half) {
    if (half) gelu((const bf16 *)in, (const bf16 *)outer, (bf16 *)out, count, threads);
    else gelu((const float *)in, (const float *)outer, (float *)out, count, threads);
}

template <class T> static void sums(const T *logits, int64_t rows, int64_t columns, float *largest, float *total, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        const T *row = logits + r * columns;
        float top = largest_of(row, columns), sum = 0;
        for (int64_t j = 0; j < columns; j++) sum += exponential(to_float(row[j]) - top);
        largest[r] = top;
        total[r] = sum;
    }
}

// Each row's largest logit, and its sum of exp(logit - largest).
extern "C" void logit_sums(const void *logits, int64_t rows, int64_t columns, float *largest, float *total, int threads, bool half) {
    if (half) sums((const bf16 *)logits, rows, columns, largest, total, threads);
    else sums((const float *)logits, rows, columns, largest, total, threads);
}

template <class T> static void scale(T *logits, int64_t rows, int64_t columns, const float *log_total, const float *factor, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        T *__restrict row = logits + r * columns;
        float total = log_total[r], by = factor[r];
        for (int64_t j = 0; j < columns; j++) store(exponential(to_float(row[j]) - total) * by, row + j);
    }
}

// Replace each logit by its probability · factor.
extern "C" void logit_scale(void *logits, int64_t rows, int64_t columns, const float *log_total, const float *factor, int threads, bool half) {
    if (half) scale((bf16 *)logits, rows, columns, log_total, factor, threads);
    else scale((float *)logits, rows, columns, log_total, factor, threads);
}
