// The largest and the mean value of 3×3 windows with a frame that does not count, and their gradients.

#include "lanes.h"

struct Pools {
    int64_t threads, precise;
    int64_t images, channels, height, width, out_height, out_width, stride;
    const void* x;                         // (images, height, width, channels)
    void *max, *mean;                      // (images, out_height, out_width, channels)
    const void *max_grad, *mean_grad;
    void* x_grad;
};

namespace {

template <class T> struct Pooling {
    template <int L> using V = Vector<T, L>;
    const Pools& p;
    const int64_t size, out_size;  // elements of an image

    explicit Pooling(const Pools& pools)
        : p(pools), size(p.height * p.width * p.channels), out_size(p.out_height * p.out_width * p.channels) {}

    // Calls work(lanes, at, window) for the channels of each pixel that is made of an image; window(each) calls each(from)
    // for the places of the pixels that it is made of, a line after the other.
    template <class Work> void each_pixel(Work&& work) const {
        each_vector<T>(p.channels, [&](auto lanes, int64_t c) {
            for (int64_t row = 0; row < p.out_height; row++)
                for (int64_t column = 0; column < p.out_width; column++) {
                    const int64_t y = row * p.stride, x = column * p.stride;
                    const int64_t last = std::min(y + 2, p.height), end = std::min(x + 2, p.width);
                    work(lanes, (row * p.out_width + column) * p.channels + c, [&](auto&& each) {
                        for (int64_t i = std::max<int64_t>(0, y - 1); i < last; i++)
                            for (int64_t j = std::max<int64_t>(0, x - 1); j < end; j++) each((i * p.width + j) * p.channels + c);
                    });
                }
        });
    }

    template <class Work> void each_image(Work&& work) const {
#pragma omp parallel for num_threads(p.threads) schedule(static)
        for (int64_t image = 0; image < p.images; image++) work((const T*)p.x + image * size, image);
    }

    void forward() const {
        each_image([&](const T* x, int64_t image) {
            T *max = (T*)p.max + image * out_size, *mean = (T*)p.mean + image * out_size;
            each_pixel([&](auto lanes, int64_t at, auto&& window) {
                constexpr int L = lanes;
                V<L> sum{}, most{};
                T count = 0;
                window([&](int64_t from) {
                    const V<L> value = load<T, L>(x + from);
                    most = count == 0 ? value : larger<L>(value, most) ? value : most;
                    sum += value;
                    count++;
                });
                store<T, L>(max + at, most);
                store<T, L>(mean + at, sum * (1 / count));
            });
        });
    }

    // Whether to take the one for the other; a NaN is taken and stays.
    template <int L> static auto larger(V<L> value, V<L> other) { return (value > other) | (value != value); }

    void backward() const {
        each_image([&](const T* x, int64_t image) {
            const T *max_grad = (const T*)p.max_grad + image * out_size, *mean_grad = (const T*)p.mean_grad + image * out_size;
            T* const x_grad = (T*)p.x_grad + image * size;
            std::fill(x_grad, x_grad + size, T(0));
            each_pixel([&](auto lanes, int64_t at, auto&& window) {
                constexpr int L = lanes;
                V<L> most{}, place{};  // of the largest, by its number in the window
                T count = 0;
                window([&](int64_t from) {
                    const V<L> value = load<T, L>(x + from);
                    const auto take = larger<L>(value, most);
                    place = count == 0 ? place : take ? place * 0 + count : place;
                    most = count == 0 ? value : take ? value : most;
                    count++;
                });
                const V<L> zero{}, whole = load<T, L>(max_grad + at), share = load<T, L>(mean_grad + at) * (1 / count);
                T number = 0;
                window([&](int64_t to) {
                    const V<L> own = place == zero + number++ ? whole : zero;
                    store<T, L>(x_grad + to, load<T, L>(x_grad + to) + (own + share));
                });
            });
        });
    }
};

}  // namespace

extern "C" const int64_t pools_layout[] = {LAYOUT_VERSION, sizeof(Pools)};
extern "C" void pools_forward(const Pools* p) { with_kernel<Pooling>(*p, [](auto&& kernel) { kernel.forward(); }); }
extern "C" void pools_backward(const Pools* p) { with_kernel<Pooling>(*p, [](auto&& kernel) { kernel.backward(); }); }
