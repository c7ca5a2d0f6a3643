"""The Triton kernels of the merged engine: each reads and writes a map as few times as can be.

Maps are (items, N, H, W, C), one item a segment of one edge; a group's items are one launch, and what differs between
them stands in a table, a row an item. Sums are of tiles first, then of the tiles in their order: they do not depend on
what runs when. All arithmetic is in float32; products of matrices take their factors in the maps' own type.
"""

import triton
import triton.language as tl

COLUMNS = tl.constexpr(12)
SOURCE = tl.constexpr(0)  # item that is read
KERNEL = tl.constexpr(1)  # taps a side, dilation and padding of the depthwise convolution
DILATION = tl.constexpr(2)
PADDING = tl.constexpr(3)
TAPS = tl.constexpr(4)  # place of the depthwise weight, (KERNEL, KERNEL, IN)
POINT = tl.constexpr(5)  # address of the pointwise weight, (OUT, IN)
TARGET = tl.constexpr(6)  # item that is written, and its first channel
CHANNEL = tl.constexpr(7)
GRAD = tl.constexpr(8)  # which of the gradients' tensors, and the item in it
GRAD_ITEM = tl.constexpr(9)
TAPS_AT = tl.constexpr(10)  # places of the weights' gradients among those of all
POINT_AT = tl.constexpr(11)

TAPS_COLUMNS = tl.constexpr(4)  # address of a depthwise weight (IN, KERNEL, KERNEL), KERNEL², IN, its place
NORM_COLUMNS = tl.constexpr(4)  # item, addresses of running mean, running variance and number of batches
CHUNK = tl.constexpr(4096)  # numbers that are summed at once
ALL = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def entry(table, item, column):
    return tl.load(table + item * COLUMNS + column)


@triton.jit
def places(p, height, width):
    """Image, row and column of pixels that are counted through all images."""
    within = p % (height * width)
    return p // (height * width), within // width, within % width


@triton.jit
def lanes(lane, step, height, width, V: tl.constexpr):
    """Image, row and first column of lanes, each of V pixels of a row that are ``step`` apart."""
    columns = (width + V * step - 1) // (V * step) * step
    own = lane % (height * columns)
    column = own % columns
    return lane // (height * columns), own // columns, column // step * (V * step) + column % step


@triton.jit
def replaced(values, index: tl.constexpr, value):
    """A tuple with another value at a place."""
    return values[:index] + (value,) + values[index + 1 :]


@triton.jit
def within(here, c, C: tl.constexpr):
    """The mask of pixels and channels; where the channels fill their block it is of pixels alone."""
    return here[:, None] if C // c.shape[0] * c.shape[0] == C else here[:, None] & (c < C)[None, :]


@triton.jit
def chosen(tensors, which):
    """The address of one of several tensors."""
    address = tensors[0].to(tl.int64)
    for index in tl.static_range(1, len(tensors)):
        address = tl.where(which == index, tensors[index].to(tl.int64), address)
    return address.to(tl.pointer_type(tensors[0].dtype.element_ty))


@triton.jit
def activated(v, ACTIVATION: tl.constexpr):
    if ACTIVATION > 0:
        v = tl.maximum(v, 0.0, propagate_nan=ALL)
    if ACTIVATION > 1:
        v = tl.minimum(v, 6.0, propagate_nan=ALL)
    return v


@triton.jit
def affine_of_norm(mean, invstd, first, c, IN: tl.constexpr, NORM: tl.constexpr):
    """A batch norm as scale and shift of its channels; 1 and 0 where there is none."""
    if NORM:
        scale = tl.load(invstd + first + c, mask=c < IN, other=1.0)
        shift = -scale * tl.load(mean + first + c, mask=c < IN, other=0.0)
    else:
        scale = tl.full(c.shape, 1.0, tl.float32)
        shift = tl.zeros(c.shape, tl.float32)
    return scale, shift


@triton.jit
def read(base, at, inside, c, scale, shift, IN: tl.constexpr, NORM: tl.constexpr, ACTIVATION: tl.constexpr):
    """Pixels (P, C), normalised and activated; zeros outside, to which an activation brings −∞."""
    mask = within(inside, c, IN)
    outside: tl.constexpr = float("-inf") if ACTIVATION > 0 else 0.0
    v = tl.load(base + at[:, None] * IN + c[None, :], mask=mask, other=outside).to(tl.float32)
    if NORM:
        v = v * scale[None, :] + shift[None, :]
        if ACTIVATION == 0:
            v = tl.where(mask, v, 0.0)
    return activated(v, ACTIVATION)


