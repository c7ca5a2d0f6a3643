// L neighbouring channels of a pixel as one vector, and memory on cache lines. Maps are (image, row, column, channel).

#pragma once
#include <cstdint>
#include <vector>

constexpr int64_t LAYOUT_VERSION = 2;  // of the structures, as VERSION in kernels.py

template <class T, int L> struct Lanes;

#define LANES(T, L)                                                                                   \
    template <> struct Lanes<T, L> {                                                                  \
        typedef T Vector __attribute__((vector_size(L * sizeof(T)), aligned(alignof(T)), may_alias)); \
    }
LANES(float, 16);
LANES(float, 8);
LANES(float, 4);
LANES(double, 4);
#undef LANES

template <class T, int L> using Vector = typename Lanes<T, L>::Vector;

template <class T, int L> inline Vector<T, L> load(const T* from) { return *(const Vector<T, L>*)from; }
template <class T, int L> inline void store(T* to, Vector<T, L> value) { *(Vector<T, L>*)to = value; }

// Memory that starts on a cache line, so that a pixel's vector lies in one.
template <class T> class Aligned {
    struct alignas(64) Line {
        char bytes[64];
    };
    std::vector<Line> lines;

  public:
    explicit Aligned(int64_t size = 0) { resized(size); }
    T* resized(int64_t size) {
        lines.resize((size * sizeof(T) + 63) / 64);
        return (T*)lines.data();
    }
    T& operator[](int64_t i) { return ((T*)lines.data())[i]; }
    const T& operator[](int64_t i) const { return ((const T*)lines.data())[i]; }
};

// Calls `work` with a kernel of the fields' number type and lanes.
template <template <class, int> class Kernel, class Fields, class Work> void with_kernel(const Fields& fields, Work&& work) {
    if (fields.precise) work(Kernel<double, 4>(fields));
    else if (fields.lanes == 16) work(Kernel<float, 16>(fields));
    else if (fields.lanes == 8) work(Kernel<float, 8>(fields));
    else work(Kernel<float, 4>(fields));
}
