#pragma once

#include <map>

#include "peers.h"
#include "queue_pair.h"

namespace fake_verbs {

// The sending half of an SRD QP: every fragment leaves at a random time of its own, so messages and
// their parts overtake each other; nothing is lost or done twice.
class SrdRequester {
  public:
    explicit SrdRequester(Qp& qp) : qp_(qp) {}

    void post(Send send);
    uint64_t progress(uint64_t now);
    bool busy() const { return !messages_.empty(); }
    void handle(const Response& response);
    void flush();
    void reset();

  private:
    struct Message {
        Send send;
        uint32_t id = 0;
        uint32_t bytes = 0;
        uint32_t unsent = 0;
        uint32_t received = 0;
        uint32_t rnr_tries = 0;
        uint32_t repeats = 0;
        uint64_t heard = 0;
        uint64_t ring_mark = 0;
        uint64_t generation = 0;
    };
    using Key = uint64_t;  // the target's QP and the message's number on the way there
    struct Fragment {
        Key key;
        uint32_t offset;
        uint32_t repeat;
    };

    static Key key_of(uint32_t target, uint32_t id) { return uint64_t{target} << 32 | id; }
    bool refused_here(const Send& send);
    void schedule(Key key, Message& message, uint64_t from);
    bool send_due(uint64_t now);
    bool push(Message& message, const Fragment& fragment, Link& link);
    void describe(Request& request, const Message& message, const Fragment& fragment) const;
    void look_at_clocks(uint64_t now);
    bool still_on_its_way(const Message& message) const;
    void finish(Key key, ibv_wc_status status, EfaStatus vendor_error);
    void not_ready(Key key, Message& message);
    void receive_data(Key key, Message& message, const Response& response);

    Qp& qp_;
    std::map<uint32_t, uint32_t> next_ids_;
    std::map<Key, Message> messages_;
    std::multimap<uint64_t, Fragment> schedule_;
    uint64_t next_look_ = 0;
};

}  // namespace fake_verbs
