#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "peers.h"
#include "queue_pair.h"

namespace fake_verbs {

// The receiving half of an SRD QP: puts fragments where they belong as they come, and reports each
// message once, when it is whole.
class SrdResponder {
  public:
    explicit SrdResponder(Qp& qp) : qp_(qp) {}

    bool handle(const Request& request, Link& back);
    void reset() { sources_.clear(); }

  private:
    struct Assembly {
        std::vector<bool> seen;
        uint32_t bytes = 0;
        std::vector<char> sent;  // of a SEND, until it is whole and has a receive
    };
    struct Source {
        std::map<uint32_t, Assembly> open;
        uint32_t all_done_below = 0;
        std::set<uint32_t> done;
        uint32_t read_done = 0;

        bool has_done(uint32_t id) const { return id < all_done_below || done.contains(id); }
        void note_done(uint32_t id);
    };

    bool read(const Request& request, Link& back, Source& source);
    void take_fragment(const Request& request, Link& back, Source& source);
    bool store(const Request& request, Assembly& assembly);
    bool deliver(const Request& request, Link& back, const Assembly& assembly);
    char* memory(const Request& request, uint32_t access) const;
    void acknowledge(const Request& request, Link& back, Answer answer);

    Qp& qp_;
    std::map<std::pair<uint32_t, uint64_t>, Source> sources_;
};

// Tells the sender that the message will not be executed.
void refuse_srd(const Request& request, Link& back, ibv_wc_status status, EfaStatus vendor_error);

}  // namespace fake_verbs
