#include "fibres.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>

#include "memory.h"

namespace emulation {

Triple thread_index, block_index, block_size, grid_size;
unsigned cluster_size;
Fibre* running;
std::vector<Block>* alive;
sigjmp_buf launched;

namespace {

constexpr std::size_t STACK = 128 << 10;
constexpr int MOST_SPINS = 10000;  // rounds in which nobody does anything but look at memory

std::deque<Fibre> fibres;  // reused from launch to launch
jmp_buf scheduler;
const std::function<void()>* kernel;

[[noreturn]] void live() {
    for (;;) {
        (*kernel)();
        running->state = State::returned;
        ++running->block->returned;
        if (!_setjmp(running->context)) _longjmp(scheduler, 1);
    }
}

void enter_first_time(Fibre& fibre) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    if (!fibre.stack) {
        void* stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) fail("no memory for the stacks of so many threads");
        mprotect(stack, page, PROT_NONE);
        fibre.stack = static_cast<char*>(stack);
    }
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fibre.stack + page;
    context.uc_stack.ss_size = STACK - page;
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    fibre.started = true;
    setcontext(&context);
}

// swapcontext would do, but for its two system calls.
__attribute__((noinline)) void resume(Fibre& fibre) {
    running = &fibre;
    thread_index = {fibre.thread % block_size.x, fibre.thread / block_size.x % block_size.y,
                    fibre.thread / (block_size.x * block_size.y)};
    fibre.spun = false;
    if (_setjmp(scheduler)) return;
    if (fibre.started) _longjmp(fibre.context, 1);
    enter_first_time(fibre);
}

__attribute__((noinline)) void leave(const char* what, Place place, State state) {
    running->what = what;
    running->place = place;
    running->state = state;
    if (!_setjmp(running->context)) _longjmp(scheduler, 1);
}

std::string where(const Fibre& fibre) {
    if (fibre.state == State::returned) return "returned";
    std::string file = fibre.place.file;
    return std::string(fibre.state == State::waiting ? "at " : "spinning at ") + fibre.what + " in " +
           file.substr(file.rfind('/') + 1) + ":" + std::to_string(fibre.place.line);
}

[[noreturn]] void report_stuck(const Block& block, const char* why) {
    std::map<std::string, std::vector<unsigned>> threads;
    for (const Fibre* fibre : block.fibres) threads[where(*fibre)].push_back(fibre->thread);
    std::string text = why;
    for (const auto& [state, members] : threads) {
        const unsigned thread = members.front();
        text += "; " + std::to_string(members.size()) + " " + state + ", first (" +
                std::to_string(thread % block_size.x) + "," + std::to_string(thread / block_size.x % block_size.y) +
                "," + std::to_string(thread / (block_size.x * block_size.y)) + ")";
    }
    running = nullptr;
    fail("block (%u,%u,%u): %s", block.index.x, block.index.y, block.index.z, text.c_str());
}

void let_go_on(Block& block, Place place) {
    for (const Fibre* fibre : block.fibres)
        if (fibre->place.line != place.line || std::strcmp(fibre->place.file, place.file) != 0)
            report_stuck(block, "threads are at different barriers");
    for (Fibre* fibre : block.fibres) fibre->state = State::ready;
}

bool release_barrier(Block& block, Order order, std::mt19937& random) {
    if (!block.arrived || block.arrived < block.fibres.size()) return false;
    let_go_on(block, block.fibres.front()->place);
    block.votes_of_last_barrier = block.votes;
    block.arrived = block.votes = 0;
    arrange(block.warp_order, order, random);
    return true;
}

bool release_cluster(std::vector<Block>& blocks, Order order, std::mt19937& random) {
    for (const Block& block : blocks)
        if (block.arrived_in_cluster < block.fibres.size()) return false;
    const Place place = blocks.front().fibres.front()->place;
    for (Block& block : blocks) {
        let_go_on(block, place);
        block.arrived_in_cluster = 0;
        arrange(block.warp_order, order, random);
    }
    return true;
}

bool let_one_arrive(Block& block, Order order, std::mt19937& random) {
    if (block.arriving.empty()) return false;
    const std::size_t newest = block.arriving.size() - 1;
    const std::size_t which = order == Order::forward ? 0 : order == Order::reverse ? newest : random() % (newest + 1);
    running = nullptr;
    block.arriving[which]();
    block.arriving.erase(block.arriving.begin() + static_cast<std::ptrdiff_t>(which));
    return true;
}

