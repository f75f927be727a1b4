// The parts of crossdock.proxy._native; each registers its classes, and nothing else.
#pragma once

#include <nanobind/nanobind.h>

namespace crossdock::proxy {

void bind_types(nanobind::module_& m);
void bind_communicator(nanobind::module_& m);
void bind_transports(nanobind::module_& m);

}  // namespace crossdock::proxy
