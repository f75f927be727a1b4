#include "bench/csrc/stream.h"

#include <array>
#include <atomic>
#include <span>
#include <stdexcept>
#include <thread>

#include "bench/csrc/locked_queue.h"
#include "bench/csrc/pin.h"
#include "bench/csrc/wait.h"
#include "proxy/csrc/ring.h"
#include "proxy/csrc/shared_memory.h"

namespace crossdock::bench {

namespace {

using proxy::Command;
using proxy::RingConsumer;
using proxy::RingProducer;

constexpr uint32_t kPopped = 64;  // at once, as a proxy does
// A consumer that has caught up looks elsewhere for a moment, as a proxy polls its transport. One
// that stares at the line that a producer writes takes it away after each command.
constexpr uint32_t kElsewhere = 64;
constexpr uint32_t kMaxBatch = 256;
constexpr uint32_t kMaxProducers = 64;
constexpr uint32_t kNumberBits = 48;  // of the word that says producer and number

// Lets all threads start at once.
class Gate {
  public:
    explicit Gate(uint32_t threads) : missing_(threads) {}

    void enter() {
        missing_.fetch_sub(1, std::memory_order_acq_rel);
        HotWait wait;
        while (missing_.load(std::memory_order_acquire) != 0)
            wait.pause();
    }

  private:
    std::atomic<uint32_t> missing_;
};

// Pushes all of `commands`. Waits as a device does: in the end it sleeps. A producer that was
// preempted between its ticket and its command would else not run again until those that yield have
// used up as much time as it.
template <class Push>
void push_all(Push& push, std::span<const Command> commands) {
    size_t pushed = push(commands);
    if (pushed == commands.size()) [[likely]]
        return;
    proxy::Backoff backoff;
    while (pushed < commands.size()) {
        backoff.pause([](auto limit) { std::this_thread::sleep_for(limit); });
        pushed += push(commands.subspan(pushed));
    }
}

template <class Push>
void produce(uint32_t producer, const StreamPlan& plan, Push&& push) {
    const auto numbered = [producer](uint64_t number) {
        return Command{0, uint64_t{producer} << kNumberBits | number};
    };
    if (plan.batch == 1) {
        for (uint64_t i = 0; i < plan.commands; ++i) {
            const Command command = numbered(i);
            push_all(push, std::span(&command, 1));
        }
        return;
    }
    std::array<Command, kMaxBatch> batch;
    for (uint64_t next = 0; next < plan.commands;) {
        const uint64_t count = std::min<uint64_t>(plan.batch, plan.commands - next);
        for (uint64_t i = 0; i < count; ++i)
            batch[i] = numbered(next + i);
        push_all(push, std::span<const Command>(batch).first(count));
        next += count;
    }
}

// Counts commands that are not the next ones of their producers.
class OrderCheck {
  public:
    void take(std::span<const Command> commands) {
        for (const Command& command : commands) {
            const uint64_t number = command.high & ((1ull << kNumberBits) - 1);
            wrong_ += number != next_[command.high >> kNumberBits & (kMaxProducers - 1)]++;
        }
    }
    uint64_t wrong(const StreamPlan&) const { return wrong_; }

  private:
    std::array<uint64_t, kMaxProducers> next_{};
    uint64_t wrong_ = 0;
};

// Adds up all commands: lost, repeated and garbled ones show, at a fraction of the cost.
class SumCheck {
  public:
    void take(std::span<const Command> commands) {
        for (const Command& command : commands)
            sum_ += command.high;
    }
    uint64_t wrong(const StreamPlan& plan) const {
        uint64_t expected = 0;
        for (uint64_t producer = 0; producer < plan.producers; ++producer) {
            expected +=
                (producer << kNumberBits) * plan.commands + plan.commands * (plan.commands - 1) / 2;
        }
        return sum_ != expected;
    }

  private:
    uint64_t sum_ = 0;
};

template <class Check, class Pop>
uint64_t consume(const StreamPlan& plan, Pop&& pop) {
    std::array<Command, kPopped> batch;
    Check check;
    HotWait wait;
    for (uint64_t left = plan.producers * plan.commands; left > 0;) {
        const size_t count = pop(std::span(batch));
        if (count == 0) {
            wait.pause();
            continue;
        }
        wait.reset();
        left -= count;
        check.take(std::span(batch).first(count));
        for (uint32_t i = 0; i < kElsewhere && count < kPopped; ++i)
            proxy::cpu_relax();
    }
    return check.wrong(plan);
}

// `make_push` makes the push function of one producer, in its own thread.
template <class MakePush, class Pop>
StreamResult stream(const StreamPlan& plan, MakePush&& make_push, Pop&& pop) {
    if (plan.batch < 1 || plan.batch > kMaxBatch || plan.producers < 1 ||
        plan.producers > kMaxProducers) {
        throw std::invalid_argument("batch must be 1 to 256 and producers 1 to 64");
    }
    StreamResult result;
    Gate gate(plan.producers + 1);
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < plan.producers; ++i) {
        threads.emplace_back([&, i] {
            const auto& cpus = plan.producer_cpus;
            pin_to(cpus.empty() ? -1 : cpus[i % cpus.size()]);
            auto push = make_push();
            gate.enter();
            produce(i, plan, push);
        });
    }
    threads.emplace_back([&] {
        pin_to(plan.consumer_cpu);
        gate.enter();
        const auto start = Clock::now();
        result.wrong =
            plan.in_order ? consume<OrderCheck>(plan, pop) : consume<SumCheck>(plan, pop);
        result.seconds = seconds_since(start);
    });
    for (auto& thread : threads)
        thread.join();
    return result;
}

template <bool kShared>
StreamResult stream_through(proxy::Ring* ring, const StreamPlan& plan) {
    RingConsumer<> consumer(ring);
    auto make_push = [&] {
        return [producer = RingProducer<kShared>(ring)](std::span<const Command> commands) mutable {
            return producer.try_push(commands);
        };
    };
    return stream(plan, make_push, [&](std::span<Command> out) { return consumer.pop(out); });
}

}  // namespace

StreamResult stream_ring(const StreamPlan& plan) {
    if (!proxy::Ring::valid_capacity(plan.slots)) {
        throw std::invalid_argument("slots must be a power of two, and at least 2");
    }
    const auto memory =
        proxy::SharedMemory::create("crossdock-bench", proxy::Ring::bytes_for(plan.slots));
    auto* ring = proxy::Ring::create(memory.data(), plan.slots);
    return plan.producers == 1 ? stream_through<false>(ring, plan)
                               : stream_through<true>(ring, plan);
}

StreamResult stream_locked(const StreamPlan& plan) {
    LockedQueue queue(plan.slots);
    auto make_push = [&] {
        return [&](std::span<const Command> commands) { return queue.try_push(commands); };
    };
    return stream(plan, make_push, [&](std::span<Command> out) { return queue.pop(out); });
}

}  // namespace crossdock::bench
