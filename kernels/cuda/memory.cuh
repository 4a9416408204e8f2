// Tiles of the operands on their way from global memory to shared memory, and numbers on their way from there to registers.
#pragma once

// Copies that run beside the arithmetic (cp.async, sm_80 and newer): they are issued, gathered into a group, and waited for.
// Where `inside` is false nothing is read, whatever the source, and zeros arrive.
#ifndef CPU_EMULATION
__device__ __forceinline__ unsigned shared_address(const void* x) {
    return static_cast<unsigned>(__cvta_generic_to_shared(x));
}

__device__ __forceinline__ void copy16_async(void* destination, const void* source, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(destination)), "l"(source),
                 "r"(inside ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy4_async(void* destination, const void* source, bool inside) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(destination)), "l"(source),
                 "r"(inside ? 4 : 0)
                 : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until all groups of this thread but the newest PENDING are complete.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

// An operand as the tiles see it. A is taken by its rows and B by its columns, so `lines` counts rows of C or columns of
// C, and `depth` is K for both. Either the steps of k of a line are neighbours in memory (k_contiguous) or the lines of a
// step of k are; what are not neighbours lie `pitch` numbers apart.
struct Operand {
    const float* x;
    int lines, depth;
    long long pitch;
};

// A thread's share of an operand's tiles, which it takes one after another along k: pieces of WIDTH numbers that are
// neighbours in memory. Neighbouring threads take neighbouring pieces of a row, and a thread goes on STEP rows further.
// From tile to tile only a pointer changes, and how much of the matrix is left: all else is computed once.
// A row lies in shared memory as in global memory, STRIDE numbers from the next, or TURNED: its numbers lie STRIDE apart.
template <int LINES, int DEPTH, int STRIDE, int THREADS, bool K_CONTIGUOUS, int WIDTH, bool TURNED = K_CONTIGUOUS>
struct Share {
    static constexpr int ROWS = K_CONTIGUOUS ? LINES : DEPTH, LENGTH = K_CONTIGUOUS ? DEPTH : LINES, PIECE = WIDTH;
    // Numbers that are turned round one by one are taken by a warp from 4 rows of 8, where it can: global memory is read
    // 32 bytes at a time at least, and with rows of 32·x + 4 numbers in shared memory all of them go to different banks.
    static constexpr int ACROSS = TURNED && WIDTH == 1 && DEPTH % 8 == 0 ? 8 : LENGTH / WIDTH;
    static constexpr int STEP = THREADS / ACROSS;
    // single numbers are many, and so would be the registers for their addresses
    static constexpr int AT_ONCE = WIDTH == 1 && !TURNED ? 8 : ROWS;
    static_assert(THREADS % ACROSS == 0, "a row of pieces must divide the threads");

    const float* source;
    long long row_step, tile_step;
    int row, along, rows_left, numbers_left;  // of the matrix, from this thread's first piece on

    __device__ __forceinline__ Share(const Operand& from, int first, int start, int thread)
        : row_step(STEP * from.pitch), tile_step(K_CONTIGUOUS ? DEPTH : DEPTH * from.pitch),
          row(thread / ACROSS), along(thread % ACROSS * WIDTH) {
        const int first_row = row + (K_CONTIGUOUS ? first : start), first_number = along + (K_CONTIGUOUS ? start : first);
        source = from.x + first_row * from.pitch + first_number;
        rows_left = (K_CONTIGUOUS ? from.lines : from.depth) - first_row;
        numbers_left = (K_CONTIGUOUS ? from.depth : from.lines) - first_number;
    }
    // move(target, source, inside) for each piece of the tile, and on to the next.
    template <class Move>
    __device__ __forceinline__ void take(float* tile, const Move& move) {
        float* target = tile + (TURNED ? along * STRIDE + row : row * STRIDE + along);
        const float* from = source;
#pragma unroll AT_ONCE
        for (int r = 0; r < ROWS && (ROWS % STEP == 0 || row + r < ROWS); r += STEP, from += row_step)
#pragma unroll
            for (int q = 0; q < LENGTH; q += ACROSS * WIDTH)
                move(target + (TURNED ? q * STRIDE + r : r * STRIDE), from + q, r < rows_left && q < numbers_left);
        source += tile_step;
        (K_CONTIGUOUS ? numbers_left : rows_left) -= DEPTH;
    }
};

