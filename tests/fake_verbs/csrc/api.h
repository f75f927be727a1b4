#pragma once

// What every file with exported functions needs: the header's macros of the same names must go.

#include <infiniband/verbs.h>

#include "context.h"
#include "memory_region.h"
#include "queue_pair.h"
#include "receive_queue.h"

#undef ibv_query_port
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#define FAKE_VERBS_API extern "C" __attribute__((visibility("default")))

namespace fake_verbs {

int query_device(ibv_context* context, ibv_device_attr* attr);
int query_device_ex(ibv_context* context, const ibv_query_device_ex_input* input,
                    ibv_device_attr_ex* attr, size_t attr_bytes);
int query_port(ibv_context* context, uint8_t port, ibv_port_attr* attr, size_t attr_bytes);
ibv_qp* create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr);
ibv_cq_ex* create_cq_ex(ibv_context* context, ibv_cq_init_attr_ex* attr);

// Sets errno and gives nullptr.
template <typename Object>
Object* failed(int error) {
    errno = error;
    return nullptr;
}

}  // namespace fake_verbs
