#include "proxy/csrc/rdma/completion_queue.h"

#include <fcntl.h>

#include <cerrno>

namespace crossdock::proxy::rdma {

CompletionQueue::CompletionQueue(const Nic& nic, uint32_t depth) {
    if (depth > static_cast<uint32_t>(nic.facts().max_completions)) {
        throw RdmaError(0, "a completion queue of " + std::to_string(depth) +
                               " entries is needed, but " + nic.name() + " allows " +
                               std::to_string(nic.facts().max_completions) +
                               "; lower CROSSDOCK_WRITES_PER_PEER");
    }
    channel_ = verbs().ibv_create_comp_channel(nic.context());
    if (channel_ == nullptr) throw RdmaError(errno, "cannot watch completions of " + nic.name());
    fcntl(channel_->fd, F_SETFL, fcntl(channel_->fd, F_GETFL) | O_NONBLOCK);
    cq_ = verbs().ibv_create_cq(nic.context(), static_cast<int>(depth), nullptr, channel_, 0);
    if (cq_ == nullptr) {
        const int error = errno;
        verbs().ibv_destroy_comp_channel(channel_);
        throw RdmaError(error, "cannot make a completion queue of " + std::to_string(depth) +
                                   " entries on " + nic.name());
    }
}

CompletionQueue::~CompletionQueue() {
    verbs().ibv_destroy_cq(cq_);
    verbs().ibv_destroy_comp_channel(channel_);
}

void CompletionQueue::disarm() {
    ibv_cq* which = nullptr;
    void* context = nullptr;
    while (verbs().ibv_get_cq_event(channel_, &which, &context) == 0)
        verbs().ibv_ack_cq_events(which, 1);
}

}  // namespace crossdock::proxy::rdma
