// What libefa asks of this library; the names are private to the two.

#include "api_efa.h"

#include <cerrno>
#include <cstring>

#include "api.h"
#include "create_qp.h"
#include "engine.h"

namespace fake_verbs {
namespace {

constexpr uint64_t kSendOps = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM;
constexpr uint64_t kWriteOps = IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM;

bool is_efa(ibv_context* context) {
    return Context::of(context).device->efa();
}

uint64_t known_ops(uint32_t caps) {
    uint64_t ops = kSendOps;
    if ((caps & kEfaCapRdmaRead) != 0) ops |= IBV_QP_EX_WITH_RDMA_READ;
    if ((caps & kEfaCapRdmaWrite) != 0) ops |= kWriteOps;
    return ops;
}

// A struct of another version of the header: what we do not know of it must be zero.
template <typename Known>
bool take(Known& known, const void* given, uint32_t given_bytes) {
    const auto* bytes = static_cast<const char*>(given);
    for (uint32_t i = sizeof(Known); i < given_bytes; i++)
        if (bytes[i] != 0) return false;
    known = {};
    std::memcpy(&known, given, std::min<size_t>(given_bytes, sizeof(Known)));
    return true;
}

int check(ibv_context* context, const ibv_qp_init_attr_ex& attr, const EfaQpInitAttr& efa) {
    constexpr uint32_t kMask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
    const uint32_t caps = engine().settings().efa_caps;
    if (!is_efa(context)) return EOPNOTSUPP;
    if (efa.comp_mask != 0 || efa.driver_qp_type != EFADV_QP_DRIVER_TYPE_SRD) return EINVAL;
    if ((efa.flags & ~kEfaQpUnsolicitedWriteRecv) != 0 || efa.reserved[0] != 0) return EINVAL;
    if ((attr.comp_mask & ~kMask) != 0 || attr.qp_type != IBV_QPT_DRIVER) return EINVAL;
    if ((attr.comp_mask & IBV_QP_INIT_ATTR_PD) == 0) return EINVAL;
    const bool batches = (attr.comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) != 0;
    if (batches && (attr.send_ops_flags & ~known_ops(caps)) != 0) return EOPNOTSUPP;
    if (efa.flags == 0) return 0;
    if ((caps & kEfaCapUnsolicitedWriteRecv) == 0) return EOPNOTSUPP;
    // Who cannot tell such completions apart must not get them.
    const bool tells =
        attr.recv_cq != nullptr && (Cq::of(attr.recv_cq).efa_flags & kEfaWcWithIsUnsolicited) != 0;
    return tells ? 0 : EINVAL;
}

}  // namespace
}  // namespace fake_verbs

using namespace fake_verbs;

FAKE_VERBS_API int fake_verbs_query_device(ibv_context* context, efadv_device_attr* attr,
                                           uint32_t attr_bytes) {
    if (!is_efa(context)) return EOPNOTSUPP;
    if (attr_bytes < offsetof(efadv_device_attr, reserved)) return EINVAL;
    const Limits& limits = Context::of(context).device->limits;
    efadv_device_attr filled{};
    filled.max_sq_wr = filled.max_rq_wr = limits.qp_wr;
    filled.max_sq_sge = filled.max_rq_sge = static_cast<uint16_t>(limits.sge);
    filled.inline_buf_size = static_cast<uint16_t>(limits.inline_bytes);
    filled.device_caps = engine().settings().efa_caps;
    if ((filled.device_caps & (kEfaCapRdmaRead | kEfaCapRdmaWrite)) != 0)
        filled.max_rdma_size = limits.rdma_bytes;
    std::memset(attr, 0, attr_bytes);
    std::memcpy(attr, &filled, std::min<size_t>(attr_bytes, sizeof(filled)));
    return 0;
}

FAKE_VERBS_API ibv_qp* fake_verbs_create_qp(ibv_context* context, ibv_qp_init_attr_ex* attr,
                                            efadv_qp_init_attr* efa_attr, uint32_t efa_bytes) {
    EfaQpInitAttr efa{};
    if (!take(efa, efa_attr, efa_bytes)) return failed<ibv_qp>(EINVAL);
    if (const int error = check(context, *attr, efa); error != 0) return failed<ibv_qp>(error);
    const bool batches = (attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) != 0;
    return create_qp(context, *attr, batches ? attr->send_ops_flags : 0, efa.flags);
}

FAKE_VERBS_API int fake_verbs_query_ah(ibv_ah* ah, efadv_ah_attr* attr, uint32_t attr_bytes) {
    if (!is_efa(ah->context)) return EOPNOTSUPP;
    if (attr_bytes < offsetof(efadv_ah_attr, reserved)) return EINVAL;
    efadv_ah_attr filled{};
    filled.ahn = Ah::of(ah).number;
    std::memset(attr, 0, attr_bytes);
    std::memcpy(attr, &filled, std::min<size_t>(attr_bytes, sizeof(filled)));
    return 0;
}

FAKE_VERBS_API ibv_cq_ex* fake_verbs_create_cq(ibv_context* context, ibv_cq_init_attr_ex* attr,
                                               efadv_cq_init_attr* efa_attr, uint32_t efa_bytes) {
    if (!is_efa(context)) return failed<ibv_cq_ex>(EOPNOTSUPP);
    efadv_cq_init_attr efa{};
    if (!take(efa, efa_attr, efa_bytes) || efa.comp_mask != 0) return failed<ibv_cq_ex>(EINVAL);
    const uint32_t caps = engine().settings().efa_caps;
    uint64_t known = 0;
    if ((caps & kEfaCapCqWithSgid) != 0) known |= kEfaWcWithSgid;
    if ((caps & kEfaCapUnsolicitedWriteRecv) != 0) known |= kEfaWcWithIsUnsolicited;
    if ((efa.wc_flags & ~known) != 0) return failed<ibv_cq_ex>(EOPNOTSUPP);
    ibv_cq_ex* ex = create_cq_ex(context, attr);
    if (ex == nullptr) return nullptr;
    Cq& cq = Cq::of(ex);
    cq.efa_flags = efa.wc_flags;
    if ((efa.wc_flags & kEfaWcWithSgid) != 0)
        cq.efa.table.wc_read_sgid = [](efadv_cq* of, ibv_gid* sgid) {
            *sgid = EfaCqPart::owner_of(of).current.sgid;
            return 0;
        };
    if ((efa.wc_flags & kEfaWcWithIsUnsolicited) != 0)
        cq.efa.table.wc_is_unsolicited = [](efadv_cq* of) {
            return EfaCqPart::owner_of(of).current.unsolicited_write;
        };
    return ex;
}

FAKE_VERBS_API efadv_cq* fake_verbs_cq_from(ibv_cq_ex* ex) {
    return reinterpret_cast<efadv_cq*>(&Cq::of(ex).efa.table);
}
