// One execution of a scenario under a chooser: threads of the model and the memory between them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/proxy/csrc/model_chooser.h"
#include "tests/proxy/csrc/model_fiber.h"
#include "tests/proxy/csrc/model_memory.h"

namespace crossdock::model {

// What runs. It is built anew for each schedule; its atomics live no longer than that.
class Scenario {
  public:
    Scenario() = default;
    Scenario(const Scenario&) = delete;
    Scenario& operator=(const Scenario&) = delete;
    virtual ~Scenario() = default;

    virtual size_t threads() const = 0;
    virtual void run(size_t thread) = 0;  // 0 .. threads() - 1
    virtual void check_step() {}          // before each step: the test's own invariants
    virtual void finish() {}              // when all threads have ended
};

using Factory = std::function<std::unique_ptr<Scenario>()>;

class Scheduler {
  public:
    static constexpr size_t kMaxSteps = 20000;
    static constexpr size_t kTraceLines = 60;

    Scheduler() {
        for (size_t i = 0; i + 1 < kMaxThreads; ++i) {
            fibers_.push_back(std::make_unique<Fiber>([this, i] { thread_main(i); }));
        }
    }

    static Scheduler& current() { return *active(); }

    // The failure of this schedule, or an empty string. With `trace`, the last steps stand below.
    std::string execute(const Factory& factory, Chooser& chooser, bool trace) {
        active() = this;
        reset(chooser, trace);
        try {
            scenario_ = factory();
            start();
            if (failure_.empty()) scenario_->finish();
        } catch (const Failure& failure) {
            note_failure(failure);
        }
        scenario_.reset();
        active() = nullptr;
        if (failure_.empty()) return {};
        return failure_ + "\n" + (trace ? trace_text() : "");
    }

    size_t steps() const { return total_steps_; }

    // ---- the operations of ModelAtomic and Plain ----

    uint32_t add_location(uint64_t value) {
        if (used_ == kMaxLocations) fail("more than " + std::to_string(kMaxLocations) + " atomics");
        if (used_ == locations_.size()) locations_.emplace_back();
        Location& location = locations_[used_];
        location.name = "atomic " + std::to_string(used_);
        location.stores.clear();
        location.history = {};
        location.guarded = false;
        const auto id = static_cast<uint32_t>(used_++);
        append(id, value, std::memory_order_relaxed);
        return id;
    }

    Location& location(uint32_t id) { return locations_[id]; }
    size_t thread() const { return self_; }
    View& view() { return views_[self_]; }

    View& tick() {
        ++view().clock[self_];
        return view();
    }

    uint64_t load(uint32_t id, std::memory_order order) {
        step();
        Location& at = locations_[id];
        const size_t oldest = at.oldest_readable(view().floor[id]);
        const size_t read = at.newest() - choose(at.newest() - oldest + 1, Choice::kStore);
        if (at.guarded) at.history.read(self_, view(), at.name);
        return take(id, read, order, "reads");
    }

    void store(uint32_t id, uint64_t value, std::memory_order order) {
        step();
        Location& at = locations_[id];
        const size_t back = choose(at.places(view().floor[id]), Choice::kStore);
        if (at.guarded) at.history.write(self_, view(), at.name);
        Store& fresh = at.insert(back);
        give(id, fresh, value, order);
    }

    uint64_t modify(uint32_t id, const std::function<uint64_t(uint64_t)>& change,
                    std::memory_order order) {
        step();
        return replace(id, change, order);
    }

    // A weak compare-exchange: may fail for no reason, and reads a stale value when it fails.
    bool compare_exchange(uint32_t id, uint64_t& expected, uint64_t desired,
                          std::memory_order success, std::memory_order failure) {
        step();
        Location& at = locations_[id];
        const size_t oldest = at.oldest_readable(view().floor[id]);
        const size_t back = choose(at.newest() - oldest + 2, Choice::kStore);
        const bool spurious = back > at.newest() - oldest;
        if (back == 0 && at.stores.back().value == expected) {
            replace(
                id, [desired](uint64_t) { return desired; }, success);
            return true;
        }
        expected = take(id, spurious ? at.newest() : at.newest() - back, failure, "fails, reads");
        return false;
    }

    // Says that this thread can do nothing until another one has done something.
    void wait() {
        waiting_ = true;
        step();
        waiting_ = false;
    }

  private:
    struct Aborted {};  // unwinds the other threads after a failure

    static Scheduler*& active() {
        static thread_local Scheduler* scheduler = nullptr;
        return scheduler;
    }

    void reset(Chooser& chooser, bool trace) {
        chooser_ = &chooser;
        tracing_ = trace;
        trace_.clear();
        failure_.clear();
        aborting_ = waiting_ = false;
        used_ = steps_ = self_ = 0;
        views_.fill({});
        tick();
    }

    void start() {
        const size_t count = scenario_->threads();
        if (count + 1 > kMaxThreads) fail("too many threads");
        alive_.assign(count, true);
        started_.assign(count, false);
        for (size_t i = 1; i <= count; ++i) {
            views_[i] = views_[0];
        }
        enter(main_, 0);
        aborting_ = true;  // only a failure leaves threads alive
        for (size_t i = 0; i < count; ++i) {
            if (alive_[i] && started_[i]) enter(main_, i);
        }
        self_ = 0;
        for (size_t i = 1; i <= count; ++i)
            views_[0].join(views_[i]);
    }

