// Two ranks of one process that reach each other over NICs of the stand-in: their memory, and what
// an endpoint has reported.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/csrc/rdma/contact.h"
#include "proxy/csrc/rdma/nic_memory.h"
#include "tests/proxy/csrc/fake_nics.h"

namespace crossdock::proxy::testing {

inline constexpr uint64_t kCounters = 64;

// Region 0 is written by peers, region 2 is a window that is only read.
class RdmaMemory {
  public:
    RdmaMemory(const std::vector<std::string>& devices, size_t bytes)
        : inbound_(bytes), outbound_(bytes), counters_(kCounters) {
        for (const std::string& device : devices) {
            rdma::NicChoice choice;
            choice.device = device;
            nics_.push_back(std::make_shared<rdma::Nic>(choice));
        }
        keys_ = std::make_shared<rdma::NicMemory>(nics_);
        const RegionView inbound{inbound_.data(), bytes};
        const RegionView outbound{outbound_.data(), bytes};
        for (uint32_t id = 0; id < kExposedRegions; ++id) {
            regions_.open(id, inbound);
            keys_->expose(id, inbound);
        }
        regions_.open(kFirstWindow, outbound);
        keys_->open(kFirstWindow, outbound);
        if (nics_.front()->facts().atomics == "global") {
            const auto words = std::as_writable_bytes(std::span(counters_));
            keys_->expose_counters({words.data(), words.size()});
        }
    }

    rdma::Nics& nics() { return nics_; }
    rdma::NicMemory& keys() { return *keys_; }
    RegionTable& regions() { return regions_; }
    std::vector<std::byte>& inbound() { return inbound_; }
    std::vector<std::byte>& outbound() { return outbound_; }
    std::vector<uint64_t>& counters() { return counters_; }
    rdma::Contact contact() const { return rdma::contact_of(nics_, *keys_); }
    void fill(uint32_t seed) {
        for (size_t i = 0; i < outbound_.size(); ++i)
            outbound_[i] = std::byte((i * 2654435761u + seed) >> 7);
    }

  private:
    std::vector<std::byte> inbound_;
    std::vector<std::byte> outbound_;
    std::vector<uint64_t> counters_;
    RegionTable regions_;
    rdma::Nics nics_;
    std::shared_ptr<rdma::NicMemory> keys_;
};

inline WriteOp write_to(uint32_t peer, uint64_t offset, uint32_t bytes, uint32_t immediate,
                        bool has_immediate = true) {
    WriteOp op;
    op.peer = peer;
    op.cookie = immediate;
    op.src_region = kFirstWindow;
    op.dst_region = kMainRegion;
    op.src_offset = op.dst_offset = offset;
    op.bytes = bytes;
    op.immediate = immediate;
    op.has_immediate = has_immediate;
    return op;
}

inline WriteOp addition_to(uint32_t peer, uint64_t counter, uint64_t value, uint64_t cookie) {
    WriteOp op;
    op.peer = peer;
    op.cookie = cookie;
    op.to_counter = true;
    op.src_offset = value;
    op.dst_offset = counter * sizeof(uint64_t);
    return op;
}

// What an endpoint has reported so far.
struct Seen {
    std::vector<uint64_t> completed;
    std::vector<uint32_t> arrived;
    std::vector<Event> ended;
    bool after_the_end = false;  // an arrival of a peer that was reported as gone
    // Where writes are acknowledged in order: those that are not yet, by peer.
    std::map<uint32_t, std::deque<uint64_t>> open;

    void complete(const Event& event) {
        std::deque<uint64_t>& cookies = open[event.peer];
        while (!cookies.empty() && cookies.front() != event.cookie) {
            completed.push_back(cookies.front());
            cookies.pop_front();
        }
        completed.push_back(event.cookie);
        if (!cookies.empty()) cookies.pop_front();
    }

    // One poll, and one look around, which mends and listens.
    void step(Endpoint& endpoint, size_t span = 64) {
        std::vector<Event> events(span);
        const size_t count = endpoint.poll(events);
        for (size_t i = 0; i < count; ++i) {
            const Event& event = events[i];
            if (event.kind == EventKind::kCompleted) {
                complete(event);
            } else if (event.kind == EventKind::kArrived) {
                arrived.push_back(event.immediate);
                for (const Event& end : ended)
                    after_the_end = after_the_end || end.peer == event.peer;
            } else {
                ended.push_back(event);
            }
        }
        endpoint.look_around();
    }
};

}  // namespace crossdock::proxy::testing
