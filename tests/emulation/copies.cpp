#include <cstdint>
#include <cstring>

#include "fibres.h"
#include "memory.h"

namespace emulation {

void Copies::finish(std::size_t newest_to_leave) {
    if (groups.size() <= newest_to_leave) return;
    const std::size_t finished_groups = groups.size() - newest_to_leave;
    const std::size_t finished = groups[finished_groups - 1];
    for (std::size_t i = 0; i < finished; ++i) {
        const Copy& copy = waiting[i];
        if (copy.source)
            std::memcpy(copy.destination, copy.source, copy.bytes);
        else
            std::memset(copy.destination, 0, copy.bytes);
    }
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(finished));
    groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(finished_groups));
    for (std::size_t& end : groups) end -= finished;
}

void start_copy(void* destination, const void* source, unsigned bytes, bool inside) {
    if (reinterpret_cast<std::uintptr_t>(destination) % bytes || reinterpret_cast<std::uintptr_t>(source) % bytes)
        fail("a copy of %u bytes from %p to %p is not aligned to its size", bytes, source, destination);
    if (!is_shared(destination, bytes)) fail("a copy of %u bytes does not go to shared memory", bytes);
    std::memset(destination, POISON, bytes);
    running->copies.waiting.push_back(
        {static_cast<char*>(destination), inside ? static_cast<const char*>(source) : nullptr, bytes});
}

void commit_copies() { running->copies.groups.push_back(running->copies.waiting.size()); }

void wait_copies(unsigned newest) { running->copies.finish(newest); }

}  // namespace emulation
