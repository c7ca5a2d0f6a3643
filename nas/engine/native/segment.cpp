// A segment of an operation for all edges that leave one state: what enters is batch-normalised and activated, passes a
// depthwise and a pointwise convolution (either may be missing), and the statistics of what comes out are taken.
//
// One image of one edge at a time, so that all between stays in a core's cache: x is read once and y written once.
// Maps of the edges stand one after another. Sums over images are taken in one order, whatever the number of threads.

#include <algorithm>
#include "lanes.h"

struct Segment {
    int64_t threads, precise, lanes;                            // precise: double, else float
    int64_t images, edges, shared;                              // shared: every edge reads the same maps
    int64_t in, height, width, out, out_height, out_width;      // channels of one edge, pixels
    int64_t kernel, stride, padding, dilation;                  // of the depthwise convolution; kernel 0: none
    int64_t pointwise, activation;                              // activation 0: none, 1: ReLU, 2: ReLU6
    const void *x, *depthwise_weight, *pointwise_weight;        // weights (edges·in, kernel, kernel), (edges·out, in)
    const double *x_mean, *x_invstd;                            // (edges·in), null: x is not normalised
    const double *x_scale, *x_shift;                            // (edges·in), γ and β of an affine batch norm; or null
    void* y;
    double *y_mean, *y_var;                                     // (edges·out)
    // Backward: y_grad is that of what y's batch norm gives, (y − mean) · y_factor + a constant; (edges·out).
    const double *y_factor, *y_invstd, *y_sums;                 // y_sums: Σ y_grad, Σ y_grad · (y − mean); null: evaluation
    void *x_grad, *depthwise_grad, *pointwise_grad;             // null: not wanted; a shared x_grad is added to
    double* x_sums;                                             // the same sums of x_grad; null: not wanted
    const void* const* y_grad;                                  // one map (images, out pixels, out) an edge
};

