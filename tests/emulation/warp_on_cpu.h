// What the threads of a warp do together: they all must come, and the last to come does it for all.
#pragma once

namespace emulation {

inline unsigned lane() {
    const unsigned row = thread_index.y + block_size.y * thread_index.z;
    return (thread_index.x + block_size.x * row) % 32;
}

template <class Out, class In>
inline Out together(unsigned mask, const In& in, void (*combine)(const Meeting&), const char* what, Place place) {
    Out out{};
    meet(mask, &in, &out, combine, what, place);
    return out;
}

template <class T>
struct Parcel {
    T x;
    unsigned source;
};

template <class T>
inline T shuffle(unsigned mask, T x, unsigned source, const char* what, Place place) {
    const auto deliver = [](const Meeting& all) {
        for (unsigned lane = 0; lane < 32; ++lane) {
            if (!(all.lanes >> lane & 1)) continue;
            const unsigned source = all.from<Parcel<T>>(lane).source;
            if (!(all.lanes >> source & 1)) fail("lane %u asks for a number of lane %u, not there", lane, source);
            all.to<T>(lane) = all.from<Parcel<T>>(source).x;
        }
    };
    return together<T>(mask, Parcel<T>{x, source}, deliver, what, place);
}

inline unsigned ballot(unsigned mask, bool vote, const char* what, Place place) {
    const auto count = [](const Meeting& all) {
        unsigned votes = 0;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (all.lanes >> lane & 1) votes |= unsigned{all.from<bool>(lane)} << lane;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (all.lanes >> lane & 1) all.to<unsigned>(lane) = votes;
    };
    return together<unsigned>(mask, vote, count, what, place);
}

}  // namespace emulation

inline void __syncwarp(unsigned mask = ~0u, emulation::Place place = emulation::Place::here()) {
    emulation::ballot(mask, false, "__syncwarp", place);
}
inline unsigned __ballot_sync(unsigned mask, int vote, emulation::Place place = emulation::Place::here()) {
    return emulation::ballot(mask, vote, "__ballot_sync", place);
}
inline int __any_sync(unsigned mask, int vote, emulation::Place place = emulation::Place::here()) {
    return emulation::ballot(mask, vote, "__any_sync", place) != 0;
}
inline int __all_sync(unsigned mask, int vote, emulation::Place place = emulation::Place::here()) {
    return emulation::ballot(mask, !vote, "__all_sync", place) == 0;
}

// width: the warp falls into groups of so many lanes; who would have to look beyond its group keeps its own number.
template <class T>
inline T __shfl_sync(unsigned mask, T x, int source, int width = 32,
                     emulation::Place place = emulation::Place::here()) {
    const unsigned first = emulation::lane() & ~(width - 1u);
    return emulation::shuffle(mask, x, first + (source & (width - 1u)), "__shfl_sync", place);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32,
                        emulation::Place place = emulation::Place::here()) {
    const unsigned lane = emulation::lane(), within = lane & (width - 1u);
    return emulation::shuffle(mask, x, within >= by ? lane - by : lane, "__shfl_up_sync", place);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32,
                          emulation::Place place = emulation::Place::here()) {
    const unsigned lane = emulation::lane(), within = lane & (width - 1u);
    return emulation::shuffle(mask, x, within + by < unsigned(width) ? lane + by : lane, "__shfl_down_sync", place);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T x, unsigned with, int width = 32,
                         emulation::Place place = emulation::Place::here()) {
    const unsigned lane = emulation::lane(), source = lane ^ with;
    return emulation::shuffle(mask, x, source <= (lane | (width - 1u)) ? source : lane,
                              "__shfl_xor_sync", place);
}
