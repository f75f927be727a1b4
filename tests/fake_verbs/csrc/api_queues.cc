// Queue pairs and shared receive queues.

#include <cerrno>
#include <memory>

#include "api.h"
#include "create_qp.h"
#include "engine.h"
#include "posting.h"
#include "qp_states.h"

namespace fake_verbs {
namespace {

constexpr uint64_t kRcSendOps = IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM |
                                IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM |
                                IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP |
                                IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD;

bool within(const ibv_qp_cap& cap, const Limits& limits, bool own_receives) {
    if (cap.max_send_wr > limits.qp_wr || cap.max_send_sge > limits.sge) return false;
    if (own_receives && (cap.max_recv_wr > limits.qp_wr || cap.max_recv_sge > limits.sge))
        return false;
    return cap.max_inline_data <= limits.inline_bytes;
}

int check(const Device& device, const ibv_qp_init_attr_ex& attr) {
    if (attr.send_cq == nullptr || attr.recv_cq == nullptr || attr.pd == nullptr) return EINVAL;
    if (attr.qp_type != (device.efa() ? IBV_QPT_DRIVER : IBV_QPT_RC)) return EOPNOTSUPP;
    if (device.efa() && attr.srq != nullptr) return EINVAL;
    return within(attr.cap, device.limits, attr.srq == nullptr) ? 0 : EINVAL;
}

void fill(Qp& qp, ibv_context* context, const ibv_qp_init_attr_ex& attr) {
    qp.init.qp_context = attr.qp_context;
    qp.init.send_cq = attr.send_cq;
    qp.init.recv_cq = attr.recv_cq;
    qp.init.srq = attr.srq;
    qp.init.cap = attr.cap;
    qp.init.qp_type = attr.qp_type;
    qp.init.sq_sig_all = attr.sq_sig_all;
    qp.send_cq = &Cq::of(attr.send_cq);
    qp.recv_cq = &Cq::of(attr.recv_cq);
    qp.srq = attr.srq != nullptr ? &Srq::of(attr.srq) : nullptr;
    qp.receives.limit = attr.srq == nullptr ? attr.cap.max_recv_wr : 0;
    qp.receives.sge_max = attr.cap.max_recv_sge;
    ibv_qp& base = *qp.base();
    base.context = context;
    base.qp_context = attr.qp_context;
    base.pd = attr.pd;
    base.send_cq = attr.send_cq;
    base.recv_cq = attr.recv_cq;
    base.srq = attr.srq;
    base.qp_type = attr.qp_type;
    base.state = IBV_QPS_RESET;
    pthread_mutex_init(&base.mutex, nullptr);
    pthread_cond_init(&base.cond, nullptr);
}

void use(Qp& qp, int32_t difference) {
    const auto change = [&](uint32_t& users) { users += static_cast<uint32_t>(difference); };
    change(Pd::of(qp.ex.qp_base.pd).users);
    change(qp.send_cq->users);
    change(qp.recv_cq->users);
    if (qp.srq != nullptr) change(qp.srq->users);
}

}  // namespace

ibv_qp* create_qp(ibv_context* context, const ibv_qp_init_attr_ex& attr, uint64_t send_ops,
                  uint16_t efa_flags) {
    const std::lock_guard lock(engine().mutex);
    const Device& device = *Context::of(context).device;
    if (const int error = check(device, attr); error != 0) return failed<ibv_qp>(error);
    auto qp = std::make_unique<Qp>();
    fill(*qp, context, attr);
    qp->efa_flags = efa_flags;
    qp->send_ops = send_ops;
    qp->extended = send_ops != 0;
    if (qp->extended) equip_for_batches(*qp);
    qp->service = device.efa() ? make_srd(*qp) : make_rc(*qp);
    if (!engine().add(*qp)) return failed<ibv_qp>(ENOMEM);
    use(*qp, 1);
    engine().census().add(Counted::kQp);
    return qp.release()->base();
}

ibv_qp* create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr) {
    constexpr uint32_t kKnown = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
    const bool batches = (attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) != 0;
    const uint64_t ops = batches ? attr->send_ops_flags : 0;
    if ((attr->comp_mask & ~kKnown) != 0 || (ops & ~kRcSendOps) != 0 ||
        Context::of(context).device->efa())
        return failed<ibv_qp>(EOPNOTSUPP);
    if ((attr->comp_mask & IBV_QP_INIT_ATTR_PD) == 0) return failed<ibv_qp>(EINVAL);
    return create_qp(context, *attr, ops, 0);
}

}  // namespace fake_verbs

using namespace fake_verbs;

FAKE_VERBS_API ibv_qp* ibv_create_qp(ibv_pd* pd, ibv_qp_init_attr* attr) {
    if (Context::of(pd->context).device->efa()) return failed<ibv_qp>(EOPNOTSUPP);
    ibv_qp_init_attr_ex ex{};
    ex.qp_context = attr->qp_context;
    ex.send_cq = attr->send_cq;
    ex.recv_cq = attr->recv_cq;
    ex.srq = attr->srq;
    ex.cap = attr->cap;
    ex.qp_type = attr->qp_type;
    ex.sq_sig_all = attr->sq_sig_all;
    ex.pd = pd;
    return create_qp(pd->context, ex, 0, 0);
}

