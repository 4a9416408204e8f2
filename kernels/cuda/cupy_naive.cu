// One thread per c(i,j), every one of them at the same time; neighbouring threads stand on different rows.
//
// At the same time: all c(i,j). A GPU runs threads in warps of 32 that execute one instruction together.
// Limit: threadIdx.x counts fastest within a warp, and here it counts rows. The 32 threads of a warp read 32 numbers of A
// that lie K numbers apart: 32 sectors of 32 bytes are asked for where 128 bytes are wanted. The rest of a sector is wanted
// in the next seven steps, if a cache still holds it; of the stores of C it is lost. cupy_coalesced.cu lifts that by
// exchanging two names, and turning the block. The same in Numba: numba_naive.py.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

extern "C" __global__ void __launch_bounds__(BLOCK_M * BLOCK_N)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    const int i = blockIdx.y * BLOCK_M + threadIdx.x;
    const int j = blockIdx.x * BLOCK_N + threadIdx.y;
    if (i < m && j < n) {
        float total = 0;
        for (int p = 0; p < k; ++p) total += a[i * a_down + p * a_along] * b[p * b_down + j * b_along];
        c[static_cast<long long>(i) * n + j] = total;
    }
}
