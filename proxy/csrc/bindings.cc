// crossdock.proxy._native: registers the native classes, and nothing else.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <stdexcept>
#include <system_error>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/shm/host.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace crossdock::proxy;

namespace {

using Bytes = nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>;
using Released = nb::call_guard<nb::gil_scoped_release>;

Command command_from(const nb::bytes& packed) {
    if (packed.size() != sizeof(Command)) {
        throw std::invalid_argument("a command has 16 bytes");
    }
    Command command;
    std::memcpy(&command, packed.c_str(), sizeof command);
    return command;
}

// Pushes from Python: for tests and tools. Devices push natively.
size_t push(Communicator& communicator, uint32_t ring, const nb::list& packed) {
    std::vector<Command> commands;
    for (const auto& item : packed) commands.push_back(command_from(nb::cast<nb::bytes>(item)));
    RingProducer<true> producer(communicator.ring(ring));
    const size_t pushed = producer.try_push(commands);
    const DeviceView& view = communicator.device_view();
    if (view.wake != nullptr) view.wake(view.owner, ring);
    return pushed;
}

Bytes region_array(Communicator& communicator, uint32_t region) {
    const auto& memory = communicator.memory(region);
    auto* owner = new std::shared_ptr<SharedMemory>(memory);
    nb::capsule capsule(owner, [](void* p) noexcept {
        delete static_cast<std::shared_ptr<SharedMemory>*>(p);
    });
    return {memory->data(), {memory->bytes()}, capsule};
}

Bytes block_array(const std::shared_ptr<Heap::Block>& block) {
    auto* owner = new std::shared_ptr<Heap::Block>(block);
    nb::capsule capsule(owner, [](void* p) noexcept {
        delete static_cast<std::shared_ptr<Heap::Block>*>(p);
    });
    return {block->data(), {block->bytes()}, capsule};
}

nb::dict statistics(Communicator& communicator, uint32_t proxy) {
    const ProxyStatistics& s = communicator.proxy(proxy).statistics();
    nb::dict result;
    result["commands"] = peek(s.commands);
    result["bytes"] = peek(s.bytes);
    result["arrivals"] = peek(s.arrivals);
    result["late_dropped"] = peek(s.late_dropped);
    result["repeated_events"] = peek(s.repeated_events);
    return result;
}

nb::list records(Communicator& communicator, uint32_t proxy, uint64_t count) {
    nb::list result;
    for (const Record& r : communicator.proxy(proxy).recorder().last(count)) {
        result.append(nb::make_tuple(r.number, static_cast<int>(r.kind), r.peer, r.word));
    }
    return result;
}

void bind_config(nb::module_& m) {
    nb::class_<ProxyLimits>(m, "ProxyLimits")
        .def(nb::init<>())
        .def_rw("window", &ProxyLimits::window)
        .def_rw("writes_per_peer", &ProxyLimits::writes_per_peer)
        .def_rw("bytes", &ProxyLimits::bytes);
    nb::class_<ImmediateLayout>(m, "ImmediateLayout")
        .def(nb::init<uint32_t, uint32_t>(), "counter_bits"_a, "sequence_bits"_a)
        .def_rw("counter_bits", &ImmediateLayout::counter_bits)
        .def_rw("sequence_bits", &ImmediateLayout::sequence_bits);
    nb::class_<CommunicatorConfig>(m, "CommunicatorConfig")
        .def(nb::init<>())
        .def_rw("rank", &CommunicatorConfig::rank)
        .def_rw("num_ranks", &CommunicatorConfig::num_ranks)
        .def_rw("num_proxies", &CommunicatorConfig::num_proxies)
        .def_rw("threads", &CommunicatorConfig::threads)
        .def_rw("cpus", &CommunicatorConfig::cpus)
        .def_rw("main_bytes", &CommunicatorConfig::main_bytes)
        .def_rw("heap_bytes", &CommunicatorConfig::heap_bytes)
        .def_rw("num_counters", &CommunicatorConfig::num_counters)
        .def_rw("layout", &CommunicatorConfig::layout)
        .def_rw("ring_slots", &CommunicatorConfig::ring_slots)
        .def_rw("epoch", &CommunicatorConfig::epoch)
        .def_rw("limits", &CommunicatorConfig::limits);
}

void bind_heap(nb::module_& m) {
    nb::class_<Heap::Block>(m, "Block")
        .def_prop_ro("offset", &Heap::Block::offset)
        .def_prop_ro("bytes", &Heap::Block::bytes)
        .def_prop_ro("address", [](const Heap::Block& b) { return reinterpret_cast<uintptr_t>(b.data()); });
}

void bind_communicator(nb::module_& m) {
    nb::class_<Communicator>(m, "Communicator")
        .def(nb::init<const CommunicatorConfig&>(), "config"_a)
        .def("start", &Communicator::start)
        .def("progress", &Communicator::progress, Released())
        .def("fenced", &Communicator::fenced)
        .def("begin_epoch", &Communicator::begin_epoch, "epoch"_a, Released())
        .def("shut_down", &Communicator::shut_down, "blame"_a, Released())
        .def("push", &push, "ring"_a, "commands"_a)
        .def("allocate", [](Communicator& c, uint64_t bytes) { return c.heap().allocate(bytes); },
             "bytes"_a)
        .def_static("block_array", &block_array, "block"_a)
        .def("region_array", &region_array, "region"_a)
        .def("heap_used", [](Communicator& c) { return c.heap().bytes_used(); })
        .def("open_window",
             [](Communicator& c, uint32_t region, uintptr_t address, uint64_t bytes) {
                 c.regions().open(region, {reinterpret_cast<std::byte*>(address), bytes});
             }, "region"_a, "address"_a, "bytes"_a)
        .def("close_window", [](Communicator& c, uint32_t region) { c.regions().close(region); },
             "region"_a)
        .def("counter",
             [](Communicator& c, uint32_t peer, uint32_t index) {
                 const CounterValue v = c.counter(peer, index).read();
                 return nb::make_tuple(v.arrived(), v.total(), v.sealed());
             }, "peer"_a, "index"_a)
        .def("peer_state",
             [](Communicator& c, uint32_t peer) {
                 const Peer& p = c.peers()[peer];
                 return nb::make_tuple(static_cast<int>(observe(p.state)),
                                       static_cast<int>(peek(p.loss)), peek(p.detail));
             }, "peer"_a)
        .def("set_peer_region",
             [](Communicator& c, uint32_t peer, uint32_t region, uint64_t bytes) {
                 c.peers()[peer].region_bytes[region] = bytes;
             }, "peer"_a, "region"_a, "bytes"_a)
        .def("fault",
             [](Communicator& c) {
                 return nb::make_tuple(static_cast<uint32_t>(c.fault().code()), c.fault().peer(),
                                       c.fault().detail());
             })
        .def("statistics", &statistics, "proxy"_a)
        .def("records", &records, "proxy"_a, "count"_a)
        .def("device_view", [](Communicator& c) {
            return reinterpret_cast<uintptr_t>(&c.device_view());
        });
}

void bind_shm(nb::module_& m) {
    nb::class_<shm::Announcement>(m, "ShmAnnouncement")
        .def(nb::init<>())
        .def_rw("pid", &shm::Announcement::pid)
        .def_rw("control_fd", &shm::Announcement::control_fd)
        .def_rw("region_fds", &shm::Announcement::region_fds)
        .def_rw("region_bytes", &shm::Announcement::region_bytes)
        .def_rw("nonce", &shm::Announcement::nonce);
    nb::class_<shm::Host>(m, "ShmHost")
        .def(nb::init<Communicator&, uint64_t>(), "communicator"_a, "nonce"_a,
             nb::keep_alive<1, 2>())
        .def("announcement", &shm::Host::announcement)
        .def("reach", &shm::Host::reach, "peer"_a, "announcement"_a, Released())
        .def("forget", &shm::Host::forget, "peer"_a)
        .def("attach", &shm::Host::attach);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The native core of crossdock.proxy.";
    nb::exception<std::system_error>(m, "SystemError", PyExc_OSError);
    bind_config(m);
    bind_heap(m);
    bind_communicator(m);
    bind_shm(m);
}
