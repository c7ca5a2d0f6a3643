// A segment of an operation for all edges that leave one state: what enters is batch-normalised and activated, passes a
// depthwise and a pointwise convolution (either may be missing), and the statistics of what comes out are taken. Without a
// depthwise one a stride of 2 is a factorised reduction: some channels are of even pixels, the others of odd ones.
//
// One image of one edge at a time, so that all between stays in a core's cache: x is read once and y written once.
// Maps of the edges stand one after another. Sums over images are taken in one order, whatever the number of threads.

#include <cmath>
#include "lanes.h"

struct Segment {
    int64_t threads, precise;                                   // precise: double, else float
    int64_t images, edges, shared;                              // shared: every edge reads the same maps
    int64_t in, height, width, out, out_height, out_width;      // channels of one edge, pixels
    int64_t kernel, stride, padding, dilation;                  // of the depthwise convolution; kernel 0: none
    int64_t pointwise, activation;                              // activation 0: none, 1: ReLU, 2: ReLU6
    int64_t even;                                               // channels of y that are of even pixels; usually out
    int64_t training;                                           // whether y's batch norm takes the batch's statistics
    int64_t add;                                                // backward: whether x_grad is added to, or written over
    double eps, momentum;                                       // of y's batch norm
    const void *x, *depthwise_weight, *pointwise_weight;        // weights (edges·in, kernel, kernel), (edges·out, in)
    const double *x_mean, *x_invstd;                            // (edges·in), null: x is not normalised
    const double *x_scale, *x_shift;                            // (edges·in), γ and β of an affine batch norm; or null
    void* y;
    double *y_mean, *y_invstd;                                  // (edges·out)
    // Backward: y_grad is that of what y's batch norm gives, (y − mean) / σ · y_scale + a constant; (edges·out).
    const double *y_scale, *y_sums;                             // y_sums: Σ y_grad, Σ y_grad · (y − mean); null: as none
    void *x_grad, *depthwise_grad, *pointwise_grad;             // null: not wanted
    double* x_sums;                                             // the same sums of x_grad; null: not wanted
    const void* const* y_grad;                                  // one map (images, out pixels, out) an edge
    void* const* running;                                       // means of each edge's batch norm, then variances
    int64_t* const* batches;                                    // how many each has taken into account
};

namespace {

// Memory of a thread, by use; its content is lost when a larger piece is asked for.
enum Use { TILE, GRADS, MIDDLE, ROWS, USES };
template <class T> T* memory(Use use, int64_t size) {
    static thread_local Aligned<T> kept[USES];
    static thread_local int64_t sizes[USES];
    if (sizes[use] < size) kept[use].resized(sizes[use] = size);
    return &kept[use][0];
}

template <class T> struct Kernel {
    template <int L> using V = Vector<T, L>;
    const Segment& s;
    const int64_t k, reach;                 // taps a side; pixels that they span, less one
    const int64_t tile_row, grads_row;      // elements of a row of the padded tiles of x and of the gradient
    const int64_t group;                    // rows of y that are computed together, of at least 32 pixels if there are
    Aligned<T> taps, point, point_t;        // (k·k, edges·in), (edges, in, out), (edges, out, in)
    const Aligned<T> mean, invstd, scale, shift;
    Aligned<T> grad_scale, grad_slope, grad_offset;

    explicit Kernel(const Segment& segment)
        : s(segment), k(s.kernel), reach(k ? (k - 1) * s.dilation : 0), tile_row((s.width + 2 * s.padding) * s.in),
          grads_row((s.width + reach) * s.in), group(std::max<int64_t>(1, 32 / std::max<int64_t>(1, s.out_width))),
          mean(s.x_mean, s.edges * s.in), invstd(s.x_invstd, s.edges * s.in), scale(s.x_scale, s.edges * s.in),
          shift(s.x_shift, s.edges * s.in) {
        arrange_weights();
    }

    void arrange_weights() {
        const T *depthwise = (const T*)s.depthwise_weight, *pointwise = (const T*)s.pointwise_weight;
        const int64_t channels = s.edges * s.in;
        taps.resized(k * k * channels);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t t = 0; t < k * k; t++) taps[t * channels + c] = depthwise[c * k * k + t];
        if (!s.pointwise) return;
        point.resized(channels * s.out);
        std::copy(pointwise, pointwise + channels * s.out, point_t.resized(channels * s.out));
        for (int64_t e = 0; e < s.edges; e++)
            for (int64_t o = 0; o < s.out; o++)
                for (int64_t i = 0; i < s.in; i++)
                    point[(e * s.in + i) * s.out + o] = pointwise[(e * s.out + o) * s.in + i];
    }

