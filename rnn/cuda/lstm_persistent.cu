// One training step of the network in one launch: forward, softmax, backward through time, weight gradients, update.
//
// At the same time: a block owns ROWS images and needs no other block for all 28 steps there and back, as images meet
// only in the weight gradients. Four lanes own a unit: they hold its weights for all four gates in registers and shared
// memory, so z never leaves their registers before it is h. A step waits at one barrier of the block, a launch at two
// barriers of the grid: before the weight gradients, and before their parts are summed.
// Nothing is added in an order that depends on who came first, so the same numbers give the same bits.
// Limit: a block reads from shared memory what its registers do not hold of the weights, 28 times there and 28 times
// back. The figures are in rnn/persistent_sizes.py.
//
// x (STEPS,batch,INPUTS), weights and gradients as rnn/network.py has them. rate 0: the weights stay as they are.
// xh (STEPS+1,batch,XH): [x_t, h_{t-1}, 1, 0...], of which h_{-1} and the last columns are there before the launch.
// stamps: what rnn/cuda/timeline.cuh writes, most_stamps for a block; not touched where TIMELINE is 0.
// gates, cell (STEPS,batch,UNITS): i, j, f, o and c. dz (STEPS,batch,4·UNITS). dlogits (batch,32): zeros from CLASSES on.

constexpr int STEPS = 28, INPUTS = 28, CLASSES = 10;
constexpr int UNITS = HIDDEN <= 16 ? 16 : HIDDEN <= 32 ? 32 : HIDDEN <= 64 ? 64 : 128, THREADS = 4 * UNITS, WARPS = THREADS / 32;
constexpr int X = (INPUTS + 15) / 16 * 16;
constexpr int XH = (INPUTS + HIDDEN + 1 + 31) / 32 * 32;
constexpr int DOWN = XH / 32, ACROSS = UNITS / 8, TILES = DOWN * ACROSS, TILE = 32 * 32;  // of the weight gradient
constexpr int MINE = (ROWS + 3) / 4;  // rows whose gates a lane computes: row % 4 is its slice

#include "grid.cuh"
#include "products.cuh"
#include "timeline.cuh"

constexpr int BUFFER = ROWS * 4 * UNITS > ROWS * (X + UNITS) ? ROWS * 4 * UNITS : ROWS * (X + UNITS);

extern __shared__ float4 shared[];  // weights, two buffers of operands, scores

__device__ __forceinline__ float sigmoid(float z) { return 0.5f * tanhf(0.5f * z) + 0.5f; }

struct Images {
    const float* x;
    const unsigned char* labels;
    int batch, first;  // of the block's rows
    __device__ __forceinline__ bool inside(int row) const { return first + row < batch; }
    __device__ __forceinline__ long long at(int t, int row) const {
        return static_cast<long long>(t) * batch + first + row;
    }
};

struct State {
    float *xh, *cell, *dz, *dlogits;
    float4* gates;
};

// x_t of the block's rows, on its way to shared memory: fetched early, stored late.
struct Inputs {
    static constexpr int COUNT = (ROWS * X + THREADS - 1) / THREADS;
    float x[COUNT];
    __device__ __forceinline__ void fetch(const Images& images, float* xh, int t) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int row = (threadIdx.x + i * THREADS) / X, column = (threadIdx.x + i * THREADS) % X;
            const bool inside = row < ROWS && images.inside(row) && column < INPUTS;
            x[i] = inside ? images.x[images.at(t, row) * INPUTS + column] : 0.0f;
            if (inside) xh[images.at(t, row) * XH + column] = x[i];
        }
    }
    __device__ __forceinline__ void store(float* operand) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int row = (threadIdx.x + i * THREADS) / X, column = (threadIdx.x + i * THREADS) % X;
            if (row < ROWS) operand[row * Forward::OPERAND + column] = x[i];
        }
    }
};

