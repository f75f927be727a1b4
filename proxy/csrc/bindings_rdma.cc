// RDMA devices and the transports over them.
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <system_error>

#include "proxy/csrc/bindings.h"
#include "proxy/csrc/rdma/registration_proof.h"
#include "proxy/csrc/transport/efa/host.h"
#include "proxy/csrc/transport/verbs/host.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace crossdock::proxy {

namespace {

using Released = nb::call_guard<nb::gil_scoped_release>;

void bind_facts(nb::module_& m) {
    nb::class_<rdma::GidFacts>(m, "GidFacts")
        .def_ro("index", &rdma::GidFacts::index)
        .def_prop_ro("text", [](const rdma::GidFacts& g) { return rdma::text_of(g.gid); })
        .def_ro("type", &rdma::GidFacts::type);
    nb::class_<rdma::PortFacts>(m, "PortFacts")
        .def_ro("number", &rdma::PortFacts::number)
        .def_ro("active", &rdma::PortFacts::active)
        .def_ro("state", &rdma::PortFacts::state)
        .def_ro("link_layer", &rdma::PortFacts::link_layer)
        .def_ro("mtu_bytes", &rdma::PortFacts::mtu_bytes)
        .def_ro("max_message_bytes", &rdma::PortFacts::max_message_bytes)
        .def_ro("lid", &rdma::PortFacts::lid)
        .def_ro("gids", &rdma::PortFacts::gids);
    nb::class_<rdma::DeviceFacts>(m, "DeviceFacts")
        .def_ro("name", &rdma::DeviceFacts::name)
        .def_ro("transport", &rdma::DeviceFacts::transport)
        .def_ro("firmware", &rdma::DeviceFacts::firmware)
        .def_ro("vendor", &rdma::DeviceFacts::vendor)
        .def_ro("part", &rdma::DeviceFacts::part)
        .def_ro("max_queue_pairs", &rdma::DeviceFacts::max_queue_pairs)
        .def_ro("max_queue_depth", &rdma::DeviceFacts::max_queue_depth)
        .def_ro("max_completions", &rdma::DeviceFacts::max_completions)
        .def_ro("max_shared_receives", &rdma::DeviceFacts::max_shared_receives)
        .def_ro("atomics", &rdma::DeviceFacts::atomics)
        .def_ro("ports", &rdma::DeviceFacts::ports);
    m.def("list_rdma_devices", &rdma::list_devices, Released());
}

void bind_addresses(nb::module_& m) {
    nb::class_<rdma::NicChoice>(m, "NicChoice")
        .def(nb::init<>())
        .def_rw("device", &rdma::NicChoice::device)
        .def_rw("port", &rdma::NicChoice::port)
        .def_rw("gid_index", &rdma::NicChoice::gid_index)
        .def_rw("roce_version", &rdma::NicChoice::roce_version)
        .def_rw("mtu_bytes", &rdma::NicChoice::mtu_bytes);
    nb::class_<rdma::NicAddress>(m, "NicAddress")
        .def(nb::init<>())
        .def_rw("gid", &rdma::NicAddress::gid)
        .def_rw("lid", &rdma::NicAddress::lid)
        .def_rw("mtu_bytes", &rdma::NicAddress::mtu_bytes)
        .def_rw("ethernet", &rdma::NicAddress::ethernet);
    nb::class_<rdma::RemoteRegion>(m, "RemoteRegion")
        .def(nb::init<>())
        .def_rw("base", &rdma::RemoteRegion::base)
        .def_rw("bytes", &rdma::RemoteRegion::bytes)
        .def_rw("shift", &rdma::RemoteRegion::shift)
        .def_rw("keys", &rdma::RemoteRegion::keys);
    nb::class_<rdma::RemoteNic>(m, "RemoteNic")
        .def(nb::init<>())
        .def_rw("address", &rdma::RemoteNic::address)
        .def_rw("regions", &rdma::RemoteNic::regions)
        .def_rw("counters", &rdma::RemoteNic::counters);
}

// What can be tried without a peer. Each throws RdmaError with the reason and what may help.
void bind_trials(nb::module_& m) {
    nb::class_<rdma::RegistrationProof>(m, "RegistrationProof")
        .def_ro("nic", &rdma::RegistrationProof::nic)
        .def_ro("gid_index", &rdma::RegistrationProof::gid_index)
        .def_ro("gid", &rdma::RegistrationProof::gid)
        .def_ro("pieces", &rdma::RegistrationProof::pieces);
    m.def("prove_registration", &rdma::prove_registration, "choice"_a, "bytes"_a, Released());
    m.def("need_libibverbs", [] { rdma::verbs(); });
    m.def("need_libefa", [] { rdma::efa(); });
    m.def(
        "need_remote_writes", [](const rdma::NicChoice& c) { efa::efa_limits(rdma::Nic(c)); },
        "efa_device"_a, Released());
}

// Both transports are set up alike.
template <class Host, class Options>
void bind_host(nb::module_& m, const char* name) {
    nb::class_<Host>(m, name)
        .def(nb::init<Communicator&, const std::vector<rdma::NicChoice>&, uint32_t,
                      const Options&>(),
             "communicator"_a, "nics"_a, "num_peers"_a, "options"_a, nb::keep_alive<1, 2>())
        .def("contact", &Host::contact)
        .def("nic_names", &Host::nic_names)
        .def("reach", &Host::reach, "peer"_a, "contact"_a, Released())
        .def("queue_pairs", &Host::queue_pairs, "proxy"_a, "peer"_a)
        .def("connect", &Host::connect, "proxy"_a, "peer"_a, "theirs"_a, Released())
        .def(
            "prove",
            [](Host& host, uint32_t word, double timeout_s) {
                host.prove(word, std::chrono::milliseconds(static_cast<int64_t>(1e3 * timeout_s)));
            },
            "word"_a, "timeout_s"_a, Released())
        .def("attach", &Host::attach, "proxy"_a, "sockets"_a)
        .def("release", &Host::release);
}

void bind_verbs(nb::module_& m) {
    nb::class_<verbs::HostOptions>(m, "VerbsOptions")
        .def(nb::init<>())
        .def_rw("writes_per_peer", &verbs::HostOptions::writes_per_peer)
        .def_rw("inline_bytes", &verbs::HostOptions::inline_bytes)
        .def_rw("mend_ms", &verbs::HostOptions::mend_ms)
        .def_rw("silence_ms", &verbs::HostOptions::silence_ms)
        .def_rw("paths_max", &verbs::HostOptions::paths_max)
        .def_prop_rw(
            "traffic_class", [](const verbs::HostOptions& o) { return o.service.traffic_class; },
            [](verbs::HostOptions& o, uint8_t v) { o.service.traffic_class = v; })
        .def_prop_rw(
            "service_level", [](const verbs::HostOptions& o) { return o.service.service_level; },
            [](verbs::HostOptions& o, uint8_t v) { o.service.service_level = v; });
    bind_host<verbs::Host, verbs::HostOptions>(m, "VerbsHost");
}

void bind_efa(nb::module_& m) {
    nb::class_<efa::HostOptions>(m, "EfaOptions")
        .def(nb::init<>())
        .def_rw("writes_per_peer", &efa::HostOptions::writes_per_peer)
        .def_rw("silence_ms", &efa::HostOptions::silence_ms);
    bind_host<efa::Host, efa::HostOptions>(m, "EfaHost");
}

}  // namespace

void bind_rdma(nb::module_& m) {
    // RdmaError becomes an OSError with the message as it is.
    nb::register_exception_translator([](const std::exception_ptr& p, void*) {
        try {
            std::rethrow_exception(p);
        } catch (const rdma::RdmaError& error) {
            const nb::str text(error.what());
            const nb::tuple arguments =
                error.code() == 0 ? nb::make_tuple(text) : nb::make_tuple(error.code(), text);
            PyErr_SetObject(PyExc_OSError, arguments.ptr());
        }
    });
    bind_facts(m);
    bind_addresses(m);
    bind_trials(m);
    bind_verbs(m);
    bind_efa(m);
}

}  // namespace crossdock::proxy
