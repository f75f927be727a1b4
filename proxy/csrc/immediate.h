// The immediate: 32 bits that travel with a write and tell the receiving proxy what to do. Its
// widths are computed for each job by schema.ImmediateLayout, which also checks that they suffice.
#pragma once

#include <cstdint>

#include "proxy/csrc/schema.h"

namespace crossdock::proxy {

using schema::ImmediateKind;

struct Immediate {
    ImmediateKind kind = ImmediateKind::kAdd;
    uint32_t epoch = 0;
    uint32_t counter = 0;
    uint32_t value = 0;
    uint32_t sequence = 0;
};

struct ImmediateLayout {
    uint32_t counter_bits = 11;
    uint32_t sequence_bits = 4;

    static constexpr uint32_t kHeadBits = schema::kKindBits + schema::kEpochBits;

    static constexpr uint32_t mask(uint32_t bits) { return (1u << bits) - 1; }

    // The largest value that fits above a sequence number.
    constexpr uint32_t signal_limit() const {
        return mask(32 - kHeadBits - counter_bits - sequence_bits);
    }

    // What all immediates of a kind in an epoch have in common, and what differs.
    static constexpr uint32_t head(ImmediateKind kind, uint32_t epoch) {
        return static_cast<uint32_t>(kind) | (epoch & mask(schema::kEpochBits))
                                                 << schema::kKindBits;
    }
    constexpr uint32_t body(uint32_t counter, uint32_t payload) const {
        return (counter | payload << counter_bits) << kHeadBits;
    }

    constexpr uint32_t pack(const Immediate& immediate) const {
        uint32_t payload = immediate.value;
        if (immediate.kind == ImmediateKind::kSequenced) {
            payload = payload << sequence_bits | (immediate.sequence & mask(sequence_bits));
        }
        return head(immediate.kind, immediate.epoch) | body(immediate.counter, payload);
    }

    constexpr Immediate unpack(uint32_t word) const {
        Immediate got;
        got.kind = static_cast<ImmediateKind>(word & mask(schema::kKindBits));
        got.epoch = word >> schema::kKindBits & mask(schema::kEpochBits);
        const uint32_t rest = word >> kHeadBits;
        got.counter = rest & mask(counter_bits);
        got.value = rest >> counter_bits;
        if (got.kind == ImmediateKind::kSequenced) {
            got.sequence = got.value & mask(sequence_bits);
            got.value >>= sequence_bits;
        }
        return got;
    }
};

}  // namespace crossdock::proxy
