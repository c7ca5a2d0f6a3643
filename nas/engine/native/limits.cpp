// What a core can do at most: multiply-adds of the widest vectors, and bytes through memory.

#include "lanes.h"

// Multiply-adds: rounds · 12 · WIDEST of them, each on a vector from the nearest cache.
extern "C" void limits_multiply_add(int64_t rounds, float* values) {
    using V = Vector<float, WIDEST>;
    V sums[12]{};
    const V factor = load<float, WIDEST>(values);
    for (int64_t round = 0; round < rounds; round++) {
        const float* at = values;
        hide(at);
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) sums[i] += load<float, WIDEST>(at + i * WIDEST) * factor;
    }
    for (int i = 1; i < 12; i++) sums[0] += sums[i];
    store<float, WIDEST>(values, sums[0]);
}
extern "C" int64_t limits_lanes() { return WIDEST; }
