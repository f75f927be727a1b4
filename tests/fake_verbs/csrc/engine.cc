#include "engine.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "futex.h"
#include "ports.h"
#include "srd_responder.h"

namespace fake_verbs {
namespace {

constexpr uint64_t kPortsEveryNs = 10'000'000;
constexpr uint64_t kNapNs = 200'000;
constexpr uint64_t kAttendedNs = 2'000'000;
constexpr uint32_t kPollsOfABusyProgram = 8;
constexpr uint32_t kFramesInARow = 256;

uint64_t salt() {
    std::random_device random;
    return random();
}

}  // namespace

Engine::Engine(const Settings& settings)
    : settings_(settings),
      peers_(settings),
      census_(settings.job_is_given ? settings.job : std::filesystem::path()),
      memory_(salt()),
      random_(settings.seed * 1000003 + peers_.index()),
      next_qp_(static_cast<uint32_t>(salt() & 0x7fff) + 1) {}

Engine::~Engine() {
    stopping_ = true;
    if (usable()) wake_helper();
    if (helper_.joinable()) helper_.join();
}

void Engine::abandon() {
    stopping_ = true;
    peers_.withdraw();
    const std::lock_guard lock(mutex);  // the helper thread is not in the middle of anything
}

void Engine::remove(Context& context) {
    std::erase(contexts_, &context);
    // What the program left open goes out of use, though not out of the census.
    std::vector<Qp*> left;
    for (auto& [number, qp] : qps_)
        if (&qp->context() == &context) left.push_back(qp);
    for (Qp* qp : left)
        remove(*qp);
    std::erase_if(watched_, [&](Cq* cq) { return cq->ex.context == &context.verbs.context; });
}

bool Engine::add(Qp& qp) {
    constexpr uint32_t kNumbers = (1u << kQpnProcessShift) - 1;
    if (qps_.size() >= kNumbers) return false;
    uint32_t number = 0;
    do
        number = peers_.index() << kQpnProcessShift | next_qp_++ % kNumbers;
    while (qps_.contains(number) || number == 0);
    qp.ex.qp_base.qp_num = qp.ex.qp_base.handle = number;
    qps_[number] = &qp;
    return true;
}

void Engine::remove(Qp& qp) {
    qps_.erase(qp.number());
    std::erase(active_, &qp);
}

void Engine::activate(Qp& qp) {
    if (!qp.active) {
        qp.active = true;
        active_.push_back(&qp);
    }
    next_due_ = std::min(next_due_, qp.service->progress(now_ns()));
    peers_.ring_doorbells();
    if (next_due_ < helper_wakes_) wake_helper();
}

void Engine::watch(Cq& cq) {
    if (cq.delayed.empty()) return;
    next_due_ = std::min(next_due_, cq.delayed.begin()->first);
    if (next_due_ < helper_wakes_) wake_helper();
    if (std::find(watched_.begin(), watched_.end(), &cq) == watched_.end()) watched_.push_back(&cq);
}

void Engine::progress() {
    next_due_ = UINT64_MAX;
    for (uint32_t word = 0; word < kProcessesMax / 64; word++) {
        uint64_t senders = peers_.own().senders[word].load(std::memory_order_acquire);
        for (; senders != 0; senders &= senders - 1) {
            const uint32_t sender = word * 64 + static_cast<uint32_t>(__builtin_ctzll(senders));
            if (!drain(sender)) next_due_ = now_ns() + kBlockedNs;
        }
    }
    const uint64_t now = now_ns();
    for (size_t i = 0; i < active_.size();) {
        Qp& qp = *active_[i];
        const uint64_t due = qp.service->progress(now);
        if (qp.service->busy()) {
            next_due_ = std::min(next_due_, due);
            i++;
        } else {
            qp.active = false;
            active_.erase(active_.begin() + static_cast<ptrdiff_t>(i));
        }
    }
    for (Cq* cq : watched_) {
        cq->mature(now);
        if (!cq->delayed.empty()) next_due_ = std::min(next_due_, cq->delayed.begin()->first);
    }
    std::erase_if(watched_, [](Cq* cq) { return cq->delayed.empty(); });
    peers_.ring_doorbells();
}

bool Engine::drain(uint32_t sender) {
    drain_responses(sender);
    return drain_requests(sender);
}

void Engine::drain_responses(uint32_t sender) {
    ResponseRing& ring = peers_.own().inbox[sender].responses;
    for (const void* frame = ring.front(); frame != nullptr; frame = ring.front()) {
        const Response& response = *static_cast<const Response*>(frame);
        const auto found = qps_.find(response.target_qpn);
        if (found != qps_.end() && found->second->context().carries_frames())
            found->second->service->handle(response);
        ring.pop();
    }
}

bool Engine::drain_requests(uint32_t sender) {
    RequestRing& ring = peers_.own().inbox[sender].requests;
    for (uint32_t i = 0; i < kFramesInARow; i++) {
        const void* frame = ring.front();
        if (frame == nullptr) return true;
        const Request& request = *static_cast<const Request*>(frame);
        Link* back = peers_.link(sender, request.sender_generation);
        if (back != nullptr && !hand_over(request, *back)) return false;
        ring.pop();
    }
    return ring.empty();
}

// False where the answer has to wait.
bool Engine::hand_over(const Request& request, Link& back) {
    const auto found = qps_.find(request.target_qpn);
    if (found != qps_.end())
        return !found->second->context().carries_frames() ||
               found->second->service->handle(request, back);
    // A device without connections answers for QPs that it does not have.
    const bool answers = request.qp_type == IBV_QPT_DRIVER &&
                         std::any_of(contexts_.begin(), contexts_.end(), [&](Context* context) {
                             return context->carries_frames() &&
                                    context->device->has_gid(request.dgid, request.gid_type);
                         });
    if (!answers) return true;
    if (!back.responses().has_room(sizeof(Response))) return false;
    refuse_srd(request, back, IBV_WC_REM_INV_RD_REQ_ERR, EfaStatus::kRemoteBadDestQpn);
    return true;
}

bool Engine::inboxes_empty() {
    for (uint32_t sender = 0; sender < kProcessesMax; sender++) {
        if ((peers_.own().senders[sender / 64].load() >> (sender % 64) & 1) == 0) continue;
        Inbox& inbox = peers_.own().inbox[sender];
        if (!inbox.requests.empty() || !inbox.responses.empty()) return false;
    }
    return true;
}

void Engine::look_at_ports(uint64_t now) {
    if (now - ports_seen_ < kPortsEveryNs) return;
    ports_seen_ = now;
    for (Context* context : contexts_) {
        const PortWord word = read_port(settings_, *context->device);
        const bool was_up = context->port != PortWord::kDown;
        const bool is_up = word != PortWord::kDown;
        context->port = word;
        if (was_up == is_up) continue;
        ibv_async_event event{};
        event.event_type = is_up ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR;
        event.element.port_num = 1;
        context->async_events.push(event);
    }
}

uint64_t Engine::completion_delay(const Device& device) {
    constexpr uint64_t kSrdDelayNs = 20'000;
    const uint64_t most = settings_.completion_delay_ns != 0 ? settings_.completion_delay_ns
                          : device.efa() && settings_.reorder_ns != 0 ? kSrdDelayNs
                                                                      : 0;
    return random_.below(most);
}

void Engine::note_empty_poll() {
    if (empty_polls_.fetch_add(1, std::memory_order_relaxed) < kPollsOfABusyProgram) return;
    last_empty_poll_.store(now_ns(), std::memory_order_relaxed);
    sched_yield();  // others may need this core to make what is polled for
}

void Engine::note_blocking() {
    empty_polls_.store(0, std::memory_order_relaxed);
    last_empty_poll_.store(0, std::memory_order_relaxed);
}

void Engine::wake_helper() {
    std::atomic<uint32_t>& doorbell = peers_.own().doorbell;
    if (doorbell.load() == kDoorbellAsleep && doorbell.exchange(kDoorbellRung) == kDoorbellAsleep)
        futex_wake(doorbell);
}

bool Engine::attended(uint64_t now) const {
    return now - last_empty_poll_.load(std::memory_order_relaxed) < kAttendedNs;
}

uint64_t Engine::sleep_limit(uint64_t now) const {
    const uint64_t due = next_due_ > now ? next_due_ - now : 1;
    return std::min(due, attended(now) ? kNapNs : kPortsEveryNs);
}

// While the program polls, naps are enough; else whoever leaves a frame rings.
void Engine::work() {
    std::atomic<uint32_t>& doorbell = peers_.own().doorbell;
    while (!stopping_) {
        uint64_t limit = 0;
        bool napping = false;
        {
            const std::lock_guard lock(mutex);
            if (stopping_) return;
            progress();
            const uint64_t now = now_ns();
            look_at_ports(now);
            limit = sleep_limit(now);
            napping = attended(now);
            helper_wakes_ = now + limit;
            if (!napping) doorbell.store(kDoorbellAsleep);
            if (!napping && !inboxes_empty()) limit = next_due_ == UINT64_MAX ? 0 : limit;
        }
        if (stopping_) break;
        if (napping) {
            timespec nap{0, static_cast<long>(limit)};
            nanosleep(&nap, nullptr);
        } else if (limit != 0) {
            futex_wait(doorbell, kDoorbellAsleep, limit);
        }
        doorbell.store(kDoorbellRung);
    }
}

}  // namespace fake_verbs
