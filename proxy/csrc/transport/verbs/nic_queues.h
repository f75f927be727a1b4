// What an endpoint needs of one NIC.
#pragma once

#include <memory>

#include "proxy/csrc/rdma/completion_queue.h"
#include "proxy/csrc/rdma/congestion_counters.h"
#include "proxy/csrc/rdma/memory_keys.h"
#include "proxy/csrc/rdma/queue_pair_map.h"
#include "proxy/csrc/rdma/receive_pool.h"
#include "proxy/csrc/rdma/scratch.h"

namespace crossdock::proxy::verbs {

struct NicQueues {
    NicQueues(std::shared_ptr<rdma::Nic> which, const rdma::LocalKeys& local, uint32_t completions_,
              uint32_t receives_)
        : nic(std::move(which)),
          keys(local),
          completions(*nic, completions_),
          receives(*nic, receives_),
          congestion(nic->name()),
          outages_seen(nic->outages()),
          scratch(*nic) {}

    std::shared_ptr<rdma::Nic> nic;
    const rdma::LocalKeys& keys;
    rdma::CompletionQueue completions;
    rdma::ReceivePool receives;
    rdma::CongestionCounters congestion;
    uint32_t outages_seen;
    rdma::Scratch scratch;
    rdma::QueuePairMap queue_pairs;  // number -> link
};

}  // namespace crossdock::proxy::verbs
