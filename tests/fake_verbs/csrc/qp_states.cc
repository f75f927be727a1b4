#include "qp_states.h"

#include <cerrno>

#include "engine.h"

namespace fake_verbs {
namespace {

struct Transition {
    ibv_qp_state from;
    ibv_qp_state to;
    int required;
    int optional;
};

constexpr Transition kRc[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS},
    {IBV_QPS_INIT, IBV_QPS_RTR,
     IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
         IBV_QP_MIN_RNR_TIMER,
     IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX},
    {IBV_QPS_RTR, IBV_QPS_RTS,
     IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
     IBV_QP_CUR_STATE | IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER |
         IBV_QP_PATH_MIG_STATE},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0,
     IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_ALT_PATH | IBV_QP_PATH_MIG_STATE |
         IBV_QP_MIN_RNR_TIMER},
    {IBV_QPS_RTS, IBV_QPS_SQD, 0, IBV_QP_EN_SQD_ASYNC_NOTIFY},
    {IBV_QPS_SQD, IBV_QPS_RTS, 0,
     IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_ALT_PATH | IBV_QP_PATH_MIG_STATE |
         IBV_QP_MIN_RNR_TIMER},
};

constexpr Transition kSrd[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY},
    {IBV_QPS_INIT, IBV_QPS_RTR, 0, IBV_QP_PKEY_INDEX | IBV_QP_QKEY},
    {IBV_QPS_RTR, IBV_QPS_RTS, IBV_QP_SQ_PSN, IBV_QP_CUR_STATE | IBV_QP_QKEY | IBV_QP_RNR_RETRY},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0, IBV_QP_CUR_STATE | IBV_QP_QKEY},
};

template <size_t kCount>
bool allowed(const Transition (&table)[kCount], ibv_qp_state from, ibv_qp_state to, int mask) {
    mask &= ~IBV_QP_STATE;
    for (const Transition& row : table)
        if (row.from == from && row.to == to)
            return (mask & row.required) == row.required &&
                   (mask & ~(row.required | row.optional)) == 0;
    // From every state, and with nothing else.
    return (to == IBV_QPS_RESET || to == IBV_QPS_ERR) && (mask & ~IBV_QP_CUR_STATE) == 0;
}

bool allowed(const Qp& qp, ibv_qp_state to, int mask) {
    if (!qp.device().efa()) return allowed(kRc, qp.state(), to, mask);
    const bool rnr = (mask & IBV_QP_RNR_RETRY) != 0;
    if (rnr && (engine().settings().efa_caps & kEfaCapRnrRetry) == 0) return false;
    return allowed(kSrd, qp.state(), to, mask);
}

bool sensible(const Qp& qp, const ibv_qp_attr& attr, int mask) {
    const Device& device = qp.device();
    const auto exceeds = [&](int flag, uint32_t value, uint32_t limit) {
        return (mask & flag) != 0 && value > limit;
    };
    if ((mask & IBV_QP_PORT) != 0 && attr.port_num != 1) return false;
    if ((mask & IBV_QP_AV) != 0) {
        const ibv_ah_attr& path = attr.ah_attr;
        if (path.is_global == 0 || path.port_num != 1) return false;
        if (path.grh.sgid_index >= device.gids.size()) return false;
    }
    if ((mask & IBV_QP_PATH_MTU) != 0 && attr.path_mtu < IBV_MTU_256) return false;
    return !exceeds(IBV_QP_PKEY_INDEX, attr.pkey_index, 0) &&
           !exceeds(IBV_QP_PATH_MTU, attr.path_mtu, device.limits.mtu) &&
           !exceeds(IBV_QP_DEST_QPN, attr.dest_qp_num, kPsnMask) &&
           !exceeds(IBV_QP_TIMEOUT, attr.timeout, 31) &&
           !exceeds(IBV_QP_RETRY_CNT, attr.retry_cnt, 7) &&
           !exceeds(IBV_QP_RNR_RETRY, attr.rnr_retry, 7) &&
           !exceeds(IBV_QP_MIN_RNR_TIMER, attr.min_rnr_timer, 31) &&
           !exceeds(IBV_QP_MAX_QP_RD_ATOMIC, attr.max_rd_atomic, device.limits.rd_atomic) &&
           !exceeds(IBV_QP_MAX_DEST_RD_ATOMIC, attr.max_dest_rd_atomic, device.limits.rd_atomic);
}

void take_over(ibv_qp_attr& own, const ibv_qp_attr& attr, int mask) {
    const auto take = [&](int flag, auto& into, const auto& from) {
        if ((mask & flag) != 0) into = from;
    };
    take(IBV_QP_ACCESS_FLAGS, own.qp_access_flags, attr.qp_access_flags);
    take(IBV_QP_PKEY_INDEX, own.pkey_index, attr.pkey_index);
    take(IBV_QP_PORT, own.port_num, attr.port_num);
    take(IBV_QP_QKEY, own.qkey, attr.qkey);
    take(IBV_QP_AV, own.ah_attr, attr.ah_attr);
    take(IBV_QP_PATH_MTU, own.path_mtu, attr.path_mtu);
    take(IBV_QP_TIMEOUT, own.timeout, attr.timeout);
    take(IBV_QP_RETRY_CNT, own.retry_cnt, attr.retry_cnt);
    take(IBV_QP_RNR_RETRY, own.rnr_retry, attr.rnr_retry);
    take(IBV_QP_RQ_PSN, own.rq_psn, attr.rq_psn);
    take(IBV_QP_SQ_PSN, own.sq_psn, attr.sq_psn);
    take(IBV_QP_MAX_QP_RD_ATOMIC, own.max_rd_atomic, attr.max_rd_atomic);
    take(IBV_QP_MAX_DEST_RD_ATOMIC, own.max_dest_rd_atomic, attr.max_dest_rd_atomic);
    take(IBV_QP_MIN_RNR_TIMER, own.min_rnr_timer, attr.min_rnr_timer);
    take(IBV_QP_DEST_QPN, own.dest_qp_num, attr.dest_qp_num);
}

void reset(Qp& qp) {
    qp.send_cq->forget(qp);
    qp.recv_cq->forget(qp);
    qp.receives.posted.clear();
    qp.receives.used = qp.send_used = qp.unretired = 0;
}

}  // namespace

int modify(Qp& qp, const ibv_qp_attr& attr, int mask) {
    const ibv_qp_state from = qp.state();
    const ibv_qp_state to = (mask & IBV_QP_STATE) != 0 ? attr.qp_state : from;
    if ((mask & IBV_QP_CUR_STATE) != 0 && attr.cur_qp_state != from) return EINVAL;
    if (!allowed(qp, to, mask) || !sensible(qp, attr, mask)) return EINVAL;
    take_over(qp.attr, attr, mask);
    if (to == IBV_QPS_ERR) {
        qp.fail();
        return 0;
    }
    qp.ex.qp_base.state = to;
    if (to == IBV_QPS_RESET) reset(qp);
    if (from != to && !(from == IBV_QPS_SQD && to == IBV_QPS_RTS)) qp.service->entered(to);
    if (from == IBV_QPS_SQD && to == IBV_QPS_RTS) engine().activate(qp);
    return 0;
}

}  // namespace fake_verbs
