#pragma once

#include <infiniband/verbs.h>

#include <cstdint>

namespace fake_verbs {

enum class Op : uint8_t { kSend, kWrite, kRead, kFetchAdd, kCompareSwap };

// One fragment of a message, followed by its payload.
struct Request {
    uint32_t frame_bytes;
    uint32_t payload_bytes;
    uint64_t sender_generation;
    ibv_gid sgid;
    ibv_gid dgid;
    uint32_t gid_type;
    uint32_t source_qpn;
    uint32_t target_qpn;
    uint32_t psn;
    uint32_t qkey;
    uint32_t rkey;
    uint64_t remote_addr;
    uint32_t message_bytes;
    uint32_t offset;
    uint64_t compare_add;
    uint64_t swap;
    uint32_t imm;
    Op op;
    uint8_t qp_type;
    bool has_imm;
    bool solicited;

    const void* payload() const { return this + 1; }
    void* payload() { return this + 1; }
};

enum class Answer : uint8_t { kDone, kNotReady, kRefused, kReadData };

struct Response {
    uint32_t frame_bytes;
    uint32_t payload_bytes;
    ibv_gid dgid;
    uint32_t source_qpn;
    uint32_t target_qpn;
    uint32_t psn;
    uint32_t offset;
    uint64_t atomic_value;
    uint32_t vendor_error;
    Answer answer;
    uint8_t status;
    uint8_t rnr_timer;
    bool last;

    const void* payload() const { return this + 1; }
    void* payload() { return this + 1; }
};

inline constexpr uint32_t kPsnMask = 0xffffff;
inline constexpr uint32_t kRcFragmentBytes = 32 * 1024;
inline constexpr uint32_t kSrdFragmentBytes = 8928;

// How far a sequence number of 24 bits is ahead of another.
inline int32_t psn_ahead(uint32_t psn, uint32_t of) {
    return static_cast<int32_t>((psn - of) << 8) >> 8;
}

}  // namespace fake_verbs
