// The weighted sum of maps, each as one affine map of its channels (a batch norm and a weight), for all edges of a state;
// what its backward pass sums; and the gradients of the maps that all edges share.

#include <algorithm>
#include "lanes.h"

struct Mix {
    int64_t threads, precise, lanes;
    int64_t images, edges, channels, pixels, terms;  // channels of one edge, pixels of an image
    const int64_t* shared;                           // (terms): whether the map is one for all edges
    const double *scale, *offset;                    // (terms, edges·channels), (edges·channels)
    void* out;                                       // (edges, images, pixels, channels)
    const double* mean;                              // (terms, edges·channels)
    double* sums;                                    // (terms, 2, edges·channels): Σ grad, Σ grad · (map − mean)
    const double *slope, *shift;                     // (terms, channels)
    const void* const* maps;                         // (terms) of (edges or 1, images, pixels, channels)
    const void* const* grads;                        // one map (images, pixels, channels) an edge
    void* const* map_grads;                          // (terms), null: not wanted
};

namespace {

template <class T, int L> struct Mixing {
    using V = Vector<T, L>;
    const Mix& m;
    const int64_t size, all;  // elements of an image, channels of all edges

    explicit Mixing(const Mix& mix) : m(mix), size(m.pixels * m.channels), all(m.edges * m.channels) {}

    const T* map(int64_t term, int64_t edge, int64_t image) const {
        return (const T*)m.maps[term] + ((m.shared[term] ? 0 : edge * m.images) + image) * size;
    }

    static Aligned<T> rounded(const double* values, int64_t count) {
        Aligned<T> found(count);
        std::copy(values, values + count, &found[0]);
        return found;
    }

    template <class Work> void each_image(Work&& work) const {
#pragma omp parallel for num_threads(m.threads) schedule(static)
        for (int64_t item = 0; item < m.edges * m.images; item++) work(item / m.images, item % m.images);
    }

    void forward() const {
        const Aligned<T> scale = rounded(m.scale, m.terms * all), offset = rounded(m.offset, all);
        each_image([&](int64_t edge, int64_t image) {
            T* out = (T*)m.out + (edge * m.images + image) * size;
            for (int64_t c = 0; c < m.channels; c += L)
                for (int64_t at = c; at < size; at += m.channels) {
                    V sum = load<T, L>(&offset[edge * m.channels + c]);
                    for (int64_t t = 0; t < m.terms; t++)
                        sum += load<T, L>(map(t, edge, image) + at) * load<T, L>(&scale[t * all + edge * m.channels + c]);
                    store<T, L>(out + at, sum);
                }
        });
    }

    void sums() const {
        const Aligned<T> mean = rounded(m.mean, m.terms * all);
        std::vector<double> found(m.images * m.terms * 2 * all);
        each_image([&](int64_t edge, int64_t image) {
            const T* grad = (const T*)m.grads[edge] + image * size;
            for (int64_t t = 0; t < m.terms; t++)
                for (int64_t c = 0; c < m.channels; c += L) {
                    const T* from = map(t, edge, image);
                    const V middle = load<T, L>(&mean[t * all + edge * m.channels + c]);
                    V sum{}, product{};
                    for (int64_t at = c; at < size; at += m.channels) {
                        const V g = load<T, L>(grad + at);
                        sum += g;
                        product += g * (load<T, L>(from + at) - middle);
                    }
                    double* to = &found[(image * m.terms + t) * 2 * all + edge * m.channels + c];
                    for (int l = 0; l < L; l++) to[l] = sum[l], to[all + l] = product[l];
                }
        });
        std::fill(m.sums, m.sums + m.terms * 2 * all, 0.0);
        for (int64_t image = 0; image < m.images; image++)
            for (int64_t i = 0; i < m.terms * 2 * all; i++) m.sums[i] += found[image * m.terms * 2 * all + i];
    }

    // Σ over edges of scale · grad, + slope · map + shift.
    void shared_gradients() const {
        const Aligned<T> scale = rounded(m.scale, m.terms * all);
        const Aligned<T> slope = rounded(m.slope, m.terms * m.channels), shift = rounded(m.shift, m.terms * m.channels);
#pragma omp parallel for num_threads(m.threads) schedule(static)
        for (int64_t image = 0; image < m.images; image++)
            for (int64_t t = 0; t < m.terms; t++)
                for (int64_t c = 0; m.map_grads[t] && c < m.channels; c += L)
                    for (int64_t at = c; at < size; at += m.channels) {
                        const V value = load<T, L>(map(t, 0, image) + at);
                        V sum = value * load<T, L>(&slope[t * m.channels + c]) + load<T, L>(&shift[t * m.channels + c]);
                        for (int64_t e = 0; e < m.edges; e++)
                            sum += load<T, L>((const T*)m.grads[e] + image * size + at) *
                                   load<T, L>(&scale[t * all + e * m.channels + c]);
                        store<T, L>((T*)m.map_grads[t] + image * size + at, sum);
                    }
    }
};

}  // namespace

extern "C" const int64_t mix_layout[] = {LAYOUT_VERSION, sizeof(Mix)};
extern "C" void mix_forward(const Mix* m) { with_kernel<Mixing>(*m, [](auto&& kernel) { kernel.forward(); }); }
extern "C" void mix_sums(const Mix* m) { with_kernel<Mixing>(*m, [](auto&& kernel) { kernel.sums(); }); }
extern "C" void mix_shared_gradients(const Mix* m) { with_kernel<Mixing>(*m, [](auto&& kernel) { kernel.shared_gradients(); }); }
