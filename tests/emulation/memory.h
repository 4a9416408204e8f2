// Memory that finds its own misuse: shared memory full of NaN, and arrays between pages that nobody may touch.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "runtime.h"

namespace emulation {

constexpr int POISON = 0xFF;  // four such bytes are a NaN

// Shared memory is the thread-local segment of the kernel's library.
void attach_shared(const Module& module, std::size_t dynamic_bytes);
void poison_shared();
std::vector<char> save_shared();
void restore_shared(const std::vector<char>& image);
void check_shared(Triple block);  // fails if a byte outside of it was written
bool is_shared(const void* address, std::size_t bytes);
std::size_t offset_in_shared(const void* address);  // in an image, too

// A copy of an array with forbidden pages around it. It stands directly in front of the one behind, or directly behind
// the one in front; what is left of its own pages on the other side is poisoned.
class Guarded {
public:
    Guarded(const Value& array, bool constant, bool at_start);
    Guarded(const Guarded&) = delete;
    ~Guarded();

    void* data() const { return data_; }
    bool slack_intact() const;
    void copy_back() const;
    // What is wrong with an access to `address`; empty where it has nothing to do with this array.
    std::string blame(const void* address) const;

private:
    Value array_;
    bool constant_;
    char *region_, *pages_, *data_;
    std::size_t region_bytes_, page_bytes_;
};

}  // namespace emulation
