#include "bench/csrc/latency.h"

#include <array>
#include <cstring>
#include <thread>

#include "bench/csrc/locked_queue.h"
#include "bench/csrc/pin.h"
#include "bench/csrc/wait.h"

namespace crossdock::bench {

namespace {

using proxy::Command;
using proxy::DeviceView;
using proxy::FaultCode;

// Spins on the ring's completions and runs inline proxies, as a device does that has nothing else
// to do.
bool await_completion(const DeviceView& view, proxy::Ring& ring, uint64_t ticket,
                      Clock::time_point deadline) {
    HotWait wait;
    while (proxy::observe(ring.completed) < ticket) {
        if (view.progress != nullptr && view.progress(view.owner)) continue;
        if (view.fault->code() != FaultCode::kNone || Clock::now() >= deadline) return false;
        wait.pause();
    }
    return true;
}

}  // namespace

std::vector<double> command_latencies(const DeviceView& view, uint32_t peer, uint32_t bytes,
                                      uint32_t count, double timeout_s) {
    const proxy::Place place{.region = proxy::kMainRegion, .offset = 0};
    const Command command = proxy::make_write(proxy::Op::kWrite, peer, place, place, bytes);
    proxy::Ring& ring = *view.rings[0];
    proxy::RingProducer<false> producer(&ring);
    const auto deadline = deadline_after(timeout_s);
    std::vector<double> seconds;
    seconds.reserve(count);
    for (uint32_t i = 0; i < count; ++i) {
        const auto start = Clock::now();
        if (producer.try_push({&command, 1}) != 1) break;
        if (view.wake != nullptr) view.wake(view.owner, 0);
        if (!await_completion(view, ring, producer.fence_ticket(), deadline)) break;
        seconds.push_back(seconds_since(start));
    }
    return seconds;
}

std::vector<double> locked_latencies(uint32_t bytes, uint32_t count, int worker_cpu) {
    LockedQueue queue(4096);
    std::vector<std::byte> source(bytes), destination(bytes);
    std::atomic<uint64_t> completed{0};
    std::thread worker([&] {
        pin_to(worker_cpu);
        std::array<Command, 32> batch;
        HotWait wait;
        for (uint64_t done = 0; done < count;) {
            const size_t got = queue.pop(batch);
            if (got == 0) {
                wait.pause();
                continue;
            }
            wait.reset();
            std::memcpy(destination.data(), source.data(), bytes);
            done += got;
            proxy::publish(completed, done);
        }
    });
    std::vector<double> seconds;
    seconds.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
        const Command command{0, i};
        const auto start = Clock::now();
        queue.try_push({&command, 1});
        HotWait wait;
        while (proxy::observe(completed) <= i)
            wait.pause();
        seconds.push_back(seconds_since(start));
    }
    worker.join();
    return seconds;
}

}  // namespace crossdock::bench
