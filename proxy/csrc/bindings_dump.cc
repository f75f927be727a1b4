// The state of a rank as JSON, and the service that dumps it when a signal comes.
#include <nanobind/stl/string.h>

#include <string>

#include "proxy/csrc/bindings.h"
#include "proxy/csrc/dump_service.h"
#include "proxy/csrc/snapshot.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace crossdock::proxy {

void bind_dump(nb::module_& m) {
    using Released = nb::call_guard<nb::gil_scoped_release>;
    m.def("snapshot", &snapshot, "communicator"_a, Released());
    nb::class_<DumpService>(m, "DumpService")
        .def_static("instance", &DumpService::instance, nb::rv_policy::reference)
        .def("start", &DumpService::start, "signal"_a)
        .def("add", &DumpService::add, "communicator"_a, "facts"_a, "path"_a)
        .def("remove", &DumpService::remove, "number"_a, Released())
        .def("await_request", &DumpService::await_request, Released())
        .def("answered", &DumpService::answered, Released())
        .def("stop", &DumpService::stop, Released());
}

}  // namespace crossdock::proxy
