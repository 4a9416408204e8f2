// What -fsanitize=bounds,alignment,null compiled into a kernel calls.
#include <cstdint>
#include <string>

#include "runtime.h"

namespace {

struct Source {
    const char* file;
    std::uint32_t line, column;
    std::string text() const {
        const std::string path = file;
        return path.substr(path.rfind('/') + 1) + ":" + std::to_string(line);
    }
};

struct Misuse {
    Source source;
    const void* type;
    unsigned char log_alignment, kind;
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void __ubsan_handle_out_of_bounds_abort(const Source* source, std::uintptr_t index) {
    const auto number = static_cast<long long>(index);
    emulation::fail("out of bounds: index %lld of an array in %s", number, source->text().c_str());
}

EXPORT void __ubsan_handle_type_mismatch_v1_abort(const Misuse* misuse, std::uintptr_t address) {
    const int alignment = 1 << misuse->log_alignment;
    emulation::fail("%s: address %#llx is not aligned to %d bytes", misuse->source.text().c_str(),
                    static_cast<unsigned long long>(address), alignment);
}
