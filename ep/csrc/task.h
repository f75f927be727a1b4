// An operation of the CPU device as a coroutine: straight-line code that stops at each wait.
//
// step() runs it until the next wait that is not satisfied. A blocking caller loops step() and lets
// the proxies progress in between; a simulation steps many ranks in one thread; a hook steps the
// second half later.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

namespace crossdock::ep {

// What a suspended task waits for.
class Condition {
  public:
    virtual bool ready() = 0;
    // Ranks that the wait is about and that are not ready; empty when it is about none.
    virtual std::vector<uint32_t> missing() const { return {}; }
    // Ranks to name when it has taken too long; also where no rank in particular is waited for.
    virtual std::vector<uint32_t> suspects() const { return missing(); }
    virtual const char* name() const = 0;
    // Counter of the missing ranks, for the report; negative when there is none.
    virtual int32_t counter() const { return -1; }

  protected:
    ~Condition() = default;
};

class Task {
  public:
    struct promise_type;
    using Handle = std::coroutine_handle<promise_type>;

    // Shared by a task and the tasks it awaits: where to go on, and when.
    struct Execution {
        Condition* waiting = nullptr;
        std::coroutine_handle<> leaf;
    };

    struct FinalAwaiter {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(Handle handle) noexcept;
        void await_resume() noexcept {}
    };

    struct promise_type {
        Execution own;
        Execution* execution = &own;
        std::coroutine_handle<> parent;
        std::exception_ptr error;

        Task get_return_object() { return Task(Handle::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        FinalAwaiter final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { error = std::current_exception(); }
    };

    explicit Task(Handle handle) : handle_(handle) { handle_.promise().own.leaf = handle; }
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Task() {
        if (handle_) handle_.destroy();
    }

    // Returns whether the task is done. Rethrows what the task threw.
    bool step() {
        Execution& execution = handle_.promise().own;
        if (handle_.done()) return true;
        if (execution.waiting != nullptr && !execution.waiting->ready()) return false;
        execution.waiting = nullptr;
        execution.leaf.resume();
        if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
        return handle_.done();
    }

    const Condition* waiting() const { return handle_.promise().own.waiting; }

    // Awaiting a task runs it inside the awaiting one.
    bool await_ready() { return handle_.done(); }
    std::coroutine_handle<> await_suspend(Handle parent) {
        handle_.promise().execution = parent.promise().execution;
        handle_.promise().parent = parent;
        return handle_;
    }
    void await_resume() {
        if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
    }

  private:
    Handle handle_;
};

inline std::coroutine_handle<> Task::FinalAwaiter::await_suspend(Handle handle) noexcept {
    if (handle.promise().parent) return handle.promise().parent;
    return std::noop_coroutine();
}

// Ranks to name when the task waits too long.
inline std::vector<uint32_t> suspects_of(const Task& task) {
    const Condition* waiting = task.waiting();
    return waiting != nullptr ? waiting->suspects() : std::vector<uint32_t>{};
}

// Base of conditions that can be awaited.
template <class Derived>
class Awaitable : public Condition {
  public:
    bool await_ready() { return static_cast<Derived*>(this)->ready(); }
    void await_suspend(Task::Handle handle) {
        Task::Execution* execution = handle.promise().execution;
        execution->waiting = this;
        execution->leaf = handle;
    }
    void await_resume() {}
};

}  // namespace crossdock::ep
