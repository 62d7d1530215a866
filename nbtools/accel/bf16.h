// bf16, the upper half of a float, for both sources.
#pragma once
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
