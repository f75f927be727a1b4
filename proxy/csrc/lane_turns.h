// Which lane posts next on an endpoint, so that none takes what it has room for while others wait.
//
// Lanes that have something to post stand in a queue. The first one's turn gives it a share; when
// that is used up, or when it cannot post more by itself, it goes to the end. When it is the
// endpoint that has no more room, the turn stays open, and goes on when there is room again. A lane
// that posts more than its share, since a write is not divided, begins its next turn with less.
//
// This is the surplus variant of deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): of two
// lanes that both wait all the time, neither is ever ahead by more than a share and a write, and
// a lane waits for at most one turn of every other.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace crossdock::proxy {

class LaneTurns {
  public:
    static constexpr uint64_t kShareBytes = 16 << 10;  // at least

    // So many lanes there may be.
    void make_room(size_t lanes) {
        queue_.resize(std::bit_ceil(lanes));
        mask_ = static_cast<uint32_t>(queue_.size() - 1);
    }

    bool empty() const { return count_ == 0; }
    uint32_t size() const { return count_; }
    uint32_t first() const { return queue_[first_]; }
    void add(uint32_t lane) { queue_[(first_ + count_++) & mask_] = lane; }
    void clear() {
        count_ = 0;
        open_ = false;
    }

    // A share that is larger than any write so far lets every lane post in each of its turns.
    uint64_t share(uint64_t room) const { return std::max({kShareBytes, largest_, room / count_}); }
    void carried(uint32_t bytes) { largest_ = std::max<uint64_t>(largest_, bytes); }

    // Begins the first lane's turn, or goes on with it. What was left of the last one is gone, what
    // was overdrawn is not.
    void open(int64_t& credit, uint64_t share) {
        if (open_) return;
        open_ = true;
        credit = std::min<int64_t>(credit, 0) + static_cast<int64_t>(share);
    }
    // Ends the turn: the first lane goes to the end, or leaves the queue.
    void next() {
        const uint32_t lane = first();
        leave();
        add(lane);
    }
    void leave() {
        open_ = false;
        first_ = (first_ + 1) & mask_;
        --count_;
    }

  private:
    std::vector<uint32_t> queue_;
    uint32_t mask_ = 0;
    uint32_t first_ = 0;
    uint32_t count_ = 0;
    bool open_ = false;
    uint64_t largest_ = 0;
};

}  // namespace crossdock::proxy
