#pragma once

// What libefa is made of lies in libibverbs: the two share everything.

#include <infiniband/efadv.h>

#include <cstdint>

extern "C" {

int fake_verbs_query_device(ibv_context* context, efadv_device_attr* attr, uint32_t attr_bytes);
ibv_qp* fake_verbs_create_qp(ibv_context* context, ibv_qp_init_attr_ex* attr,
                             efadv_qp_init_attr* efa_attr, uint32_t efa_bytes);
int fake_verbs_query_ah(ibv_ah* ah, efadv_ah_attr* attr, uint32_t attr_bytes);
ibv_cq_ex* fake_verbs_create_cq(ibv_context* context, ibv_cq_init_attr_ex* attr,
                                efadv_cq_init_attr* efa_attr, uint32_t efa_bytes);
efadv_cq* fake_verbs_cq_from(ibv_cq_ex* cq);
}
