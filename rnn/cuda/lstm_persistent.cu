// One training step of the network in one launch: forward, softmax, backward through time, weight gradients, update.
//
// At the same time: a block owns ROWS images and needs no other block for all 28 steps there and back, as images meet
// only in the weight gradients. Four lanes own a unit: they hold its weights for all four gates in registers and shared
// memory, so z never leaves their registers before it is h; on the way back 16 lanes own four units. Each number that a
// thread reads of h or dz is multiplied by four weights. A step waits at one barrier of the block, a launch at two barriers
// of the grid: before the weight gradients, and before their parts are summed.
// Nothing is added in an order that depends on who came first, so the same numbers give the same bits.
// Limit: a block reads from shared memory what its registers do not hold of the weights, 28 times there and 28 times
// back. The figures are in rnn/persistent_sizes.py.
//
// x (STEPS,batch,INPUTS), weights and gradients as rnn/network.py has them. rate 0: the weights stay as they are.
// xh (STEPS+1,batch,XH): [x_t, h_{t-1}, 1, 0...], of which h_{-1} and the last columns are there before the launch.
// stamps: what rnn/cuda/timeline.cuh writes, most_stamps for a block; not touched where TIMELINE is 0.
// gates, dz (STEPS,batch,UNITS): of a unit i, j, f, o side by side. cell (STEPS,batch,UNITS): c. dlogits (batch,32): zeros
// from CLASSES on.

constexpr int STEPS = 28, INPUTS = 28, CLASSES = 10;
constexpr int UNITS = HIDDEN <= 16 ? 16 : HIDDEN <= 32 ? 32 : HIDDEN <= 64 ? 64 : 128, THREADS = 4 * UNITS, WARPS = THREADS / 32;
constexpr int X = (INPUTS + 15) / 16 * 16;
constexpr int XH = (INPUTS + HIDDEN + 1 + 31) / 32 * 32;
constexpr int DOWN = XH / 32, ACROSS = UNITS / 8, TILES = DOWN * ACROSS, TILE = 32 * 32;  // of the weight gradient
static_assert(ROWS <= 4, "each of a unit's four lanes looks after one row");

#include "grid.cuh"
#include "products.cuh"
#include "timeline.cuh"

constexpr int BUFFER = ROWS * 4 * UNITS > ROWS * (X + UNITS) ? ROWS * 4 * UNITS : ROWS * (X + UNITS);

extern __shared__ float4 shared[];  // weights, two buffers of operands, scores

struct Images {
    const float* x;
    const unsigned char* labels;
    int batch, first;  // of the block's rows
    __device__ __forceinline__ bool inside(int row) const { return first + row < batch; }
    __device__ __forceinline__ long long at(int t, int row) const {
        return t * batch + first + row;  // an int holds it, but not always the product that it becomes part of
    }
};

struct State {
    float *xh, *cell, *dlogits;
    float4 *gates, *dz;
};

// x_t of the block's rows, on its way to shared memory and to xh: fetched early, stored late, as who stores waits for it.
struct Inputs {
    static constexpr int COUNT = (ROWS * X + THREADS - 1) / THREADS;
    float x[COUNT];
    static __device__ __forceinline__ int row(int i) { return (threadIdx.x + i * THREADS) / X; }
    static __device__ __forceinline__ int column(int i) { return (threadIdx.x + i * THREADS) % X; }
    static __device__ __forceinline__ bool inside(const Images& images, int i) {
        return row(i) < ROWS && images.inside(row(i)) && column(i) < INPUTS;
    }
    __device__ __forceinline__ void fetch(const Images& images, int t) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            x[i] = inside(images, i) ? images.x[images.at(t, row(i)) * INPUTS + column(i)] : 0.0f;
    }
    __device__ __forceinline__ void store(const Images& images, int t, float* operand, float* xh) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (row(i) < ROWS) operand[row(i) * Forward::DEPTH + column(i)] = x[i];
            if (inside(images, i)) xh[images.at(t, row(i)) * XH + column(i)] = x[i];
        }
    }
};

