// All-to-all of one kind of control message, round after round.
#pragma once

#include <cstring>
#include <optional>

#include "ep/csrc/control.h"
#include "ep/csrc/counters.h"
#include "ep/csrc/device.h"
#include "proxy/csrc/region.h"

namespace crossdock::ep {

// Why an operation ended on every rank before any token moved.
struct Disagreement {
    uint32_t peer = 0;
    Refusal refusal = Refusal::kNone;  // the peer refused; else the field differs
    uint32_t field = 0;
    uint32_t theirs = 0;
    uint32_t mine = 0;
};

// `Message` is Header or Grant.
template <class Message>
class ControlAllToAll {
  public:
    ControlAllToAll(Device& device, uint64_t (ControlArea::*place)(bool, uint32_t, uint32_t) const,
                    uint32_t counter)
        : device_(device), area_(device.num_ranks()), place_(place), counter_(counter) {}

    // The message to `peer` of the coming round, to be filled in before send().
    Message& outgoing(uint32_t peer) { return message(true, peer); }
    // The message from `peer` of the round that collect() has ended.
    const Message& incoming(uint32_t peer) const { return message(false, peer); }

    Task send(uint64_t bytes) {
        for (uint32_t peer = 0; peer < device_.num_ranks(); ++peer) {
            const Place from{proxy::kMainRegion, (area_.*place_)(true, round_, peer)};
            const Place to{proxy::kMainRegion, (area_.*place_)(false, round_, device_.rank())};
            if (device_.emit(proxy::make_write(Op::kWriteAdd, peer, from, to, padded(bytes),
                                               counter_ + (round_ & 1), 1))) {
                co_await device_.flush();
            }
        }
        co_await device_.flush();
    }

    Task collect(const char* name, std::vector<uint32_t> peers) {
        co_await device_.collect(name, std::move(peers), counter_ + (round_ & 1), 1);
    }

    // After the incoming messages were used: the next round may begin.
    void next_round() { ++round_; }
    // After a new epoch has begun on all ranks.
    void restart() { round_ = 0; }

    // What keeps the operation from going on: the same question has an answer on every rank, since
    // every rank compares with every other.
    std::optional<Disagreement> disagreement(const Agreement& mine) const {
        for (uint32_t peer = 0; peer < device_.num_ranks(); ++peer) {
            const Message& message = incoming(peer);
            if (message.refusal != Refusal::kNone)
                return Disagreement{peer, message.refusal, 0, 0, 0};
        }
        for (uint32_t peer = 0; peer < device_.num_ranks(); ++peer) {
            const auto theirs = incoming(peer).agreement.values();
            for (uint32_t field = 0; field < theirs.size(); ++field) {
                if (theirs[field] == mine.values()[field]) continue;
                return Disagreement{peer, Refusal::kNone, field, theirs[field],
                                    mine.values()[field]};
            }
        }
        return std::nullopt;
    }

  private:
    static uint64_t padded(uint64_t bytes) { return (bytes + 15) / 16 * 16; }

    Message& message(bool outgoing, uint32_t peer) const {
        const Place place{proxy::kMainRegion, (area_.*place_)(outgoing, round_, peer)};
        return *reinterpret_cast<Message*>(device_.at(place));
    }

    Device& device_;
    ControlArea area_;
    uint64_t (ControlArea::*place_)(bool, uint32_t, uint32_t) const;
    uint32_t counter_;
    uint32_t round_ = 0;
};

}  // namespace crossdock::ep
