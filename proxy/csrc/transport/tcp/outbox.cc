#include "proxy/csrc/transport/tcp/outbox.h"

#include <algorithm>

namespace crossdock::proxy::tcp {
namespace {

iovec part_of(const void* base, size_t bytes) {
    return {const_cast<void*>(base), bytes};
}

iovec tail_of(const FrameHeader& header, size_t left) {
    return part_of(reinterpret_cast<const std::byte*>(&header + 1) - left, left);
}

}  // namespace

void Outbox::push(const WriteOp& op, const std::byte* source) {
    Write& place = write(tail_);
    place = {.header = {}, .source = source, .cookie = op.cookie};
    FrameHeader& header = place.header;
    header.number = tail_++;
    header.bytes = op.bytes;
    held_bytes_ += op.bytes;
    if (op.has_immediate) {
        header.flags = kHasImmediate;
        header.immediate = op.immediate;
    }
    if (op.bytes > 0) {
        header.region = op.dst_region;
        header.dst_offset = op.dst_offset;
    }
}

bool Outbox::acknowledge(uint32_t count) {
    // Differences survive the wrap of the counts.
    if (count - acked_ > sent_ - acked_) return false;
    acked_ = count;
    return true;
}

uint64_t Outbox::take_done() {
    const Write& done = write(done_++);
    held_bytes_ -= done.header.bytes;
    return done.cookie;
}

void Outbox::say_goodbye(int32_t blame) {
    if (goodbye_ != Goodbye::kNone) return;
    goodbye_ = Goodbye::kDue;
    blame_ = blame;
    if (blame < 0) return;
    tail_ = begun_bytes_ > 0 ? sent_ + 1 : sent_;
}

size_t Outbox::gather(uint32_t placed, std::span<iovec> parts) {
    if (control_left_ == 0 && !has_unsent()) build_control(placed);
    const size_t control = gather_control(parts);
    return control + gather_writes(placed, parts.subspan(control));
}

void Outbox::build_control(uint32_t placed) {
    const bool goodbye = goodbye_ == Goodbye::kDue;
    if (!goodbye && (placed == told_ || goodbye_ == Goodbye::kSaid)) return;
    control_ = {};
    control_.type = goodbye ? FrameType::kGoodbye : FrameType::kAck;
    control_.immediate = goodbye ? static_cast<uint32_t>(blame_) : 0;
    control_.number = tail_;
    control_.acked = placed;
    control_left_ = sizeof(control_);
    told_ = placed;
    if (goodbye) goodbye_ = Goodbye::kBegun;
}

size_t Outbox::gather_control(std::span<iovec> parts) const {
    if (control_left_ == 0) return 0;
    parts[0] = tail_of(control_, control_left_);
    return 1;
}

size_t Outbox::gather_writes(uint32_t placed, std::span<iovec> parts) {
    size_t count = 0;
    size_t skipped = begun_bytes_;
    for (uint32_t i = sent_; i != tail_ && count + 2 <= parts.size(); ++i) {
        FrameHeader& header = write(i).header;
        if (skipped == 0) header.acked = placed;
        const size_t in_header = std::min(skipped, sizeof(FrameHeader));
        const size_t in_payload = skipped - in_header;
        skipped = 0;
        if (in_header < sizeof(FrameHeader)) {
            parts[count++] = tail_of(header, sizeof(FrameHeader) - in_header);
        }
        if (in_payload < header.bytes) {
            parts[count++] = part_of(write(i).source + in_payload, header.bytes - in_payload);
        }
    }
    return count;
}

void Outbox::sent(size_t bytes) {
    sent_writes(bytes - sent_control(bytes));
}

size_t Outbox::sent_control(size_t bytes) {
    const size_t taken = std::min(bytes, control_left_);
    control_left_ -= taken;
    if (control_left_ == 0 && goodbye_ == Goodbye::kBegun) goodbye_ = Goodbye::kSaid;
    return taken;
}

void Outbox::sent_writes(size_t bytes) {
    while (bytes > 0) {
        const FrameHeader& header = write(sent_).header;
        const size_t left = sizeof(FrameHeader) + header.bytes - begun_bytes_;
        told_ = header.acked;
        if (bytes < left) {
            begun_bytes_ += bytes;
            return;
        }
        bytes -= left;
        begun_bytes_ = 0;
        ++sent_;
    }
}

}  // namespace crossdock::proxy::tcp