FAKE_VERBS_API ibv_qp_ex* ibv_qp_to_qp_ex(ibv_qp* qp) {
    return Qp::of(qp).extended ? &Qp::of(qp).ex : nullptr;
}

FAKE_VERBS_API int ibv_modify_qp(ibv_qp* qp, ibv_qp_attr* attr, int mask) {
    const std::lock_guard lock(engine().mutex);
    return modify(Qp::of(qp), *attr, mask);
}

FAKE_VERBS_API int ibv_query_qp(ibv_qp* base, ibv_qp_attr* attr, int, ibv_qp_init_attr* init) {
    const std::lock_guard lock(engine().mutex);
    const Qp& qp = Qp::of(base);
    *attr = qp.attr;
    attr->qp_state = attr->cur_qp_state = base->state;
    attr->cap = qp.init.cap;
    *init = qp.init;
    return 0;
}

FAKE_VERBS_API int ibv_query_qp_data_in_order(ibv_qp* qp, ibv_wr_opcode, uint32_t) {
    return Qp::of(qp).device().efa() ? 0 : 1;
}

FAKE_VERBS_API int ibv_destroy_qp(ibv_qp* base) {
    std::unique_lock lock(engine().mutex);
    Qp& qp = Qp::of(base);
    engine().remove(qp);
    qp.context().async_events.withdraw([&](const ibv_async_event& event) {
        const bool of_a_qp = event.event_type == IBV_EVENT_QP_FATAL ||
                             event.event_type == IBV_EVENT_QP_REQ_ERR ||
                             event.event_type == IBV_EVENT_QP_ACCESS_ERR ||
                             event.event_type == IBV_EVENT_QP_LAST_WQE_REACHED;
        return of_a_qp && event.element.qp == base;
    });
    engine().acknowledged.wait(lock, [&] { return qp.async_events.settled(); });
    qp.send_cq->forget(qp);
    qp.recv_cq->forget(qp);
    use(qp, -1);
    engine().census().remove(Counted::kQp);
    delete &qp;
    return 0;
}

FAKE_VERBS_API ibv_srq* ibv_create_srq(ibv_pd* pd, ibv_srq_init_attr* init) {
    const std::lock_guard lock(engine().mutex);
    const Limits& limits = Context::of(pd->context).device->limits;
    if (limits.srq_wr == 0) return failed<ibv_srq>(EOPNOTSUPP);
    if (init->attr.max_wr == 0 || init->attr.max_wr > limits.srq_wr ||
        init->attr.max_sge > limits.sge)
        return failed<ibv_srq>(EINVAL);
    auto srq = std::make_unique<Srq>();
    srq->base.context = pd->context;
    srq->base.srq_context = init->srq_context;
    srq->base.pd = pd;
    pthread_mutex_init(&srq->base.mutex, nullptr);
    pthread_cond_init(&srq->base.cond, nullptr);
    srq->receives.limit = init->attr.max_wr;
    srq->receives.sge_max = init->attr.max_sge;
    Pd::of(pd).users++;
    engine().census().add(Counted::kSrq);
    return &srq.release()->base;
}

FAKE_VERBS_API int ibv_modify_srq(ibv_srq* base, ibv_srq_attr* attr, int mask) {
    const std::lock_guard lock(engine().mutex);
    Srq& srq = Srq::of(base);
    if ((mask & ~IBV_SRQ_LIMIT) != 0) return EINVAL;  // resizing is not offered
    if (attr->srq_limit > srq.receives.limit) return EINVAL;
    if ((mask & IBV_SRQ_LIMIT) != 0) srq.watermark = attr->srq_limit;
    return 0;
}

FAKE_VERBS_API int ibv_query_srq(ibv_srq* base, ibv_srq_attr* attr) {
    const std::lock_guard lock(engine().mutex);
    const Srq& srq = Srq::of(base);
    *attr = {srq.receives.limit, srq.receives.sge_max, srq.watermark};
    return 0;
}

FAKE_VERBS_API int ibv_destroy_srq(ibv_srq* base) {
    std::unique_lock lock(engine().mutex);
    Srq& srq = Srq::of(base);
    if (srq.users != 0) return EBUSY;
    Context::of(base->context).async_events.withdraw([&](const ibv_async_event& event) {
        return event.event_type == IBV_EVENT_SRQ_LIMIT_REACHED && event.element.srq == base;
    });
    engine().acknowledged.wait(lock, [&] { return srq.async_events.settled(); });
    Pd::of(base->pd).users--;
    engine().census().remove(Counted::kSrq);
    delete &srq;
    return 0;
}