// Until every thread of the block waits for another block's, or has returned. Whether any got on.
// interruptible: other blocks may come in between, after any warp.
bool run_until_stuck(Block& block, bool interruptible, Order order, std::mt19937& random) {
    bool moved_at_all = false, moved;
    std::vector<unsigned> lanes;
    block_index = block.index;
    do {
        moved = false;
        // a warp goes as far as it gets alone: the others are as late as they may be
        for (const unsigned warp : block.warp_order) {
            const auto last = std::min<std::size_t>(32 * warp + 32, block.fibres.size());
            lanes.clear();
            for (unsigned thread = 32 * warp; thread < last; ++thread) lanes.push_back(thread);
            arrange(lanes, order, random);
            for (bool warp_moved = true; warp_moved;) {
                warp_moved = false;
                for (const unsigned thread : lanes) {
                    Fibre& fibre = *block.fibres[thread];
                    if (fibre.state != State::ready) continue;
                    resume(fibre);
                    warp_moved |= !fibre.spun;
                }
                moved |= warp_moved;
            }
            if (interruptible && moved && random() % 4 == 0) return true;
        }
        moved |= release_barrier(block, order, random);
        if (!moved && block.returned < block.fibres.size()) moved = let_one_arrive(block, order, random);
        moved_at_all |= moved;
    } while (moved);
    return moved_at_all;
}

// Shared memory is another block's when this one has ended: nothing may then still be on its way there.
void expect_no_copies(const Block& block) {
    running = nullptr;
    const Triple at = block.index;
    const std::size_t boxes = block.arriving.size();
    if (boxes) fail("block (%u,%u,%u) has returned before %zu of its boxes came", at.x, at.y, at.z, boxes);
    std::size_t copies = 0;
    for (const Fibre* fibre : block.fibres) copies += fibre->copies.waiting.size();
    if (copies) fail("block (%u,%u,%u) has returned before %zu of its copies came", at.x, at.y, at.z, copies);
}

}  // namespace

Block make_block(Triple index, unsigned first_fibre) {
    Block block;
    const unsigned threads = block_size.x * block_size.y * block_size.z;
    block.index = index;
    block.warps.resize((threads + 31) / 32);
    for (unsigned thread = 0; thread < threads; ++thread) {
        while (fibres.size() <= first_fibre + thread) fibres.emplace_back();
        Fibre& fibre = fibres[first_fibre + thread];
        fibre.thread = thread;
        fibre.state = State::ready;
        fibre.copies = {};
        block.fibres.push_back(&fibre);
        block.warps[thread / 32].existing |= 1u << thread % 32;
    }
    for (unsigned warp = 0; warp < block.warps.size(); ++warp) block.warp_order.push_back(warp);
    return block;
}

void run_blocks(std::vector<Block>& blocks, const std::function<void()>& what, Order order, std::mt19937& random) {
    kernel = &what;
    alive = &blocks;
    for (Block& block : blocks) {
        for (Fibre* fibre : block.fibres) fibre->block = &block;
        arrange(block.warp_order, order, random);
        poison_shared();
        if (blocks.size() > 1) block.image = save_shared();
    }
    for (int idle = 0;;) {
        bool moved = false, spinning = false;
        std::size_t done = 0;
        for (Block& block : blocks) {
            if (blocks.size() > 1) restore_shared(block.image);
            moved |= run_until_stuck(block, blocks.size() > 1 && order == Order::shuffled, order, random);
            if (block.returned == block.fibres.size()) expect_no_copies(block);
            running = nullptr;
            check_shared(block.index);
            if (blocks.size() > 1) block.image = save_shared();
            done += block.returned == block.fibres.size();
            for (const Fibre* fibre : block.fibres) spinning |= fibre->spun && fibre->state == State::ready;
        }
        if (done == blocks.size()) return;
        moved |= release_cluster(blocks, order, random);
        idle = moved ? 0 : idle + 1;
        if (idle < (spinning ? MOST_SPINS : 1)) continue;
        for (const Block& block : blocks)
            if (block.returned < block.fibres.size()) report_stuck(block, "threads wait for ever");
    }
}

void forget_fibres() {
    for (Fibre& fibre : fibres) fibre.started = false;
}

int barrier(bool vote, Place place) {
    Block& block = *running->block;
    ++block.arrived;
    block.votes += vote;
    leave("__syncthreads", place, State::waiting);
    return static_cast<int>(block.votes_of_last_barrier);
}

void cluster_barrier(Place place) {
    ++running->block->arrived_in_cluster;
    leave("cluster_sync", place, State::waiting);
}

void spin(Place place, bool again) {
    running->spun = again;
    leave("a loop", place, State::ready);
}

void meet(unsigned mask, const void* in, void* out, void (*combine)(const Meeting&), const char* what, Place place) {
    const unsigned thread = running->thread, me = thread % 32;
    Warp& warp = running->block->warps[thread / 32];
    mask &= warp.existing;
    if (!(mask >> me & 1)) fail("%s: the thread is lane %u, which is not in its own mask", what, me);
    warp.lanes[me] = {true, mask, in, out, what};
    Meeting all{};
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        const Warp::Lane& other = warp.lanes[lane];
        if (!other.here || other.mask != mask || std::strcmp(other.what, what) != 0)
            return leave(what, place, State::waiting);
        all.in[lane] = other.in;
        all.out[lane] = other.out;
    }
    all.lanes = mask;
    combine(all);
    for (unsigned lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1) {
            warp.lanes[lane].here = false;
            running->block->fibres[thread - me + lane]->state = State::ready;
        }
}

}  // namespace emulation
