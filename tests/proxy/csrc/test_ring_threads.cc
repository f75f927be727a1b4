// The ring between real threads and processes. Each command points to a slot of plain data that is
// filled before the push and read after the pop: the thread sanitizer sees a race when the ring
// does not order the two.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "proxy/csrc/ring.h"
#include "tests/proxy/csrc/stress.h"

namespace crossdock::proxy {
namespace {

using stress::index_of;
using stress::is_whole;
using stress::numbered;
using stress::push_all;
using stress::wait_until;

struct Plan {
    uint64_t capacity = 64;
    uint32_t producers = 1;
    uint32_t commands = 50000;  // of each producer
    size_t push_batch = 1;
    size_t pop_batch = 16;

    size_t total() const { return size_t{producers} * commands; }
};

uint64_t payload_of(uint32_t producer, uint32_t index) {
    return (uint64_t{producer} + 1) << 32 | index;
}

// What lies in the shared memory: the ring, then one plain word for each command.
class Arena {
  public:
    static size_t bytes_for(const Plan& plan) {
        return Ring::bytes_for(plan.capacity) + plan.total() * sizeof(uint64_t);
    }

    Arena(void* memory, const Plan& plan) : plan_(plan), ring_(static_cast<Ring*>(memory)) {
        auto* bytes = static_cast<std::byte*>(memory) + Ring::bytes_for(plan.capacity);
        payload_ = reinterpret_cast<uint64_t*>(bytes);
    }

    Ring* ring() const { return ring_; }
    uint64_t& payload(uint32_t producer, uint32_t index) const {
        return payload_[size_t{producer} * plan_.commands + index];
    }

    // Pushes all commands of one producer and waits for its fence.
    bool produce(uint32_t producer) const {
        if (plan_.producers > 1) return produce_with(RingProducer<true>(ring_), producer);
        return produce_with(RingProducer<false>(ring_), producer);
    }

    // Pops everything; the number of commands that were not as they should be, or -1 when late.
    int64_t consume() const {
        RingConsumer<> ring(ring_);
        std::vector<Command> batch(plan_.pop_batch);
        std::vector<uint32_t> next(plan_.producers, 0);
        int64_t wrong = 0;
        const bool in_time = wait_until([&] {
            const size_t count = ring.pop(batch);
            for (size_t i = 0; i < count; ++i)
                wrong += !as_expected(batch[i], next);
            if (count > 0) ring.complete(ring.next_ticket());
            return ring.next_ticket() == plan_.total();
        });
        return in_time ? wrong : -1;
    }

  private:
    template <class Producer>
    bool produce_with(Producer ring, uint32_t producer) const {
        std::vector<Command> batch;
        for (uint32_t index = 0; index < plan_.commands; ++index) {
            payload(producer, index) = payload_of(producer, index);
            batch.push_back(numbered(producer, index));
            if (batch.size() < plan_.push_batch && index + 1 < plan_.commands) continue;
            if (!push_all(ring, batch)) return false;
            batch.clear();
        }
        return wait_until([&] { return observe(ring_->completed) >= ring.fence_ticket(); });
    }

    bool as_expected(const Command& got, std::vector<uint32_t>& next) const {
        const uint32_t producer = got.counter();
        if (producer >= plan_.producers || !is_whole(got)) return false;
        const uint32_t index = next[producer]++;
        return index_of(got) == index && payload(producer, index) == payload_of(producer, index);
    }

    Plan plan_;
    Ring* ring_;
    uint64_t* payload_;
};

struct Unmap {
    size_t bytes;
    void operator()(void* memory) const { munmap(memory, bytes); }
};
using Mapping = std::unique_ptr<void, Unmap>;

Mapping map_shared(int descriptor, size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return {memory == MAP_FAILED ? nullptr : memory, Unmap{bytes}};
}

void run_threads(const Plan& plan) {
    const auto memory = std::make_unique<std::vector<uint64_t>>(
        (Arena::bytes_for(plan) + kCacheLine) / sizeof(uint64_t));
    void* start = memory->data();
    size_t space = memory->size() * sizeof(uint64_t);
    ASSERT_NE(std::align(kCacheLine, Arena::bytes_for(plan), start, space), nullptr);
    Ring::create(start, plan.capacity);
    const Arena arena(start, plan);

    std::vector<char> in_time(plan.producers, 0);
    std::vector<std::thread> producers;
    for (uint32_t producer = 0; producer < plan.producers; ++producer) {
        producers.emplace_back([&, producer] { in_time[producer] = arena.produce(producer); });
    }
    const int64_t wrong = arena.consume();
    for (std::thread& producer : producers)
        producer.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(std::accumulate(in_time.begin(), in_time.end(), 0u), plan.producers);
    EXPECT_TRUE(RingConsumer<>(arena.ring()).empty());
}

TEST(RingThreads, OneProducer) {
    run_threads({});
}
TEST(RingThreads, OneProducerInBatches) {
    run_threads({.push_batch = 7, .pop_batch = 64});
}
TEST(RingThreads, OneProducerTinyRing) {
    run_threads({.capacity = 2, .commands = 5000});
}
TEST(RingThreads, FourProducersShare) {
    run_threads({.producers = 4, .commands = 20000});
}
TEST(RingThreads, FourProducersShareInBatches) {
    run_threads({.producers = 4, .commands = 20000, .push_batch = 5, .pop_batch = 3});
}
TEST(RingThreads, FourProducersShareTinyRing) {
    run_threads({.capacity = 4, .producers = 4, .commands = 2000, .push_batch = 3});
}

// The child maps the memory again, at an address of its own, and knows nothing else.
[[noreturn]] void run_child(int descriptor, const Plan& plan, uint32_t producer) {
    const Mapping mapping = map_shared(descriptor, Arena::bytes_for(plan));
    const bool done = mapping && Arena(mapping.get(), plan).produce(producer);
    _exit(done ? 0 : 1);
}

void run_processes(const Plan& plan) {
    const int descriptor = memfd_create("ring", MFD_CLOEXEC);
    ASSERT_GE(descriptor, 0);
    ASSERT_EQ(ftruncate(descriptor, static_cast<off_t>(Arena::bytes_for(plan))), 0);
    const Mapping mapping = map_shared(descriptor, Arena::bytes_for(plan));
    ASSERT_NE(mapping, nullptr);
    Ring::create(mapping.get(), plan.capacity);

    std::vector<pid_t> children;
    for (uint32_t producer = 0; producer < plan.producers; ++producer) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) run_child(descriptor, plan, producer);
        children.push_back(child);
    }
    EXPECT_EQ(Arena(mapping.get(), plan).consume(), 0);
    for (const pid_t child : children) {
        int status = -1;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
    close(descriptor);
}

TEST(RingProcesses, OneProducer) {
    run_processes({.push_batch = 3});
}
TEST(RingProcesses, FourProducersShare) {
    run_processes({.producers = 4, .commands = 20000, .push_batch = 2});
}

}  // namespace
}  // namespace crossdock::proxy
