// A thread block computes a square tile of C from tiles of A and B that it fetches once and shares.
//
// At the same time: all c(i,j); the TILE² threads of a block also work together. Each fetches one number of A and one of
// B into shared memory, a small memory beside the multiprocessor's arithmetic; then all of them read TILE of each from
// there. Global memory is read 1/TILE as often.
// Two barriers keep the order: nobody reads a tile before it is complete, nobody overwrites it while another still reads.
// Threads outside C must not return early, for they too fetch and meet at the barriers: they fetch zeros, store nothing.
// Limit: two reads of shared memory for each multiplication. cupy_register.cu reads less often than it multiplies.
// The same in Numba: numba_shared.py.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

extern "C" __global__ void __launch_bounds__(TILE * TILE)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    const int x = threadIdx.x, y = threadIdx.y;
    const int i = blockIdx.y * TILE + y, j = blockIdx.x * TILE + x;
    float total = 0;
    for (int start = 0; start < k; start += TILE) {
        a_tile[y][x] = i < m && start + x < k ? a[i * a_down + (start + x) * a_along] : 0.0f;
        b_tile[y][x] = start + y < k && j < n ? b[(start + y) * b_down + j * b_along] : 0.0f;
        __syncthreads();
#pragma unroll
        for (int p = 0; p < TILE; ++p) total += a_tile[y][p] * b_tile[p][x];
        __syncthreads();
    }
    if (i < m && j < n) c[static_cast<long long>(i) * n + j] = total;
}
