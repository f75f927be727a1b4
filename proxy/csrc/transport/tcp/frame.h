// The frame: what travels on a connection of the tcp transport. A header of 32 bytes, then, for a
// write, its payload. Every header acknowledges: `acked` counts the writes that its sender has
// placed since the connection was made, so an ACK is a header that carries nothing else.
//
// A field that a type has no use for is zero, so that one damaged byte is noticed wherever it is.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "proxy/csrc/region.h"
#include "proxy/csrc/schema.h"

namespace crossdock::proxy::tcp {

static_assert(std::endian::native == std::endian::little, "headers are sent as they lie in memory");

enum class FrameType : uint8_t { kWrite = 1, kAck = 2, kGoodbye = 3 };

inline constexpr uint16_t kMagic = 0xd0c5;
inline constexpr uint8_t kVersion = 1;
inline constexpr uint8_t kHasImmediate = 1;  // the only flag

struct FrameHeader {
    uint16_t magic = kMagic;
    uint8_t version = kVersion;
    FrameType type = FrameType::kWrite;
    uint8_t flags = 0;
    uint8_t region = 0;  // of the receiver; with payload only
    uint16_t reserved = 0;
    uint32_t bytes = 0;       // of payload
    uint32_t immediate = 0;   // GOODBYE: the blamed rank as int32_t, negative for nobody
    uint64_t dst_offset = 0;  // bytes into the region; with payload only
    uint32_t number = 0;      // writes sent before this frame, modulo 2^32
    uint32_t acked = 0;       // writes placed by the sender of this frame, modulo 2^32

    bool has_immediate() const { return (flags & kHasImmediate) != 0; }
    int32_t blame() const { return static_cast<int32_t>(immediate); }
};
static_assert(sizeof(FrameHeader) == 32);
static_assert(std::has_unique_object_representations_v<FrameHeader>);

enum class FrameStatus : uint8_t {
    kPartial,  // all is well so far, the frame has not ended
    kWhole,    // a frame has ended
    // From here on the stream is broken.
    kBadMagic,
    kBadVersion,
    kBadType,
    kBadFlags,
    kBadLength,
    kBadRegion,   // the payload would lie outside of what peers may write
    kBadUnused,   // a field that must be zero is not
    kBadNumber,   // a write is missing or comes twice
    kBadAck,      // acknowledges what was never sent
    kBadGoodbye,  // blames what cannot be a rank
};

inline bool is_broken(FrameStatus status) {
    return status >= FrameStatus::kBadMagic;
}

inline FrameStatus check_write(const FrameHeader& header, const RegionTable& regions) {
    if ((header.flags & ~kHasImmediate) != 0) return FrameStatus::kBadFlags;
    if (!header.has_immediate() && header.immediate != 0) return FrameStatus::kBadUnused;
    if (header.bytes > schema::kMaxTransferBytes) return FrameStatus::kBadLength;
    if (header.bytes == 0) {
        const bool placed_nowhere = header.region == 0 && header.dst_offset == 0;
        return placed_nowhere ? FrameStatus::kWhole : FrameStatus::kBadUnused;
    }
    return regions.accepts(header.region, header.dst_offset, header.bytes)
               ? FrameStatus::kPartial
               : FrameStatus::kBadRegion;
}

inline FrameStatus check_control(const FrameHeader& header) {
    if (header.flags != 0) return FrameStatus::kBadFlags;
    if (header.bytes != 0) return FrameStatus::kBadLength;
    if (header.region != 0 || header.dst_offset != 0) return FrameStatus::kBadUnused;
    if (header.type == FrameType::kAck) {
        return header.immediate == 0 ? FrameStatus::kWhole : FrameStatus::kBadUnused;
    }
    const bool possible = header.blame() >= -1 && header.blame() < int32_t{schema::kMaxPeers};
    return possible ? FrameStatus::kWhole : FrameStatus::kBadGoodbye;
}

// kPartial: a good header, its payload follows. kWhole: a good frame without payload. `number` is
// how many writes came before on this connection.
inline FrameStatus check(const FrameHeader& header, const RegionTable& regions, uint32_t number) {
    if (header.magic != kMagic) return FrameStatus::kBadMagic;
    if (header.version != kVersion) return FrameStatus::kBadVersion;
    if (header.reserved != 0) return FrameStatus::kBadUnused;
    if (header.number != number) return FrameStatus::kBadNumber;
    switch (header.type) {
        case FrameType::kWrite:
            return check_write(header, regions);
        case FrameType::kAck:
        case FrameType::kGoodbye:
            return check_control(header);
    }
    return FrameStatus::kBadType;
}

}  // namespace crossdock::proxy::tcp
