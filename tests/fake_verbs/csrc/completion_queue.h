#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>

#include "context.h"
#include "efa_abi.h"
#include "event_queue.h"

namespace fake_verbs {

struct Qp;
struct Srq;

struct Completion {
    ibv_wc wc{};
    Qp* qp = nullptr;
    Srq* srq = nullptr;
    uint32_t send_slots = 0;
    uint32_t recv_slots = 0;
    bool solicited = false;
    bool unsolicited_write = false;
    ibv_gid sgid{};
};

struct Cq;

struct Channel {
    ibv_comp_channel base{};
    EventQueue<Cq*> events;

    static Channel& of(ibv_comp_channel* channel) { return *reinterpret_cast<Channel*>(channel); }
};

// What efadv_cq_from_ibv_cq_ex gives, with the way back.
struct EfaCqPart {
    EfaCq table{};
    Cq* owner = nullptr;

    static Cq& owner_of(efadv_cq* cq) { return *reinterpret_cast<EfaCqPart*>(cq)->owner; }
};

struct Cq {
    ibv_cq_ex ex{};
    EfaCqPart efa{{}, this};
    bool extended = false;
    uint64_t efa_flags = 0;
    std::deque<Completion> ready;
    std::multimap<uint64_t, Completion> delayed;  // by the time at which they show
    enum class Armed : uint8_t { kNo, kSolicited, kAny } armed = Armed::kNo;
    bool overrun = false;
    uint32_t users = 0;
    Acknowledged comp_events;
    Acknowledged async_events;
    // From start_poll to end_poll; the program may post in between.
    std::mutex poll_mutex;
    Completion current;

    static Cq& of(ibv_cq* cq) { return *reinterpret_cast<Cq*>(cq); }
    static Cq& of(ibv_cq_ex* cq) { return *reinterpret_cast<Cq*>(cq); }
    ibv_cq* base() { return reinterpret_cast<ibv_cq*>(&ex); }

    // False where there is no room: the queue is broken from then on.
    bool add(Completion completion, uint64_t due, uint64_t now);
    void mature(uint64_t now);
    bool take(Completion& completion);
    void forget(const Qp& qp);

  private:
    void show(Completion completion);
};

void equip_for_extended_polls(Cq& cq);

}  // namespace fake_verbs
