// The waits of a rank that have become long, made known to whoever asks what the rank is doing.
//
// A wait that ends soon costs nothing: a thread puts its wait on the board when it has lasted for a
// while, or when it fails, and describes it anew now and then. Waits that failed stay on the board,
// the last few of them.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <vector>

#include "proxy/csrc/atomics.h"

namespace crossdock::proxy {

// What is waited for, and by whom.
struct Wait {
    using Clock = std::chrono::steady_clock;

    const char* operation = "";  // static text: "dispatch"
    std::string what{};          // "rows of tokens"
    std::vector<uint32_t> missing{};
    int32_t counter = -1;   // of the missing ranks; negative: none
    uint32_t expected = 0;  // arrivals; 0: the seal says it
    uint64_t thread = 0;    // as the kernel numbers it
    Clock::time_point since{};
    Clock::time_point deadline{};
    Clock::time_point ended{};
    const char* ending = "";  // static text; empty while it goes on
};

class WaitBoard {
  public:
    static constexpr size_t kFailures = 4;
    static constexpr size_t kMissing = 64;  // ranks that are named of one wait

    // What operations have come to; `name` is static text.
    struct Operation {
        const char* name = "";
        uint64_t begun = 0;
        uint64_t ended = 0;
    };

    void begin(const char* operation) {
        note(name_, operation);
        accumulate(begun_, uint64_t{1});
    }
    void end() { accumulate(ended_, uint64_t{1}); }
    Operation operation() const { return {peek(name_), observe(begun_), observe(ended_)}; }

    // A place on the board; `place` is 0 at first.
    void put(uint64_t& place, Wait wait);
    void remove(uint64_t place);
    void fail(Wait wait);

    std::vector<Wait> going_on() const;
    std::vector<Wait> failed() const;

  private:
    struct Place {
        uint64_t number;
        Wait wait;
    };

    mutable std::mutex mutex_;
    uint64_t places_ = 0;
    std::list<Place> going_on_;
    std::deque<Wait> failed_;
    std::atomic<const char*> name_{""};
    std::atomic<uint64_t> begun_{0};
    std::atomic<uint64_t> ended_{0};
};

// One wait of the calling thread. `describe()` gives a Wait with operation, what, missing, counter
// and expected.
class Waiting {
  public:
    using Clock = Wait::Clock;

    // `board` may be null.
    Waiting(WaitBoard* board, Clock::time_point deadline) : board_(board), deadline_(deadline) {}
    ~Waiting() {
        if (place_ != 0) board_->remove(place_);
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

    // To be called while waiting.
    template <class Describe>
    void tick(Clock::time_point now, Describe&& describe) {
        if (board_ == nullptr || now < next_) return;
        if (since_ == Clock::time_point{}) {
            // The first look: a wait that ends soon has read no clock for this.
            since_ = now;
            next_ = now + kQuiet;
            return;
        }
        next_ = now + kEvery;
        board_->put(place_, completed(describe()));
    }

    template <class Describe>
    void fail(const char* ending, Describe&& describe) {
        if (board_ == nullptr) return;
        const auto now = Clock::now();
        if (since_ == Clock::time_point{}) since_ = now;
        Wait wait = completed(describe());
        wait.ending = ending;
        wait.ended = now;
        board_->fail(std::move(wait));
    }

  private:
    static constexpr std::chrono::milliseconds kQuiet{20};
    static constexpr std::chrono::milliseconds kEvery{100};

    Wait completed(Wait wait) const;

    WaitBoard* board_;
    Clock::time_point deadline_;
    Clock::time_point since_{};
    Clock::time_point next_{};
    uint64_t place_ = 0;
};

}  // namespace crossdock::proxy
