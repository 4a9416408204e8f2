// What an emulated kernel asks of the emulator: the face of scheduler.cpp, memory.cpp and copies.cpp.
#pragma once

namespace emulation {

struct Place {
    const char* file;
    int line;
    static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {file, line};
    }
};

struct Triple {
    unsigned x, y, z;
};
extern Triple thread_index, block_index, block_size, grid_size;  // of the thread that runs now

// Ends the launch with an error that names the running thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A barrier of the block; how many threads came with a `vote` that is not 0.
int barrier(bool vote, Place place);

// Lets the others run: for loops that wait for a number in memory to change.
void spin(Place place);

// Lanes of a warp that do something together: each brings `in` and takes `out` away, the last to come combines.
struct Meeting {
    const void* in[32];
    void* out[32];
    unsigned lanes;
    template <class In>
    const In& from(unsigned lane) const {
        return *static_cast<const In*>(in[lane]);
    }
    template <class Out>
    Out& to(unsigned lane) const {
        return *static_cast<Out*>(out[lane]);
    }
};
void meet(unsigned mask, const void* in, void* out, void (*combine)(const Meeting&), const char* what, Place place);

// Copies to shared memory that arrive as late as they may: when the thread waits for them.
void start_copy(void* destination, const void* source, unsigned bytes, bool inside);
void commit_copies();
void wait_copies(unsigned newest);

// An argument of a kernel, as Python hands it over; the kernel's signature says which member counts.
struct Value {
    void* data;
    unsigned long long bytes;
    long long integer;
    double real;
};

// A compiled kernel. signature: a letter for each parameter, r: pointer to const, w: pointer, i: integer, f: float.
struct Module {
    void (*run)(const Value*);
    const char* signature;
    char* anchor;   // some byte of its thread-local segment, which stands for shared memory
    char* dynamic;  // dynamic shared memory, null where there is none
    unsigned long long capacity;
};

}  // namespace emulation
