// Turns a stream of bytes, cut anywhere, into frames. It checks each header before a byte of its
// payload is placed, and says where payload belongs so that a socket can read straight into the
// region. It holds one header and allocates nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "proxy/csrc/transport/tcp/frame.h"

namespace crossdock::proxy::tcp {

class FrameParser {
  public:
    explicit FrameParser(const RegionTable& regions) : regions_(regions) {}

    // Takes bytes off the front of `stream` until a frame ends (kWhole), the stream is empty
    // (kPartial) or a byte is bad; then the connection is of no use any more.
    FrameStatus consume(std::span<const std::byte>& stream) {
        if (payload_left_ == 0) {
            const FrameStatus status = consume_header(stream);
            if (status != FrameStatus::kPartial || payload_left_ == 0) return status;
        }
        return consume_payload(stream);
    }

    // Where the next bytes of the stream belong while a payload is under way, else empty. Asked
    // anew before every read, as the region may have been closed in between.
    std::span<std::byte> room() const {
        const uint64_t at = header_.dst_offset + header_.bytes - payload_left_;
        if (payload_left_ == 0 || !regions_.accepts(header_.region, at, payload_left_)) return {};
        return {regions_[header_.region].base + at, payload_left_};
    }

    // The caller has put the next `bytes` of the stream into room(): at most its size.
    FrameStatus filled(size_t bytes) {
        payload_left_ -= static_cast<uint32_t>(bytes);
        return payload_left_ == 0 ? end_frame() : FrameStatus::kPartial;
    }

    // The last header; whole and checked after kWhole, until the next call of consume().
    const FrameHeader& frame() const { return header_; }

    // Writes that have ended.
    uint64_t writes() const { return writes_; }

  private:
    FrameStatus consume_header(std::span<const std::byte>& stream) {
        const size_t taken = std::min(stream.size(), sizeof(FrameHeader) - header_bytes_);
        if (taken == 0) return FrameStatus::kPartial;
        std::memcpy(reinterpret_cast<std::byte*>(&header_) + header_bytes_, stream.data(), taken);
        stream = stream.subspan(taken);
        header_bytes_ += taken;
        if (header_bytes_ < sizeof(FrameHeader)) return FrameStatus::kPartial;
        header_bytes_ = 0;
        const FrameStatus status = check(header_, regions_, static_cast<uint32_t>(writes_));
        if (status == FrameStatus::kPartial) payload_left_ = header_.bytes;
        return status == FrameStatus::kWhole ? end_frame() : status;
    }

    FrameStatus consume_payload(std::span<const std::byte>& stream) {
        if (stream.empty()) return FrameStatus::kPartial;
        const std::span<std::byte> where = room();
        if (where.empty()) return FrameStatus::kBadRegion;
        const size_t taken = std::min(stream.size(), where.size());
        std::memcpy(where.data(), stream.data(), taken);
        stream = stream.subspan(taken);
        return filled(taken);
    }

    FrameStatus end_frame() {
        writes_ += header_.type == FrameType::kWrite;
        return FrameStatus::kWhole;
    }

    const RegionTable& regions_;
    FrameHeader header_;
    size_t header_bytes_ = 0;    // of a header that is not whole yet
    uint32_t payload_left_ = 0;  // of a frame whose header is good
    uint64_t writes_ = 0;
};

}  // namespace crossdock::proxy::tcp
