// The parts of crossdock.proxy._native; each registers its classes, and nothing else.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "proxy/csrc/communicator.h"

namespace crossdock::proxy {

// Takes over connected sockets, also when it throws.
void attach_tcp(Communicator& communicator, uint32_t proxy,
                const std::vector<std::pair<uint32_t, std::vector<int>>>& sockets,
                uint32_t queue_depth, uint32_t silence_ms);

void bind_types(nanobind::module_& m);
void bind_communicator(nanobind::module_& m);
void bind_dump(nanobind::module_& m);
void bind_rdma(nanobind::module_& m);
void bind_transports(nanobind::module_& m);

}  // namespace crossdock::proxy
