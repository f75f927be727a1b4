// The command: what a device asks of a proxy, 16 bytes. Fields and widths come from schema.h.
#pragma once

#include <bit>
#include <cstdint>

#include "proxy/csrc/schema.h"

namespace crossdock::proxy {

using schema::Op;

struct Command {
    static constexpr uint32_t kGranuleShift = std::countr_zero(schema::kGranuleBytes);

    uint64_t low = 0;
    uint64_t high = 0;

    constexpr uint64_t get(schema::Field field) const {
        const uint64_t word = field.word == 0 ? low : high;
        return word >> field.shift & ((1ull << field.bits) - 1);
    }

    constexpr void set(schema::Field field, uint64_t value) {
        const uint64_t mask = ((1ull << field.bits) - 1) << field.shift;
        uint64_t& word = field.word == 0 ? low : high;
        word = (word & ~mask) | (value << field.shift & mask);
    }

    constexpr Op op() const { return static_cast<Op>(get(schema::kOp)); }
    constexpr bool moves_data() const { return op() <= Op::kWriteSequenced; }
    constexpr uint32_t peer() const { return static_cast<uint32_t>(get(schema::kPeer)); }
    constexpr uint32_t src_region() const { return static_cast<uint32_t>(get(schema::kSrcRegion)); }
    constexpr uint32_t dst_region() const { return static_cast<uint32_t>(get(schema::kDstRegion)); }
    constexpr uint32_t counter() const { return static_cast<uint32_t>(get(schema::kCounter)); }
    constexpr uint32_t value() const { return static_cast<uint32_t>(get(schema::kValue)); }
    constexpr uint64_t src_offset() const {
        return get(schema::kSrcOffset) * schema::kGranuleBytes;
    }
    constexpr uint64_t dst_offset() const {
        return get(schema::kDstOffset) * schema::kGranuleBytes;
    }
    constexpr uint32_t bytes() const { return moves_data() ? payload_bytes() : 0; }
    // Of a command that moves data.
    constexpr uint32_t payload_bytes() const {
        static_assert(schema::kLength.word == 0 && schema::kLength.shift >= kGranuleShift);
        constexpr auto kMask = ((1u << schema::kLength.bits) - 1) << kGranuleShift;
        return (static_cast<uint32_t>(low >> (schema::kLength.shift - kGranuleShift)) & kMask) +
               schema::kGranuleBytes;
    }
};

static_assert(sizeof(Command) == schema::kCommandBytes);

// A place in a region, in bytes from its start.
struct Place {
    uint32_t region = 0;
    uint64_t offset = 0;
};

// Values must fit their fields: callers check capacities when they are built, not here.
constexpr Command make_write(Op op, uint32_t peer, Place src, Place dst, uint64_t bytes,
                             uint32_t counter = 0, uint32_t value = 0) {
    Command command;
    command.set(schema::kOp, static_cast<uint64_t>(op));
    command.set(schema::kPeer, peer);
    command.set(schema::kLength, bytes / schema::kGranuleBytes - 1);
    command.set(schema::kSrcRegion, src.region);
    command.set(schema::kDstRegion, dst.region);
    command.set(schema::kCounter, counter);
    command.set(schema::kValue, value);
    command.set(schema::kSrcOffset, src.offset / schema::kGranuleBytes);
    command.set(schema::kDstOffset, dst.offset / schema::kGranuleBytes);
    return command;
}

constexpr Command make_signal(Op op, uint32_t peer, uint32_t counter, uint32_t value) {
    Command command;
    command.set(schema::kOp, static_cast<uint64_t>(op));
    command.set(schema::kPeer, peer);
    command.set(schema::kCounter, counter);
    command.set(schema::kValue, value);
    return command;
}

}  // namespace crossdock::proxy
