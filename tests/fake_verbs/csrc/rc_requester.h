#pragma once

#include <deque>

#include "peers.h"
#include "queue_pair.h"

namespace fake_verbs {

// The sending half of a connected QP: messages in order, go back to the first one that is missing.
class RcRequester {
  public:
    explicit RcRequester(Qp& qp) : qp_(qp) {}

    void start();
    void post(Send send);
    uint64_t progress(uint64_t now);
    bool busy() const { return !queue_.empty(); }
    void handle(const Response& response);
    void flush();
    void reset();

  private:
    struct Pending {
        Send send;
        uint32_t psn = 0;
        uint32_t bytes = 0;
        uint32_t sent = 0;
        uint32_t received = 0;
        uint32_t rnr_tries = 0;
        uint64_t ring_mark = 0;  // where the ring ended after its last frame
        uint64_t generation = 0;
        ibv_wc_status error = IBV_WC_SUCCESS;
    };

    uint32_t target_process() const { return qp_.attr.dest_qp_num >> kQpnProcessShift; }
    void transmit(uint64_t now);
    bool may_start(const Pending& pending) const;
    ibv_wc_status check(const Pending& pending) const;
    bool push(Pending& pending, Link& link);
    void describe(Request& request, const Pending& pending) const;
    void receive_data(const Response& response);
    void not_ready(const Response& response);
    void finish_first(ibv_wc_status status);
    void fail_first(ibv_wc_status status);
    void go_back();
    uint64_t look_at_clock(uint64_t now);
    bool still_on_its_way(const Pending& pending, Link* link) const;

    Qp& qp_;
    std::deque<Pending> queue_;
    size_t next_ = 0;  // the first that has not left completely
    uint32_t psn_ = 0;
    uint32_t fetching_ = 0;
    uint32_t retries_ = 0;
    uint64_t timer_start_ = 0;
    uint64_t wait_until_ = 0;
    bool blocked_ = false;
};

}  // namespace fake_verbs
