// Enumerations and plain structures.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "proxy/csrc/await.h"
#include "proxy/csrc/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace crossdock::proxy {

namespace {

void bind_outcomes(nb::module_& m) {
    nb::enum_<WaitStatus>(m, "WaitStatus")
        .value("DONE", WaitStatus::kDone)
        .value("FAULT", WaitStatus::kFault)
        .value("PEER_GONE", WaitStatus::kPeerGone)
        .value("DEADLINE", WaitStatus::kDeadline);
    nb::enum_<FaultCode>(m, "FaultCode")
        .value("NONE", FaultCode::kNone)
        .value("ABORTED", FaultCode::kAborted)
        .value("PEER_LOST", FaultCode::kPeerLost)
        .value("BAD_COMMAND", FaultCode::kBadCommand)
        .value("BAD_IMMEDIATE", FaultCode::kBadImmediate)
        .value("SEQUENCE_OVERRUN", FaultCode::kSequenceOverrun)
        .value("SEALED_TWICE", FaultCode::kSealedTwice);
    nb::enum_<CommandCheck>(m, "CommandCheck")
        .value("PEER", CommandCheck::kPeer)
        .value("SOURCE", CommandCheck::kSource)
        .value("DESTINATION", CommandCheck::kDestination)
        .value("COUNTER", CommandCheck::kCounter)
        .value("OP", CommandCheck::kOp)
        .value("VALUE", CommandCheck::kValue);
    nb::enum_<PeerState>(m, "PeerState")
        .value("ALIVE", PeerState::kAlive)
        .value("LEFT", PeerState::kLeft)
        .value("LOST", PeerState::kLost)
        .value("MASKED", PeerState::kMasked);
    nb::class_<NicFailure>(m, "NicFailure")
        .def_ro("status", &NicFailure::status)
        .def_ro("vendor", &NicFailure::vendor)
        .def_ro("queue_pair", &NicFailure::queue_pair)
        .def_ro("operation", &NicFailure::operation)
        .def_prop_ro("nic", [](const NicFailure& f) { return std::string(f.nic.data()); });
    nb::enum_<Loss>(m, "Loss")
        .value("NONE", Loss::kNone)
        .value("PROCESS_ENDED", Loss::kProcessEnded)
        .value("CONNECTION_CLOSED", Loss::kConnectionClosed)
        .value("BAD_FRAME", Loss::kBadFrame)
        .value("ABORTED", Loss::kAborted)
        .value("IO_ERROR", Loss::kIoError)
        .value("NIC_FAILURE", Loss::kNicFailure);
}

void bind_records(nb::module_& m) {
    nb::class_<WaitResult>(m, "WaitResult")
        .def_ro("status", &WaitResult::status)
        .def_ro("missing", &WaitResult::missing);
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
        .def_rw("caretaker", &CommunicatorConfig::caretaker)
        .def_rw("sleep_us_max", &CommunicatorConfig::sleep_us_max)
        .def_rw("cpus", &CommunicatorConfig::cpus)
        .def_rw("main_bytes", &CommunicatorConfig::main_bytes)
        .def_rw("heap_bytes", &CommunicatorConfig::heap_bytes)
        .def(
            "set_device_memory",
            [](CommunicatorConfig& config, uintptr_t address, uint64_t bytes) {
                config.device_memory = {reinterpret_cast<std::byte*>(address), bytes};
            },
            "address"_a, "bytes"_a)
        .def_rw("num_counters", &CommunicatorConfig::num_counters)
        .def_rw("layout", &CommunicatorConfig::layout)
        .def_rw("ring_slots", &CommunicatorConfig::ring_slots)
        .def_rw("epoch", &CommunicatorConfig::epoch)
        .def_rw("limits", &CommunicatorConfig::limits);
}

}  // namespace

void bind_types(nb::module_& m) {
    bind_outcomes(m);
    bind_records(m);
    bind_config(m);
}

}  // namespace crossdock::proxy
