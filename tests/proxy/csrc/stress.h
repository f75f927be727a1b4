// Helpers of the tests that run with real threads and processes.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <thread>

#include "proxy/csrc/ring.h"

namespace crossdock::proxy::stress {

inline constexpr std::chrono::seconds kDeadline{60};

// Yields until `done()`; false when the deadline has passed. Two busy pollers on one core would
// otherwise wait for each other's whole time slices.
template <class Done>
bool wait_until(Done done) {
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (!done()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

// Pushes all of them, in as many pushes as the ring needs.
template <class Producer>
bool push_all(Producer& producer, std::span<const Command> commands) {
    return wait_until([&] {
        commands = commands.subspan(producer.try_push(commands));
        return commands.empty();
    });
}

// A command that says in both words who sent it and as which.
inline Command numbered(uint32_t producer, uint32_t index) {
    const Place mark{producer & 7, uint64_t{index} * schema::kGranuleBytes};
    return make_write(Op::kWriteAdd, producer, mark, mark, schema::kGranuleBytes, producer,
                      index & schema::kMaxValue);
}

inline uint32_t index_of(const Command& command) {
    return static_cast<uint32_t>(command.src_offset() / schema::kGranuleBytes);
}

inline bool is_whole(const Command& command) {
    Command wanted = numbered(command.counter(), index_of(command));
    wanted.set(schema::kPhase, command.get(schema::kPhase));
    return command.low == wanted.low && command.high == wanted.high;
}

}  // namespace crossdock::proxy::stress
