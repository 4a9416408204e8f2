// One thread per c(i,j); neighbouring threads stand on neighbouring columns.
//
// At the same time: all c(i,j), as before. But now the 32 threads of a warp share a row of A (one number, broadcast to
// all) and read 32 neighbours of a row of B: 4 sectors of 32 bytes, every byte used. Only threadIdx.x and .y changed places.
// Limit: each thread still fetches 2 numbers for each multiplication; a number of A is asked for by N threads, one of B
// by M. cupy_shared.cu lets the threads of a block fetch them once. The same in Numba: numba_coalesced.py.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

extern "C" __global__ void __launch_bounds__(BLOCK_M * BLOCK_N)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    const int i = blockIdx.y * BLOCK_M + threadIdx.y;
    const int j = blockIdx.x * BLOCK_N + threadIdx.x;
    if (i < m && j < n) {
        float total = 0;
        for (int p = 0; p < k; ++p) total += a[i * a_down + p * a_along] * b[p * b_down + j * b_along];
        c[static_cast<long long>(i) * n + j] = total;
    }
}