    // Places.

    int64_t tile_size() const { return (s.height + 2 * s.padding) * tile_row; }
    int64_t grads_size() const { return (s.height + reach) * grads_row; }
    int64_t input(int64_t edge, int64_t image) const {
        return ((s.shared ? 0 : edge * s.images) + image) * s.height * s.width * s.in;
    }
    int64_t output(int64_t edge, int64_t image) const {
        return (edge * s.images + image) * s.out_height * s.out_width * s.out;
    }

    // Forward.

    // The batch norm and activation over some channels of what enters.
    template <int L> struct Entry {
        bool normal, affine;
        int64_t activation;
        V<L> mean, invstd, scale, shift;

        Entry(const Kernel& kernel, int64_t channel)
            : normal(kernel.s.x_mean), affine(kernel.s.x_scale), activation(kernel.s.activation) {
            if (normal) mean = load<T, L>(&kernel.mean[channel]), invstd = load<T, L>(&kernel.invstd[channel]);
            if (affine) scale = load<T, L>(&kernel.scale[channel]), shift = load<T, L>(&kernel.shift[channel]);
        }
        V<L> standard(V<L> value) const { return normal ? (value - mean) * invstd : value; }
        V<L> scaled(V<L> standard) const { return affine ? standard * scale + shift : standard; }
        V<L> activated(V<L> value) const {
            const V<L> zero{}, six = zero + T(6);
            if (activation) value = value < zero ? zero : value;  // a NaN stays one
            return activation == 2 ? (value > six ? six : value) : value;
        }
        V<L> gradient(V<L> grad, V<L> scaled) const {
            const V<L> zero{}, six = zero + T(6);
            if (activation) grad = scaled <= zero ? zero : grad;
            return activation == 2 ? (scaled >= six ? zero : grad) : grad;
        }
    };

