// What one connection has still to send, and what it has sent and not seen acknowledged. Knows
// frames and byte counts, no socket: gather() says what comes next, sent() how far it went.
#pragma once

#include <sys/uio.h>

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/transport/tcp/frame.h"

namespace crossdock::proxy::tcp {

class Outbox {
  public:
    explicit Outbox(uint32_t depth) : writes_(std::bit_ceil(depth)) {}

    // Writes that hold a place, until they are taken as done.
    uint32_t held() const { return tail_ - done_; }
    uint64_t held_bytes() const { return held_bytes_; }
    bool has_done() const { return done_ != acked_; }

    // The caller sees to it that held() stays within the depth.
    void push(const WriteOp& write, const std::byte* source);

    // The peer has placed `count` writes. False: more than were sent, or fewer than before.
    bool acknowledge(uint32_t count);
    uint64_t take_done();  // the cookie of the oldest done write

    // Fills `parts` with what is to be sent next, in one call of sendmsg, and returns how many
    // parts. `placed` is the count of the peer's writes, which the headers acknowledge.
    size_t gather(uint32_t placed, std::span<iovec> parts);
    // The socket took the first `bytes` of what was gathered.
    void sent(size_t bytes);

    // The last frame is a GOODBYE; nothing is pushed any more. When this rank blames another one,
    // writes that have not begun are dropped: the peer shall learn of it soon.
    void say_goodbye(int32_t blame);
    bool goodbye_said() const { return goodbye_ == Goodbye::kSaid; }

  private:
    struct Write {
        FrameHeader header;
        const std::byte* source = nullptr;
        uint64_t cookie = 0;
    };
    enum class Goodbye : uint8_t { kNone, kDue, kBegun, kSaid };

    Write& write(uint32_t number) { return writes_[number & (writes_.size() - 1)]; }
    bool has_unsent() const { return sent_ != tail_; }
    void build_control(uint32_t placed);
    size_t gather_control(std::span<iovec> parts) const;
    size_t gather_writes(uint32_t placed, std::span<iovec> parts);
    size_t sent_control(size_t bytes);
    void sent_writes(size_t bytes);

    std::vector<Write> writes_;  // a power of two, so that numbers may wrap
    // Counts since the connection was made: taken as done <= acknowledged <= sent <= pushed.
    uint32_t done_ = 0;
    uint32_t acked_ = 0;
    uint32_t sent_ = 0;
    uint32_t tail_ = 0;
    uint64_t held_bytes_ = 0;
    size_t begun_bytes_ = 0;  // of the write at sent_, header included

    FrameHeader control_;  // an ACK or a GOODBYE on its way; goes out between writes only
    size_t control_left_ = 0;
    uint32_t told_ = 0;  // the count that the last header acknowledged
    int32_t blame_ = -1;
    Goodbye goodbye_ = Goodbye::kNone;
};

}  // namespace crossdock::proxy::tcp
