// bf16, the upper half of a float, and the exponential function, for all sources.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

typedef uint16_t bf16;

static inline float to_float(float value) { return value; }
static inline float to_float(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}
static inline void store(float value, float *place) { *place = value; }
static inline void store(float value, bf16 *place) { // to the nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &value, 4);
    *place = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

// e^x for x up to 88 with a relative error below 2e-7, in a form that compilers vectorize; 0 below -60. Smaller results would count for
// nothing in a sum with 1, and products with them are subnormal numbers, for which matrix products take ten times as long on some
// processors.
static inline float exponential(float x) {
    x = std::min(std::max(x, -88.0f), 88.0f);
    float n = std::floor(x * 1.44269504f + 0.5f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f; // ln 2 in two parts: the first product is exact
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return x <= -60.0f ? 0.0f : p * power;
}