namespace {

// Memory of a thread, by use; its content is lost when a larger piece is asked for.
enum Use { TILE, GRADS, MIDDLE, ROW, USES };
template <class T> T* memory(Use use, int64_t size) {
    static thread_local Aligned<T> kept[USES];
    static thread_local int64_t sizes[USES];
    if (sizes[use] < size) kept[use].resized(sizes[use] = size);
    return &kept[use][0];
}

template <class T, int L> struct Kernel {
    using V = Vector<T, L>;
    const Segment& s;
    const int64_t k, reach;                 // taps a side; pixels that they span, less one
    const int64_t tile_row, grads_row;      // elements of a row of the padded tiles of x and of the gradient
    Aligned<T> taps, point, point_t;        // (k·k, edges·in), (edges, in, out), (edges, out, in)
    Aligned<T> mean, invstd, scale, shift, grad_scale, grad_slope, grad_offset;

    explicit Kernel(const Segment& segment)
        : s(segment), k(s.kernel), reach(k ? (k - 1) * s.dilation : 0), tile_row((s.width + 2 * s.padding) * s.in),
          grads_row((s.width + reach) * s.in) {
        arrange_weights();
        if (s.x_mean) {
            std::copy(s.x_mean, s.x_mean + s.edges * s.in, mean.resized(s.edges * s.in));
            std::copy(s.x_invstd, s.x_invstd + s.edges * s.in, invstd.resized(s.edges * s.in));
        }
        if (s.x_scale) {
            std::copy(s.x_scale, s.x_scale + s.edges * s.in, scale.resized(s.edges * s.in));
            std::copy(s.x_shift, s.x_shift + s.edges * s.in, shift.resized(s.edges * s.in));
        }
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

    V normalised(V value, int64_t channel) const {
        return s.x_mean ? (value - load<T, L>(&mean[channel])) * load<T, L>(&invstd[channel]) : value;
    }

    V scaled(V value, int64_t channel) const {
        return s.x_scale ? value * load<T, L>(&scale[channel]) + load<T, L>(&shift[channel]) : value;
    }

    V activated(V value) const {
        const V zero{}, six = zero + T(6);
        if (s.activation) value = value < zero ? zero : value;  // a NaN stays one
        return s.activation == 2 ? (value > six ? six : value) : value;
    }

    // One image of an edge, normalised and activated, inside a frame that stays zero.
    void fill(const T* x, int64_t edge, T* tile) const {
        for (int64_t row = 0; row < s.height; row++) {
            T* to = tile + (row + s.padding) * tile_row + s.padding * s.in;
            for (int64_t c = 0; c < s.in; c += L)
                for (int64_t at = c; at < s.width * s.in; at += s.in)
                    store<T, L>(to + at, activated(scaled(normalised(load<T, L>(x + at), edge * s.in + c), edge * s.in + c)));
            x += s.width * s.in;
        }
    }

    // L channels of a row of a depthwise convolution: keep(pixel, value). Pixels it reads are `step` apart.
    template <int K, class Keep>
    void slide(const T* from, int64_t step, int64_t row, const T* weights, int64_t next, int64_t pixels, Keep&& keep) const {
        int64_t p = 0;
        for (; p + 8 <= pixels; p += 8) slide_over<K, 8>(from + p * step, step, row, weights, next, p, keep);
        for (; p < pixels; p++) slide_over<K, 1>(from + p * step, step, row, weights, next, p, keep);
    }

    template <int K, int P, class Keep>
    void slide_over(const T* from, int64_t step, int64_t row, const T* weights, int64_t next, int64_t first, Keep&& keep) const {
        V sums[P] = {};
        for (int64_t y = 0; y < K; y++)
            for (int64_t x = 0; x < K; x++) {
                const V weight = load<T, L>(weights + (y * K + x) * next);
                const T* at = from + s.dilation * (y * row + x * s.in);
#pragma GCC unroll 8
                for (int p = 0; p < P; p++) sums[p] += load<T, L>(at + p * step) * weight;
            }
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) keep(first + p, sums[p]);
    }

    template <class Keep>
    void depthwise(const T* from, int64_t step, int64_t row, const T* weights, int64_t next, int64_t pixels, Keep&& keep) const {
        if (k == 3) slide<3>(from, step, row, weights, next, pixels, keep);
        else if (k == 5) slide<5>(from, step, row, weights, next, pixels, keep);
        else slide<7>(from, step, row, weights, next, pixels, keep);
    }

    // A row between the two convolutions, (out_width, in).
    const T* middle(const T* tile, int64_t edge, int64_t row) const {
        if (!k) return tile + row * tile_row;
        T* to = memory<T>(MIDDLE, s.out_width * s.in);
        for (int64_t c = 0; c < s.in; c += L)
            depthwise(tile + row * s.stride * tile_row + c, s.stride * s.in, tile_row, &taps[edge * s.in + c], s.edges * s.in,
                      s.out_width, [&](int64_t p, V value) { store<T, L>(to + p * s.in + c, value); });
        return to;
    }

    // Pixels (n channels) times a matrix (n, m): keep(pixel, channel, value).
    template <class Keep>
    void multiply(const T* from, const T* matrix, int64_t n, int64_t m, int64_t pixels, Keep&& keep) const {
        for (int64_t c = 0; c < m; c += L) {
            int64_t p = 0;
            for (; p + 8 <= pixels; p += 8) multiply_some<8>(from + p * n, matrix + c, n, m, p, c, keep);
            for (; p < pixels; p++) multiply_some<1>(from + p * n, matrix + c, n, m, p, c, keep);
        }
    }

    template <int P, class Keep>
    void multiply_some(const T* from, const T* matrix, int64_t n, int64_t m, int64_t first, int64_t c, Keep&& keep) const {
        V sums[P] = {};
        for (int64_t i = 0; i < n; i++) {
            const V row = load<T, L>(matrix + i * m);
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) sums[p] += row * from[p * n + i];
        }
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) keep(first + p, c, sums[p]);
    }

    // One image of an edge; `mean` and `spread` (Σ (y − mean)²) of its channels.
    void forward_image(int64_t edge, int64_t image, const T* tile, double* y_mean, double* spread) const {
        T* const y = (T*)s.y + output(edge, image);
        static thread_local std::vector<double> totals;
        totals.assign(2 * s.out, 0.0);
        for (int64_t row = 0; row < s.out_height; row++) {
            const T* between = middle(tile, edge, row);
            T* to = y + row * s.out_width * s.out;
            const auto keep = [&](int64_t p, int64_t c, V value) { store<T, L>(to + p * s.out + c, value); };
            if (s.pointwise) multiply(between, &point[edge * s.in * s.out], s.in, s.out, s.out_width, keep);
            else std::copy(between, between + s.out_width * s.out, to);
            for (int64_t c = 0; c < s.out; c += L) add_moments(to + c, load<T, L>(y + c), &totals[c]);
        }
        const double pixels = double(s.out_height * s.out_width);
        for (int64_t c = 0; c < s.out; c++) {
            y_mean[c] = y[c] + totals[c] / pixels;
            spread[c] = totals[s.out + c] - totals[c] * totals[c] / pixels;
        }
    }

    // Adds Σ (y − origin) and Σ (y − origin)² of a row: the origin, a value of y, keeps the squares small where a map is
    // far from zero. Rows are added in double, as a corner is an outlier in maps with padding.
    void add_moments(const T* row, V origin, double* totals) const {
        V sum{}, squares{};
        for (int64_t p = 0; p < s.out_width; p++) {
            const V off = load<T, L>(row + p * s.out) - origin;
            sum += off;
            squares += off * off;
        }
        for (int l = 0; l < L; l++) {
            totals[l] += sum[l];
            totals[s.out + l] += squares[l];
        }
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
        const double pixels = double(s.out_height * s.out_width);
        for (int64_t c = 0; c < channels; c++) {  // Chan et al., 1979
            double whole = 0, spread = 0;
            for (int64_t i = c; i < s.images * channels; i += channels) whole += means[i] / s.images;
            for (int64_t i = c; i < s.images * channels; i += channels)
                spread += spreads[i] / pixels + (means[i] - whole) * (means[i] - whole);
            s.y_mean[c] = whole;
            s.y_var[c] = spread / s.images;
        }
    }

    // Backward.

    // y's batch norm backward is one affine map: scale · gradient + slope · y + offset.
    void prepare_gradient() {
        const int64_t channels = s.edges * s.out;
        const double values = double(s.images * s.out_height * s.out_width);
        grad_scale.resized(channels), grad_slope.resized(channels), grad_offset.resized(channels);
        for (int64_t c = 0; c < channels; c++) {
            const double invstd = s.y_invstd[c], scale = s.y_factor[c];
            const double sum = s.y_sums ? s.y_sums[c] / values : 0;
            const double along = s.y_sums ? s.y_sums[channels + c] / values * invstd * invstd : 0;
            grad_scale[c] = T(scale);
            grad_slope[c] = T(-scale * along);
            grad_offset[c] = T(scale * (s.y_mean[c] * along - sum));
        }
    }

    // A row of y's gradient, (out_width, out).
    const T* gradient_row(int64_t edge, int64_t image, int64_t row) const {
        T* to = memory<T>(ROW, s.out_width * s.out);
        const int64_t at = row * s.out_width * s.out;
        const T* grad = (const T*)s.y_grad[edge] + output(0, image) + at;
        const T* y = (const T*)s.y + output(edge, image) + at;
        for (int64_t c = 0; c < s.out; c += L) {
            const int64_t channel = edge * s.out + c;
            const V scale = load<T, L>(&grad_scale[channel]), slope = load<T, L>(&grad_slope[channel]);
            const V offset = load<T, L>(&grad_offset[channel]);
            for (int64_t i = c; i < s.out_width * s.out; i += s.out)
                store<T, L>(to + i, load<T, L>(grad + i) * scale + (load<T, L>(y + i) * slope + offset));
        }
        return to;
    }

    // Adds a row's gradient of the pointwise weight, (in, out).
    void add_point_gradient(const T* between, const T* grad, T* to) const {
        for (int64_t c = 0; c < s.out; c += L) {
            int64_t i = 0;
            for (; i + 16 <= s.in; i += 16) add_point_rows<16>(between + i, grad + c, to + i * s.out + c);
            for (; i < s.in; i += 4) add_point_rows<4>(between + i, grad + c, to + i * s.out + c);
        }
    }

    template <int I> void add_point_rows(const T* between, const T* grad, T* to) const {
        V sums[I];
#pragma GCC unroll 16
        for (int i = 0; i < I; i++) sums[i] = load<T, L>(to + i * s.out);
        for (int64_t p = 0; p < s.out_width; p++) {
            const V g = load<T, L>(grad + p * s.out);
#pragma GCC unroll 16
            for (int i = 0; i < I; i++) sums[i] += g * between[p * s.in + i];
        }
#pragma GCC unroll 16
        for (int i = 0; i < I; i++) store<T, L>(to + i * s.out, sums[i]);
    }

    // Adds an image's gradient of L channels' taps.
    template <int K> void add_tap_gradient(const T* tile, const T* grads, T* to) const {
        const int64_t next = s.edges * s.in;
        V sums[K * K];
#pragma GCC unroll 49
        for (int t = 0; t < K * K; t++) sums[t] = load<T, L>(to + t * next);
        for (int64_t y = 0; y < s.out_height; y++)
            for (int64_t x = 0; x < s.out_width; x++) {
                const V g = load<T, L>(grads + s.stride * (y * grads_row + x * s.in));
                const T* at = tile + s.stride * (y * tile_row + x * s.in);
#pragma GCC unroll 49
                for (int t = 0; t < K * K; t++)
                    sums[t] += g * load<T, L>(at + s.dilation * (t / K * tile_row + t % K * s.in));
            }
#pragma GCC unroll 49
        for (int t = 0; t < K * K; t++) store<T, L>(to + t * next, sums[t]);
    }

    // Gradient of the row of pixels that the depthwise convolution reads: the flipped taps over the framed gradients.
    template <class Keep> void row_gradient(const T* grads, int64_t edge, int64_t row, int64_t c, Keep&& keep) const {
        const T* from = grads + row * grads_row + c;
        const int64_t next = s.edges * s.in;
        if (k) depthwise(from, s.in, grads_row, &taps[(k * k - 1) * next + edge * s.in + c], -next, s.width, keep);
        else
            for (int64_t p = 0; p < s.width; p++) keep(p, load<T, L>(from + p * s.in));
    }

    // Through the activation; `sums` (2, in) of an image: of the gradient, and of it times (x − mean).
    void input_gradient(const T* grads, int64_t edge, int64_t image, double* sums) const {
        const V zero{}, six = zero + T(6);
        const T* const x = (const T*)s.x + input(edge, image);
        T* const to = (T*)s.x_grad + input(edge, image);
        for (int64_t c = 0; c < s.in; c += L) {
            V sum{}, product{};
            for (int64_t row = 0; row < s.height; row++)
                row_gradient(grads, edge, row, c, [&](int64_t p, V grad) {
                    const int64_t at = (row * s.width + p) * s.in + c;
                    const V standard = normalised(load<T, L>(x + at), edge * s.in + c);
                    const V entered = scaled(standard, edge * s.in + c);
                    if (s.activation) grad = entered <= zero ? zero : grad;
                    if (s.activation == 2) grad = entered >= six ? zero : grad;
                    store<T, L>(to + at, s.shared ? load<T, L>(to + at) + grad : grad);
                    if (sums) {
                        sum += grad;
                        product += grad * standard;
                    }
                });
            for (int l = 0; sums && l < L; l++) {
                sums[c + l] = sum[l];
                sums[s.in + c + l] = product[l] / invstd[edge * s.in + c + l];
            }
        }
    }

    // One image of an edge: adds to the gradients of taps (k·k, edges·in) and matrix (in, out).
    void backward_image(int64_t edge, int64_t image, const T* tile, T* grads, T* dtaps, T* dpoint, double* sums) const {
        const int64_t frame = (reach - s.padding) * (grads_row + s.in);
        for (int64_t row = 0; row < s.out_height; row++) {
            const T* grad = gradient_row(edge, image, row);
            T* to = grads + (k ? frame + row * s.stride * grads_row : row * grads_row);
            const int64_t step = s.stride * s.in;
            const auto keep = [&](int64_t p, int64_t c, V value) { store<T, L>(to + p * step + c, value); };
            if (dpoint) add_point_gradient(middle(tile, edge, row), grad, dpoint);
            if (s.pointwise) multiply(grad, &point_t[edge * s.in * s.out], s.out, s.in, s.out_width, keep);
            else
                for (int64_t p = 0; p < s.out_width; p++)
                    for (int64_t c = 0; c < s.in; c += L) keep(p, c, load<T, L>(grad + p * s.in + c));
        }
        for (int64_t c = 0; dtaps && c < s.in; c += L) {
            T* to = dtaps + edge * s.in + c;
            if (k == 3) add_tap_gradient<3>(tile + c, grads + frame + c, to);
            else if (k == 5) add_tap_gradient<5>(tile + c, grads + frame + c, to);
            else add_tap_gradient<7>(tile + c, grads + frame + c, to);
        }
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
