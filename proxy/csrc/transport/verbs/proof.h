// Before anything is sent: each path proves that the queue pair at its other end is the one that it
// is taken for, by a word that both sides of the job know and send each other over it.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/csrc/transport/verbs/link.h"
#include "proxy/csrc/transport/verbs/nic_queues.h"

namespace crossdock::proxy::verbs {

class Proof {
  public:
    Proof(std::span<const std::unique_ptr<NicQueues>> nics, uint32_t word)
        : nics_(nics), word_(word) {}

    void add(const Path& path, std::string name);
    // Throws RdmaError, which names the paths that failed and why.
    void run(std::chrono::milliseconds limit);

  private:
    struct Candidate {
        std::string name;
        const Path* path = nullptr;
        bool sent = false;
        bool heard = false;
    };

    void send(Candidate& candidate);
    void take(uint32_t nic, const ibv_wc& completion);
    bool done() const;

    std::span<const std::unique_ptr<NicQueues>> nics_;
    uint32_t word_;
    std::vector<Candidate> candidates_;
};

}  // namespace crossdock::proxy::verbs
