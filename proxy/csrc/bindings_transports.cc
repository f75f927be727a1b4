// How endpoints come to a communicator.
#include <nanobind/stl/array.h>

#include "proxy/csrc/bindings.h"
#include "proxy/csrc/transport/shm/host.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace crossdock::proxy {

namespace {

using Released = nb::call_guard<nb::gil_scoped_release>;

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

void bind_transports(nb::module_& m) { bind_shm(m); }

}  // namespace crossdock::proxy