    // One image of an edge, normalised and activated, inside a frame that stays zero.
    void fill(const T* x, int64_t edge, T* tile) const {
        each_vector<T>(s.in, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            const Entry<L> entry(*this, edge * s.in + c);
            const int64_t step = s.in, width = s.width * step, height = s.height;
            for (int64_t row = 0; row < height; row++) {
                const T* from = x + row * width + c;
                T* to = tile + (row + s.padding) * tile_row + s.padding * step + c;
                for (int64_t at = 0; at < width; at += step)
                    store<T, L>(to + at, entry.activated(entry.scaled(entry.standard(load<T, L>(from + at)))));
            }
        });
    }

    // L channels of a row of a depthwise convolution. Pixels it reads are `step` apart; where that is one pixel and the
    // dilation D, a pixel is read once for all taps of a line; D is 0 elsewhere.
    template <int L, int K, int D>
    void slide(const T* from, int64_t step, int64_t row, const T* weights, int64_t next, int64_t pixels, T* to) const {
        const int64_t across = s.dilation * s.in, down = s.dilation * row, channels = s.in;
        each_group(pixels, [&](auto count, int64_t first) {
            V<L> sums[count] = {};
            const T *line = from + first * step, *weight = weights;
            for (int y = 0; y < K; y++, line += down, weight += K * next) {
                if constexpr (D && count == 8) add_line<L, K, D>(line, step, weight, next, sums);
                else {
                    const T *at = line, *tap = weight;
#pragma GCC unroll 1
                    for (int x = 0; x < K; x++, at += across, tap += next) {
                        hide(at);
                        const V<L> factor = load<T, L>(tap);
#pragma GCC unroll 8
                        for (int p = 0; p < count; p++) sums[p] += load<T, L>(at + p * step) * factor;
                    }
                }
            }
#pragma GCC unroll 8
            for (int p = 0; p < count; p++) store<T, L>(to + (first + p) * channels, sums[p]);
        });
    }

    template <int L, int K, int D> static inline void add_line(const T* at, int64_t step, const T* weight, int64_t next, V<L>* sums) {
        V<L> taps[K];
#pragma GCC unroll 7
        for (int x = 0; x < K; x++) taps[x] = load<T, L>(weight + x * next);
#pragma GCC unroll 20
        for (int i = 0; i < 8 + (K - 1) * D; i++, at += step) {
            hide(at);
            const V<L> value = load<T, L>(at);
#pragma GCC unroll 7
            for (int x = 0; x < K; x++)
                if (i >= x * D && i < x * D + 8) sums[i - x * D] += value * taps[x];
        }
    }

    template <int L, int K>
    void slide(const T* from, int64_t step, int64_t row, const T* weights, int64_t next, int64_t pixels, T* to) const {
        if constexpr (L >= 8) {
            if (step == s.in && s.dilation == 1) return slide<L, K, 1>(from, step, row, weights, next, pixels, to);
            if (step == s.in && s.dilation == 2) return slide<L, K, 2>(from, step, row, weights, next, pixels, to);
        }
        slide<L, K, 0>(from, step, row, weights, next, pixels, to);
    }

    template <int L>
    void depthwise(const T* from, int64_t step, int64_t row, const T* weights, int64_t next, int64_t pixels, T* to) const {
        if (k == 3) slide<L, 3>(from, step, row, weights, next, pixels, to);
        else if (k == 5) slide<L, 5>(from, step, row, weights, next, pixels, to);
        else slide<L, 7>(from, step, row, weights, next, pixels, to);
    }

    // Calls work(offset, first, count) for y's channels of even pixels, and for those of odd ones.
    template <class Work> void each_part(Work&& work) const {
        if (s.even) work(0, 0, s.even);
        if (s.even < s.out) work(1, s.even, s.out - s.even);
    }

    // Rows between the two convolutions, (rows, out_width, in); the offset is of pixels that are taken alone.
    const T* middle(const T* tile, int64_t edge, int64_t row, int64_t rows, int64_t offset) const {
        if (!k && s.stride == 1) return tile + row * tile_row;
        T* const whole = memory<T>(MIDDLE, group * s.out_width * s.in);
        if (!k) {
            for (int64_t p = 0; p < rows * s.out_width; p++) {
                const int64_t y = (row + p / s.out_width) * s.stride + offset, x = p % s.out_width * s.stride + offset;
                std::copy_n(tile + y * tile_row + x * s.in, s.in, whole + p * s.in);
            }
            return whole;
        }
        each_vector<T>(s.in, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            for (int64_t r = 0; r < rows; r++) {
                const T* from = tile + (row + r) * s.stride * tile_row + c;
                depthwise<L>(from, s.stride * s.in, tile_row, &taps[edge * s.in + c], s.edges * s.in, s.out_width,
                             whole + r * s.out_width * s.in + c);
            }
        });
        return whole;
    }

    // Channels of pixels and how far these are apart.
    struct Pixels {
        int64_t channels, step;
    };

    // Pixels times a matrix (channels, `next`), whose first columns are those of the pixels it makes.
    void multiply(const T* from, Pixels in, const T* matrix, int64_t next, int64_t pixels, T* to, Pixels out) const {
        each_vector<T>(out.channels, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            each_group(pixels, [&](auto count, int64_t first) {
                V<L> sums[count] = {};
                const T *at = from + first * in.step, *row = matrix + c;
                for (int64_t i = 0; i < in.channels; i++, at++, row += next) {
                    const V<L> weights = load<T, L>(row);
#pragma GCC unroll 8
                    for (int p = 0; p < count; p++) sums[p] += weights * at[p * in.step];
                }
#pragma GCC unroll 8
                for (int p = 0; p < count; p++) store<T, L>(to + (first + p) * out.step + c, sums[p]);
            });
        });
    }

    // One image of an edge; `mean` and `spread` (Σ (y − mean)²) of its channels.
    void forward_image(int64_t edge, int64_t image, const T* tile, double* y_mean, double* spread) const {
        T* const y = (T*)s.y + output(edge, image);
        static thread_local std::vector<double> totals;
        totals.assign(2 * s.out, 0.0);
        for (int64_t row = 0; row < s.out_height; row += group) {
            const int64_t rows = std::min(group, s.out_height - row), pixels = rows * s.out_width;
            T* to = y + row * s.out_width * s.out;
            each_part([&](int64_t offset, int64_t c, int64_t channels) {
                const T *between = middle(tile, edge, row, rows, offset), *matrix = &point[edge * s.in * s.out + c];
                if (s.pointwise) multiply(between, {s.in, s.in}, matrix, s.out, pixels, to + c, {channels, s.out});
                else std::copy(between, between + pixels * s.out, to);
            });
            if (s.training) add_moments(to, pixels, y, totals.data());
        }
        const double pixels = double(s.out_height * s.out_width);
        for (int64_t c = 0; c < s.out; c++) {
            y_mean[c] = y[c] + totals[c] / pixels;
            spread[c] = totals[s.out + c] - totals[c] * totals[c] / pixels;
        }
    }

    // Adds Σ (y − origin) and Σ (y − origin)²: the origin, a value of y, keeps the squares small where a map is far from
    // zero. Groups of rows are added in double, as a corner is an outlier in maps with padding.
    void add_moments(const T* rows, int64_t pixels, const T* origins, double* totals) const {
        each_vector<T>(s.out, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            const V<L> origin = load<T, L>(origins + c);
            const int64_t step = s.out;
            V<L> sum[4]{}, squares[4]{};  // as many additions are under way at once
            each_group(pixels, [&](auto count, int64_t first) {
#pragma GCC unroll 8
                for (int p = 0; p < count; p++) {
                    const V<L> off = load<T, L>(rows + (first + p) * step + c) - origin;
                    sum[p % 4] += off;
                    squares[p % 4] += off * off;
                }
            });
            add_to<T, L>(totals + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
            add_to<T, L>(totals + s.out + c, (squares[0] + squares[1]) + (squares[2] + squares[3]));
        });
    }

    void forward() const {
        const int64_t channels = s.edges * s.out;
        std::vector<double> means(s.images * channels), spreads(s.images * channels);
#pragma omp parallel num_threads(s.threads)
        {
            T* tile = memory<T>(TILE, tile_size());
            std::fill(tile, tile + tile_size(), T(0));
#pragma omp for schedule(static)
            for (int64_t image = 0; image < s.images; image++)
                for (int64_t edge = 0; edge < s.edges; edge++) {
                    if (edge == 0 || !s.shared) fill((const T*)s.x + input(edge, image), edge, tile);
                    const int64_t first = image * channels + edge * s.out;
                    forward_image(edge, image, tile, &means[first], &spreads[first]);
                }
        }
        for (int64_t c = 0; c < channels; c++) {
            T *mean = (T*)s.running[c / s.out] + c % s.out, *var = (T*)s.running[s.edges + c / s.out] + c % s.out;
            s.y_mean[c] = *mean;
            s.y_invstd[c] = 1 / std::sqrt(*var + s.eps);
            if (s.training) take_statistics(c, means, spreads, mean, var);
        }
        for (int64_t edge = 0; s.training && edge < s.edges; edge++) ++*s.batches[edge];
    }

    // The batch's mean and variance of a channel (Chan et al., 1979), towards which the running ones are moved.
    void take_statistics(int64_t c, const std::vector<double>& means, const std::vector<double>& spreads, T* mean, T* var) const {
        const int64_t channels = s.edges * s.out;
        const double pixels = double(s.out_height * s.out_width), values = pixels * s.images;
        double whole = 0, spread = 0;
        for (int64_t i = c; i < s.images * channels; i += channels) whole += means[i] / s.images;
        for (int64_t i = c; i < s.images * channels; i += channels)
            spread += spreads[i] / pixels + (means[i] - whole) * (means[i] - whole);
        spread /= s.images;
        s.y_mean[c] = whole;
        s.y_invstd[c] = 1 / std::sqrt(spread + s.eps);
        *mean += T(s.momentum * (whole - *mean));
        *var += T(s.momentum * (spread * (values / (values - 1)) - *var));
    }

    // Backward.

    // y's batch norm backward is one affine map: scale · gradient + slope · y + offset.
    void prepare_gradient() {
        const int64_t channels = s.edges * s.out;
        const double values = double(s.images * s.out_height * s.out_width);
        grad_scale.resized(channels), grad_slope.resized(channels), grad_offset.resized(channels);
        for (int64_t c = 0; c < channels; c++) {
            const double invstd = s.y_invstd[c], scale = invstd * (s.y_scale ? s.y_scale[c] : 1);
            const double sum = s.training ? s.y_sums[c] / values : 0;
            const double along = s.training ? s.y_sums[channels + c] / values * invstd * invstd : 0;
            grad_scale[c] = T(scale);
            grad_slope[c] = T(-scale * along);
            grad_offset[c] = T(scale * (s.y_mean[c] * along - sum));
        }
    }

    // Pixels of y's gradient from the first on, (pixels, out).
    const T* gradient(int64_t edge, int64_t image, int64_t first, int64_t pixels) const {
        T* const whole = memory<T>(ROWS, group * s.out_width * s.out);
        const T* const grads = (const T*)s.y_grad[edge] + output(0, image) + first * s.out;
        const T* const ys = (const T*)s.y + output(edge, image) + first * s.out;
        each_vector<T>(s.out, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            const int64_t channel = edge * s.out + c, step = s.out, end = pixels * step;
            const V<L> scale = load<T, L>(&grad_scale[channel]), slope = load<T, L>(&grad_slope[channel]);
            const V<L> offset = load<T, L>(&grad_offset[channel]);
            const T *grad = grads + c, *y = ys + c;
            T* to = whole + c;
            for (int64_t i = 0; i < end; i += step) {
                __builtin_prefetch(grad + end + i);  // the next rows'
                __builtin_prefetch(y + end + i);
                store<T, L>(to + i, load<T, L>(grad + i) * scale + (load<T, L>(y + i) * slope + offset));
            }
        });
        return whole;
    }

    // Adds the gradient of the pointwise weight, of its first channels, (in, out).
    void add_point_gradient(const T* between, const T* grad, int64_t channels, int64_t pixels, T* to) const {
        each_vector<T>(channels, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            int64_t i = 0;
            for (; i + 16 <= s.in; i += 16) add_point_rows<L, 16>(between + i, grad + c, pixels, to + i * s.out + c);
            for (; i + 4 <= s.in; i += 4) add_point_rows<L, 4>(between + i, grad + c, pixels, to + i * s.out + c);
            for (; i < s.in; i++) add_point_rows<L, 1>(between + i, grad + c, pixels, to + i * s.out + c);
        });
    }

    template <int L, int I> void add_point_rows(const T* between, const T* grad, int64_t pixels, T* to) const {
        const int64_t n = s.in, m = s.out;
        V<L> sums[I];
#pragma GCC unroll 16
        for (int i = 0; i < I; i++) sums[i] = load<T, L>(to + i * m);
        for (int64_t p = 0; p < pixels; p++, between += n, grad += m) {
            const V<L> g = load<T, L>(grad);
#pragma GCC unroll 16
            for (int i = 0; i < I; i++) sums[i] += g * between[i];
        }
#pragma GCC unroll 16
        for (int i = 0; i < I; i++) store<T, L>(to + i * m, sums[i]);
    }

    // Adds an image's gradient of L channels' taps.
    template <int L, int K> void add_tap_gradient(const T* tile, const T* grads, T* to) const {
        const int64_t next = s.edges * s.in, across = s.dilation * s.in, down = s.dilation * tile_row, step = s.stride * s.in;
        const int64_t width = s.out_width;
        V<L> sums[K * K];
#pragma GCC unroll 49
        for (int t = 0; t < K * K; t++) sums[t] = load<T, L>(to + t * next);
        for (int64_t row = 0; row < s.out_height; row++) {
            const T *grad = grads + s.stride * row * grads_row, *first = tile + s.stride * row * tile_row;
            for (int64_t p = 0; p < width; p++, grad += step, first += step) {
                const V<L> g = load<T, L>(grad);
                const T* at = first;
#pragma GCC unroll 7
                for (int y = 0; y < K; y++, at += down) {
                    hide(at);
#pragma GCC unroll 7
                    for (int x = 0; x < K; x++) sums[y * K + x] += g * load<T, L>(at + x * across);
                }
            }
        }
#pragma GCC unroll 49
        for (int t = 0; t < K * K; t++) store<T, L>(to + t * next, sums[t]);
    }

    // L channels of the gradient of a row of pixels that the depthwise convolution reads: the flipped taps over the framed
    // gradients.
    template <int L> const T* row_gradient(const T* grads, int64_t edge, int64_t row, int64_t c) const {
        const T* from = grads + row * grads_row + c;
        const int64_t next = s.edges * s.in;
        if (!k) return from;
        T* to = memory<T>(ROWS, s.width * s.in) + c;
        depthwise<L>(from, s.in, grads_row, &taps[(k * k - 1) * next + edge * s.in + c], -next, s.width, to);
        return to;
    }

    // Through the activation; `sums` (2, in) of an image: of the gradient, and of it times (x − mean).
    void input_gradient(const T* grads, int64_t edge, int64_t image, double* sums) const {
        const T* const x = (const T*)s.x + input(edge, image);
        T* const x_grad = (T*)s.x_grad + input(edge, image);
        each_vector<T>(s.in, [&](auto lanes, int64_t c) {
            constexpr int L = lanes;
            const Entry<L> entry(*this, edge * s.in + c);
            const bool add = s.add || (s.shared && edge);
            const int64_t step = s.in, width = s.width * step;
            V<L> sum{}, product{};
            for (int64_t row = 0; row < s.height; row++) {
                const T *own = row_gradient<L>(grads, edge, row, c), *from = x + row * width + c;
                T* to = x_grad + row * width + c;
                for (int64_t at = 0; at < width; at += step) {
                    const V<L> standard = entry.standard(load<T, L>(from + at));
                    const V<L> grad = entry.gradient(load<T, L>(own + at), entry.scaled(standard));
                    store<T, L>(to + at, add ? load<T, L>(to + at) + grad : grad);
                    sum += grad;
                    product += grad * standard;
                }
            }
            if (!sums) return;
            for (int l = 0; l < L; l++) {
                sums[c + l] = sum[l];
                sums[s.in + c + l] = product[l] / invstd[edge * s.in + c + l];
            }
        });
    }

    // One image of an edge: adds to the gradients of taps (k·k, edges·in) and matrix (in, out).
    void backward_image(int64_t edge, int64_t image, const T* tile, T* grads, T* dtaps, T* dpoint, double* sums) const {
        const int64_t frame = (reach - s.padding) * (grads_row + s.in), step = s.stride * s.in;
        for (int64_t row = 0; row < s.out_height; row += group) {
            const int64_t rows = std::min(group, s.out_height - row), pixels = rows * s.out_width;
            const T* grad = gradient(edge, image, row * s.out_width, pixels);
            each_part([&](int64_t offset, int64_t c, int64_t channels) {
                const T *matrix = &point_t[(edge * s.out + c) * s.in], *from = grad + c;
                if (dpoint) add_point_gradient(middle(tile, edge, row, rows, offset), from, channels, pixels, dpoint + c);
                for (int64_t r = 0; r < rows; r++, from += s.out_width * s.out) {
                    T* to = grads + frame + ((row + r) * s.stride + offset) * grads_row + offset * s.in;
                    if (s.pointwise) multiply(from, {channels, s.out}, matrix, s.in, s.out_width, to, {s.in, step});
                    else
                        for (int64_t p = 0; p < s.out_width; p++) std::copy_n(from + p * s.in, s.in, to + p * step);
                }
            });
        }
        if (dtaps)
            each_vector<T>(s.in, [&](auto lanes, int64_t c) {
                T* to = dtaps + edge * s.in + c;
                if (k == 3) add_tap_gradient<lanes, 3>(tile + c, grads + frame + c, to);
                else if (k == 5) add_tap_gradient<lanes, 5>(tile + c, grads + frame + c, to);
                else add_tap_gradient<lanes, 7>(tile + c, grads + frame + c, to);
            });
        if (s.x_grad) input_gradient(grads, edge, image, sums);
    }

    void backward() {
        prepare_gradient();
        const int64_t chunks = std::clamp<int64_t>(s.images, 1, 16), channels = s.edges * s.in;
        const int64_t tap_size = s.depthwise_grad ? k * k * channels : 0;
        const int64_t point_size = s.pointwise_grad ? channels * s.out : 0, size = tap_size + point_size;
        Aligned<T> weights(chunks * size);
        std::vector<double> sums(s.x_sums ? s.images * 2 * channels : 0);
#pragma omp parallel num_threads(s.threads)
        {
            T* tile = memory<T>(TILE, tile_size());
            T* grads = memory<T>(GRADS, grads_size());
            std::fill(tile, tile + tile_size(), T(0));
            std::fill(grads, grads + grads_size(), T(0));
#pragma omp for schedule(static)
            for (int64_t chunk = 0; chunk < chunks; chunk++)
                for (int64_t image = chunk * s.images / chunks; image < (chunk + 1) * s.images / chunks; image++)
                    for (int64_t edge = 0; edge < s.edges; edge++) {
                        if (size && (edge == 0 || !s.shared)) fill((const T*)s.x + input(edge, image), edge, tile);
                        T* dtaps = tap_size ? &weights[chunk * size] : nullptr;
                        T* dpoint = point_size ? &weights[chunk * size + tap_size + edge * s.in * s.out] : nullptr;
                        double* own = s.x_sums ? &sums[2 * (image * channels + edge * s.in)] : nullptr;
                        backward_image(edge, image, tile, grads, dtaps, dpoint, own);
                    }
        }
        for (int64_t i = 0; i < size; i++)
            for (int64_t chunk = 1; chunk < chunks; chunk++) weights[i] += weights[chunk * size + i];
        give_weight_gradients(weights, tap_size, point_size);
        if (s.x_sums) give_sums(sums);
    }

    void give_weight_gradients(const Aligned<T>& found, int64_t tap_size, int64_t point_size) const {
        const int64_t channels = s.edges * s.in;
        for (int64_t c = 0; tap_size && c < channels; c++)
            for (int64_t t = 0; t < k * k; t++) ((T*)s.depthwise_grad)[c * k * k + t] = found[t * channels + c];
        for (int64_t e = 0; point_size && e < s.edges; e++)
            for (int64_t o = 0; o < s.out; o++)
                for (int64_t i = 0; i < s.in; i++)
                    ((T*)s.pointwise_grad)[(e * s.out + o) * s.in + i] = found[tap_size + (e * s.in + i) * s.out + o];
    }

    void give_sums(const std::vector<double>& found) const {
        const int64_t channels = s.edges * s.in;
        std::fill(s.x_sums, s.x_sums + 2 * channels, 0.0);
        for (int64_t image = 0; image < s.images; image++)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t which = 0; which < 2; which++)
                    s.x_sums[which * channels + c] +=
                        found[2 * image * channels + (2 * (c / s.in) + which) * s.in + c % s.in];
    }
};

}  // namespace

extern "C" const int64_t segment_layout[] = {LAYOUT_VERSION, sizeof(Segment)};
extern "C" void segment_forward(const Segment* s) { with_kernel<Kernel>(*s, [](auto&& kernel) { kernel.forward(); }); }
extern "C" void segment_backward(const Segment* s) { with_kernel<Kernel>(*s, [](auto&& kernel) { kernel.backward(); }); }
