#include <algorithm>
#include <cstring>

#include "engine.h"
#include "queue_pair.h"

namespace fake_verbs {
namespace {

// Calls copy(host, done, bytes) for each piece of the list that lies in the range.
template <typename Copy>
bool walk(const Qp& qp, const SgeList& sges, uint64_t offset, uint64_t bytes, uint32_t access,
          const Copy& copy) {
    uint64_t done = 0;
    for (const ibv_sge& sge : sges) {
        if (offset >= sge.length) {
            offset -= sge.length;
            continue;
        }
        const uint64_t piece = std::min<uint64_t>(sge.length - offset, bytes - done);
        if (piece == 0) break;
        char* host =
            engine().memory().local(sge.lkey, qp.ex.qp_base.pd, sge.addr + offset, piece, access);
        if (host == nullptr) return false;
        copy(host, done, piece);
        done += piece;
        offset = 0;
    }
    return done == bytes;
}

bool allowed(const Qp& qp, const SgeList& sges, uint32_t access) {
    return std::all_of(sges.begin(), sges.end(), [&](const ibv_sge& sge) {
        return sge.length == 0 || engine().memory().local(sge.lkey, qp.ex.qp_base.pd, sge.addr,
                                                          sge.length, access) != nullptr;
    });
}

}  // namespace

bool scatter(const Qp& qp, const SgeList& sges, uint64_t offset, const void* from, uint64_t bytes) {
    return walk(qp, sges, offset, bytes, IBV_ACCESS_LOCAL_WRITE,
                [&](char* host, uint64_t done, uint64_t piece) {
                    std::memcpy(host, static_cast<const char*>(from) + done, piece);
                });
}

bool gather(const Qp& qp, const Send& send, uint64_t offset, void* into, uint64_t bytes) {
    if (send.is_inline) {
        std::memcpy(into, send.inline_bytes.data() + offset, bytes);
        return true;
    }
    return walk(qp, send.sges, offset, bytes, 0, [&](char* host, uint64_t done, uint64_t piece) {
        std::memcpy(static_cast<char*>(into) + done, host, piece);
    });
}

bool readable(const Qp& qp, const Send& send) {
    return send.is_inline || allowed(qp, send.sges, 0);
}

bool writable(const Qp& qp, const SgeList& sges) {
    return allowed(qp, sges, IBV_ACCESS_LOCAL_WRITE);
}

}  // namespace fake_verbs
