// ModelAtomic stands in for std::atomic, Plain for data that only the protocol protects, and
// explore_* runs a scenario under many schedules. See model_memory.h for what is modelled.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/proxy/csrc/model_scheduler.h"

namespace crossdock::model {

// No operation has a default order: the core must name one.
template <class T>
class ModelAtomic {
    static_assert(std::integral<T> && sizeof(T) <= sizeof(uint64_t));

  public:
    explicit(false) ModelAtomic(T value = {})
        : id_(scheduler().add_location(static_cast<uint64_t>(value))) {}
    ModelAtomic(const ModelAtomic&) = delete;
    ModelAtomic& operator=(const ModelAtomic&) = delete;

    T load(std::memory_order order) const { return static_cast<T>(scheduler().load(id_, order)); }
    void store(T value, std::memory_order order) {
        scheduler().store(id_, static_cast<uint64_t>(value), order);
    }
    T fetch_add(T amount, std::memory_order order) {
        return modify([amount](T old) { return static_cast<T>(old + amount); }, order);
    }
    T exchange(T value, std::memory_order order) {
        return modify([value](T) { return value; }, order);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) {
        auto wide = static_cast<uint64_t>(expected);
        const bool done = scheduler().compare_exchange(id_, wide, static_cast<uint64_t>(desired),
                                                       success, failure);
        expected = static_cast<T>(wide);
        return done;
    }

    // For the test: the last value in modification order, without a step.
    T newest() const { return static_cast<T>(scheduler().location(id_).stores.back().value); }
    void name(const std::string& text) { scheduler().location(id_).name = text; }
    // Demands that this location could be plain data: all its accesses are ordered by others.
    void guard() { scheduler().location(id_).guarded = true; }

  private:
    static Scheduler& scheduler() { return Scheduler::current(); }

    template <class Change>
    T modify(Change change, std::memory_order order) {
        const auto wide = [&](uint64_t old) {
            return static_cast<uint64_t>(change(static_cast<T>(old)));
        };
        return static_cast<T>(scheduler().modify(id_, wide, order));
    }

    uint32_t id_;
};

template <class T>
class Plain {
  public:
    void write(T value) {
        Scheduler& scheduler = Scheduler::current();
        history_.write(scheduler.thread(), scheduler.tick(), "plain data");
        value_ = value;
    }
    T read() {
        Scheduler& scheduler = Scheduler::current();
        history_.read(scheduler.thread(), scheduler.tick(), "plain data");
        return value_;
    }

  private:
    T value_{};
    AccessHistory history_;
};

inline void wait() {
    Scheduler::current().wait();
}

struct Explored {
    std::string failure;  // empty when every schedule passed
    size_t schedules = 0;
    size_t steps = 0;
};

// Tells which schedule failed, and runs it again for its trace.
inline std::string explain(Scheduler& scheduler, const Factory& factory, Chooser& chooser) {
    const std::string name = chooser.name();
    chooser.rewind();
    return scheduler.execute(factory, chooser, true) + "in schedule: " + name;
}

inline Explored explore_random(const Factory& factory, size_t schedules, uint64_t first_seed = 1) {
    Scheduler scheduler;
    Explored explored;
    if (kSanitized) schedules /= 20;
    for (; explored.schedules < schedules && explored.failure.empty(); ++explored.schedules) {
        RandomChooser chooser(first_seed + explored.schedules);
        if (scheduler.execute(factory, chooser, false).empty()) continue;
        explored.failure = explain(scheduler, factory, chooser);
    }
    explored.steps = scheduler.steps();
    return explored;
}

// Every schedule with at most `bound` departures from the plain one.
inline Explored explore_all(const Factory& factory, size_t bound) {
    Scheduler scheduler;
    Explored explored;
    BoundedChooser chooser(bound);
    do {
        ++explored.schedules;
        if (scheduler.execute(factory, chooser, false).empty()) continue;
        explored.failure = explain(scheduler, factory, chooser);
        break;
    } while (chooser.advance());
    explored.steps = scheduler.steps();
    return explored;
}

}  // namespace crossdock::model
