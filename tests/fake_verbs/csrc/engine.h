#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "census.h"
#include "context.h"
#include "memory_region.h"
#include "peers.h"
#include "queue_pair.h"
#include "random.h"
#include "settings.h"

namespace fake_verbs {

// After how long a frame is tried again that found no room at its receiver.
inline constexpr uint64_t kBlockedNs = 50'000;

// What stands for the device: it moves frames while the program polls, and from a thread of its own
// while the program does not. One lock guards everything.
class Engine {
  public:
    explicit Engine(const Settings& settings);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // From here on the engine must be the one that engine() gives.
    void start() {
        helper_ = std::thread([this] { work(); });
    }
    // The program ends with devices open.
    void abandon();
    bool usable() const { return peers_.joined(); }
    const Settings& settings() const { return settings_; }
    Peers& peers() { return peers_; }
    Census& census() { return census_; }
    MemoryTable& memory() { return memory_; }

    void add(Context& context) { contexts_.push_back(&context); }
    void remove(Context& context);
    bool deserted() const { return contexts_.empty(); }
    // False where no more QPs can be numbered.
    bool add(Qp& qp);
    void remove(Qp& qp);

    // The QP has work. Its frames leave at once where they can.
    void activate(Qp& qp);
    // The queue may hold completions that show later.
    void watch(Cq& cq);
    void remove(Cq& cq) { std::erase(watched_, &cq); }

    void progress();
    // An empty poll: the program is there and moves the frames itself.
    void note_empty_poll();
    void note_blocking();
    bool starves() { return random_.percent(settings_.rnr_percent); }
    uint64_t completion_delay(const Device& device);
    uint64_t reorder_delay() { return random_.below(settings_.reorder_ns); }

    std::mutex mutex;
    std::condition_variable acknowledged;

  private:
    bool drain(uint32_t sender);
    bool drain_requests(uint32_t sender);
    bool hand_over(const Request& request, Link& back);
    void drain_responses(uint32_t sender);
    bool inboxes_empty();
    void look_at_ports(uint64_t now);
    void wake_helper();
    void work();
    uint64_t sleep_limit(uint64_t now) const;
    bool attended(uint64_t now) const;

    Settings settings_;
    Peers peers_;
    Census census_;
    MemoryTable memory_;
    Random random_;
    std::vector<Context*> contexts_;
    std::unordered_map<uint32_t, Qp*> qps_;
    uint32_t next_qp_;
    std::vector<Qp*> active_;
    std::vector<Cq*> watched_;
    uint64_t next_due_ = UINT64_MAX;
    uint64_t ports_seen_ = 0;
    uint64_t helper_wakes_ = 0;
    std::atomic<uint32_t> empty_polls_{0};
    std::atomic<uint64_t> last_empty_poll_{0};
    std::atomic<bool> stopping_{false};
    std::thread helper_;
};

// The engine while a device is open.
Engine& engine();

// Opens and closes it with the first and the last context; false where the job cannot be joined.
bool enter(Context& context);
void leave(Context& context);
const std::vector<Device*>& devices();

}  // namespace fake_verbs