// All steps of the block's rows; returns the buffer that holds the last h.
__device__ __forceinline__ const float* forward(const Images& images, const State& state, const float* weight,
                                                const float* bias, float* buffers, Timeline& timeline) {
    Resident<Forward> weights;
    weights.load(weight, shared);
    const int unit = weights.unit, slice = weights.slice;
    float start[4], c[MINE] = {};
#pragma unroll
    for (int g = 0; g < 4; ++g) start[g] = unit < HIDDEN ? bias[g * HIDDEN + unit] : 0.0f;
    start[2] += 1.0f;  // the forget gate's

    Inputs inputs;
    inputs.fetch(images, state.xh, 0);
    inputs.store(buffers);
    for (int i = threadIdx.x; i < ROWS * UNITS; i += THREADS) buffers[i / UNITS * Forward::OPERAND + X + i % UNITS] = 0;
    __syncthreads();
    timeline.until_now(WEIGHTS);
#pragma unroll 1
    for (int t = 0; t < STEPS; ++t) {
        float* next = buffers + (t + 1) % 2 * BUFFER;
        if (t + 1 < STEPS) inputs.fetch(images, state.xh, t + 1);
        float z[ROWS][4] = {};
        weights.multiply(z, buffers + t % 2 * BUFFER);
        timeline.until_now(PRODUCT);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (r % 4 != slice) continue;
            const float i = sigmoid(z[r][0] + start[0]), j = tanhf(z[r][1] + start[1]);
            const float f = sigmoid(z[r][2] + start[2]), o = sigmoid(z[r][3] + start[3]);
            c[r / 4] = f * c[r / 4] + i * j;
            const float h = o * tanhf(c[r / 4]);
            next[r * Forward::OPERAND + X + unit] = h;
            if (images.inside(r)) {
                const long long at = images.at(t, r);
                state.gates[at * UNITS + unit] = make_float4(i, j, f, o);
                state.cell[at * UNITS + unit] = c[r / 4];
                if (unit < HIDDEN) state.xh[images.at(t + 1, r) * XH + INPUTS + unit] = h;
            }
        }
        if (t + 1 < STEPS) inputs.store(next);
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
        for (int u = lane; u < HIDDEN; u += 32) sum += h[row * Forward::OPERAND + u] * weight[u * CLASSES + label];
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
    const int unit = weights.unit, slice = weights.slice;
    Saved saved[MINE];
    float dh[MINE] = {}, dc[MINE] = {};
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (r % 4 != slice) continue;
        saved[r / 4].fetch(images, state, STEPS - 1, r, unit);
        if (unit < HIDDEN)
            for (int k = 0; k < CLASSES; ++k) dh[r / 4] += scores[r * CLASSES + k] * output_weight[unit * CLASSES + k];
    }
    timeline.until_now(WEIGHTS);
#pragma unroll 1
    for (int t = STEPS - 1;; --t) {
        float* buffer = buffers + t % 2 * BUFFER;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (r % 4 != slice) continue;
            const float i = saved[r / 4].gates.x, j = saved[r / 4].gates.y, f = saved[r / 4].gates.z,
                        o = saved[r / 4].gates.w, c_before = saved[r / 4].c_before;
            const float tanh_c = tanhf(f * c_before + i * j);
            // through h = o·tanh(c), then c = f·c_before + i·j, then the nonlinearities: σ' = σ·(1 − σ), tanh' = 1 − tanh²
            const float d_out = dh[r / 4] * tanh_c * (o - o * o);
            dc[r / 4] += dh[r / 4] * o * (1.0f - tanh_c * tanh_c);
            const float dz[4] = {dc[r / 4] * j * (i - i * i), dc[r / 4] * i * (1.0f - j * j),
                                 dc[r / 4] * c_before * (f - f * f), d_out};
            dc[r / 4] *= f;
#pragma unroll
            for (int g = 0; g < 4; ++g) {
                buffer[r * Backward::OPERAND + g * UNITS + unit] = dz[g];
                if (images.inside(r)) state.dz[images.at(t, r) * 4 * UNITS + g * UNITS + unit] = dz[g];
            }
            // fetched while the products run
            if (t > 0) saved[r / 4].fetch(images, state, t - 1, r, unit);
        }
        timeline.until_now(GATES);
        if (t == 0) break;
        __syncthreads();
        timeline.until_now(BARRIER);
        float sum[ROWS][4] = {};
        weights.multiply(sum, buffer);
        timeline.until_now(PRODUCT);
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
            if (r % 4 == slice) dh[r / 4] = (sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]);
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
        const float* b = output ? state.dlogits : state.dz + tile % ACROSS * 32;
        add_rows(a, XH, b, output ? 32 : 4 * UNITS, slice * share, min(rows, (slice + 1) * share),
                 partials + static_cast<long long>(task) * TILE, lane);
    }
}

__device__ __forceinline__ float total(const float* partials, int tiles, int slices) {
    float sum = 0;
#pragma unroll 4
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
           float* loss, float* losses, float* xh, float4* gates, float* cell, float* dz, float* dlogits, float* partials,
           unsigned* barrier, int batch, int slices, int output_slices, float rate, long long* stamps, int most_stamps) {
    Timeline timeline = {stamps + static_cast<long long>(blockIdx.x) * most_stamps};
    timeline.until_now(WEIGHTS);
    float* buffers = reinterpret_cast<float*>(shared + 4 * QUADS_IN_SHARED * THREADS);
    float* scores = buffers + 2 * BUFFER;
    const State state = {xh, cell, dz, dlogits, gates};
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
        const int row = e / (4 * HIDDEN), column = e % (4 * HIDDEN);
        const int padded = column / HIDDEN * UNITS + column % HIDDEN;
        const int tile = row / 32 * ACROSS + padded / 32;
        const float g = total(partials + tile * TILE + row % 32 * 32 + padded % 32, TILES, slices);
        if (row < INPUTS + HIDDEN)
            descend(cell_weight, d_cell_weight, e, g, rate);
        else
            descend(cell_bias, d_cell_bias, column, g, rate);
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
