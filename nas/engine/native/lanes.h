// Neighbouring channels of a pixel as one vector, and memory on cache lines. Maps are (image, row, column, channel).

#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

constexpr int64_t LAYOUT_VERSION = 3;  // of the structures, as VERSION in kernels.py

#if defined(__AVX512F__)
constexpr int WIDEST = 16;  // single-precision numbers of a register
#elif defined(__AVX2__)
constexpr int WIDEST = 8;
#else
constexpr int WIDEST = 4;
#endif

template <class T, int L> struct Lanes;

#define LANES(T, L)                                                                                   \
    template <> struct Lanes<T, L> {                                                                  \
        typedef T Vector __attribute__((vector_size(L * sizeof(T)), aligned(alignof(T)), may_alias)); \
    }
LANES(float, 16);
LANES(float, 8);
LANES(float, 4);
LANES(float, 1);
LANES(double, 4);
LANES(double, 1);
#undef LANES

template <class T, int L> using Vector = typename Lanes<T, L>::Vector;

template <class T, int L> inline Vector<T, L> load(const T* from) { return *(const Vector<T, L>*)from; }
template <class T, int L> inline void store(T* to, Vector<T, L> value) { *(Vector<T, L>*)to = value; }

// Adds a vector to double-precision sums.
template <class T, int L> inline void add_to(double* sums, Vector<T, L> value) {
    for (int l = 0; l < L; l++) sums[l] += value[l];
}

template <int N> using Number = std::integral_constant<int, N>;

// Calls work(lanes, c) for vectors that cover the channels, the widest first: 36 are 16 + 16 + 4.
template <class T, class Work> inline void each_vector(int64_t channels, Work&& work) {
    int64_t c = 0;
    const auto some = [&](auto lanes) {
        for (; c + lanes <= channels; c += lanes) work(lanes, c);
    };
    if constexpr (sizeof(T) == 4 && WIDEST >= 16) some(Number<16>());
    if constexpr (sizeof(T) == 4 && WIDEST >= 8) some(Number<8>());
    some(Number<4>());
    some(Number<1>());
}

// Calls work(count, p) for groups of neighbouring pixels that cover all.
template <class Work> inline void each_group(int64_t pixels, Work&& work) {
    int64_t p = 0;
    for (; p + 8 <= pixels; p += 8) work(Number<8>(), p);
    for (; p + 4 <= pixels; p += 4) work(Number<4>(), p);
    for (; p < pixels; p++) work(Number<1>(), p);
}

// Makes the compiler forget how a pointer came about: it otherwise keeps dozens of sums of pointer and offset.
template <class T> inline void hide(T*& pointer) { asm volatile("" : "+r"(pointer)); }

// Memory that starts on a cache line, so that a pixel's vector lies in one.
template <class T> class Aligned {
    struct alignas(64) Line {
        char bytes[64];
    };
    std::vector<Line> lines;

  public:
    explicit Aligned(int64_t size = 0) { resized(size); }
    Aligned(const double* values, int64_t count) {  // rounded; of a null pointer none
        if (values) std::copy(values, values + count, resized(count));
    }
    T* resized(int64_t size) {
        lines.resize((size * sizeof(T) + 63) / 64);
        return (T*)lines.data();
    }
    T& operator[](int64_t i) { return ((T*)lines.data())[i]; }
    const T& operator[](int64_t i) const { return ((const T*)lines.data())[i]; }
};

// Calls `work` with a kernel of the fields' number type.
template <template <class> class Kernel, class Fields, class Work> void with_kernel(const Fields& fields, Work&& work) {
    if (fields.precise) work(Kernel<double>(fields));
    else work(Kernel<float>(fields));
}
