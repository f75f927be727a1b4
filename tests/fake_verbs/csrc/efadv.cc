// The exported functions of libefa.

#include <infiniband/efadv.h>

#include "api_efa.h"

#define FAKE_EFA_API extern "C" __attribute__((visibility("default")))

FAKE_EFA_API int efadv_query_device(ibv_context* context, efadv_device_attr* attr, uint32_t bytes) {
    return fake_verbs_query_device(context, attr, bytes);
}

FAKE_EFA_API ibv_qp* efadv_create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr,
                                        efadv_qp_init_attr* efa_attr, uint32_t bytes) {
    return fake_verbs_create_qp(context, attr, efa_attr, bytes);
}

FAKE_EFA_API ibv_qp* efadv_create_driver_qp(ibv_pd* pd, ibv_qp_init_attr* attr, uint32_t type) {
    ibv_qp_init_attr_ex ex{};
    ex.qp_context = attr->qp_context;
    ex.send_cq = attr->send_cq;
    ex.recv_cq = attr->recv_cq;
    ex.srq = attr->srq;
    ex.cap = attr->cap;
    ex.qp_type = attr->qp_type;
    ex.sq_sig_all = attr->sq_sig_all;
    ex.comp_mask = IBV_QP_INIT_ATTR_PD;
    ex.pd = pd;
    efadv_qp_init_attr efa{};
    efa.driver_qp_type = type;
    return fake_verbs_create_qp(pd->context, &ex, &efa, sizeof(efa));
}

FAKE_EFA_API int efadv_query_ah(ibv_ah* ah, efadv_ah_attr* attr, uint32_t bytes) {
    return fake_verbs_query_ah(ah, attr, bytes);
}

FAKE_EFA_API ibv_cq_ex* efadv_create_cq(ibv_context* context, ibv_cq_init_attr_ex* attr,
                                        efadv_cq_init_attr* efa_attr, uint32_t bytes) {
    return fake_verbs_create_cq(context, attr, efa_attr, bytes);
}

FAKE_EFA_API efadv_cq* efadv_cq_from_ibv_cq_ex(ibv_cq_ex* cq) {
    return fake_verbs_cq_from(cq);
}
