// A fiber: a thread of the model, switched by hand. The sanitizers are told of each switch.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#if defined(__has_feature)
#define CROSSDOCK_HAS_FEATURE(name) __has_feature(name)
#else
#define CROSSDOCK_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || CROSSDOCK_HAS_FEATURE(thread_sanitizer)
#define CROSSDOCK_FIBER_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__SANITIZE_ADDRESS__) || CROSSDOCK_HAS_FEATURE(address_sanitizer)
#define CROSSDOCK_FIBER_ASAN 1
#include <sanitizer/common_interface_defs.h>
#endif

namespace crossdock::model {

#if defined(CROSSDOCK_FIBER_TSAN) || defined(CROSSDOCK_FIBER_ASAN)
inline constexpr bool kSanitized = true;  // each switch is far slower then
#else
inline constexpr bool kSanitized = false;
#endif

// Either the stack that the program started on, or one of its own that runs `body` whenever it is
// entered anew; after `body` it must leave for another fiber by `switch_to`, at the end of `body`.
class Fiber {
  public:
    Fiber() { adopt_current_stack(); }

    explicit Fiber(std::function<void()> body)
        : body_(std::move(body)), stack_(std::make_unique<char[]>(kStackBytes)) {
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack_.get();
        context_.uc_stack.ss_size = kStackBytes;
        makecontext(&context_, &Fiber::enter, 0);
        bottom_ = stack_.get();
        bytes_ = kStackBytes;
#ifdef CROSSDOCK_FIBER_TSAN
        tsan_ = __tsan_create_fiber(0);
#endif
    }

    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    ~Fiber() {
#ifdef CROSSDOCK_FIBER_TSAN
        if (stack_) __tsan_destroy_fiber(tsan_);
#endif
    }

    void switch_to(Fiber& next) {
        entered() = &next;
        left() = this;
#ifdef CROSSDOCK_FIBER_TSAN
        __tsan_switch_to_fiber(next.tsan_, 0);
#endif
#ifdef CROSSDOCK_FIBER_ASAN
        __sanitizer_start_switch_fiber(&fake_stack_, next.bottom_, next.bytes_);
#endif
        swapcontext(&context_, &next.context_);
        arrive();
    }

  private:
    static constexpr size_t kStackBytes = 256 * 1024;

    static Fiber*& entered() {
        static thread_local Fiber* fiber = nullptr;
        return fiber;
    }
    static Fiber*& left() {
        static thread_local Fiber* fiber = nullptr;
        return fiber;
    }

    static void enter() {
        Fiber* self = entered();
        self->arrive();
        while (true)
            self->body_();
    }

    void adopt_current_stack() {
#ifdef CROSSDOCK_FIBER_TSAN
        tsan_ = __tsan_get_current_fiber();
#endif
    }

    void arrive() {
#ifdef CROSSDOCK_FIBER_ASAN
        Fiber* from = left();
        __sanitizer_finish_switch_fiber(fake_stack_, &from->bottom_, &from->bytes_);
#endif
    }

    std::function<void()> body_;
    std::unique_ptr<char[]> stack_;
    ucontext_t context_{};
    const void* bottom_ = nullptr;
    size_t bytes_ = 0;
#ifdef CROSSDOCK_FIBER_TSAN
    void* tsan_ = nullptr;
#endif
#ifdef CROSSDOCK_FIBER_ASAN
    void* fake_stack_ = nullptr;
#endif
};

}  // namespace crossdock::model
