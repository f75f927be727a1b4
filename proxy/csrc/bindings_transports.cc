// How endpoints come to a communicator.
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "proxy/csrc/bindings.h"
#include "proxy/csrc/transport/shm/host.h"
#include "proxy/csrc/transport/tcp/tcp_endpoint.h"

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

void attach_tcp(Communicator& communicator, uint32_t proxy,
                const std::vector<std::pair<uint32_t, std::vector<int>>>& sockets,
                uint32_t queue_depth, uint32_t silence_ms) {
    std::vector<TcpPeer> peers;
    std::vector<uint32_t> ranks;
    for (const auto& [rank, fds] : sockets) {
        peers.push_back({rank, fds});
        ranks.push_back(rank);
    }
    auto endpoint = std::make_unique<TcpEndpoint>(
        communicator.config().rank, communicator.regions(), peers,
        TcpOptions{.queue_depth = queue_depth, .silence_ms = silence_ms});
    communicator.attach(proxy, std::move(endpoint), ranks);
}

void bind_transports(nb::module_& m) {
    bind_shm(m);
}

}  // namespace crossdock::proxy
