// The communicator: what Python asks of it. Devices talk to it through its DeviceView instead.
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>

#include "proxy/csrc/await.h"
#include "proxy/csrc/bindings.h"
#include "proxy/csrc/communicator.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace crossdock::proxy {

namespace {

using Bytes = nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>;
using Released = nb::call_guard<nb::gil_scoped_release>;
using Ranks = std::vector<uint32_t>;

constexpr double kLongestWaitSeconds = 1e6;

Deadline deadline_in(double seconds) {
    const std::chrono::duration<double> span(std::clamp(seconds, 0.0, kLongestWaitSeconds));
    return std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(span);
}

// Where a wait hears Ctrl-C: what a signal handler of Python raises goes through the core.
void check_signals() {
    const nb::gil_scoped_acquire held;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

uint32_t index_below(uint64_t limit, uint32_t index, const char* what) {
    if (index >= limit) {
        throw std::out_of_range(std::string(what) + " is " + std::to_string(index) +
                                ", but must be below " + std::to_string(limit));
    }
    return index;
}

uint32_t peer_of(const Communicator& c, uint32_t peer) {
    return index_below(c.config().num_ranks, peer, "peer");
}

Counter& counter_of(Communicator& c, uint32_t peer, uint32_t index) {
    return c.counter(peer_of(c, peer), index_below(c.config().num_counters, index, "counter"));
}

Proxy& proxy_of(Communicator& c, uint32_t proxy) {
    return c.proxy(index_below(c.config().num_proxies, proxy, "proxy"));
}

// An array over memory that `keeper` keeps alive.
template <class Keeper>
Bytes array_over(std::byte* data, uint64_t bytes, const std::shared_ptr<Keeper>& keeper) {
    auto owner = std::make_unique<std::shared_ptr<Keeper>>(keeper);
    const nb::capsule capsule(
        owner.get(), [](void* p) noexcept { delete static_cast<std::shared_ptr<Keeper>*>(p); });
    owner.release();
    return {data, {bytes}, capsule};
}

Bytes region_array(Communicator& c, uint32_t region) {
    const auto& memory = c.memory(index_below(kHostRegions, region, "region"));
    return array_over(memory->data(), memory->bytes(), memory);
}

Bytes block_array(const std::shared_ptr<Heap::Block>& block) {
    return array_over(block->data(), block->bytes(), block);
}

// Address and bytes.
using Stretch = std::pair<uintptr_t, uint64_t>;

Stretch stretch(const SharedMemory& memory) {
    return {reinterpret_cast<uintptr_t>(memory.data()), memory.bytes()};
}

std::vector<Stretch> ring_stretches(const Communicator& c) {
    std::vector<Stretch> stretches;
    for (const SharedMemory& memory : c.ring_memory())
        stretches.push_back(stretch(memory));
    return stretches;
}

void bind_gpu_view(nb::class_<Communicator>& type) {
    type.def("counter_stretch", [](const Communicator& c) { return stretch(c.counter_memory()); })
        .def("ring_stretches", &ring_stretches)
        .def(
            "region_stretch",
            [](const Communicator& c, uint32_t region) {
                return stretch(*c.memory(index_below(kHostRegions, region, "region")));
            },
            "region"_a);
    type.attr("RING_RESERVED_AT") = offsetof(Ring, reserved);
    type.attr("RING_POPPED_AT") = offsetof(Ring, popped);
    type.attr("RING_COMPLETED_AT") = offsetof(Ring, completed);
    type.attr("RING_SLOTS_AT") = sizeof(Ring);
    type.attr("DEVICE_REGION") = kDeviceRegion;
    type.attr("FIRST_WINDOW") = kFirstWindow;
}

std::vector<Command> unpacked(const std::vector<nb::bytes>& packed) {
    std::vector<Command> commands(packed.size());
    for (size_t i = 0; i < packed.size(); ++i) {
        if (packed[i].size() != sizeof(Command)) {
            throw std::invalid_argument("a command has 16 bytes, not " +
                                        std::to_string(packed[i].size()));
        }
        std::memcpy(&commands[i], packed[i].c_str(), sizeof(Command));
    }
    return commands;
}

WaitResult push_packed(Communicator& c, uint32_t ring, const std::vector<nb::bytes>& packed,
                       double timeout_s) {
    const std::vector<Command> commands = unpacked(packed);
    index_below(c.config().num_proxies, ring, "ring");
    const nb::gil_scoped_release released;
    return push_all(c.device_view(), ring, commands, deadline_in(timeout_s));
}

WaitResult await_arrivals_of(Communicator& c, const Ranks& peers, uint32_t index, uint32_t amount,
                             double timeout_s, bool together, const char* what) {
    for (uint32_t peer : peers)
        counter_of(c, peer, index);
    return await_arrivals(c.device_view(), peers, index, amount, deadline_in(timeout_s), together,
                          what);
}

void consume(Communicator& c, const Ranks& peers, uint32_t index, uint32_t amount) {
    for (uint32_t peer : peers) {
        Counter& counter = counter_of(c, peer, index);
        if (counter.read().arrived() < amount) {
            throw std::invalid_argument("counter " + std::to_string(index) + " of rank " +
                                        std::to_string(peer) + " has fewer than " +
                                        std::to_string(amount) + " arrivals");
        }
        counter.consume(amount);
    }
}

void open_window(Communicator& c, uint32_t region, uintptr_t address, uint64_t bytes) {
    if (index_below(schema::kMaxRegions, region, "region") < kFirstWindow) {
        throw std::invalid_argument("regions below " + std::to_string(kFirstWindow) +
                                    " are exposed to peers, and not windows");
    }
    c.open_window(region, {reinterpret_cast<std::byte*>(address), bytes});
}

void set_peer_region(Communicator& c, uint32_t peer, uint32_t region, uint64_t bytes) {
    auto& sizes = c.peers()[peer_of(c, peer)].region_bytes;
    sizes[index_below(kHostRegions, region, "region")] = bytes;
}

std::tuple<PeerState, Loss, int32_t> peer_state(Communicator& c, uint32_t peer) {
    const Peer& p = c.peers()[peer_of(c, peer)];
    const PeerState state = observe(p.state);
    return {state, peek(p.loss), peek(p.detail)};
}

std::tuple<uint32_t, uint32_t, bool> counter_value(Communicator& c, uint32_t peer, uint32_t index) {
    const CounterValue value = counter_of(c, peer, index).read();
    return {value.arrived(), value.total(), value.sealed()};
}

nb::dict statistics(Communicator& c, uint32_t proxy) {
    const ProxyStatistics& s = proxy_of(c, proxy).statistics();
    nb::dict result;
    result["commands"] = peek(s.commands);
    result["bytes"] = peek(s.bytes);
    result["arrivals"] = peek(s.arrivals);
    result["late_dropped"] = peek(s.late_dropped);
    result["repeated_events"] = peek(s.repeated_events);
    return result;
}

void bind_heap(nb::module_& m) {
    nb::class_<Heap::Block>(m, "Block")
        .def_prop_ro("offset", &Heap::Block::offset)
        .def_prop_ro("bytes", &Heap::Block::bytes)
        .def_prop_ro("address",
                     [](const Heap::Block& b) { return reinterpret_cast<uintptr_t>(b.data()); });
}

void bind_life(nb::class_<Communicator>& type) {
    type.def(
            "__init__",
            [](Communicator* self, CommunicatorConfig config) {
                config.check_signals = &check_signals;
                new (self) Communicator(config);
            },
            "config"_a)
        .def("start", &Communicator::start)
        .def_prop_ro("num_proxies", [](const Communicator& c) { return c.config().num_proxies; })
        .def(
            "attach_tcp",
            [](Communicator& c, uint32_t proxy,
               const std::vector<std::pair<uint32_t, std::vector<int>>>& sockets,
               uint32_t queue_depth, uint32_t silence_ms) {
                proxy_of(c, proxy);
                attach_tcp(c, proxy, sockets, queue_depth, silence_ms);
            },
            "proxy"_a, "sockets"_a, "queue_depth"_a, "silence_ms"_a)
        .def("progress", &Communicator::progress, Released())
        .def("begin_epoch", &Communicator::begin_epoch, "epoch"_a, Released())
        .def("shut_down", &Communicator::shut_down, "blame"_a, Released())
        .def("device_view",
             [](Communicator& c) { return reinterpret_cast<uintptr_t>(&c.device_view()); });
}

void bind_waiting(nb::class_<Communicator>& type) {
    type.def("push_all", &push_packed, "ring"_a, "commands"_a, "timeout_s"_a)
        .def("fenced", &Communicator::fenced)
        .def(
            "await_fence",
            [](Communicator& c, double timeout_s) {
                return await_fence(c.device_view(), deadline_in(timeout_s));
            },
            "timeout_s"_a, Released())
        .def("await_arrivals", &await_arrivals_of, "peers"_a, "counter"_a, "amount"_a,
             "timeout_s"_a, "together"_a = false, "what"_a = "a counter", Released())
        .def("consume", &consume, "peers"_a, "counter"_a, "amount"_a)
        .def("counter", &counter_value, "peer"_a, "index"_a);
}

void bind_memory(nb::class_<Communicator>& type) {
    type.def(
            "allocate", [](Communicator& c, uint64_t bytes) { return c.heap().allocate(bytes); },
            "bytes"_a)
        .def_static("block_array", &block_array, "block"_a)
        .def("region_array", &region_array, "region"_a)
        .def("heap_used", [](Communicator& c) { return c.heap().bytes_used(); })
        .def("heap_total", [](Communicator& c) { return c.heap().bytes_total(); })
        .def("open_window", &open_window, "region"_a, "address"_a, "bytes"_a)
        .def(
            "close_window",
            [](Communicator& c, uint32_t region) {
                c.close_window(index_below(schema::kMaxRegions, region, "region"));
            },
            "region"_a);
}

void bind_facts(nb::class_<Communicator>& type) {
    type.def("peer_state", &peer_state, "peer"_a)
        .def(
            "nic_failure",
            [](Communicator& c, uint32_t peer) { return c.peers()[peer_of(c, peer)].failure; },
            "peer"_a)
        .def("set_peer_region", &set_peer_region, "peer"_a, "region"_a, "bytes"_a)
        // Bytes of the device's memory that NICs reach: of this rank, and of a peer.
        .def_prop_ro("device_memory_bytes",
                     [](Communicator& c) { return c.regions()[kDeviceRegion].bytes; })
        .def(
            "peer_device_memory_bytes",
            [](Communicator& c, uint32_t peer) {
                return c.peers()[peer_of(c, peer)].region_bytes[kDeviceRegion];
            },
            "peer"_a)
        .def_prop_ro("device_memory_refusal", &Communicator::device_memory_refusal)
        .def("fault",
             [](Communicator& c) {
                 const FaultCode code = c.fault().code();
                 return std::tuple(code, c.fault().peer(), c.fault().detail());
             })
        .def("statistics", &statistics, "proxy"_a);
}

}  // namespace

void bind_communicator(nb::module_& m) {
    bind_heap(m);
    nb::class_<Communicator> type(m, "Communicator");
    bind_life(type);
    bind_waiting(type);
    bind_memory(type);
    bind_gpu_view(type);
    bind_facts(type);
}

}  // namespace crossdock::proxy
