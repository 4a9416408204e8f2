// Fused multiply-adds on registers alone, so many independent chains that none waits for the one before.
// Counting the steps takes instructions, too, each in the place of a multiply-add: 64 steps to a round keep them below 1%,
// or the peak would lie below what a good product reaches.

constexpr int CHAINS = 8;

extern "C" __global__ void __launch_bounds__(256) fma_chains(float* out, float x, float y, int steps) {
    float chain[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) chain[i] = threadIdx.x + i;
#pragma unroll 64
    for (int step = 0; step < steps; ++step)
#pragma unroll
        for (int i = 0; i < CHAINS; ++i) chain[i] = chain[i] * x + y;
    float total = 0;
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) total += chain[i];
    out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
