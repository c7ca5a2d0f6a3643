// The weighted sum of batch-normalised maps, one affine map a term; and the sums its backward pass needs.

#include <algorithm>
#include "lanes.h"

struct Mix {
    int64_t threads, precise, lanes;
    int64_t images, edges, channels, pixels, terms;  // channels of one edge, pixels of an image
    const void* const* maps;                         // (terms) of (edges, images, pixels, channels)
    const double *scale, *offset;                    // (terms, edges·channels), (edges·channels)
    void* out;
    const void* const* grad;                         // one map (images, pixels, channels) an edge
    const double* mean;                              // (terms, edges·channels)
    double* sums;                                    // (terms, 2, edges·channels): Σ grad, Σ grad · (map − mean)
};

namespace {

template <class T, int L> struct Mixing {
    using V = Vector<T, L>;
    const Mix& m;

    int64_t size() const { return m.pixels * m.channels; }

    void forward() const {
        const int64_t all = m.edges * m.channels;
        Aligned<T> scale(m.terms * all), offset(all);
        std::copy(m.scale, m.scale + m.terms * all, &scale[0]);
        std::copy(m.offset, m.offset + all, &offset[0]);
#pragma omp parallel for num_threads(m.threads) schedule(static)
        for (int64_t item = 0; item < m.edges * m.images; item++)
            for (int64_t c = 0; c < m.channels; c += L) {
                const int64_t channel = item / m.images * m.channels + c;
                for (int64_t at = item * size() + c; at < (item + 1) * size(); at += m.channels) {
                    V sum = load<T, L>(&offset[channel]);
                    for (int64_t t = 0; t < m.terms; t++)
                        sum += load<T, L>((const T*)m.maps[t] + at) * load<T, L>(&scale[t * all + channel]);
                    store<T, L>((T*)m.out + at, sum);
                }
            }
    }

    void backward() const {
        const int64_t all = m.edges * m.channels, items = m.edges * m.images;
        Aligned<T> mean(m.terms * all);
        std::copy(m.mean, m.mean + m.terms * all, &mean[0]);
        std::vector<double> found(items * m.terms * 2 * m.channels);
#pragma omp parallel for num_threads(m.threads) schedule(static)
        for (int64_t item = 0; item < items; item++)
            for (int64_t t = 0; t < m.terms; t++)
                for (int64_t c = 0; c < m.channels; c += L) {
                    const V middle = load<T, L>(&mean[t * all + item / m.images * m.channels + c]);
                    const T* from = (const T*)m.grad[item / m.images] - item / m.images * m.images * size();
                    V sum{}, product{};
                    for (int64_t at = item * size() + c; at < (item + 1) * size(); at += m.channels) {
                        const V grad = load<T, L>(from + at);
                        sum += grad;
                        product += grad * (load<T, L>((const T*)m.maps[t] + at) - middle);
                    }
                    double* to = &found[(item * m.terms + t) * 2 * m.channels + c];
                    for (int l = 0; l < L; l++) to[l] = sum[l], to[m.channels + l] = product[l];
                }
        std::fill(m.sums, m.sums + m.terms * 2 * all, 0.0);
        for (int64_t item = 0; item < items; item++)
            for (int64_t row = 0; row < m.terms * 2; row++)
                for (int64_t c = 0; c < m.channels; c++)
                    m.sums[row * all + item / m.images * m.channels + c] +=
                        found[(item * m.terms * 2 + row) * m.channels + c];
    }
};

}  // namespace

extern "C" void mix_forward(const Mix* m) {
    dispatch(m->precise, m->lanes, [&](auto number, auto lanes) { Mixing<decltype(number), lanes.value>{*m}.forward(); });
}

extern "C" void mix_backward(const Mix* m) {
    dispatch(m->precise, m->lanes, [&](auto number, auto lanes) { Mixing<decltype(number), lanes.value>{*m}.backward(); });
}
