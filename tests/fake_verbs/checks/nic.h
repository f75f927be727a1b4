#pragma once

#include <infiniband/verbs.h>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "harness.h"

namespace checks {

inline constexpr int kAllAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
                                  IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
inline constexpr int kEfaAccess =
    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;

ibv_context* open_device(size_t index = 0);
ibv_wc poll_one(ibv_cq* cq);
// Nothing comes for so long.
void expect_silence(ibv_cq* cq, int milliseconds);
// The next event, which must be of this type; it is acknowledged.
void expect_event(ibv_context* context, ibv_event_type type);
void expect_no_event(ibv_context* context);
void write_port_file(const char* name, const char* word);
uint64_t now_ms();
// Lets a request reach the peer, which is stopped meanwhile, but not the answer come back: that
// finds this process's port mute. Then the port is up again.
void lose_the_answer(const char* device, pid_t peer, const std::function<void()>& post);

// A device with a protection domain, a completion queue and registered memory.
struct Nic {
    explicit Nic(size_t index = 0, int access = kAllAccess, size_t bytes = 1 << 20, int cqe = 4096);
    ~Nic();
    Nic(const Nic&) = delete;
    Nic& operator=(const Nic&) = delete;

    char* at(size_t offset) { return memory.data() + offset; }
    uint64_t* word(size_t offset) { return reinterpret_cast<uint64_t*>(at(offset)); }

    std::vector<char> memory;
    ibv_context* context;
    ibv_pd* pd;
    ibv_cq* cq;
    ibv_mr* mr;
};

// Where the memory and the QP of a peer are.
struct Address {
    ibv_gid gid;
    uint32_t qpn;
    uint32_t psn;
    uint32_t qkey;
    uint32_t rkey;
    uint64_t memory;
};

struct RcOptions {
    uint32_t send_wr = 64;
    uint32_t recv_wr = 256;
    uint32_t inline_bytes = 0;
    uint8_t timeout = 8;  // 1 ms
    uint8_t retries = 3;
    uint8_t rnr_retry = 7;
    uint8_t rnr_timer = 1;
    uint8_t gid_index = 3;
    int access = kAllAccess;
    ibv_srq* srq = nullptr;
    uint64_t send_ops = 0;
};

class RcQp {
  public:
    RcQp(Nic& nic, const RcOptions& options = {});
    ~RcQp();
    RcQp(const RcQp&) = delete;
    RcQp& operator=(const RcQp&) = delete;

    Address address() const;
    void connect(const Address& to);
    void connect(Wire& wire);

    // Requests from and to the same offset of the two memories.
    ibv_send_wr request(ibv_wr_opcode opcode, uint64_t id, size_t offset, uint32_t bytes);
    int post(ibv_send_wr& wr);
    int receive(uint64_t id, size_t offset = 0, uint32_t bytes = 0);

    Nic& nic;
    RcOptions options;
    ibv_qp* qp;
    Address peer{};

  private:
    ibv_sge sge_{};
};

ibv_qp_attr init_attr(const RcOptions& options);
ibv_qp_attr rtr_attr(const RcOptions& options, const Address& to);
ibv_qp_attr rts_attr(const RcOptions& options, uint32_t psn);
inline constexpr int kInitMask =
    IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
inline constexpr int kRtrMask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
inline constexpr int kRtsMask = IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC;

}  // namespace checks
