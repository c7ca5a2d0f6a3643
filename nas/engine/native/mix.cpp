// The weighted sum of maps, each as one affine map of its channels (a batch norm and a weight), for all edges of a state;
// what its backward pass sums; and the gradients of the maps that all edges share.

#include <utility>
#include "lanes.h"

struct Mix {
    int64_t threads, precise;
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

template <class T> struct Mixing {
    template <int L> using V = Vector<T, L>;
    const Mix& m;
    const int64_t size, all;  // elements of an image, channels of all edges

    explicit Mixing(const Mix& mix) : m(mix), size(m.pixels * m.channels), all(m.edges * m.channels) {}

    const T* map(int64_t term, int64_t edge, int64_t image) const {
        return (const T*)m.maps[term] + ((m.shared[term] ? 0 : edge * m.images) + image) * size;
    }

    template <class Work> void each_image(Work&& work) const {
#pragma omp parallel for num_threads(m.threads) schedule(static)
        for (int64_t item = 0; item < m.edges * m.images; item++) work(item / m.images, item % m.images);
    }

    // One image: a sum of maps, each times a number a channel. start(lanes, c, at) and term(lanes, i, c) are the start of
    // a pixel's sum and (map, number) of the i-th.
    template <class Start, class Term> void add_up(int64_t terms, T* out, Start&& start, Term&& term) const {
        const int64_t step = m.channels;
        each_vector<T>(m.channels, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            each_group(m.pixels, [&](auto count, int64_t first) {
                V<L> sums[count];
#pragma GCC unroll 8
                for (int p = 0; p < count; p++) sums[p] = start(lanes, c, (first + p) * step + c);
                for (int64_t i = 0; i < terms; i++) {
                    const auto [from, scale] = term(i, c);
                    const V<L> factor = load<T, L>(scale);
                    const T* at = from + first * step + c;
#pragma GCC unroll 8
                    for (int p = 0; p < count; p++) sums[p] += load<T, L>(at + p * step) * factor;
                }
#pragma GCC unroll 8
                for (int p = 0; p < count; p++) store<T, L>(out + (first + p) * step + c, sums[p]);
            });
        });
    }

    void forward() const {
        const Aligned<T> scale(m.scale, m.terms * all), offset(m.offset, all);
        each_image([&](int64_t edge, int64_t image) {
            const int64_t own = edge * m.channels;
            const auto start = [&](auto lanes, int64_t c, int64_t) { return load<T, lanes>(&offset[own + c]); };
            const auto term = [&](int64_t t, int64_t c) { return std::pair(map(t, edge, image), &scale[t * all + own + c]); };
            add_up(m.terms, (T*)m.out + (edge * m.images + image) * size, start, term);
        });
    }

    void sums() const {
        const Aligned<T> mean(m.mean, m.terms * all);
        std::vector<double> found(m.images * m.terms * 2 * all);
        each_image([&](int64_t edge, int64_t image) {
            const T* grad = (const T*)m.grads[edge] + image * size;
            for (int64_t t = 0; t < m.terms; t++)
                each_vector<T>(m.channels, [&](auto lanes, int64_t c) {
                    double* to = &found[(image * m.terms + t) * 2 * all + edge * m.channels + c];
                    add_sums<lanes>(grad + c, map(t, edge, image) + c, &mean[t * all + edge * m.channels + c], to);
                });
        });
        std::fill(m.sums, m.sums + m.terms * 2 * all, 0.0);
        for (int64_t image = 0; image < m.images; image++)
            for (int64_t i = 0; i < m.terms * 2 * all; i++) m.sums[i] += found[image * m.terms * 2 * all + i];
    }

    template <int L> void add_sums(const T* grad, const T* from, const T* mean, double* to) const {
        const V<L> middle = load<T, L>(mean);
        const int64_t step = m.channels;
        V<L> sum[4]{}, product[4]{};  // as many additions are under way at once
        each_group(m.pixels, [&](auto count, int64_t first) {
#pragma GCC unroll 8
            for (int p = 0; p < count; p++) {
                const V<L> g = load<T, L>(grad + (first + p) * step);
                sum[p % 4] += g;
                product[p % 4] += g * (load<T, L>(from + (first + p) * step) - middle);
            }
        });
        add_to<T, L>(to, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        add_to<T, L>(to + all, (product[0] + product[1]) + (product[2] + product[3]));
    }

    // Σ over edges of scale · grad, + slope · map + shift.
    void shared_gradients() const {
        const Aligned<T> scale(m.scale, m.terms * all), slope(m.slope, m.terms * m.channels);
        const Aligned<T> shift(m.shift, m.terms * m.channels);
#pragma omp parallel for num_threads(m.threads) schedule(static)
        for (int64_t image = 0; image < m.images; image++)
            for (int64_t t = 0; t < m.terms; t++) {
                if (!m.map_grads[t]) continue;
                const T* own = map(t, 0, image);
                const auto start = [&](auto lanes, int64_t c, int64_t at) {
                    const auto value = load<T, lanes>(own + at) * load<T, lanes>(&slope[t * m.channels + c]);
                    return value + load<T, lanes>(&shift[t * m.channels + c]);
                };
                const auto term = [&](int64_t e, int64_t c) {
                    return std::pair((const T*)m.grads[e] + image * size, &scale[t * all + e * m.channels + c]);
                };
                add_up(m.edges, (T*)m.map_grads[t] + image * size, start, term);
            }
    }
};

}  // namespace

extern "C" const int64_t mix_layout[] = {LAYOUT_VERSION, sizeof(Mix)};
extern "C" void mix_forward(const Mix* m) { with_kernel<Mixing>(*m, [](auto&& kernel) { kernel.forward(); }); }
extern "C" void mix_sums(const Mix* m) { with_kernel<Mixing>(*m, [](auto&& kernel) { kernel.sums(); }); }
extern "C" void mix_shared_gradients(const Mix* m) { with_kernel<Mixing>(*m, [](auto&& kernel) { kernel.shared_gradients(); }); }