@triton.jit
def rows_of_taps(
    base, start, row, column, here, height, width, dilation, taps, c, scale, shift,
    KERNEL: tl.constexpr, V: tl.constexpr, UP: tl.constexpr, BACK: tl.constexpr,
    IN: tl.constexpr, NORM: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    """A depthwise convolution, for V pixels a lane that are ``dilation`` apart: what they share is read once.

    UP: the map is read with so many pixels in place of one, of which all but the first are zeros; BACK: the taps are
    taken in the reverse order. Together they are what comes back through a convolution of stride UP.
    """
    sums = (tl.zeros((row.shape[0], c.shape[0]), tl.float32),) * V
    for i in range(KERNEL):
        r = row + i * dilation
        down = here & (r >= 0) & (r % UP == 0) & (r // UP < height)
        at = start + r // UP * width
        tap = ()
        for j in tl.static_range(KERNEL):
            place = (KERNEL - 1 - i) * KERNEL + KERNEL - 1 - j if BACK else i * KERNEL + j
            tap = tap + (tl.load(taps + place * IN + c, mask=c < IN, other=0.0),)
        for u in tl.static_range(KERNEL + V - 1):
            q = column + u * dilation
            inside = down & (q >= 0) & (q % UP == 0) & (q // UP < width)
            x = read(base, at + q // UP, inside, c, scale, shift, IN, NORM, ACTIVATION)
            for k in tl.static_range(V):
                if u >= k and u - k < KERNEL:
                    sums = replaced(sums, k, sums[k] + x * tap[u - k][None, :])
    return sums


@triton.jit
def convolved(
    base, start, row, column, here, height, width, kernel, dilation, taps, c, scale, shift,
    V: tl.constexpr, UP: tl.constexpr, BACK: tl.constexpr,
    IN: tl.constexpr, WIDEST: tl.constexpr, NORM: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    """The depthwise convolution of what is read, V of (P, C); WIDEST is 1: there is none, and what is read itself."""
    if WIDEST == 1:
        inside = here & (row >= 0) & (row % UP == 0) & (row // UP < height)
        inside = inside & (column >= 0) & (column % UP == 0) & (column // UP < width)
        at = start + row // UP * width + column // UP
        sums = (read(base, at, inside, c, scale, shift, IN, NORM, ACTIVATION),)
    else:
        sums = (tl.zeros((row.shape[0], c.shape[0]), tl.float32),) * V
        for size in tl.static_range(3, WIDEST + 1, 2):
            if kernel == size:
                sums = rows_of_taps(
                    base, start, row, column, here, height, width, dilation, taps, c, scale, shift,
                    size, V, UP, BACK, IN, NORM, ACTIVATION,
                )  # fmt: skip
    return sums


@triton.jit
def arrange_taps(table, taps, BLOCK: tl.constexpr):
    """The depthwise weights of all items, channels last."""
    row = table + tl.program_id(1) * TAPS_COLUMNS
    weight, kernels = tl.load(row).to(tl.pointer_type(tl.float32)), tl.load(row + 1).to(tl.int32)
    channels = tl.load(row + 2).to(tl.int32)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < kernels * channels
    value = tl.load(weight + at % channels * kernels + at // channels, mask=mask)
    tl.store(taps + tl.load(row + 3) + at, value, mask=mask)


@triton.jit
def segment_forward(
    x, table, taps, mean, invstd, y, middle, moments,
    images, height, width, out_height, out_width, stride, every,
    IN: tl.constexpr, OUT: tl.constexpr, WIDE: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr, P: tl.constexpr,
    V: tl.constexpr, ACTIVATION: tl.constexpr, NORM: tl.constexpr, WIDEST: tl.constexpr, POINTWISE: tl.constexpr,
    KEEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """[Batch norm → activation →] depthwise → pointwise: y, the moments of its channels; ``middle`` if it is kept."""
    tile, item, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    source, kernel = entry(table, item, SOURCE), entry(table, item, KERNEL).to(tl.int32)
    dilation, padding = entry(table, item, DILATION).to(tl.int32), entry(table, item, PADDING).to(tl.int32)
    taps += entry(table, item, TAPS)
    point = entry(table, item, POINT).to(tl.pointer_type(tl.float32))
    step = dilation if V > 1 else 1
    image, row, column = lanes(tile * P + tl.arange(0, P), step, out_height, out_width, V)
    here, pixel = image < images, (image * out_height + row) * out_width + column
    total = images * out_height * out_width
    start, r, q = image * height * width, row * stride - padding, column * stride - padding
    base = x + source * images * height * width * IN
    dtype = y.dtype.element_ty
    o = block * BO + tl.arange(0, BO)
    if POINTWISE:
        out = (tl.zeros((P, BO), tl.float32),) * V
        for first in range(0, IN, BI):
            c = first + tl.arange(0, BI)
            scale, shift = affine_of_norm(mean, invstd, source * IN, c, IN, NORM)
            inner = convolved(
                base, start, r, q, here, height, width, kernel, dilation, taps, c, scale, shift,
                V, 1, False, IN, WIDEST, NORM, ACTIVATION,
            )  # fmt: skip
            w = tl.load(point + o[None, :] * IN + c[:, None], mask=(o < OUT)[None, :] & (c < IN)[:, None], other=0.0)
            for k in tl.static_range(V):
                v = inner[k].to(dtype)
                if KEEP:
                    kept = here & (column + k * step < out_width) & (block == 0)
                    at = (pixel + k * step)[:, None] * IN + c[None, :]
                    tl.store(middle + item.to(tl.int64) * total * IN + at, v, mask=within(kept, c, IN))
                out = replaced(out, k, tl.dot(v, w.to(dtype), out[k], input_precision=PRECISION))
    else:
        scale, shift = affine_of_norm(mean, invstd, source * IN, o, IN, NORM)
        out = convolved(
            base, start, r, q, here, height, width, kernel, dilation, taps, o, scale, shift,
            V, 1, False, IN, WIDEST, NORM, ACTIVATION,
        )  # fmt: skip
    target, channel = entry(table, item, TARGET), entry(table, item, CHANNEL)
    to = y + target * total * WIDE + channel
    moments += tile * 3 * every + target * WIDE + channel
    store_map(to, moments, out, pixel, column, here, step, out_width, o, every, OUT, WIDE)


@triton.jit
def store_map(
    to, moments, out, pixel, column, here, step, width, o, every, OUT: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """A tile of a map, lanes' pixels in a tuple, and its moments."""
    values, mine = (), ()
    for k in tl.static_range(len(out)):
        value, own = out[k].to(to.dtype.element_ty), here & (column + k * step < width)
        tl.store(to + (pixel + k * step)[:, None] * WIDE + o[None, :], value, mask=within(own, o, OUT))
        values, mine = values + (value.to(tl.float32),), mine + (own,)
    store_moments(moments + o, every, values, mine, o < OUT)


@triton.jit
def store_moments(to, every, values, mine, mask):
    """A tile's sums of its channels, of the squares of what differs from its own mean, and its pixels: (3, every)."""
    total, squares = tl.zeros((values[0].shape[1],), tl.float32), tl.zeros((values[0].shape[1],), tl.float32)
    count = 0.0
    for k in tl.static_range(len(values)):
        total += tl.sum(tl.where(mine[k][:, None], values[k], 0.0), 0)
        count += tl.sum(mine[k].to(tl.float32), 0)
    mean = total / tl.maximum(count, 1.0)
    for k in tl.static_range(len(values)):
        apart = tl.where(mine[k][:, None], values[k] - mean[None, :], 0.0)
        squares += tl.sum(apart * apart, 0)
    tl.store(to, total, mask=mask)
    tl.store(to + every, squares, mask=mask)
    tl.store(to + 2 * every, count, mask=mask)


@triton.jit
def norm_statistics(
    moments, table, statistics, tiles, values, every, momentum, eps,
    WIDE: tl.constexpr, BC: tl.constexpr, TRAINING: tl.constexpr,
):  # fmt: skip
    """The items' mean, variance and 1/√(variance + ε), (3, every): the batch's in training, else the running.

    Those of a batch are put together from the moments of tiles (Chan et al., 1979).
    """
    row = table + tl.program_id(0) * NORM_COLUMNS
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = c < WIDE
    running_mean = tl.load(row + 1).to(tl.pointer_type(tl.float32)) + c
    running_var = tl.load(row + 2).to(tl.pointer_type(tl.float32)) + c
    batches = tl.load(row + 3).to(tl.pointer_type(tl.int64))
    at = tl.load(row) * WIDE + c
    old_mean, old_var = tl.load(running_mean, mask=mask, other=0.0), tl.load(running_var, mask=mask, other=1.0)
    if TRAINING:
        middle = summed(moments + at, tiles, 3 * every, mask, BC) / values
        chunk: tl.constexpr = CHUNK // BC
        spread = tl.zeros((BC,), tl.float32)
        for first in range(0, tiles, chunk):
            t = first + tl.arange(0, chunk)
            some = (t < tiles)[:, None] & mask[None, :]
            place = moments + (t * 3 * every)[:, None] + at[None, :]
            count = tl.load(place + 2 * every, mask=some, other=0.0)
            apart = tl.load(place, mask=some, other=0.0) / tl.maximum(count, 1.0) - middle[None, :]
            spread += tl.sum(tl.load(place + every, mask=some, other=0.0) + count * apart * apart, 0)
        var = spread / values
        tl.store(running_mean, old_mean + momentum * (middle - old_mean), mask=mask)
        unbiased = var * (values / (values - 1))
        tl.store(running_var, old_var + momentum * (unbiased - old_var), mask=mask)
        if tl.program_id(1) == 0:
            tl.store(batches, tl.load(batches) + 1)
    else:
        middle, var = old_mean, old_var
    tl.store(statistics + at, middle, mask=mask)
    tl.store(statistics + every + at, var, mask=mask)
    tl.store(statistics + 2 * every + at, tl.rsqrt(var + eps), mask=mask)


@triton.jit
def pool_forward(
    x, maximum, where, average, moments,
    images, height, width, out_height, out_width, stride,
    C: tl.constexpr, BC: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """3×3 poolings: the maximum, by which tap it came in, the average of what is not padding; their moments."""
    tile = tl.program_id(0)
    p = tile * P + tl.arange(0, P)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    total = images * out_height * out_width
    here = p < total
    image, row, column = places(p, out_height, out_width)
    best = tl.full((P, BC), float("-inf"), tl.float32)
    tap_of_best = tl.zeros((P, BC), tl.int8)
    sum_of_all = tl.zeros((P, BC), tl.float32)
    count = tl.zeros((P,), tl.float32)
    for tap in range(9):
        r, q = row * stride + tap // 3 - 1, column * stride + tap % 3 - 1
        inside = here & (r >= 0) & (r < height) & (q >= 0) & (q < width)
        mask = within(inside, c, C)
        at = (image * height * width + r * width + q)[:, None] * C + c[None, :]
        v = tl.load(x + at, mask=mask, other=float("-inf")).to(tl.float32)
        better = (v > best) | (v != v)
        best = tl.where(better, v, best)
        tap_of_best = tl.where(better, tap, tap_of_best).to(tl.int8)
        sum_of_all += tl.where(mask, v, 0.0)
        count += inside.to(tl.float32)
    mask = within(here, c, C)
    at = p[:, None] * C + c[None, :]
    largest = best.to(x.dtype.element_ty)
    mean = (sum_of_all / tl.maximum(count, 1.0)[:, None]).to(x.dtype.element_ty)
    tl.store(maximum + at, largest, mask=mask)
    tl.store(where + at, tap_of_best, mask=mask)
    tl.store(average + at, mean, mask=mask)
    to = moments + tile * 6 * C + c
    store_moments(to, 2 * C, (tl.where(mask, largest.to(tl.float32), 0.0),), (here,), c < C)
    store_moments(to + C, 2 * C, (mean.to(tl.float32),), (here,), c < C)


@triton.jit
def pool_backward(
    maximum_grad, where, average_grad, x_grad, images, height, width, out_height, out_width, stride,
    C: tl.constexpr, BC: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """What comes back through both poolings: each pixel gathers it from the windows that hold it."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    here = p < images * height * width
    image, row, column = places(p, height, width)
    acc = tl.zeros((P, BC), tl.float32)
    for tap in range(9):
        r, q = row + 1 - tap // 3, column + 1 - tap % 3
        inside = here & (r >= 0) & (r % stride == 0) & (r // stride < out_height)
        inside = inside & (q >= 0) & (q % stride == 0) & (q // stride < out_width)
        r, q = r // stride, q // stride
        high = tl.minimum(r * stride + 2, height) - tl.maximum(r * stride - 1, 0)
        wide = tl.minimum(q * stride + 2, width) - tl.maximum(q * stride - 1, 0)
        window = within(inside, c, C)
        at = (image * out_height * out_width + r * out_width + q)[:, None] * C + c[None, :]
        mine = tl.load(where + at, mask=window, other=-1) == tap
        acc += tl.where(mine, tl.load(maximum_grad + at, mask=window, other=0.0).to(tl.float32), 0.0)
        share = 1.0 / tl.maximum(high * wide, 1).to(tl.float32)
        acc += tl.load(average_grad + at, mask=window, other=0.0).to(tl.float32) * share[:, None]
    to = x_grad + p[:, None] * C + c[None, :]
    tl.store(to, acc.to(x_grad.dtype.element_ty), mask=within(here, c, C))


@triton.jit
def mix_forward(
    maps, means, invstds, rows, out, pixels, edges,
    SHARED: tl.constexpr, NORMED: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """Σ weight · batch norm over maps, of one edge or of all; rows are (maps, edges)."""
    edge = tl.program_id(1)
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    mask = within(p < pixels, c, C)
    at = p[:, None] * C + c[None, :]
    own = edge.to(tl.int64)
    acc = tl.zeros((P, BC), tl.float32)
    for term in tl.static_range(len(maps)):
        item = own * (1 - SHARED[term])
        v = tl.load(maps[term] + item * pixels * C + at, mask=mask, other=0.0).to(tl.float32)
        scale, shift = affine_of_norm(means[term], invstds[term], item * C, c, C, NORMED[term])
        weight = tl.load(rows + term * edges + edge)
        acc += v * (weight * scale)[None, :] + (weight * shift)[None, :]
    tl.store(out + own * pixels * C + at, acc.to(out.dtype.element_ty), mask=mask)


@triton.jit
def mix_sums(
    maps, means, grads, sums, pixels, every,
    SHARED: tl.constexpr, NORMED: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """A tile's sums of the gradient · (map − mean) for each map, then of the gradient: (tiles, maps + 1, every)."""
    edge = tl.program_id(1)
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    mask = within(p < pixels, c, C)
    at = p[:, None] * C + c[None, :]
    own = edge.to(tl.int64)
    to = sums + tl.program_id(0) * (len(maps) + 1) * every + edge * C + c
    g = tl.load(chosen(grads, edge) + at, mask=mask, other=0.0).to(tl.float32)
    for term in tl.static_range(len(maps)):
        item = own * (1 - SHARED[term])
        v = tl.load(maps[term] + item * pixels * C + at, mask=mask, other=0.0).to(tl.float32)
        if NORMED[term]:
            v -= tl.load(means[term] + item * C + c, mask=c < C, other=0.0)[None, :]
        tl.store(to + term * every, tl.sum(g * v, 0), mask=c < C)
    tl.store(to + len(maps) * every, tl.sum(g, 0), mask=c < C)


@triton.jit
def summed(sums, tiles, step, mask, BC: tl.constexpr):
    """Σ over tiles of (BC,) numbers, a ``step`` apart."""
    count: tl.constexpr = CHUNK // BC
    t = tl.arange(0, count)
    total = tl.zeros((BC,), tl.float32)
    for first in range(0, tiles, count):
        some = ((first + t) < tiles)[:, None] & mask[None, :]
        total += tl.sum(tl.load(sums[None, :] + ((first + t) * step)[:, None], mask=some, other=0.0), 0)
    return total


@triton.jit
def store_affine(affine, c, mask, weight, mean, invstd, along, total, values, C: tl.constexpr, TRAINING: tl.constexpr):
    """The gradient before a batch norm, of that after it, g, and of its map: scale · g + slope · map + offset; (3, C).

    Args:
        along, total: Σ g · (map − mean) and Σ g.
        weight: the mixing weight after the batch norm.
    """
    scale = weight * invstd
    if TRAINING:
        slope = -scale * invstd * invstd * along / values
        offset = -slope * mean - scale * total / values
    else:
        slope = tl.zeros(c.shape, tl.float32)
        offset = tl.zeros(c.shape, tl.float32)
    tl.store(affine + c, scale, mask=mask)
    tl.store(affine + C + c, slope, mask=mask)
    tl.store(affine + 2 * C + c, offset, mask=mask)


@triton.jit
def mix_gradients(
    sums, rows, means, invstds, affines, row_grads, tiles, values, every, edges,
    SHARED: tl.constexpr, NORMED: tl.constexpr, TRAINING: tl.constexpr, C: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Of each map and edge: the gradient of its weight, and how that of the map comes from the sum's."""
    term, edge = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, BC)
    mask = c < C
    step = (len(means) + 1) * every
    along = summed(sums + term * every + edge * C + c, tiles, step, mask, BC)
    total = summed(sums + len(means) * every + edge * C + c, tiles, step, mask, BC)
    weight = tl.load(rows + term * edges + edge)
    for index in tl.static_range(len(means)):
        if term == index:
            item = edge * (1 - SHARED[index])
            if NORMED[index]:
                invstd = tl.load(invstds[index] + item * C + c, mask=mask, other=0.0)
                mean = tl.load(means[index] + item * C + c, mask=mask, other=0.0)
            else:
                invstd = tl.full((BC,), 1.0, tl.float32)
                mean = tl.zeros((BC,), tl.float32)
            tl.store(row_grads + term * edges + edge, tl.sum(along * invstd, 0))
            store_affine(
                affines[index] + edge * 3 * C, c, mask, weight, mean, invstd, along, total, values, C, TRAINING[index]
            )


@triton.jit
def shared_gradients(
    maps, grads, affines, map_grads, pixels, C: tl.constexpr, BC: tl.constexpr, P: tl.constexpr
):  # fmt: skip
    """The gradients of maps that all edges share, each summed over the edges."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = within(p < pixels, c, C)
    at = p[:, None] * C + c[None, :]
    for index in tl.static_range(len(maps)):
        v = tl.load(maps[index] + at, mask=mask, other=0.0).to(tl.float32)
        acc = tl.zeros((P, BC), tl.float32)
        for edge in tl.static_range(len(grads)):
            g = tl.load(grads[edge] + at, mask=mask, other=0.0).to(tl.float32)
            acc += gradient_before(g, v, affines[index] + edge * 3 * C, c, c < C, C)
        tl.store(map_grads[index] + at, acc.to(map_grads[index].dtype.element_ty), mask=mask)


@triton.jit
def gradient_before(g, v, affine, c, mask, C: tl.constexpr):
    """The gradient before a batch norm; see store_affine."""
    scale = tl.load(affine + c, mask=mask, other=0.0)
    slope = tl.load(affine + C + c, mask=mask, other=0.0)
    offset = tl.load(affine + 2 * C + c, mask=mask, other=0.0)
    return g * scale[None, :] + v * slope[None, :] + offset[None, :]


@triton.jit
def gradient_of_y(y, grads, affine, table, item, p, here, o, total, OUT: tl.constexpr, WIDE: tl.constexpr):
    """(P, channels): the gradient of an item's own channels of y, in front of its batch norm."""
    target, channel = entry(table, item, TARGET), entry(table, item, CHANNEL)
    base = chosen(grads, entry(table, item, GRAD)) + entry(table, item, GRAD_ITEM) * total * WIDE
    mask = within(here, o, OUT)
    at = channel + p[:, None] * WIDE + o[None, :]
    g = tl.load(base + at, mask=mask, other=0.0).to(tl.float32)
    v = tl.load(y + target * total * WIDE + at, mask=mask, other=0.0).to(tl.float32)
    to = affine + target * 3 * WIDE + channel
    return tl.where(mask, gradient_before(g, v, to, o, o < OUT, WIDE), 0.0)


@triton.jit
def point_backward(
    y, grads, affine, table, middle_grad, total,
    IN: tl.constexpr, OUT: tl.constexpr, WIDE: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr, P: tl.constexpr,
    POINTWISE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of what enters the pointwise convolution, (items, total, IN)."""
    item = tl.program_id(1)
    p = tl.program_id(0) * P + tl.arange(0, P)
    here = p < total
    c = tl.program_id(2) * BI + tl.arange(0, BI)
    dtype = middle_grad.dtype.element_ty
    if POINTWISE:
        point = entry(table, item, POINT).to(tl.pointer_type(tl.float32))
        acc = tl.zeros((P, BI), tl.float32)
        for first in range(0, OUT, BO):
            o = first + tl.arange(0, BO)
            g = gradient_of_y(y, grads, affine, table, item, p, here, o, total, OUT, WIDE)
            w = tl.load(point + o[:, None] * IN + c[None, :], mask=(o < OUT)[:, None] & (c < IN)[None, :], other=0.0)
            acc = tl.dot(g.to(dtype), w.to(dtype), acc, input_precision=PRECISION)
    else:
        acc = gradient_of_y(y, grads, affine, table, item, p, here, c, total, OUT, WIDE)
    to = middle_grad + item.to(tl.int64) * total * IN + p[:, None] * IN + c[None, :]
    tl.store(to, acc.to(dtype), mask=within(here, c, IN))


@triton.jit
def input_gradients(
    middle_grad, table, taps, first, items, images, row, column, image, here, out_height, out_width, c,
    P: tl.constexpr, V: tl.constexpr, STRIDE: tl.constexpr, IN: tl.constexpr, WIDEST: tl.constexpr,
):  # fmt: skip
    """What comes back through the depthwise convolutions of items, summed: V of (P, C)."""
    start, zeros = image * out_height * out_width, tl.zeros((c.shape[0],), tl.float32)
    acc = (tl.zeros((P, c.shape[0]), tl.float32),) * V
    for index in range(items):
        item = first + index
        kernel, dilation = entry(table, item, KERNEL).to(tl.int32), entry(table, item, DILATION).to(tl.int32)
        padding = entry(table, item, PADDING).to(tl.int32) - (kernel - 1) * dilation
        base = middle_grad + item.to(tl.int64) * (images * out_height * out_width) * IN
        own = convolved(
            base, start, row + padding, column + padding, here, out_height, out_width, kernel, dilation,
            taps + entry(table, item, TAPS), c, zeros, zeros, V, STRIDE, True, IN, WIDEST, False, 0,
        )  # fmt: skip
        for k in tl.static_range(V):
            acc = replaced(acc, k, acc[k] + own[k])
    return acc


@triton.jit
def depth_backward(
    middle_grad, table, taps, x, mean, invstd, x_grad, sums,
    images, height, width, out_height, out_width, items, every,
    IN: tl.constexpr, BI: tl.constexpr, P: tl.constexpr, V: tl.constexpr, STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr, NORM: tl.constexpr, WIDEST: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """Through the depthwise convolution and the activation: of an item, or of a map that items of one dilation read."""
    tile, first = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BI + tl.arange(0, BI)
    step = entry(table, first, DILATION).to(tl.int32) if V > 1 else 1
    image, row, column = lanes(tile * P + tl.arange(0, P), step, height, width, V)
    here, pixel = image < images, (image * height + row) * width + column
    acc = input_gradients(
        middle_grad, table, taps, first, items, images, row, column, image, here, out_height, out_width, c,
        P, V, STRIDE, IN, WIDEST,
    )  # fmt: skip
    source = entry(table, first, SOURCE)
    scale, shift = affine_of_norm(mean, invstd, source * IN, c, IN, NORM)
    size = images * height * width * IN
    along, total = tl.zeros((BI,), tl.float32), tl.zeros((BI,), tl.float32)
    for k in tl.static_range(V):
        at = (pixel + k * step)[:, None] * IN + c[None, :]
        mask = within(here & (column + k * step < width), c, IN)
        value = tl.load(x + source * size + at, mask=mask, other=0.0).to(tl.float32)
        v, grad = value * scale[None, :] + shift[None, :], acc[k]
        if ACTIVATION > 0:
            grad = tl.where(v <= 0.0, 0.0, grad)
        if ACTIVATION > 1:
            grad = tl.where(v >= 6.0, 0.0, grad)
        to = x_grad + first.to(tl.int64) * size + at
        if ADD:
            grad += tl.load(to, mask=mask, other=0.0).to(tl.float32)
        out = grad.to(x_grad.dtype.element_ty)
        tl.store(to, out, mask=mask)
        if NORM:
            g = tl.where(mask, out.to(tl.float32), 0.0)
            middle = tl.load(mean + source * IN + c, mask=c < IN, other=0.0)
            along += tl.sum(g * (value - middle[None, :]), 0)
            total += tl.sum(g, 0)
    if NORM:
        place = sums + tile * 2 * every + first * IN + c
        tl.store(place, along, mask=c < IN)
        tl.store(place + every, total, mask=c < IN)


@triton.jit
def norm_gradients(
    sums, table, mean, invstd, affine, tiles, values, every, C: tl.constexpr, BC: tl.constexpr, TRAINING: tl.constexpr
):  # fmt: skip
    """How the gradients in front of the items' batch norms come from those after them; see store_affine."""
    item = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = c < C
    along = summed(sums + item * C + c, tiles, 2 * every, mask, BC)
    total = summed(sums + every + item * C + c, tiles, 2 * every, mask, BC)
    source = entry(table, item, SOURCE)
    middle = tl.load(mean + source * C + c, mask=mask, other=0.0)
    deviation = tl.load(invstd + source * C + c, mask=mask, other=0.0)
    store_affine(affine + source * 3 * C, c, mask, 1.0, middle, deviation, along, total, values, C, TRAINING)


@triton.jit
def point_weights(
    y, grads, affine, table, x, mean, invstd, middle, weight_grads,
    images, height, width, out_height, out_width, stride, every, parts,
    IN: tl.constexpr, OUT: tl.constexpr, WIDE: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr, P: tl.constexpr,
    ACTIVATION: tl.constexpr, NORM: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A part's sum of the gradient of the pointwise weight, (parts, every)."""
    part, item = tl.program_id(0), tl.program_id(1)
    blocks: tl.constexpr = (IN + BI - 1) // BI
    c = tl.program_id(2) % blocks * BI + tl.arange(0, BI)
    o = tl.program_id(2) // blocks * BO + tl.arange(0, BO)
    source, padding = entry(table, item, SOURCE), entry(table, item, PADDING).to(tl.int32)
    total = images * out_height * out_width
    scale, shift = affine_of_norm(mean, invstd, source * IN, c, IN, NORM)
    base = x + source * images * height * width * IN
    dtype = y.dtype.element_ty
    acc = tl.zeros((BO, BI), tl.float32)
    for tile in range(part, (total + P - 1) // P, parts):
        p = tile * P + tl.arange(0, P)
        here = p < total
        g = gradient_of_y(y, grads, affine, table, item, p, here, o, total, OUT, WIDE)
        if DEPTH:
            inner = within(here, c, IN)
            v = tl.load(middle + item.to(tl.int64) * total * IN + p[:, None] * IN + c[None, :], mask=inner, other=0.0)
        else:
            image, row, column = places(p, out_height, out_width)
            v = convolved(
                base, image * height * width, row * stride - padding, column * stride - padding, here, height, width,
                1, 1, weight_grads, c, scale, shift, 1, 1, False, IN, 1, NORM, ACTIVATION,
            )[0]  # fmt: skip
        acc = tl.dot(tl.trans(g.to(dtype)), v.to(dtype), acc, input_precision=PRECISION)
    to = weight_grads + part * every + entry(table, item, POINT_AT) + o[:, None] * IN + c[None, :]
    tl.store(to, acc, mask=(o < OUT)[:, None] & (c < IN)[None, :])


@triton.jit
def row_of_weights(
    grads, base, to, i, part, parts, images, height, width, out_height, out_width, stride, dilation, padding,
    c, scale, shift,
    KERNEL: tl.constexpr, IN: tl.constexpr, P: tl.constexpr, V: tl.constexpr,
    NORM: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    """A part's sum of the gradients of a row of taps; lanes as of rows_of_taps."""
    step = dilation if V > 1 else 1
    columns = (out_width + V * step - 1) // (V * step) * step
    sums = (tl.zeros((P, c.shape[0]), tl.float32),) * KERNEL
    for tile in range(part, (images * out_height * columns + P - 1) // P, parts):
        image, row, column = lanes(tile * P + tl.arange(0, P), step, out_height, out_width, V)
        here, pixel = image < images, (image * out_height + row) * out_width + column
        g = ()
        for k in tl.static_range(V):
            at = (pixel + k * step)[:, None] * IN + c[None, :]
            mask = within(here & (column + k * step < out_width), c, IN)
            g = g + (tl.load(grads + at, mask=mask, other=0.0).to(tl.float32),)
        r, q = row * stride - padding + i * dilation, column * stride - padding
        down = here & (r >= 0) & (r < height)
        start = image * height * width + r * width
        for u in tl.static_range(KERNEL + V - 1):
            v = q + u * dilation
            x = read(base, start + v, down & (v >= 0) & (v < width), c, scale, shift, IN, NORM, ACTIVATION)
            for k in tl.static_range(V):
                if u >= k and u - k < KERNEL:
                    sums = replaced(sums, u - k, sums[u - k] + g[k] * x)
    for j in tl.static_range(KERNEL):
        tl.store(to + c * KERNEL * KERNEL + i * KERNEL + j, tl.sum(sums[j], 0), mask=c < IN)


@triton.jit
def depth_weights(
    middle_grad, table, x, mean, invstd, weight_grads,
    images, height, width, out_height, out_width, stride, every, parts,
    IN: tl.constexpr, BI: tl.constexpr, P: tl.constexpr, V: tl.constexpr, WIDEST: tl.constexpr,
    ACTIVATION: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """A part's sum of the gradient of the depthwise weight, (parts, every); a program computes a row of taps."""
    part, item = tl.program_id(0), tl.program_id(1)
    channel_blocks: tl.constexpr = (IN + BI - 1) // BI
    c = tl.program_id(2) % channel_blocks * BI + tl.arange(0, BI)
    i = tl.program_id(2) // channel_blocks
    source, kernel = entry(table, item, SOURCE), entry(table, item, KERNEL).to(tl.int32)
    dilation, padding = entry(table, item, DILATION).to(tl.int32), entry(table, item, PADDING).to(tl.int32)
    scale, shift = affine_of_norm(mean, invstd, source * IN, c, IN, NORM)
    base = x + source * images * height * width * IN
    grads = middle_grad + item.to(tl.int64) * (images * out_height * out_width) * IN
    to = weight_grads + part * every + entry(table, item, TAPS_AT)
    if i < kernel:
        for size in tl.static_range(3, WIDEST + 1, 2):
            if kernel == size:
                row_of_weights(
                    grads, base, to, i, part, parts, images, height, width, out_height, out_width,
                    stride, dilation, padding, c, scale, shift, size, IN, P, V, NORM, ACTIVATION,
                )  # fmt: skip