    void enter(Fiber& from, size_t index) {
        self_ = index + 1;
        started_[index] = true;
        from.switch_to(*fibers_[index]);
    }

    void thread_main(size_t index) {
        try {
            tick();
            scenario_->run(index);
        } catch (const Failure& failure) {
            note_failure(failure);
        } catch (const Aborted&) {
        }
        alive_[index] = false;
        if (!aborting_ && failure_.empty()) {
            for (size_t other = 1; other < alive_.size(); ++other) {
                const size_t next = (index + other) % alive_.size();
                if (alive_[next]) return enter(*fibers_[index], next);
            }
        }
        fibers_[index]->switch_to(main_);
    }

    void note_failure(const Failure& failure) {
        if (failure_.empty()) failure_ = failure.what();
    }

    // Before each operation: another thread may go first.
    void step() {
        if (self_ == 0) {
            tick();
            return;
        }
        ++total_steps_;
        if (++steps_ > kMaxSteps) fail("no progress in " + std::to_string(kMaxSteps) + " steps");
        scenario_->check_step();
        const size_t index = self_ - 1;
        const size_t next = choose_thread(index);
        if (next != index) {
            const bool was_waiting = waiting_;
            waiting_ = false;
            enter(*fibers_[index], next);
            self_ = index + 1;
            waiting_ = was_waiting;
            if (aborting_) throw Aborted{};
        }
        tick();
    }

    size_t choose_thread(size_t index) {
        std::array<size_t, kMaxThreads> options{};
        size_t count = 0;
        if (!waiting_) options[count++] = index;
        for (size_t other = 1; other < alive_.size(); ++other) {
            const size_t next = (index + other) % alive_.size();
            if (alive_[next]) options[count++] = next;
        }
        return count == 0 ? index : options[choose(count, Choice::kThread)];
    }

    size_t choose(size_t options, Choice choice) {
        return options < 2 || self_ == 0 ? 0 : chooser_->choose(options, choice);
    }

    static bool acquires(std::memory_order order) {
        return order == std::memory_order_acquire || order == std::memory_order_acq_rel;
    }
    static bool releases(std::memory_order order) {
        return order == std::memory_order_release || order == std::memory_order_acq_rel;
    }

    uint64_t take(uint32_t id, size_t index, std::memory_order order, const char* verb) {
        require_modelled(order);
        const Store& from = locations_[id].stores[index];
        view().floor[id] = std::max(view().floor[id], from.when);
        if (acquires(order)) view().join(from.view);
        const size_t age = locations_[id].newest() - index;
        if (tracing_) trace(id, verb, from.value, age == 0 ? "" : ", stale by " + to_text(age));
        return from.value;
    }

    void give(uint32_t id, Store& to, uint64_t value, std::memory_order order) {
        require_modelled(order);
        to.value = value;
        view().floor[id] = to.when;
        if (releases(order)) to.view.join(view());
        to.view.floor[id] = to.when;
        if (tracing_) trace(id, releases(order) ? "releases" : "stores", value, "");
    }

    void append(uint32_t id, uint64_t value, std::memory_order order) {
        give(id, locations_[id].insert(0), value, order);
    }

    uint64_t replace(uint32_t id, const std::function<uint64_t(uint64_t)>& change,
                     std::memory_order order) {
        Location& at = locations_[id];
        const uint64_t old = take(id, at.newest(), order, "takes");
        const View passed_on = at.stores.back().view;
        Store& fresh = at.insert(0);
        fresh.glued = true;
        fresh.view = passed_on;
        give(id, fresh, change(old), order);
        return old;
    }

    static void require_modelled(std::memory_order order) {
        if (order == std::memory_order_seq_cst) fail("memory_order_seq_cst is not modelled");
    }

    static std::string to_text(uint64_t value) { return std::to_string(value); }

    void trace(uint32_t id, const char* verb, uint64_t value, const std::string& rest) {
        if (self_ == 0) return;
        trace_.push_back("  thread " + to_text(self_ - 1) + " " + verb + " " + locations_[id].name +
                         " " + to_text(value) + rest);
    }

    std::string trace_text() const {
        const size_t from = trace_.size() > kTraceLines ? trace_.size() - kTraceLines : 0;
        std::string text;
        for (size_t i = from; i < trace_.size(); ++i)
            text += trace_[i] + "\n";
        return text;
    }

    Fiber main_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::unique_ptr<Scenario> scenario_;
    Chooser* chooser_ = nullptr;

    std::vector<Location> locations_;
    size_t used_ = 0;
    std::array<View, kMaxThreads> views_{};
    std::vector<bool> alive_;
    std::vector<bool> started_;
    size_t self_ = 0;
    size_t steps_ = 0;
    size_t total_steps_ = 0;
    bool waiting_ = false;
    bool aborting_ = false;

    bool tracing_ = false;
    std::vector<std::string> trace_;
    std::string failure_;
};

}  // namespace crossdock::model