// tile[p * STRIDE + line] = the operand's next tile, zeros outside: 16 bytes at a time where WIDTH is 4.
// With WIDTH 4 the extent along memory is a multiple of 4, so a piece is inside as a whole or not at all.
template <int LINES, int DEPTH, int STRIDE, int THREADS, bool K_CONTIGUOUS, int WIDTH>
__device__ __forceinline__ void fill(float* tile, Share<LINES, DEPTH, STRIDE, THREADS, K_CONTIGUOUS, WIDTH>& share) {
    share.take(tile, [](float* target, const float* source, bool inside) {
        if (WIDTH == 1) {
            *target = inside ? __ldg(source) : 0.0f;
        } else {
            float4 four = make_float4(0, 0, 0, 0);
            if (inside) four = __ldg(reinterpret_cast<const float4*>(source));
            if (K_CONTIGUOUS) {
                target[0 * STRIDE] = four.x;
                target[1 * STRIDE] = four.y;
                target[2 * STRIDE] = four.z;
                target[3 * STRIDE] = four.w;
            } else {
                *reinterpret_cast<float4*>(target) = four;
            }
        }
    });
}

// The same with copies that run beside the arithmetic. Such a copy cannot turn a piece round, so along k they are of
// single numbers.
template <int LINES, int DEPTH, int STRIDE, int THREADS, bool K_CONTIGUOUS, int WIDTH>
using AsyncShare = Share<LINES, DEPTH, STRIDE, THREADS, K_CONTIGUOUS, K_CONTIGUOUS ? 1 : WIDTH>;

template <class AnyShare>
__device__ __forceinline__ void fill_async(float* tile, AnyShare& share) {
    share.take(tile, [](float* target, const float* source, bool inside) {
        if (AnyShare::PIECE == 4)
            copy16_async(target, source, inside);
        else
            copy4_async(target, source, inside);
    });
}

// COUNT numbers of a row of shared memory, 16 bytes at a time: fours of neighbours, SPACING apart.
template <int COUNT, int SPACING>
__device__ __forceinline__ void read_fours(float (&to)[COUNT], const float* row) {
#pragma unroll
    for (int g = 0; g < COUNT / 4; ++g) {
        const float4 four = *reinterpret_cast<const float4*>(row + g * SPACING);
        to[4 * g + 0] = four.x;
        to[4 * g + 1] = four.y;
        to[4 * g + 2] = four.z;
        to[4 * g + 3] = four.w;
    }
}

// The outer product of a column of A and a row of B: all of its multiplications are independent of one another.
// Every other row of it is taken backwards, so that each multiplication shares a factor with the last: where a
// multiprocessor begins 128 a cycle (sm_86, sm_89, sm_90), a third number to each from the registers would be too much.
template <int ROWS, int COLUMNS>
__device__ __forceinline__ void add_outer(float (&total)[ROWS][COLUMNS], const float (&a)[ROWS],
                                          const float (&b)[COLUMNS]) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
        for (int step = 0; step < COLUMNS; ++step) {
            const int s = r % 2 ? COLUMNS - 1 - step : step;
            total[r][s] += a[r] * b[s];
        }
}

