// What an emulated kernel asks of the emulator: the face of fibres.cpp, memory.cpp and copies.cpp.
#pragma once

namespace emulation {

constexpr int GUARD = 64 << 10;  // bytes of shared memory before and behind what the kernel declares

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

// A barrier of all blocks of a cluster: those that follow one another in x.
void cluster_barrier(Place place);
extern unsigned cluster_size;

// Lets the others run: for loops that wait for memory to change. again: it has not, since the last time.
void spin(Place place, bool again = true);

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

// A matrix of numbers of 2 or 4 bytes, rows after rows, for the copy engine; as large as the driver's own map of it.
struct Map {
    const char* data;
    int rows, columns, box_rows, box_columns, bytes;
    char unused[128 - sizeof(const char*) - 5 * sizeof(int)];
};

// Hopper: barriers in shared memory, a copy engine, products of a warpgroup.
void barrier_init(unsigned long long* barrier, unsigned arrivals);
// `rank` is that of the block, in the cluster, at whose barrier of the same place the thread arrives
void barrier_arrive_at(unsigned rank, unsigned long long* barrier, unsigned bytes_expected);
void barrier_wait(unsigned long long* barrier, unsigned parity, Place place);
// to the same place in all blocks of the cluster whose bit is set
void copy_box(void* destination, const Map& map, unsigned long long* barrier, int column, int row, unsigned blocks);
// bytes: of a number of a and b, 2 for bf16 and 4 for TF32
void issue_product(float* d, int count, int bytes, unsigned long long a, unsigned long long b, Place place);
void fence_products(Place place);
void commit_products(Place place);
void wait_products(unsigned newest, Place place);

// An argument of a kernel, as Python hands it over; the kernel's signature says which members count.
struct Value {
    void* data;
    unsigned long long bytes;
    long long integer;
    double real;
    Map* map;
};

// A compiled kernel. signature: a letter for each parameter, r: pointer to const, w: pointer, i: integer, f: float,
// m: tensor map.
struct Module {
    void (*run)(const Value*);
    const char* signature;
    char* anchor;   // some byte of its thread-local segment, which stands for shared memory
    char* dynamic;  // dynamic shared memory, null where there is none
    unsigned long long capacity;
};

}  // namespace emulation