// All steps of the block's rows; returns the buffer that holds the last h.
__device__ __forceinline__ const float* forward(const Images& images, const State& state, const float* weight,
                                                const float* bias, float* buffers, Timeline& timeline) {
    Resident<Forward> weights;
    weights.load(weight, shared);
    const int unit = threadIdx.x / 4, lane = threadIdx.x % 4;
    float start = unit < HIDDEN ? bias[lane * HIDDEN + unit] : 0.0f, c = 0;
    if (lane == 2) start += 1.0f;  // the forget gate's
    const float scale = lane == 1 ? 1.0f : 0.5f;  // of its tanh, which also gives σ(z) = tanh(z/2)/2 + 1/2

    Inputs inputs;
    inputs.fetch(images, 0);
    inputs.store(images, 0, buffers, state.xh);
    for (int i = threadIdx.x; i < ROWS * UNITS; i += THREADS) buffers[i / UNITS * Forward::DEPTH + X + i % UNITS] = 0;
    __syncthreads();
    timeline.until_now(WEIGHTS);
#pragma unroll 1
    for (int t = 0; t < STEPS; ++t) {
        float* next = buffers + (t + 1) % 2 * BUFFER;
        if (t + 1 < STEPS) inputs.fetch(images, t + 1);
        float z[ROWS];  // of the lane's gate
        weights.multiply(z, buffers + t % 2 * BUFFER);
        timeline.until_now(PRODUCT);
        float4 gates;  // all of the lane's row
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const float gate = scale * tanhf(scale * (z[r] + start)) + (1.0f - scale);
            const float i = __shfl_sync(~0u, gate, 0, 4), j = __shfl_sync(~0u, gate, 1, 4);
            const float f = __shfl_sync(~0u, gate, 2, 4), o = __shfl_sync(~0u, gate, 3, 4);
            if (r == lane) gates = make_float4(i, j, f, o);
        }
        if (lane < ROWS) {
            c = gates.z * c + gates.x * gates.y;
            const float h = gates.w * tanhf(c);
            next[lane * Forward::DEPTH + X + unit] = h;
            if (images.inside(lane)) {
                const long long at = images.at(t, lane);
                state.gates[at * UNITS + unit] = gates;
                state.cell[at * UNITS + unit] = c;
                if (unit < HIDDEN) state.xh[images.at(t + 1, lane) * XH + INPUTS + unit] = h;
            }
        }
        if (t + 1 < STEPS) inputs.store(images, t + 1, next, state.xh);
        timeline.until_now(GATES);
        __syncthreads();
        timeline.until_now(BARRIER);
    }
    return buffers + STEPS % 2 * BUFFER + X;
}

// scores (ROWS,CLASSES), in the end the loss's gradient by each score.
__device__ __forceinline__ void softmax(const Images& images, const State& state, const float* h, const float* weight,
                                        const float* bias, float* losses, float* scores) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int pair = warp; pair < ROWS * CLASSES; pair += WARPS) {
        const int row = pair / CLASSES, label = pair % CLASSES;
        float sum = 0;
        for (int u = lane; u < HIDDEN; u += 32) sum += h[row * Forward::DEPTH + u] * weight[u * CLASSES + label];
#pragma unroll
        for (int apart = 16; apart; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
        if (lane == 0) scores[pair] = sum + bias[label];
    }
    __syncthreads();
    if (threadIdx.x < ROWS) {
        float* score = scores + threadIdx.x * CLASSES;
        const bool inside = images.inside(threadIdx.x);
        const int n = images.first + threadIdx.x, label = inside ? images.labels[n] : 0;
        float largest = score[0], sum = 0;
        for (int k = 1; k < CLASSES; ++k) largest = max(largest, score[k]);
        const float shifted = score[label] - largest;
        for (int k = 0; k < CLASSES; ++k) sum += score[k] = expf(score[k] - largest);  // the largest exponent is 0
        for (int k = 0; k < CLASSES; ++k) {
            const float gradient = (score[k] / sum - (k == label ? 1.0f : 0.0f)) / static_cast<float>(images.batch);
            score[k] = inside ? gradient : 0.0f;
            if (inside) state.dlogits[n * 32 + k] = gradient;
        }
        if (inside) losses[n] = logf(sum) - shifted;
    }
    __syncthreads();
}

