#pragma once

// What newer versions of efadv.h have and Debian's 44 has not, and what the device itself says.

#include <infiniband/efadv.h>

#include <cstdint>

namespace fake_verbs {

inline constexpr uint32_t kEfaCapRdmaRead = 1u << 0;
inline constexpr uint32_t kEfaCapRnrRetry = 1u << 1;
inline constexpr uint32_t kEfaCapCqWithSgid = 1u << 2;
inline constexpr uint32_t kEfaCapRdmaWrite = 1u << 3;
inline constexpr uint32_t kEfaCapUnsolicitedWriteRecv = 1u << 4;
inline constexpr uint32_t kEfaCapsAll = kEfaCapRdmaRead | kEfaCapRnrRetry | kEfaCapCqWithSgid |
                                        kEfaCapRdmaWrite | kEfaCapUnsolicitedWriteRecv;

inline constexpr uint16_t kEfaQpUnsolicitedWriteRecv = 1u << 0;
inline constexpr uint64_t kEfaWcWithSgid = 1u << 0;
inline constexpr uint64_t kEfaWcWithIsUnsolicited = 1u << 1;

// The eight bytes that version 44 calls driver_qp_type and reserved.
struct EfaQpInitAttr {
    uint64_t comp_mask;
    uint32_t driver_qp_type;
    uint16_t flags;
    uint8_t sl;
    uint8_t reserved[1];
};

struct EfaCq {
    uint64_t comp_mask;
    int (*wc_read_sgid)(efadv_cq* cq, ibv_gid* sgid);
    bool (*wc_is_unsolicited)(efadv_cq* cq);
};

// The vendor_err of a completion.
enum class EfaStatus : uint32_t {
    kOk = 0,
    kFlushed = 1,
    kLocalQpInternalError = 2,
    kLocalUnsupportedOp = 3,
    kLocalInvalidAh = 4,
    kLocalInvalidLkey = 5,
    kLocalBadLength = 6,
    kRemoteBadAddress = 7,
    kRemoteAbort = 8,
    kRemoteBadDestQpn = 9,
    kRemoteRnr = 10,
    kRemoteBadLength = 11,
    kRemoteBadStatus = 12,
    kLocalUnresponsiveRemote = 13,
};

}  // namespace fake_verbs
