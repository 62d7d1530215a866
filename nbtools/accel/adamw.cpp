// One step of AdamW (Loshchilov and Hutter, 2019) in one pass over memory, and the squared norm of all gradients.
//
// An optimizer is bound by memory: here every number is read once and written once. The tensors are cut into pieces of equal size, and
// one thread processes a piece completely, so results do not depend on the number of threads. `adamw.py` calls it.
#include <algorithm>
#include <cmath>
#include <omp.h>
#include <type_traits>
#include <vector>

#include "numbers.h"

static const int64_t PIECE = 1 << 14;

struct Part {                                // one parameter, as in adamw.py
    float *weight;                           // fp32, updated
    bf16 *working;                           // its bf16 copy, or null: then gradient and first moment are fp32, else bf16
    const void *grad;
    void *first;
    float *second;
    int64_t count;
    float shrink, new1, new2, rate, root, keep, eps;
};

// T is the format of gradient and first moment.
template <class T> static void update(const Part &p, int64_t from, int64_t count) {
    float *__restrict weight = p.weight + from, *__restrict second = p.second + from;
    bf16 *__restrict working = p.working + from;
    const T *__restrict grad = (const T *)p.grad + from;
    T *__restrict first = (T *)p.first + from;
    float shrink = p.shrink, new1 = p.new1, new2 = p.new2, rate = p.rate, root = p.root, keep = p.keep, eps = p.eps;
    for (int64_t i = 0; i < count; i++) {
        float g = to_float(grad[i]) * shrink, m = to_float(first[i]);
        m += (g - m) * new1;
        float v = second[i] + (g * g - second[i]) * new2;
        float w = weight[i] * keep - rate * m / (std::sqrt(v) * root + eps);
        store(m, first + i);
        second[i] = v;
        weight[i] = w;
        if constexpr (std::is_same_v<T, bf16>) store(w, working + i);
    }
}

template <class T> static double square(const Part &p, int64_t from, int64_t count) {
    const T *grad = (const T *)p.grad + from;
    float sum = 0;
    for (int64_t i = 0; i < count; i++) sum += to_float(grad[i]) * to_float(grad[i]);
    return sum;
}

struct Piece { int part; int64_t from, count; };

static std::vector<Piece> pieces_of(const Part *parts, int number) {
    std::vector<Piece> pieces;
    for (int part = 0; part < number; part++)
        for (int64_t from = 0; from < parts[part].count; from += PIECE)
            pieces.push_back({part, from, std::min(PIECE, parts[part].count - from)});
    return pieces;
}

extern "C" void adamw(const Part *parts, int number, int threads) {
    auto pieces = pieces_of(parts, number);
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < pieces.size(); i++) {
        const Part &part = parts[pieces[i].part];
        part.working ? update<bf16>(part, pieces[i].from, pieces[i].count) : update<float>(part, pieces[i].from, pieces[i].count);
    }
}

extern "C" double squared_norm(const Part *parts, int number, int threads) {
    auto pieces = pieces_of(parts, number);
    std::vector<double> sums(pieces.size());
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < pieces.size(); i++) {
        const Part &part = parts[pieces[i].part];
        sums[i] = part.working ? square<bf16>(part, pieces[i].from, pieces[i].count) : square<float>(part, pieces[i].from, pieces[i].count);
    }
    double total = 0; // in the order of the pieces, whichever thread summed them
    for (double sum : sums) total += sum;
    return total;
}
