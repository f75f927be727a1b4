#include "proxy/csrc/communicator.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "proxy/csrc/backoff.h"

namespace crossdock::proxy {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kLookAround{5};
constexpr uint32_t kBusyRounds = 4096;  // rounds of work after which a busy proxy looks around
constexpr uint32_t kIdleRounds = 16;    // rounds without work between two looks at the clock

void require(bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument(what);
}

const CommunicatorConfig& checked(const CommunicatorConfig& config) {
    require(config.num_ranks >= 1 && config.num_ranks <= schema::kMaxPeers,
            "num_ranks is " + std::to_string(config.num_ranks) + ", the limit is " +
                std::to_string(schema::kMaxPeers));
    require(config.rank < config.num_ranks,
            "rank is " + std::to_string(config.rank) + " of " + std::to_string(config.num_ranks));
    require(config.num_proxies >= 1, "num_proxies is 0");
    require(Ring::valid_capacity(config.ring_slots),
            "ring_slots is " + std::to_string(config.ring_slots) + ", not a power of two");
    require(Ring::valid_capacity(config.limits.window),
            "window is " + std::to_string(config.limits.window) + ", not a power of two");
    for (uint64_t bytes : {config.main_bytes, config.heap_bytes}) {
        require(bytes > 0 && bytes <= schema::kMaxRegionBytes,
                "a region has " + std::to_string(bytes) + " bytes, the limit is " +
                    std::to_string(schema::kMaxRegionBytes));
    }
    require(config.device_memory.bytes <= schema::kMaxRegionBytes,
            "memory of the device has " + std::to_string(config.device_memory.bytes) +
                " bytes, the limit is " + std::to_string(schema::kMaxRegionBytes));
    require(2ull * config.limits.writes_per_peer <= 1ull << config.layout.sequence_bits,
            "the sequence window holds " + std::to_string(1ull << config.layout.sequence_bits) +
                ", less than twice the writes in flight");
    require(config.num_counters >= 1 && config.num_counters <= 1u << config.layout.counter_bits,
            std::to_string(config.num_counters) + " counters do not fit " +
                std::to_string(config.layout.counter_bits) + " bits");
    return config;
}

std::shared_ptr<SharedMemory> shared(const char* label, uint64_t bytes) {
    return std::make_shared<SharedMemory>(SharedMemory::create(label, bytes));
}

void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

}  // namespace

Communicator::Communicator(const CommunicatorConfig& config)
    : config_(checked(config)),
      memory_{shared("crossdock-main", config.main_bytes),
              shared("crossdock-heap", config.heap_bytes)},
      heap_(std::make_shared<Heap>(memory_[kHeapRegion])),
      peers_(config.num_ranks),
      counter_memory_(
          SharedMemory::create("crossdock-counters",
                               sizeof(Counter) * uint64_t{config.num_ranks} * config.num_counters)),
      context_{
          config.rank, config.layout, config.num_counters, counters_of(counter_memory_), &regions_,
          &peers_,     &fault_,       config.num_proxies},
      owner_(getpid()) {
    for (Counter& counter : counters())
        new (&counter) Counter;
    for (uint32_t i = 0; i < kHostRegions; ++i) {
        regions_.open(i, {memory_[i]->data(), memory_[i]->bytes()});
    }
    for (uint32_t i = 0; i < config_.num_proxies; ++i) {
        ring_memory_.push_back(
            SharedMemory::create("crossdock-ring", Ring::bytes_for(config_.ring_slots)));
        rings_.push_back(Ring::create(ring_memory_.back().data(), config_.ring_slots));
        proxies_.push_back(std::make_unique<Proxy>(context_, config_.limits, config_.epoch));
        proxies_.back()->attach(rings_.back());
    }
    view_ = make_view();
}

Communicator::~Communicator() {
    shut_down(-1);
    if (getpid() == owner_) return;
    // A forked child must not destroy what NICs hold for the parent.
    for (auto& proxy : proxies_)
        static_cast<void>(proxy.release());
    static_cast<void>(new auto(std::move(keepers_)));
}

DeviceView Communicator::make_view() {
    DeviceView view{.rank = config_.rank,
                    .num_ranks = config_.num_ranks,
                    .num_rings = config_.num_proxies,
                    .num_counters = config_.num_counters,
                    .rings = rings_.data(),
                    .counters = counters_of(counter_memory_),
                    .regions = &regions_,
                    .peers = &peers_,
                    .fault = &fault_,
                    .waits = &waits_,
                    .owner = this,
                    .check_signals = config_.check_signals};
    view.sleep = [](void* self, uint32_t limit_us) {
        static_cast<Communicator*>(self)->sleep(limit_us);
    };
    if (config_.threads) {
        view.wake = [](void* self, uint32_t ring) {
            static_cast<Communicator*>(self)->proxies_[ring]->wake();
        };
    } else {
        view.progress = [](void* self) { return static_cast<Communicator*>(self)->progress(); };
    }
    return view;
}

void Communicator::attach(uint32_t proxy, std::unique_ptr<Endpoint> endpoint,
                          std::span<const uint32_t> peers) {
    proxies_[proxy]->attach(std::move(endpoint), peers);
}

void Communicator::attach(std::shared_ptr<RegionKeeper> keeper) {
    keepers_.push_back(std::move(keeper));
}

void Communicator::open_window(uint32_t region, RegionView memory) {
    for (auto& keeper : keepers_)
        keeper->open(region, memory);
    regions_.open(region, memory);
}

