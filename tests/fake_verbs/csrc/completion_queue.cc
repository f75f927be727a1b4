#include "completion_queue.h"

#include "queue_pair.h"
#include "receive_queue.h"

namespace fake_verbs {

bool Cq::add(Completion completion, uint64_t due, uint64_t now) {
    if (overrun || ready.size() + delayed.size() >= static_cast<size_t>(ex.cqe)) {
        overrun = true;
        return false;
    }
    if (due <= now && delayed.empty())
        show(std::move(completion));
    else
        delayed.emplace(due, std::move(completion));
    return true;
}

void Cq::mature(uint64_t now) {
    while (!delayed.empty() && delayed.begin()->first <= now) {
        show(std::move(delayed.begin()->second));
        delayed.erase(delayed.begin());
    }
}

// An event comes only for what arrives after it was asked for.
void Cq::show(Completion completion) {
    const bool urgent = completion.solicited || completion.wc.status != IBV_WC_SUCCESS;
    ready.push_back(std::move(completion));
    if (armed == Armed::kNo || (armed == Armed::kSolicited && !urgent)) return;
    armed = Armed::kNo;
    if (ex.channel != nullptr) Channel::of(ex.channel).events.push(this);
}

// The places in the work queues come back only here, as with the drivers of real devices.
bool Cq::take(Completion& completion) {
    if (ready.empty()) return false;
    completion = std::move(ready.front());
    ready.pop_front();
    completion.qp->send_used -= completion.send_slots;
    if (completion.srq != nullptr)
        completion.srq->receives.used -= completion.recv_slots;
    else
        completion.qp->receives.used -= completion.recv_slots;
    return true;
}

void Cq::forget(const Qp& qp) {
    for (Completion& completion : ready)
        if (completion.qp == &qp && completion.srq != nullptr)
            completion.srq->receives.used -= completion.recv_slots;
    for (auto& [due, completion] : delayed)
        if (completion.qp == &qp && completion.srq != nullptr)
            completion.srq->receives.used -= completion.recv_slots;
    std::erase_if(ready, [&](const Completion& completion) { return completion.qp == &qp; });
    std::erase_if(delayed, [&](const auto& entry) { return entry.second.qp == &qp; });
}

}  // namespace fake_verbs
