// What the first thread of a block was at, and until when: for the picture that experiments.timeline draws.
// With TIMELINE 0 nothing of it is left in the machine code.
#pragma once

enum Phase { WEIGHTS, PRODUCT, GATES, BARRIER, LOSS, GRID_BARRIER, GRADIENTS, UPDATE };  // as rnn/persistent_cuda.py

struct Timeline {
    long long* next;  // of this block: clocks of its SM times 8, plus the phase

    // Up to now it was at this; the first call of a launch only sets the clock going.
    __device__ __forceinline__ void until_now(Phase phase) {
        if (TIMELINE && threadIdx.x == 0) *next++ = clock64() * 8 + phase;
    }
};
