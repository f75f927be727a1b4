// The transport over EFA: reliable datagrams that keep no order, every write signalled, each
// completed on its own. Counters and sequence numbers do the ordering (PROTOCOL.md); this endpoint
// only moves writes and tells what happened to them.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/rdma/congestion_counters.h"
#include "proxy/csrc/rdma/control_channel.h"
#include "proxy/csrc/rdma/farewells.h"
#include "proxy/csrc/rdma/memory_keys.h"
#include "proxy/csrc/rdma/queue_pair_map.h"
#include "proxy/csrc/rdma/receive_pool.h"
#include "proxy/csrc/transport/efa/srd_queue_pair.h"
#include "proxy/csrc/transport/tcp/socket.h"

namespace crossdock::proxy::efa {

// One NIC of an endpoint: its queue pair serves all peers.
struct NicQueues {
    NicQueues(std::shared_ptr<rdma::Nic> which, const rdma::LocalKeys& local,
              const EfaLimits& limits, uint32_t sends_, uint32_t receives_, uint32_t key)
        : nic(std::move(which)),
          keys(local),
          sends(sends_),
          completions(*nic, sends_ + receives_),
          queue_pair(*nic, completions, limits, sends_, receives_, key),
          receives(*nic, queue_pair.get(), receives_),
          congestion(nic->name()) {}

    std::shared_ptr<rdma::Nic> nic;
    const rdma::LocalKeys& keys;
    const uint32_t sends;  // that may await completion
    uint32_t sent = 0;     // that do
    rdma::CompletionQueue completions;
    SrdQueuePair queue_pair;
    rdma::ReceivePool receives;
    rdma::CongestionCounters congestion;
    rdma::QueuePairMap senders;  // sender_key() -> place of the peer
};

// Completions name who sent: the address handle and the queue pair.
inline uint64_t sender_key(uint32_t address, uint32_t queue_pair) {
    return uint64_t{address} << 32 | queue_pair;
}

// A peer: the NIC that is used for it, and where to.
struct Remote {
    uint32_t rank = 0;
    uint32_t nic = 0;  // local
    std::string nic_name;
    uint32_t own_queue_pair = 0;
    std::shared_ptr<const rdma::RemoteNic> remote;
    std::unique_ptr<AddressHandle> address;
    uint32_t queue_pair = 0;
    uint32_t key = 0;
    rdma::ControlChannel channel;
    bool over = false;  // nothing is sent to it any more
    bool gone = false;  // nothing of it counts any more
};

class EfaEndpoint final : public Endpoint {
  public:
    EfaEndpoint(const RegionTable& regions, uint32_t num_ranks, uint32_t writes_per_peer,
                std::vector<std::unique_ptr<NicQueues>> nics, std::vector<Remote> peers);
    ~EfaEndpoint() override;

    Guarantees guarantees() const override;
    size_t post(WriteList writes) override;
    size_t poll(std::span<Event> events) override;
    uint64_t congestion() const override { return congestion_; }
    void look_around() override;
    void sleep(std::chrono::microseconds limit) override;
    void wake() override { poller_.wake(); }
    std::string state_of(uint32_t peer) const override;
    void give_up(uint32_t peer) override;
    void leave(int32_t blame) override;

  private:
    static constexpr size_t kPollBatch = 32;

    // A write under way; its place is the id of the work request.
    struct Flight {
        uint64_t cookie = 0;
        uint32_t peer = 0;  // place in peers_
        uint32_t operation = 0;
    };

    size_t post_run(Remote& peer, WriteList writes);
    void build(NicQueues& nic, const Remote& peer, const WriteOp& op, uint32_t place);
    size_t take(NicQueues& nic, std::span<const ibv_wc> completions, std::span<Event> events);
    void lose(uint32_t place, const ibv_wc& completion, uint32_t operation);
    void part_with(uint32_t place, const Event& event);
    void listen(uint32_t place);

    const RegionTable& regions_;
    const uint32_t writes_per_peer_;
    std::vector<std::unique_ptr<NicQueues>> nics_;
    std::vector<Remote> peers_;
    std::vector<uint32_t> place_of_rank_;
    rdma::Farewells farewells_;
    std::vector<Flight> flights_;
    std::vector<uint32_t> free_;
    std::vector<ibv_wc> stash_;  // polled before a sleep
    uint32_t stash_nic_ = 0;
    uint64_t congestion_ = 0;
    std::chrono::steady_clock::time_point counted_{};
    tcp::Poller poller_;
    std::vector<epoll_event> changes_;
    bool left_ = false;
};

}  // namespace crossdock::proxy::efa
