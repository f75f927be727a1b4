// The transport over reliable connected queue pairs: InfiniBand and RoCE NICs. Writes go out in
// chains with one doorbell, of which only some are signalled; immediates take receives of a pool
// that all peers share.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/rdma/farewells.h"
#include "proxy/csrc/transport/tcp/socket.h"
#include "proxy/csrc/transport/verbs/link.h"
#include "proxy/csrc/transport/verbs/nic_queues.h"
#include "proxy/csrc/transport/verbs/request_chain.h"

namespace crossdock::proxy::verbs {

class VerbsEndpoint final : public Endpoint {
  public:
    VerbsEndpoint(const RegionTable& regions, uint32_t num_ranks,
                  std::vector<std::unique_ptr<NicQueues>> nics,
                  std::vector<std::unique_ptr<Link>> links, bool atomics);
    ~VerbsEndpoint() override;

    Guarantees guarantees() const override;
    size_t post(WriteList writes) override;
    void keep_writes() override;
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
    static constexpr uint32_t kNobody = ~0u;

    // Events on their way to the caller.
    struct Sink {
        std::span<Event> events;
        size_t count = 0;

        size_t room() const { return events.size() - count; }
        void push(const Event& event) { events[count++] = event; }
    };

    // What the requests of a link's path have in common.
    struct Way {
        const rdma::LocalKeys* local;
        const rdma::RemoteNic* remote;
        uint64_t id;  // but for the number of the write
        uint32_t message_bytes;
        uint32_t inline_bytes;
    };

    Way way_of(Link& link) const;
    size_t add_plain(const Way& way, WriteList writes, Unacknowledged& open);
    void add_requests(Link& link, const Way& way, const WriteOp& op, uint32_t number);
    void add_without_payload(Link& link, const Way& way, const WriteOp& op, uint32_t number);
    void add_pieces(Link& link, const Way& way, const WriteOp& op, uint32_t number);
    static void fill_immediate(ibv_send_wr& request, const WriteOp& op);
    void fill_payload(ibv_send_wr& request, const Way& way, const WriteOp& op, uint32_t skip,
                      uint32_t bytes) const;
    void fill_addition(ibv_send_wr& request, const Path& path, const WriteOp& op) const;
    bool send_chain(Link& link);
    void repost(Link& link);
    NicFailure failure_of(const Path& path, NicFailure failure) const;

    void take(NicQueues& nic, std::span<const ibv_wc> completions, Sink& sink);
    void take_failure(NicQueues& nic, const ibv_wc& completion);
    static bool current(const Link& link, const ibv_wc& completion);
    static void report_acknowledged(Link& link, Sink& sink);
    void report_mended(Sink& sink);
    void notice_outages();
    void listen(Link& link);
    void part_with(Link& link, const Event& event);
    void mend(Link& link, Link::Clock::time_point now);
    Link* find(uint32_t rank);
    uint32_t place_of(const Link& link) const { return link_of_rank_[link.peer()]; }

    const RegionTable& regions_;
    std::vector<std::unique_ptr<NicQueues>> nics_;
    std::vector<std::unique_ptr<Link>> links_;
    rdma::Farewells farewells_;
    std::vector<uint32_t> link_of_rank_;
    const bool atomics_;
    uint32_t depth_;

    RequestChain chain_;
    std::vector<Way> ways_;         // of each link, while it is up
    std::vector<uint32_t> mended_;  // links whose acknowledged writes may have to be reported
    std::vector<ibv_wc> stash_;     // polled before a sleep
    uint32_t stash_nic_ = 0;
    uint64_t congestion_ = 0;
    Link::Clock::time_point counted_{};
    tcp::Poller poller_;
    std::vector<epoll_event> changes_;
    bool left_ = false;
};

}  // namespace crossdock::proxy::verbs
