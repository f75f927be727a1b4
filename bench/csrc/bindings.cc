// crossdock.bench._native.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <system_error>

#include "bench/csrc/latency.h"
#include "bench/csrc/meeting.h"
#include "bench/csrc/ping_pong.h"
#include "bench/csrc/stream.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace crossdock::bench;
using crossdock::proxy::DeviceView;

namespace {

using Released = nb::call_guard<nb::gil_scoped_release>;

void translate(const std::exception_ptr& thrown, void*) {
    try {
        std::rethrow_exception(thrown);
    } catch (const std::system_error& error) {
        const nb::object arguments = nb::make_tuple(error.code().value(), error.what());
        PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
}

std::byte* at(uintptr_t address) {
    return reinterpret_cast<std::byte*>(address);
}

const DeviceView& view_at(uintptr_t address) {
    return *reinterpret_cast<const DeviceView*>(address);
}

void bind_stream(nb::module_& m) {
    nb::class_<StreamPlan>(m, "StreamPlan")
        .def(nb::init<>())
        .def_rw("producers", &StreamPlan::producers)
        .def_rw("batch", &StreamPlan::batch)
        .def_rw("commands", &StreamPlan::commands)
        .def_rw("slots", &StreamPlan::slots)
        .def_rw("in_order", &StreamPlan::in_order)
        .def_rw("producer_cpus", &StreamPlan::producer_cpus)
        .def_rw("consumer_cpu", &StreamPlan::consumer_cpu);
    nb::class_<StreamResult>(m, "StreamResult")
        .def_ro("seconds", &StreamResult::seconds)
        .def_ro("wrong", &StreamResult::wrong);
    m.def("stream_ring", &stream_ring, "plan"_a, Released());
    m.def("stream_locked", &stream_locked, "plan"_a, Released());
}

void bind_latency(nb::module_& m) {
    m.def(
        "command_latencies",
        [](uintptr_t view, uint32_t peer, uint32_t bytes, uint32_t count, double timeout_s) {
            return command_latencies(view_at(view), peer, bytes, count, timeout_s);
        },
        "view"_a, "peer"_a, "bytes"_a, "count"_a, "timeout_s"_a, Released());
    m.def("locked_latencies", &locked_latencies, "bytes"_a, "count"_a, "worker_cpu"_a, Released());
}

void bind_ping_pong(nb::module_& m) {
    nb::class_<PingPong>(m, "PingPong")
        .def(nb::init<>())
        .def_rw("bytes", &PingPong::bytes)
        .def_rw("count", &PingPong::count)
        .def_rw("first", &PingPong::first)
        .def_rw("timeout_s", &PingPong::timeout_s);
    m.def(
        "ping_pong_writes",
        [](uintptr_t view, uint32_t peer, uint64_t src, uint64_t dst, uint32_t counter,
           const PingPong& plan) {
            return ping_pong_writes(view_at(view), peer, src, dst, counter, plan);
        },
        "view"_a, "peer"_a, "src"_a, "dst"_a, "counter"_a, "plan"_a, Released());
    m.def(
        "ping_pong_socket",
        [](int fd, uintptr_t src, uintptr_t dst, const PingPong& plan) {
            return ping_pong_socket(fd, at(src), at(dst), plan);
        },
        "fd"_a, "src"_a, "dst"_a, "plan"_a, Released());
    m.def(
        "copies",
        [](uintptr_t src, uintptr_t dst, uint64_t bytes, uint32_t count) {
            return copies(at(src), at(dst), bytes, count);
        },
        "src"_a, "dst"_a, "bytes"_a, "count"_a, Released());
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Measuring loops of crossdock.bench. Addresses are plain numbers.";
    nb::register_exception_translator(translate);
    m.attr("MEETING_BYTES") = sizeof(Meeting);
    m.def(
        "meet",
        [](uintptr_t meeting, uint32_t size, double timeout_s) {
            return reinterpret_cast<Meeting*>(meeting)->meet(size, deadline_after(timeout_s));
        },
        "meeting"_a, "size"_a, "timeout_s"_a, Released());
    bind_stream(m);
    bind_latency(m);
    bind_ping_pong(m);
}
