// The native half of a rank: memory, rings, counters and proxies, and their life.
//
// Order of life: construct (memory exists, peers can open it), connect (endpoints are attached),
// start, then any number of commands and epochs, then shut_down; the destructor shuts down too.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "proxy/csrc/device_view.h"
#include "proxy/csrc/heap.h"
#include "proxy/csrc/proxy.h"
#include "proxy/csrc/shared_memory.h"

namespace crossdock::proxy {

struct CommunicatorConfig {
    uint32_t rank = 0;
    uint32_t num_ranks = 1;
    uint32_t num_proxies = 1;      // endpoints and rings of the rank; the same on every rank
    bool threads = false;          // a thread for each proxy; else waiters run them inline
    bool caretaker = false;        // inline: a thread that runs them when no waiter has for a while
    uint32_t sleep_us_max = 1000;  // of an idle thread; 0: it only yields
    std::vector<int> cpus;         // a core for each thread; empty: not pinned
    uint64_t main_bytes = 0;
    uint64_t heap_bytes = 0;
    RegionView device_memory{};  // for NICs to read and write; the owner keeps it until shut_down
    uint32_t num_counters = 1;   // per peer
    ImmediateLayout layout;
    uint32_t ring_slots = 4096;
    uint32_t epoch = 0;
    ProxyLimits limits;
    void (*check_signals)() = nullptr;  // see DeviceView
};

class Communicator {
  public:
    // Throws std::system_error when memory cannot be had, std::invalid_argument on a bad config.
    explicit Communicator(const CommunicatorConfig& config);
    ~Communicator();
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;

    const CommunicatorConfig& config() const { return config_; }
    const std::shared_ptr<SharedMemory>& memory(uint32_t region) const { return memory_[region]; }
    Heap& heap() { return *heap_; }
    RegionTable& regions() { return regions_; }
    // Why NICs may not touch the memory of the device; empty where they may, or where there is
    // none.
    const std::string& device_memory_refusal() const { return device_memory_refusal_; }
    void refuse_device_memory(std::string why) { device_memory_refusal_ = std::move(why); }
    PeerTable& peers() { return peers_; }
    const FaultCell& fault() const { return fault_; }
    Proxy& proxy(uint32_t index) { return *proxies_[index]; }
    Ring* ring(uint32_t index) { return rings_[index]; }
    Counter& counter(uint32_t peer, uint32_t index) { return context_.counter(peer, index); }
    // All counters, [peer][counter].
    std::span<Counter> counters() {
        return {counters_of(counter_memory_), size_t{config_.num_ranks} * config_.num_counters};
    }
    const DeviceView& device_view() const { return view_; }
    // What a GPU has to map: counters and rings, in whole pages.
    const SharedMemory& counter_memory() const { return counter_memory_; }
    const std::vector<SharedMemory>& ring_memory() const { return ring_memory_; }
    const WaitBoard& waits() const { return waits_; }

    void attach(uint32_t proxy, std::unique_ptr<Endpoint> endpoint,
                std::span<const uint32_t> peers);
    // It is told of windows from now on, and released when all proxies have left.
    void attach(std::shared_ptr<RegionKeeper> keeper);
    void start();

    // Memory that commands may send from while it is open. Throws what keepers throw.
    void open_window(uint32_t region, RegionView memory);
    void close_window(uint32_t region);

    // Runs inline proxies once, unless another thread is at it. Returns whether anything happened.
    bool progress();

    // Every command pushed so far is acknowledged.
    bool fenced() const;
    // Starts a new epoch: what is in flight is forgotten, counters are zero, late immediates of
    // earlier epochs are dropped. Peers must do the same before anything of the new epoch is sent.
    void begin_epoch(uint32_t epoch);

    // Stops the proxies and tells the peers: in peace, or because of rank `blame`. Idempotent, from
    // any thread; waiters are released with the fault kAborted.
    void shut_down(int32_t blame);

  private:
    static Counter* counters_of(const SharedMemory& memory) {
        return reinterpret_cast<Counter*>(memory.data());
    }
    void run(uint32_t proxy);
    void take_care();
    void start_threads();
    bool run_inline();
    void look_around_inline();
    void sleep(uint32_t limit_us);
    void look_around_sometimes(std::chrono::steady_clock::time_point& last, Proxy& proxy);
    void stop_threads();
    DeviceView make_view();

    CommunicatorConfig config_;
    std::array<std::shared_ptr<SharedMemory>, kHostRegions> memory_;
    std::shared_ptr<Heap> heap_;
    RegionTable regions_;
    std::string device_memory_refusal_;
    PeerTable peers_;
    FaultCell fault_;
    WaitBoard waits_;
    SharedMemory counter_memory_;  // whole pages, so that a GPU can map them
    ProxyContext context_;
    std::vector<SharedMemory> ring_memory_;
    std::vector<Ring*> rings_;
    std::vector<std::unique_ptr<Proxy>> proxies_;
    std::vector<std::shared_ptr<RegionKeeper>> keepers_;
    DeviceView view_;

    std::vector<std::thread> threads_;
    std::atomic<bool> stop_{false};
    std::atomic<bool> busy_{false};    // an inline waiter runs the proxies
    std::atomic<uint64_t> rounds_{0};  // that waiters have run
    // Of inline proxies, guarded by busy_.
    std::chrono::steady_clock::time_point looked_around_{};
    uint32_t idle_rounds_ = 0;
    std::mutex life_;  // start, shut_down
    const int owner_;  // the process that built it: a forked child has the memory, not the threads
    bool down_ = false;
};

}  // namespace crossdock::proxy
