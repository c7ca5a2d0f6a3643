// L neighbouring channels of a pixel as one vector, and memory on cache lines. Maps are (image, row, column, channel).

#pragma once
#include <cstdint>
#include <vector>

constexpr int64_t LAYOUT_VERSION = 1;  // of the structures, as VERSION in kernels.py

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

// Calls `work` with a kernel of the right number and lanes: work(number of the type, integral constant of lanes).
template <int N> struct Count {
    static constexpr int value = N;
};

template <class Work> void dispatch(bool precise, int64_t lanes, Work&& work) {
    if (precise) work(double{}, Count<4>{});
    else if (lanes == 16) work(float{}, Count<16>{});
    else if (lanes == 8) work(float{}, Count<8>{});
    else work(float{}, Count<4>{});
}
