#include "memory.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace emulation {

namespace {

char *shared, *shared_end;  // with a guard of GUARD bytes on either side
char *unused, *unused_end;  // what the launch leaves of the room for dynamic shared memory

int find_segment(dl_phdr_info* library, size_t, void* anchor) {
    for (int i = 0; i < library->dlpi_phnum; ++i) {
        if (library->dlpi_phdr[i].p_type != PT_TLS) continue;
        char* begin = static_cast<char*>(library->dlpi_tls_data);
        char* end = begin + library->dlpi_phdr[i].p_memsz;
        if (!begin || anchor < begin || anchor >= end) continue;
        shared = begin + GUARD;
        shared_end = end - GUARD;
        return 1;
    }
    return 0;
}

bool is_poison(const char* begin, const char* end) {
    return begin == end || (*begin == static_cast<char>(POISON) && !std::memcmp(begin, begin + 1, end - begin - 1));
}

}  // namespace

void attach_shared(const Module& module, std::size_t dynamic_bytes) {
    if (!dl_iterate_phdr(find_segment, module.anchor)) fail("the kernel's shared memory was not found");
    if (dynamic_bytes > module.capacity) {
        if (!module.dynamic) fail("%zu bytes of dynamic shared memory for a kernel that declares none", dynamic_bytes);
        fail("%zu bytes of dynamic shared memory are more than %llu", dynamic_bytes, module.capacity);
    }
    unused = module.dynamic + dynamic_bytes;
    unused_end = module.dynamic + module.capacity;
    std::memset(shared - GUARD, POISON, static_cast<std::size_t>(shared_end - shared) + 2 * GUARD);
}

void poison_shared() { std::memset(shared, POISON, static_cast<std::size_t>(shared_end - shared)); }

std::vector<char> save_shared() { return {shared, shared_end}; }

void restore_shared(const std::vector<char>& image) { std::copy(image.begin(), image.end(), shared); }

void check_shared(Triple block) {
    if (!is_poison(shared - GUARD, shared) || !is_poison(shared_end, shared_end + GUARD))
        fail("block (%u,%u,%u) wrote beside its shared memory", block.x, block.y, block.z);
    if (!is_poison(unused, unused_end))
        fail("block (%u,%u,%u) wrote behind its dynamic shared memory", block.x, block.y, block.z);
}

bool is_shared(const void* address, std::size_t bytes) {
    const char* first = static_cast<const char*>(address);
    return first >= shared && first + bytes <= shared_end;
}

std::size_t offset_in_shared(const void* address) {
    return static_cast<std::size_t>(static_cast<const char*>(address) - shared);
}

Guarded::Guarded(const Value& array, bool constant, bool at_start) : array_(array), constant_(constant) {
    constexpr std::size_t FORBIDDEN = 256 << 20;  // bytes of address space, not of memory, on each side
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    page_bytes_ = (array.bytes + page - 1) / page * page;
    region_bytes_ = page_bytes_ + 2 * FORBIDDEN;
    void* region = mmap(nullptr, region_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) fail("no memory for an array of %llu bytes", array.bytes);
    region_ = static_cast<char*>(region);
    pages_ = region_ + FORBIDDEN;
    data_ = at_start ? pages_ : pages_ + page_bytes_ - array.bytes;
    mprotect(pages_, page_bytes_, PROT_READ | PROT_WRITE);
    std::memset(pages_, POISON, page_bytes_);
    std::memcpy(data_, array.data, array.bytes);
    if (constant) mprotect(pages_, page_bytes_, PROT_READ);
}

Guarded::~Guarded() { munmap(region_, region_bytes_); }

bool Guarded::slack_intact() const {
    return is_poison(pages_, data_) && is_poison(data_ + array_.bytes, pages_ + page_bytes_);
}

void Guarded::copy_back() const {
    if (!constant_) std::memcpy(array_.data, data_, array_.bytes);
}

std::string Guarded::blame(const void* address) const {
    const char* at = static_cast<const char*>(address);
    if (at < region_ || at >= region_ + region_bytes_) return "";
    if (at < data_) return std::to_string(data_ - at) + " bytes in front of it";
    const char* end = data_ + array_.bytes;
    if (at >= end) return std::to_string(at - end) + " bytes behind its end";
    return "a write, but it is const";
}

}  // namespace emulation
