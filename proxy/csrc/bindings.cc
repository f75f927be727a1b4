// crossdock.proxy._native.
#include "proxy/csrc/bindings.h"

#include <nanobind/stl/string.h>

#include <stdexcept>
#include <system_error>

namespace nb = nanobind;

namespace {

// std::system_error becomes OSError with its errno, std::invalid_argument ValueError (nanobind's
// own choice), so that Python can tell what was refused from what failed.
void translate(const std::exception_ptr& thrown, void*) {
    try {
        std::rethrow_exception(thrown);
    } catch (const std::system_error& error) {
        const nb::object arguments = nb::make_tuple(error.code().value(), error.what());
        PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The native core of crossdock.proxy.";
    // A tensor over the heap may outlive the interpreter: torch frees it after nanobind has
    // counted.
    nb::set_leak_warnings(false);
    nb::register_exception_translator(translate);
    crossdock::proxy::bind_types(m);
    crossdock::proxy::bind_communicator(m);
    crossdock::proxy::bind_dump(m);
    crossdock::proxy::bind_rdma(m);
    crossdock::proxy::bind_transports(m);
}
