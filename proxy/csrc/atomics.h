// Every atomic access of the core goes through one of these names. Each says what the access
// promises to whoever reads on the other side; the memory orders stand here and nowhere else.
//
//   publish     whoever observes the new value also sees all that was written before it
//   observe     sees all that was written before the value was published
//   peek        a hint, or a value that only this thread writes: orders nothing
//   note        a value that is read by peek, or published later by something else
//   claim       takes a ticket from rivals: decides who, orders nothing
//   accumulate  like publish, for a sum that several threads add to
//   take        like observe and publish at once: exchanges a value with the other side
//
// They are templates so that a test can replace std::atomic by a model that permutes schedules.
#pragma once

#include <atomic>

namespace crossdock::proxy {

template <class A, class T>
inline void publish(A& atomic, T value) {
    atomic.store(value, std::memory_order_release);
}

template <class A>
inline auto observe(const A& atomic) {
    return atomic.load(std::memory_order_acquire);
}

template <class A>
inline auto peek(const A& atomic) {
    return atomic.load(std::memory_order_relaxed);
}

template <class A, class T>
inline void note(A& atomic, T value) {
    atomic.store(value, std::memory_order_relaxed);
}

template <class A, class T>
inline bool claim(A& atomic, T& expected, T desired) {
    return atomic.compare_exchange_weak(expected, desired, std::memory_order_relaxed,
                                        std::memory_order_relaxed);
}

template <class A, class T>
inline auto accumulate(A& atomic, T amount) {
    return atomic.fetch_add(amount, std::memory_order_acq_rel);
}

template <class A, class T>
inline auto take(A& atomic, T value) {
    return atomic.exchange(value, std::memory_order_acq_rel);
}

}  // namespace crossdock::proxy