// The sums of a block's COUNT slices of k, of THREADS threads each, added up by the first slice, and always in one order:
// the result is the same every time. True for that slice's threads.
// shared: (COUNT - 1)·THREADS·ROWS·COLUMNS numbers, which nobody needs any more.
template <int COUNT, int THREADS, int ROWS, int COLUMNS>
__device__ __forceinline__ bool add_slices(float (&total)[ROWS][COLUMNS], float* shared, int thread) {
    const int slice = thread / THREADS;
    constexpr int SPACING = 4 * THREADS;  // of a thread's fours
    const auto sums = [&](int of, int r) {
        return shared + ((of - 1) * ROWS + r) * COLUMNS * THREADS + 4 * (thread % THREADS);
    };
    if (slice > 0) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int g = 0; g < COLUMNS / 4; ++g)
                *reinterpret_cast<float4*>(sums(slice, r) + g * SPACING) =
                    make_float4(total[r][4 * g], total[r][4 * g + 1], total[r][4 * g + 2], total[r][4 * g + 3]);
    }
    __syncthreads();
    if (slice > 0) return false;
#pragma unroll
    for (int other = 1; other < COUNT; ++other)
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            float more[COLUMNS];
            read_fours<COLUMNS, SPACING>(more, sums(other, r));
#pragma unroll
            for (int s = 0; s < COLUMNS; ++s) total[r][s] += more[s];
        }
    return true;
}

// A thread's tile of C: fours of rows ROW_SPACING apart from `top` on, fours of columns COLUMN_SPACING apart from `left`.
// What is stored four at a time must stand in four registers in a row, and from the start, as the compiler moves none. But
// registers lie in two banks, even and odd, and a multiplication whose three numbers are in one bank takes a cycle more. So
// the sums are free to lie anywhere, and + 0 makes others to store.
template <int ROWS, int COLUMNS, int ROW_SPACING, int COLUMN_SPACING, int WIDTH>
__device__ __forceinline__ void store_fours(float* c, int m, int n, int top, int left,
                                            const float (&total)[ROWS][COLUMNS]) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int i = top + r / 4 * ROW_SPACING + r % 4;
        if (i >= m) continue;
        float* row = c + static_cast<long long>(i) * n;
#pragma unroll
        for (int g = 0; g < COLUMNS / 4; ++g) {
            const int j = left + g * COLUMN_SPACING;
            if (WIDTH == 4 && j < n) {
                *reinterpret_cast<float4*>(row + j) = make_float4(total[r][4 * g] + 0.0f, total[r][4 * g + 1] + 0.0f,
                                                                  total[r][4 * g + 2] + 0.0f, total[r][4 * g + 3] + 0.0f);
            } else if (WIDTH == 1) {
#pragma unroll
                for (int q = 0; q < 4; ++q)
                    if (j + q < n) row[j + q] = total[r][4 * g + q];
            }
        }
    }
}

// c(i,j) and c(i,j + 1) of a C of (m,n), as far as they exist; whole: both or none does, and they begin at 8 bytes.
__device__ __forceinline__ void store_two(float* c, int m, int n, int i, int j, float x, float y, bool whole) {
    if (i >= m || j >= n) return;
    float* to = c + static_cast<long long>(i) * n + j;
    if (whole) {
        *reinterpret_cast<float2*>(to) = make_float2(x, y);
    } else {
        to[0] = x;
        if (j + 1 < n) to[1] = y;
    }
}

// Where the stage begins that follows, in a ring of COUNT stages of SIZE numbers each.
template <int COUNT, int SIZE>
__device__ __forceinline__ int stage_after(int stage) {
    return stage == (COUNT - 1) * SIZE ? 0 : stage + SIZE;
}

// The tile of C that a block computes, (x, y): blocks that run at the same time stand in a square rather than in a long
// row of tiles, so that what one fetches is still in L2 when the others ask for it.
template <int TOGETHER>
__device__ __forceinline__ int2 tile_of_block(int block, int across, int down) {
    if (TOGETHER == 1) return make_int2(block % across, block / across);  // one division less on a small C's way
    const int first = block / (TOGETHER * across) * TOGETHER, within = block % (TOGETHER * across);
    const int height = min(down - first, TOGETHER);
    return make_int2(within / height, first + within % height);
}
