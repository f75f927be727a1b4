#pragma once

#include <infiniband/efadv.h>

#include <map>

#include "nic.h"

namespace checks {

inline constexpr uint64_t kSrdOps = IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM |
                                    IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_RDMA_READ;
inline constexpr uint32_t kQkey = 0x1234;

// What version 44 of the header calls reserved.
struct EfaQpInit {
    uint64_t comp_mask = 0;
    uint32_t driver_qp_type = EFADV_QP_DRIVER_TYPE_SRD;
    uint16_t flags = 0;
    uint8_t sl = 0;
    uint8_t reserved = 0;
};

struct SrdOptions {
    uint32_t send_wr = 256;
    uint32_t recv_wr = 1024;
    uint16_t flags = 0;
    uint8_t rnr_retry = 7;
    uint32_t qkey = kQkey;
};

ibv_qp* create_srd(Nic& nic, const SrdOptions& options, uint64_t send_ops);

class SrdQp {
  public:
    SrdQp(Nic& nic, const SrdOptions& options = {});
    ~SrdQp();
    SrdQp(const SrdQp&) = delete;
    SrdQp& operator=(const SrdQp&) = delete;

    Address address() const;
    ibv_ah* reach(const Address& to);

    // From and to the same offset of the two memories; an errno value or 0.
    int write_imm(const Address& to, uint64_t id, uint32_t imm, size_t offset, uint32_t bytes);
    int write(const Address& to, uint64_t id, size_t offset, uint32_t bytes);
    int read(const Address& to, uint64_t id, size_t offset, uint32_t bytes);
    int send(const Address& to, uint64_t id, size_t offset, uint32_t bytes);
    int receive(uint64_t id, size_t offset = 0, uint32_t bytes = 0);

    Nic& nic;
    ibv_qp* qp;
    ibv_qp_ex* ex;

  private:
    int aim(const Address& to, size_t offset, uint32_t bytes);

    std::map<uint8_t, ibv_ah*> handles_;  // by the last byte of the GID
};

}  // namespace checks
