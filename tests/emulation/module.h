// Read behind a .cu file: hands its kernel, named KERNEL, to the emulator. DYNAMIC_TYPE and DYNAMIC_NAME are those of
// its `extern __shared__` array, if it has one.
#pragma once

#include <utility>

namespace emulation {

constexpr unsigned long long CAPACITY = 256 << 10;  // more than any chip's dynamic shared memory: the rest is guarded
thread_local char anchor;

template <class P>
constexpr char letter() {
    if (std::is_pointer_v<P>) return std::is_const_v<std::remove_pointer_t<P>> ? 'r' : 'w';
    if (std::is_class_v<P>) return 'm';
    return std::is_floating_point_v<P> ? 'f' : 'i';
}

template <class P>
P take(const Value& value) {
    if constexpr (std::is_pointer_v<P>) return static_cast<P>(value.data);
    else if constexpr (std::is_floating_point_v<P>) return static_cast<P>(value.real);
    else if constexpr (std::is_class_v<P>) {
        static_assert(sizeof(P) == sizeof(Map), "a parameter that is a structure must be a tensor map");
        return __builtin_bit_cast(P, *value.map);
    } else {
        const P x = static_cast<P>(value.integer);
        if (static_cast<long long>(x) != value.integer) fail("%lld does not fit into its parameter", value.integer);
        return x;
    }
}

template <auto KERNEL_>
struct Call;
template <class... P, void (*KERNEL_)(P...)>
struct Call<KERNEL_> {
    static constexpr char signature[] = {letter<P>()..., 0};
    static void run(const Value* values) { run(values, std::index_sequence_for<P...>()); }
    template <size_t... I>
    static void run(const Value* values, std::index_sequence<I...>) {
        KERNEL_(take<P>(values[I])...);
    }
};

}  // namespace emulation

#ifdef DYNAMIC_NAME
alignas(1024) thread_local DYNAMIC_TYPE DYNAMIC_NAME[emulation::CAPACITY / sizeof(DYNAMIC_TYPE)];
#endif

extern "C" __attribute__((visibility("default"))) void emulated_module(emulation::Module* module) {
    using Kernel = emulation::Call<&KERNEL>;
    *module = {Kernel::run, Kernel::signature, &emulation::anchor, nullptr, 0};
#ifdef DYNAMIC_NAME
    module->dynamic = reinterpret_cast<char*>(DYNAMIC_NAME);
    module->capacity = emulation::CAPACITY;
#endif
}
