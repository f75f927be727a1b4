// libibverbs and libefa, opened when they are first needed: one build runs with and without them.
// Calls on the data path go through the function pointers of verbs objects and need no table.
#pragma once

#include <infiniband/verbs.h>

#include "proxy/csrc/rdma/efa_abi.h"
#include "proxy/csrc/rdma/error.h"

// The header covers some functions with macros of the same name.
#undef ibv_get_device_list
#undef ibv_query_port
#undef ibv_reg_mr

// The functions of libibverbs that are called by name; all of them are in rdma-core 28 and later.
#define CROSSDOCK_IBV_FUNCTIONS(X) \
    X(ibv_get_device_list)         \
    X(ibv_free_device_list)        \
    X(ibv_get_device_name)         \
    X(ibv_get_device_guid)         \
    X(ibv_open_device)             \
    X(ibv_close_device)            \
    X(ibv_query_device)            \
    X(ibv_query_port)              \
    X(ibv_query_gid)               \
    X(ibv_query_pkey)              \
    X(ibv_alloc_pd)                \
    X(ibv_dealloc_pd)              \
    X(ibv_reg_mr)                  \
    X(ibv_dereg_mr)                \
    X(ibv_create_comp_channel)     \
    X(ibv_destroy_comp_channel)    \
    X(ibv_create_cq)               \
    X(ibv_destroy_cq)              \
    X(ibv_get_cq_event)            \
    X(ibv_ack_cq_events)           \
    X(ibv_create_srq)              \
    X(ibv_destroy_srq)             \
    X(ibv_create_qp)               \
    X(ibv_modify_qp)               \
    X(ibv_destroy_qp)              \
    X(ibv_create_ah)               \
    X(ibv_destroy_ah)              \
    X(ibv_get_async_event)         \
    X(ibv_ack_async_event)         \
    X(ibv_wc_status_str)           \
    X(ibv_qp_to_qp_ex)

// Those that older versions lack; null there.
#define CROSSDOCK_IBV_OPTIONAL(X) \
    X(_ibv_query_gid_ex)          \
    X(ibv_reg_dmabuf_mr)

#define CROSSDOCK_EFA_FUNCTIONS(X) \
    X(efadv_query_device)          \
    X(efadv_create_qp_ex)          \
    X(efadv_query_ah)

namespace crossdock::proxy::rdma {

struct Verbs {
#define CROSSDOCK_MEMBER(name) decltype(&::name) name = nullptr;
    CROSSDOCK_IBV_FUNCTIONS(CROSSDOCK_MEMBER)
    CROSSDOCK_IBV_OPTIONAL(CROSSDOCK_MEMBER)
};

struct Efa {
    CROSSDOCK_EFA_FUNCTIONS(CROSSDOCK_MEMBER)
#undef CROSSDOCK_MEMBER
};

// Throw RdmaError with the reason and the package that would help when the library cannot be
// opened. CROSSDOCK_LIBIBVERBS and CROSSDOCK_LIBEFA name other files to open.
const Verbs& verbs();
const Efa& efa();

}  // namespace crossdock::proxy::rdma