// What a lane needs of one step of one row.
struct Saved {
    float4 gates;  // i, j, f, o
    float c_before;
    __device__ __forceinline__ void fetch(const Images& images, const State& state, int t, int row, int unit) {
        gates = make_float4(0, 0, 0, 0);
        c_before = 0;
        if (!images.inside(row)) return;
        gates = state.gates[images.at(t, row) * UNITS + unit];
        if (t > 0) c_before = state.cell[images.at(t - 1, row) * UNITS + unit];
    }
};

__device__ __forceinline__ void backward(const Images& images, const State& state, const float* weight,
                                         const float* output_weight, const float* scores, float* buffers,
                                         Timeline& timeline) {
    Resident<Backward> weights;
    weights.load(weight, shared);
    const int unit = threadIdx.x / 4, lane = threadIdx.x % 4;
    Saved saved;
    float dh = 0, dc = 0;
    if (lane < ROWS) {
        saved.fetch(images, state, STEPS - 1, lane, unit);
        if (unit < HIDDEN)
            for (int k = 0; k < CLASSES; ++k) dh += scores[lane * CLASSES + k] * output_weight[unit * CLASSES + k];
    }
    timeline.until_now(WEIGHTS);
#pragma unroll 1
    for (int t = STEPS - 1;; --t) {
        float* buffer = buffers + t % 2 * BUFFER;
        if (lane < ROWS) {
            const float i = saved.gates.x, j = saved.gates.y, f = saved.gates.z, o = saved.gates.w;
            const float tanh_c = tanhf(f * saved.c_before + i * j);
            // through h = o·tanh(c), then c = f·c_before + i·j, then the nonlinearities: σ' = σ·(1 − σ), tanh' = 1 − tanh²
            const float d_out = dh * tanh_c * (o - o * o);
            dc += dh * o * (1.0f - tanh_c * tanh_c);
            const float4 dz = make_float4(dc * j * (i - i * i), dc * i * (1.0f - j * j),
                                          dc * saved.c_before * (f - f * f), d_out);
            dc *= f;
            reinterpret_cast<float4*>(buffer)[lane * UNITS + unit] = dz;
            if (images.inside(lane)) state.dz[images.at(t, lane) * UNITS + unit] = dz;
            // fetched while the products run
            if (t > 0) saved.fetch(images, state, t - 1, lane, unit);
        }
        timeline.until_now(GATES);
        if (t == 0) break;
        __syncthreads();
        timeline.until_now(BARRIER);
        float sum[ROWS];  // by unit, as 16 lanes share four units and a quarter of them has the sum of each
        weights.multiply(sum, buffer);
        timeline.until_now(PRODUCT);
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
            if (r == lane) dh = sum[r];
    }
}

// The weight gradients are xhᵀ·dz over all steps and images: a tile of it and a slice of the rows is a warp's task.
// So no two warps write the same number, and `update` adds the slices in their order.
__device__ __forceinline__ void partial_gradients(const State& state, float* partials, int batch, int slices,
                                                  int output_slices) {
    const int warp = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int task = warp; task < TILES * slices + DOWN * output_slices; task += gridDim.x * WARPS) {
        const bool output = task >= TILES * slices;
        const int which = output ? task - TILES * slices : task;
        const int tiles = output ? DOWN : TILES, tile = which % tiles, slice = which / tiles;
        const int rows = output ? batch : STEPS * batch, share = (rows + (output ? output_slices : slices) - 1) /
                                                                 (output ? output_slices : slices);
        const float* a = state.xh + (output ? static_cast<long long>(STEPS) * batch * XH + tile * 32 : tile / ACROSS * 32);
        const float* b = output ? state.dlogits : reinterpret_cast<const float*>(state.dz) + tile % ACROSS * 32;
        sum_of_outer_products(a, XH, b, output ? 32 : 4 * UNITS, slice * share, min(rows, (slice + 1) * share),
                              partials + static_cast<long long>(task) * TILE, lane);
    }
}

