// Completion queues, completion channels and asynchronous events.

#include <cerrno>
#include <memory>

#include "api.h"
#include "engine.h"

namespace fake_verbs {
namespace {

Cq* create(ibv_context* context, uint32_t cqe, void* cq_context, ibv_comp_channel* channel,
           uint32_t vector) {
    if (cqe == 0 || cqe > Context::of(context).device->limits.cqe ||
        vector >= static_cast<uint32_t>(context->num_comp_vectors))
        return failed<Cq>(EINVAL);
    const std::lock_guard lock(engine().mutex);
    static uint32_t next = 0;
    auto cq = std::make_unique<Cq>();
    cq->ex.context = context;
    cq->ex.channel = channel;
    cq->ex.cq_context = cq_context;
    cq->ex.handle = ++next;
    cq->ex.cqe = static_cast<int>(cqe);
    pthread_mutex_init(&cq->ex.mutex, nullptr);
    pthread_cond_init(&cq->ex.cond, nullptr);
    if (channel != nullptr) channel->refcnt++;
    engine().census().add(Counted::kCq);
    return cq.release();
}

Acknowledged* counter_of(const ibv_async_event& event) {
    switch (event.event_type) {
        case IBV_EVENT_CQ_ERR:
            return &Cq::of(event.element.cq).async_events;
        case IBV_EVENT_QP_FATAL:
        case IBV_EVENT_QP_REQ_ERR:
        case IBV_EVENT_QP_ACCESS_ERR:
        case IBV_EVENT_QP_LAST_WQE_REACHED:
            return &Qp::of(event.element.qp).async_events;
        case IBV_EVENT_SRQ_LIMIT_REACHED:
            return &Srq::of(event.element.srq).async_events;
        default:
            return nullptr;
    }
}

}  // namespace

ibv_cq_ex* create_cq_ex(ibv_context* context, ibv_cq_init_attr_ex* attr) {
    if ((attr->wc_flags & ~uint64_t{IBV_WC_STANDARD_FLAGS}) != 0)
        return failed<ibv_cq_ex>(EOPNOTSUPP);
    if ((attr->comp_mask & ~uint32_t{IBV_CQ_INIT_ATTR_MASK_FLAGS}) != 0)
        return failed<ibv_cq_ex>(EOPNOTSUPP);
    Cq* cq = create(context, attr->cqe, attr->cq_context, attr->channel, attr->comp_vector);
    if (cq == nullptr) return nullptr;
    cq->extended = true;
    equip_for_extended_polls(*cq);
    return &cq->ex;
}

}  // namespace fake_verbs

using namespace fake_verbs;

FAKE_VERBS_API ibv_comp_channel* ibv_create_comp_channel(ibv_context* context) {
    const std::lock_guard lock(engine().mutex);
    auto channel = std::make_unique<Channel>();
    channel->base.context = context;
    channel->base.fd = channel->events.descriptor();
    engine().census().add(Counted::kChannel);
    return &channel.release()->base;
}

FAKE_VERBS_API int ibv_destroy_comp_channel(ibv_comp_channel* channel) {
    const std::lock_guard lock(engine().mutex);
    if (channel->refcnt != 0) return EBUSY;
    engine().census().remove(Counted::kChannel);
    delete &Channel::of(channel);
    return 0;
}

FAKE_VERBS_API ibv_cq* ibv_create_cq(ibv_context* context, int cqe, void* cq_context,
                                     ibv_comp_channel* channel, int vector) {
    Cq* cq = create(context, cqe < 0 ? 0 : static_cast<uint32_t>(cqe), cq_context, channel,
                    static_cast<uint32_t>(vector));
    return cq == nullptr ? nullptr : cq->base();
}

FAKE_VERBS_API int ibv_resize_cq(ibv_cq* base, int cqe) {
    const std::lock_guard lock(engine().mutex);
    Cq& cq = Cq::of(base);
    const size_t held = cq.ready.size() + cq.delayed.size();
    if (cqe <= 0 || static_cast<uint32_t>(cqe) > Context::of(base->context).device->limits.cqe ||
        static_cast<size_t>(cqe) < held)
        return EINVAL;
    cq.ex.cqe = cqe;
    return 0;
}

FAKE_VERBS_API int ibv_destroy_cq(ibv_cq* base) {
    std::unique_lock lock(engine().mutex);
    Cq& cq = Cq::of(base);
    if (cq.users != 0) return EBUSY;
    Context::of(base->context).async_events.withdraw([&](const ibv_async_event& event) {
        return event.event_type == IBV_EVENT_CQ_ERR && event.element.cq == base;
    });
    if (base->channel != nullptr) {
        Channel::of(base->channel).events.withdraw([&](Cq* const& of) { return of == &cq; });
        base->channel->refcnt--;
    }
    engine().acknowledged.wait(
        lock, [&] { return cq.comp_events.settled() && cq.async_events.settled(); });
    engine().remove(cq);
    engine().census().remove(Counted::kCq);
    delete &cq;
    return 0;
}

FAKE_VERBS_API int ibv_get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** cq_context) {
    engine().note_blocking();
    const auto event = Channel::of(channel).events.pop(
        [](Cq* const& delivered) { delivered->comp_events.delivered++; });
    if (!event.has_value()) return -1;
    *cq = (*event)->base();
    *cq_context = (*event)->ex.cq_context;
    return 0;
}

FAKE_VERBS_API void ibv_ack_cq_events(ibv_cq* cq, unsigned int count) {
    const std::lock_guard lock(engine().mutex);
    Cq::of(cq).comp_events.acknowledged += count;
    engine().acknowledged.notify_all();
}

FAKE_VERBS_API int ibv_get_async_event(ibv_context* context, ibv_async_event* event) {
    const auto next = Context::of(context).async_events.pop([](const ibv_async_event& delivered) {
        if (Acknowledged* counter = counter_of(delivered); counter != nullptr) counter->delivered++;
    });
    if (!next.has_value()) return -1;
    *event = *next;
    return 0;
}

FAKE_VERBS_API void ibv_ack_async_event(ibv_async_event* event) {
    Acknowledged* counter = counter_of(*event);
    if (counter == nullptr) return;
    const std::lock_guard lock(engine().mutex);
    counter->acknowledged++;
    engine().acknowledged.notify_all();
}
