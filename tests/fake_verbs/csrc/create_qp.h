#pragma once

#include <infiniband/verbs.h>

#include <cstdint>

namespace fake_verbs {

// With operations of ibv_wr_* if any are named; nullptr with errno set.
ibv_qp* create_qp(ibv_context* context, const ibv_qp_init_attr_ex& attr, uint64_t send_ops,
                  uint16_t efa_flags);

}  // namespace fake_verbs
