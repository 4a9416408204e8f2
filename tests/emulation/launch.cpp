// A launch as Python calls it, and what becomes of the errors in it.
#include <signal.h>
#include <sys/time.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>

#include "fibres.h"
#include "memory.h"

namespace emulation {

namespace {

constexpr int CAUGHT[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGVTALRM};

char message[4096];
std::map<std::size_t, Guarded> arrays;  // by the number of the argument

struct Description {
    Triple grid, block;
    std::uint64_t shared_bytes, seed;
    int order, at_start, cooperative;
    int cluster;  // blocks
    int seconds;  // of CPU time, before it is an error
};

void on_signal(int signal, siginfo_t* info, void*) {
    if (signal == SIGVTALRM) fail("no end in sight after so many seconds");
    if (signal != SIGSEGV && signal != SIGBUS) fail("%s", strsignal(signal));
    for (const auto& [i, array] : arrays) {
        const std::string blame = array.blame(info->si_addr);
        if (!blame.empty()) fail("out of bounds: argument %zu, %s", i, blame.c_str());
    }
    fail("out of bounds: address %p belongs to no argument", info->si_addr);
}

// Errors of the kernel become errors of the launch while this lives.
class Signals {
public:
    explicit Signals(int seconds) : stack_(64 << 10) {
        stack_t stack{};
        stack.ss_sp = stack_.data();
        stack.ss_size = stack_.size();
        sigaltstack(&stack, &old_stack_);
        struct sigaction action {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (std::size_t i = 0; i < std::size(CAUGHT); ++i) sigaction(CAUGHT[i], &action, &old_[i]);
        set_timer(seconds);
    }
    Signals(const Signals&) = delete;
    ~Signals() {
        set_timer(0);
        for (std::size_t i = 0; i < std::size(CAUGHT); ++i) sigaction(CAUGHT[i], &old_[i], nullptr);
        sigaltstack(&old_stack_, nullptr);
    }

private:
    static void set_timer(int seconds) {
        const itimerval timer = {{0, 0}, {seconds, 0}};
        setitimer(ITIMER_VIRTUAL, &timer, nullptr);
    }
    std::vector<char> stack_;
    stack_t old_stack_{};
    struct sigaction old_[std::size(CAUGHT)] {};
};

std::vector<std::uint64_t> numbers(std::uint64_t first, std::uint64_t count, Order order, std::mt19937& random) {
    std::vector<std::uint64_t> found(count);
    std::iota(found.begin(), found.end(), first);
    arrange(found, order, random);
    return found;
}

// Cluster after cluster.
std::vector<Triple> all_blocks(Order order, std::mt19937& random) {
    const std::uint64_t count = std::uint64_t{grid_size.x} * grid_size.y * grid_size.z;
    std::vector<Triple> blocks;
    for (const std::uint64_t cluster : numbers(0, count / cluster_size, order, random))
        for (const std::uint64_t i : numbers(cluster * cluster_size, cluster_size, order, random))
            blocks.push_back({static_cast<unsigned>(i % grid_size.x), static_cast<unsigned>(i / grid_size.x % grid_size.y),
                              static_cast<unsigned>(i / grid_size.x / grid_size.y)});
    return blocks;
}

void run_grid(const Description& launch, const std::function<void()>& kernel) {
    std::mt19937 random(static_cast<unsigned>(launch.seed));
    const Order order{launch.order};
    const unsigned threads = block_size.x * block_size.y * block_size.z;
    if (launch.cooperative && cluster_size > 1) fail("a cooperative launch of clusters is not emulated");
    if (grid_size.x % cluster_size) fail("a grid of %u blocks across is no whole number of clusters", grid_size.x);
    std::vector<Block> blocks;
    const std::vector<Triple> all = all_blocks(order, random);
    for (const Triple& index : all) {
        blocks.push_back(make_block(index, static_cast<unsigned>(blocks.size()) * threads));
        if (blocks.size() < (launch.cooperative ? all.size() : cluster_size)) continue;
        run_blocks(blocks, kernel, order, random);
        blocks.clear();
    }
}

void run(const Description& launch, const Module& module, std::vector<Value>& values) {
    block_size = launch.block;
    grid_size = launch.grid;
    cluster_size = static_cast<unsigned>(launch.cluster);
    attach_shared(module, launch.shared_bytes);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const char kind = module.signature[i];
        if (kind != 'r' && kind != 'w' && kind != 'm') continue;
        const auto [array, _] = arrays.try_emplace(i, values[i], kind != 'w', launch.at_start);
        values[i].data = array->second.data();
        if (kind == 'm') values[i].map->data = static_cast<const char*>(values[i].data);
    }
    run_grid(launch, [&] { module.run(values.data()); });
    running = nullptr;
    for (const auto& [i, array] : arrays) {
        if (!array.slack_intact()) fail("out of bounds: a write beside argument %zu", i);
        array.copy_back();
    }
}

}  // namespace

void fail(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    int length = 0;
    if (running)
        length = std::snprintf(message, sizeof message, "block (%u,%u,%u) thread (%u,%u,%u): ", block_index.x,
                               block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z);
    std::vsnprintf(message + length, sizeof message - static_cast<std::size_t>(length), format, arguments);
    va_end(arguments);
    siglongjmp(launched, 1);  // past the destructors: a launch that fails leaks its blocks
}

}  // namespace emulation

// The error, null where there is none. values: as many as the kernel's signature has letters.
extern "C" const char* emulation_launch(const emulation::Module* module, const emulation::Description* launch,
                                        const emulation::Value* values, std::size_t count) {
    using namespace emulation;
    std::vector<Value> arguments(values, values + count);
    const Signals signals(launch->seconds);
    running = nullptr;
    const bool failed = sigsetjmp(launched, 1);
    if (!failed)
        run(*launch, *module, arguments);
    else
        forget_fibres();
    arrays.clear();
    return failed ? message : nullptr;
}
