// The threads of a grid as fibres of one CPU thread. A fibre runs until it waits for others; then the next one runs.
#pragma once

#include <setjmp.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "runtime.h"

namespace emulation {

struct Copy {
    char* destination;
    const char* source;
    unsigned bytes;
};

// Copies of a thread; `groups` says where each committed group ends.
struct Copies {
    std::vector<Copy> waiting;
    std::vector<std::size_t> groups;
    void finish(std::size_t newest_to_leave);
};

struct Block;

enum class State { ready, waiting, returned };

struct Fibre {
    jmp_buf context;
    char* stack = nullptr;
    bool started = false;  // the stack holds a loop that waits for a kernel to run
    Block* block = nullptr;
    unsigned thread = 0;  // in the block, x fastest
    State state = State::returned;
    bool spun = false;  // gave way in a loop that looks at memory again and again
    const char* what = nullptr;
    Place place{};
    Copies copies;
};

// Products that the tensor cores still owe a warp, each to add to 32 lanes' registers. sums: what those should hold.
struct Product {
    float* d[32];
    int count, bytes;
    const char *a, *b;
};
struct Products {
    std::vector<Product> waiting;
    std::vector<std::size_t> groups;
    std::map<float*, std::vector<float>> sums;
    bool fenced = false;
};

struct Warp {
    struct Lane {
        bool here = false;
        unsigned mask;
        const void* in;
        void* out;
        const char* what;
    } lanes[32];
    unsigned existing = 0;
    Products products;
};

struct Block {
    Triple index;
    std::vector<Fibre*> fibres;
    std::vector<Warp> warps;
    std::vector<unsigned> warp_order;
    unsigned arrived = 0, arrived_in_cluster = 0, votes = 0, votes_of_last_barrier = 0, returned = 0;
    std::vector<char> image;  // its shared memory while other blocks run
    std::vector<std::function<void()>> arriving;  // the copy engine's work, done when nothing else can be
};

// forward and reverse: of blocks, and of threads between barriers; shuffled: anew after every barrier.
enum class Order { forward, reverse, shuffled };

extern Fibre* running;
extern std::vector<Block>* alive;  // blocks at the same time: one, a cluster, or the grid of a cooperative launch
extern sigjmp_buf launched;  // where an error ends

// Runs `kernel` for every thread of the blocks, all of which are alive at the same time.
void run_blocks(std::vector<Block>& blocks, const std::function<void()>& kernel, Order order, std::mt19937& random);

// Puts a block's threads onto fibres.
Block make_block(Triple index, unsigned first_fibre);

void forget_fibres();  // after an error, when they have stopped in the middle

template <class T>
void arrange(std::vector<T>& items, Order order, std::mt19937& random) {
    if (order == Order::reverse) std::sort(items.begin(), items.end(), std::greater<>());
    if (order == Order::shuffled) std::shuffle(items.begin(), items.end(), random);
}

}  // namespace emulation
