#include <cstdint>
#include <cstring>

#include "fibres.h"
#include "memory.h"

namespace emulation {

namespace {

// What a barrier's 8 bytes say. Poison, in which `arrivals` is the largest number there is, is no barrier.
struct Phase {
    std::uint16_t arrivals, missing;  // threads, in each phase and now
    std::int32_t parity : 1, bytes : 31;  // to come

    static Phase read(const void* barrier) {
        Phase phase;
        std::memcpy(&phase, barrier, sizeof phase);
        if (phase.arrivals == 0xFFFF) fail("a barrier in shared memory is used before barrier_init");
        return phase;
    }
    void write(void* barrier) {
        if (missing == 0 && bytes == 0) {
            parity = ~parity;
            missing = arrivals;
        }
        std::memcpy(barrier, this, sizeof *this);
    }
};
static_assert(sizeof(Phase) == sizeof(unsigned long long));

// The 128-byte swizzle: which 16 bytes of a row, by which of 8 rows. Rows are 128 bytes, groups of 8 begin at 1024.
std::uintptr_t swizzled(std::uintptr_t address) { return address ^ (address >> 3 & 0x70); }

// TF32 is cut off here: NVIDIA does not say that anything rounds it.
float number_at(const char* tile, int row, int p, int bytes) {
    const auto address = swizzled(reinterpret_cast<std::uintptr_t>(tile + 128 * row + bytes * p));
    std::uint32_t bits = 0;
    std::memcpy(&bits, reinterpret_cast<const void*>(address), static_cast<std::size_t>(bytes));
    bits = bytes == 2 ? bits << 16 : bits & ~0x1FFFu;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// The block of this rank in the running thread's cluster, and where that has what the running block has here.
Block& in_cluster(unsigned rank) {
    if (rank >= cluster_size) fail("a cluster of %u blocks has none of rank %u", cluster_size, rank);
    return *std::find_if(alive->begin(), alive->end(),
                         [=](const Block& block) { return block.index.x % cluster_size == rank; });
}

char* there(Block& block, void* here) {
    if (&block == running->block) return static_cast<char*>(here);
    if (block.returned == block.fibres.size()) fail("a block of the cluster has returned: its shared memory is gone");
    return block.image.data() + offset_in_shared(here);
}

Warp& warp_of(const Fibre& fibre) { return fibre.block->warps[fibre.thread / 32]; }

void multiply(const Product& product, Products& products, unsigned warp) {
    const int depth = 32 / product.bytes, columns = 2 * product.count, first_row = static_cast<int>(warp % 4) * 16;
    std::vector<float> a(static_cast<std::size_t>(16 * depth)), b(static_cast<std::size_t>(columns * depth));
    for (int row = 0; row < 16; ++row)
        for (int p = 0; p < depth; ++p)
            a[row * depth + p] = number_at(product.a, first_row + row, p, product.bytes);
    for (int column = 0; column < columns; ++column)
        for (int p = 0; p < depth; ++p) b[column * depth + p] = number_at(product.b, column, p, product.bytes);
    for (int lane = 0; lane < 32; ++lane) {
        std::vector<float>& sums = products.sums.at(product.d[lane]);
        for (int i = 0; i < product.count; ++i) {
            const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
            for (int p = 0; p < depth; ++p) sums[i] += a[row * depth + p] * b[column * depth + p];
        }
    }
}

void finish_products(std::size_t newest_to_leave) {
    Products& products = warp_of(*running).products;
    if (products.groups.size() <= newest_to_leave) return;
    const std::size_t finished_groups = products.groups.size() - newest_to_leave;
    const std::size_t finished = products.groups[finished_groups - 1];
    for (std::size_t i = 0; i < finished; ++i) multiply(products.waiting[i], products, running->thread / 32);
    products.waiting.erase(products.waiting.begin(), products.waiting.begin() + static_cast<std::ptrdiff_t>(finished));
    std::vector<std::size_t>& groups = products.groups;
    groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(finished_groups));
    for (std::size_t& end : groups) end -= finished;
    std::erase_if(products.sums, [&](const auto& entry) {
        for (const Product& product : products.waiting)
            if (std::count(product.d, product.d + 32, entry.first)) return false;
        std::copy(entry.second.begin(), entry.second.end(), entry.first);
        return true;
    });
    products.fenced = false;
}

void need_warp(const Meeting& all, const char* what) {
    if (all.lanes != ~0u) fail("%s needs all 32 lanes of a warp, %#x are there", what, all.lanes);
}

}  // namespace

void barrier_init(unsigned long long* barrier, unsigned arrivals) {
    if (!is_shared(barrier, sizeof *barrier)) fail("a barrier must lie in shared memory");
    Phase phase{static_cast<std::uint16_t>(arrivals), static_cast<std::uint16_t>(arrivals), 0, 0};
    phase.write(barrier);
}

void barrier_arrive_at(unsigned rank, unsigned long long* barrier, unsigned bytes_expected) {
    void* its = there(in_cluster(rank), barrier);
    Phase phase = Phase::read(its);
    if (phase.missing == 0) fail("more threads arrive at a barrier than the %u it was made for", phase.arrivals);
    phase.bytes += static_cast<std::int32_t>(bytes_expected);
    --phase.missing;
    phase.write(its);
}

void barrier_wait(unsigned long long* barrier, unsigned parity, Place place) {
    for (bool again = false; (Phase::read(barrier).parity & 1) == static_cast<int>(parity); again = true)
        spin(place, again);
}

void copy_box(void* destination, const Map& map, unsigned long long* barrier, int column, int row, unsigned blocks) {
    const int row_bytes = map.bytes * map.box_columns, bytes = row_bytes * map.box_rows;
    char* to = static_cast<char*>(destination);
    if (reinterpret_cast<std::uintptr_t>(to) % 1024) fail("a swizzled box must begin at a multiple of 1024 bytes");
    if (!is_shared(to, static_cast<std::size_t>(bytes))) fail("a box does not go to shared memory");
    const auto arrival = [=] {
        for (int i = 0; i < map.box_rows; ++i)
            for (int p = 0; p < map.box_columns; ++p) {
                std::uint32_t number = 0;
                const auto length = static_cast<std::size_t>(map.bytes);
                const long long at_row = row + i, at_column = column + p;
                if (at_row >= 0 && at_row < map.rows && at_column >= 0 && at_column < map.columns)
                    std::memcpy(&number, map.data + map.bytes * (at_row * map.columns + at_column), length);
                const auto address = swizzled(reinterpret_cast<std::uintptr_t>(to + i * row_bytes + p * map.bytes));
                std::memcpy(reinterpret_cast<void*>(address), &number, length);
            }
        Phase phase = Phase::read(barrier);
        phase.bytes -= bytes;
        phase.write(barrier);
    };
    for (unsigned rank = 0; blocks >> rank; ++rank) {
        if (!(blocks >> rank & 1)) continue;
        Block& block = in_cluster(rank);
        Phase::read(there(block, barrier));  // it might arrive at once
        std::memset(there(block, to), POISON, static_cast<std::size_t>(bytes));
        block.arriving.push_back(arrival);
    }
}

void fence_products(Place place) {
    const auto fence = [](const Meeting& all) {
        need_warp(all, "wgmma_fence");
        warp_of(*running).products.fenced = true;
    };
    meet(~0u, nullptr, nullptr, fence, "wgmma_fence", place);
}

void issue_product(float* d, int count, int bytes, unsigned long long a, unsigned long long b, Place place) {
    struct Mine {
        float* d;
        int count, bytes;
        unsigned long long a, b;
    };
    const auto issue = [](const Meeting& all) {
        need_warp(all, "wgmma");
        Products& products = warp_of(*running).products;
        const Mine first = all.from<Mine>(0);
        const auto b_bytes = static_cast<std::size_t>(128 * 2 * first.count);
        if (!products.fenced) fail("wgmma without a wgmma_fence after the registers were last touched");
        if (!is_shared(reinterpret_cast<void*>(first.a), 64 * 128 - 96) ||
            !is_shared(reinterpret_cast<void*>(first.b), b_bytes - 96))
            fail("an operand of wgmma does not lie in shared memory");
        if ((first.a | first.b) % 16 || (first.a | first.b) / 128 % 8)
            fail("an operand of wgmma does not begin in the first of a swizzle's 8 rows, at 16 bytes");
        Product product{};
        product.count = first.count;
        product.bytes = first.bytes;
        product.a = reinterpret_cast<const char*>(first.a);
        product.b = reinterpret_cast<const char*>(first.b);
        for (unsigned lane = 0; lane < 32; ++lane) {
            const Mine& mine = all.from<Mine>(lane);
            if (mine.a != first.a || mine.b != first.b) fail("the lanes of a warp name different operands to wgmma");
            product.d[lane] = mine.d;
            // until the product is complete the registers hold nothing that may be read
            if (products.sums.try_emplace(mine.d, mine.d, mine.d + mine.count).second)
                std::memset(mine.d, POISON, sizeof(float) * static_cast<std::size_t>(mine.count));
        }
        products.waiting.push_back(product);
    };
    const Mine mine = {d, count, bytes, a, b};
    meet(~0u, &mine, nullptr, issue, "wgmma", place);
}

void commit_products(Place place) {
    const auto commit = [](const Meeting& all) {
        need_warp(all, "wgmma_commit");
        Products& products = warp_of(*running).products;
        products.groups.push_back(products.waiting.size());
    };
    meet(~0u, nullptr, nullptr, commit, "wgmma_commit", place);
}

void wait_products(unsigned newest, Place place) {
    const auto wait = [](const Meeting& all) {
        need_warp(all, "wgmma_wait");
        const unsigned leave = all.from<unsigned>(0);
        finish_products(leave);
    };
    meet(~0u, &newest, nullptr, wait, "wgmma_wait", place);
}

}  // namespace emulation