__device__ __forceinline__ float total(const float* partials, int tiles, int slices) {
    float sum = 0;
#pragma unroll 8
    for (int slice = 0; slice < slices; ++slice) sum += partials[static_cast<long long>(slice) * tiles * TILE];
    return sum;
}

__device__ __forceinline__ void descend(float* weight, float* gradient, int at, float g, float rate) {
    gradient[at] = g;
    if (rate != 0) weight[at] -= rate * g;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
train_step(const float* x, const unsigned char* labels, float* cell_weight, float* cell_bias, float* output_weight,
           float* output_bias, float* d_cell_weight, float* d_cell_bias, float* d_output_weight, float* d_output_bias,
           float* loss, float* losses, float* xh, float4* gates, float* cell, float4* dz, float* dlogits, float* partials,
           unsigned* barrier, int batch, int slices, int output_slices, float rate, long long* stamps, int most_stamps) {
    Timeline timeline = {stamps + static_cast<long long>(blockIdx.x) * most_stamps};
    timeline.until_now(WEIGHTS);
    float* buffers = reinterpret_cast<float*>(shared + 4 * QUADS_IN_SHARED * THREADS);
    float* scores = buffers + 2 * BUFFER;
    const State state = {xh, cell, dlogits, gates, dz};
    for (int first = blockIdx.x * ROWS; first < batch; first += gridDim.x * ROWS) {
        const Images images = {x, labels, batch, first};
        __syncthreads();  // the shared memory is free again
        const float* h = forward(images, state, cell_weight, cell_bias, buffers, timeline);
        softmax(images, state, h, output_weight, output_bias, losses, scores);
        timeline.until_now(LOSS);
        backward(images, state, cell_weight, output_weight, scores, buffers, timeline);
    }
    grid_barrier(barrier);
    timeline.until_now(GRID_BARRIER);
    partial_gradients(state, partials, batch, slices, output_slices);
    timeline.until_now(GRADIENTS);
    grid_barrier(barrier);
    timeline.until_now(GRID_BARRIER);

    constexpr int CELL = (INPUTS + HIDDEN + 1) * 4 * HIDDEN, OUTPUT = (HIDDEN + 1) * CLASSES;  // with the biases
    const int all = gridDim.x * THREADS, me = blockIdx.x * THREADS + threadIdx.x;
    for (int e = me; e < CELL; e += all) {
        const int row = e / (4 * HIDDEN), column = e % (4 * HIDDEN);  // of dz: unit by unit
        const int tile = row / 32 * ACROSS + column / 32, to = column % 4 * HIDDEN + column / 4;
        const float g = total(partials + tile * TILE + row % 32 * 32 + column % 32, TILES, slices);
        if (row < INPUTS + HIDDEN)
            descend(cell_weight, d_cell_weight, row * 4 * HIDDEN + to, g, rate);
        else
            descend(cell_bias, d_cell_bias, to, g, rate);
    }
    const float* outputs = partials + static_cast<long long>(TILES) * slices * TILE;
    for (int e = all - 1 - me; e < OUTPUT; e += all) {  // from the last block on, which has less of the above
        const int row = e / CLASSES, column = e % CLASSES, of_xh = INPUTS + row;
        const float g = total(outputs + of_xh / 32 * TILE + of_xh % 32 * 32 + column, DOWN, output_slices);
        if (row < HIDDEN)
            descend(output_weight, d_output_weight, e, g, rate);
        else
            descend(output_bias, d_output_bias, column, g, rate);
    }
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x < 32) {
        double sum = 0;
        for (int n = threadIdx.x; n < batch; n += 32) sum += losses[n];
#pragma unroll
        for (int apart = 16; apart; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
        if (threadIdx.x == 0) *loss = static_cast<float>(sum / batch);
    }
    timeline.until_now(UPDATE);
}
