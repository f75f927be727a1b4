#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "peers.h"
#include "queue_pair.h"

namespace fake_verbs {

// The receiving half of a connected QP: executes each message once, in order.
class RcResponder {
  public:
    explicit RcResponder(Qp& qp) : qp_(qp) {}

    void start();
    bool handle(const Request& request, Link& back);
    void flush();
    void reset();

  private:
    // The message whose fragments are arriving.
    struct Open {
        bool active = false;
        uint32_t done = 0;
        char* target = nullptr;
        std::optional<Receive> receive;
    };

    bool meant_for_us(const Request& request) const;
    bool repeat(const Request& request, Link& back);
    bool execute(const Request& request, Link& back);
    void take_fragment(const Request& request, Link& back);
    bool begin(const Request& request, Link& back);
    void finish(const Request& request, Link& back);
    bool read(const Request& request, Link& back);
    void atomic(const Request& request, Link& back);
    char* memory(const Request& request, uint32_t access) const;
    Response& answer(const Request& request, Link& back, Answer answer, uint32_t payload = 0);
    void refuse(const Request& request, Link& back, ibv_wc_status status, ibv_event_type event);
    void complete(const Request& request, ibv_wc_status status);

    Qp& qp_;
    uint32_t expected_ = 0;
    uint32_t read_done_ = 0;
    Open open_;
    std::deque<std::pair<uint32_t, uint64_t>> atomics_done_;
};

}  // namespace fake_verbs