void Communicator::close_window(uint32_t region) {
    regions_.close(region);
    for (auto& keeper : keepers_)
        keeper->close(region);
}

void Communicator::start() {
    const std::lock_guard lock(life_);
    if (!down_ && threads_.empty()) start_threads();
}

void Communicator::start_threads() {
    if (config_.threads) {
        for (uint32_t i = 0; i < config_.num_proxies; ++i) {
            threads_.emplace_back([this, i] { run(i); });
        }
    } else if (config_.caretaker) {
        threads_.emplace_back([this] { take_care(); });
    }
}

void Communicator::look_around_sometimes(Clock::time_point& last, Proxy& proxy) {
    const auto now = Clock::now();
    if (now - last < kLookAround) return;
    last = now;
    proxy.look_around();
}

// The life of a proxy thread.
void Communicator::run(uint32_t index) {
    if (!config_.cpus.empty()) pin(config_.cpus[index % config_.cpus.size()]);
    Proxy& proxy = *proxies_[index];
    Backoff backoff;
    auto last = Clock::now();
    uint32_t rounds = 0;
    while (!stop_.load(std::memory_order_acquire)) {
        if (proxy.progress()) {
            backoff.reset();
            if (++rounds % kBusyRounds == 0) look_around_sometimes(last, proxy);
            continue;
        }
        backoff.pause([&](std::chrono::microseconds limit) {
            look_around_sometimes(last, proxy);
            if (config_.sleep_us_max == 0) {
                sched_yield();
            } else if (proxy.ring_empty()) {
                proxy.sleep(std::min(limit, std::chrono::microseconds(config_.sleep_us_max)));
            }
        });
    }
}

// Inline proxies run while somebody waits. A rank that computes for long between two waits must
// still send what it pushed and acknowledge what arrives, or its peers would wait for it in vain.
void Communicator::take_care() {
    constexpr std::chrono::microseconds kRestMin{500};
    constexpr std::chrono::microseconds kRestMax{4000};
    auto rest = kRestMin;
    uint64_t seen = 0;
    while (!stop_.load(std::memory_order_acquire)) {
        std::this_thread::sleep_for(rest);
        for (auto& proxy : proxies_)
            proxy->tick();
        const uint64_t rounds = peek(rounds_);
        bool worked = false;
        if (rounds == seen) {
            while (!stop_.load(std::memory_order_acquire) && run_inline())
                worked = true;
        }
        seen = rounds;
        rest = worked ? kRestMin : std::min(kRestMax, 2 * rest);
    }
}

bool Communicator::progress() {
    note(rounds_, peek(rounds_) + 1);
    return run_inline();
}

void Communicator::look_around_inline() {
    const auto now = Clock::now();
    if (now - looked_around_ < kLookAround) return;
    looked_around_ = now;
    for (auto& proxy : proxies_)
        proxy->look_around();
}

bool Communicator::run_inline() {
    if (config_.threads || busy_.exchange(true, std::memory_order_acquire)) return false;
    bool worked = false;
    for (auto& proxy : proxies_)
        worked |= proxy->progress();
    if (!worked && ++idle_rounds_ % kIdleRounds == 0) look_around_inline();
    busy_.store(false, std::memory_order_release);
    return worked;
}

// A waiter of the device sleeps: on the transport when it runs the proxies itself.
void Communicator::sleep(uint32_t limit_us) {
    const std::chrono::microseconds limit(limit_us);
    if (config_.threads || busy_.exchange(true, std::memory_order_acquire)) {
        std::this_thread::sleep_for(limit);
        return;
    }
    if (!stop_.load(std::memory_order_acquire)) {
        look_around_inline();
        proxies_[0]->sleep(limit);
    }
    busy_.store(false, std::memory_order_release);
}

bool Communicator::fenced() const {
    for (const Ring* ring : rings_) {
        if (observe(ring->completed) != peek(ring->reserved)) return false;
    }
    return true;
}

void Communicator::stop_threads() {
    stop_.store(true, std::memory_order_release);
    for (auto& proxy : proxies_)
        proxy->wake();
    for (auto& thread : threads_)
        thread.join();
    threads_.clear();
    // Inline waiters see the fault, leave the proxies, and do not come back.
    while (busy_.exchange(true, std::memory_order_acquire))
        sched_yield();
}

void Communicator::begin_epoch(uint32_t epoch) {
    const std::lock_guard lock(life_);
    if (down_) return;
    const bool running = !threads_.empty();
    stop_threads();
    for (auto& proxy : proxies_)
        proxy->begin_epoch(epoch);
    for (Counter& counter : counters())
        counter.reset();
    config_.epoch = epoch;
    stop_.store(false, std::memory_order_release);
    busy_.store(false, std::memory_order_release);
    if (running) start_threads();
}

void Communicator::shut_down(int32_t blame) {
    if (getpid() != owner_) {
        // What peers see of this rank belongs to the parent, which goes on.
        for (auto& thread : threads_)
            thread.detach();
        threads_.clear();
        return;
    }
    fault_.raise(FaultCode::kAborted, blame);
    const std::lock_guard lock(life_);
    if (down_) return;
    down_ = true;
    stop_threads();
    for (auto& proxy : proxies_)
        proxy->leave(blame);
    for (auto& keeper : keepers_)
        keeper->release();
    if (blame < 0) return;
    // The name of the culprit is worth a moment: a farewell may be stuck behind half a write.
    constexpr int kRounds = 20;
    for (int round = 0; round < kRounds; ++round) {
        for (auto& proxy : proxies_)
            proxy->linger();
        std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
}

}  // namespace crossdock::proxy
