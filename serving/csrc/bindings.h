// The parts of crossdock.serving._native; and what they read Python's lists with.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <span>

namespace crossdock::serving {

// The elements of a list, or of whatever can be made one.
class Items {
  public:
    explicit Items(nanobind::handle sequence)
        : kept_(nanobind::steal(PySequence_Fast(sequence.ptr(), "a sequence is needed"))) {
        if (!kept_.is_valid()) throw nanobind::python_error();
        const auto size = static_cast<size_t>(PySequence_Fast_GET_SIZE(kept_.ptr()));
        items_ = {PySequence_Fast_ITEMS(kept_.ptr()), size};
    }
    std::span<PyObject* const> get() const { return items_; }

  private:
    nanobind::object kept_;
    std::span<PyObject* const> items_;
};

inline int64_t number(PyObject* object) {
    const int64_t value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred()) throw nanobind::python_error();
    return value;
}

// What a dictionary holds under a key, borrowed; null where it has none.
inline PyObject* found_in(nanobind::handle dictionary, PyObject* key) {
    PyObject* const value = PyDict_GetItemWithError(dictionary.ptr(), key);
    if (value == nullptr && PyErr_Occurred()) throw nanobind::python_error();
    return value;
}

// The same; throws KeyError where it has none.
inline PyObject* value_of(nanobind::handle dictionary, PyObject* key) {
    PyObject* const value = found_in(dictionary, key);
    if (value == nullptr) {
        PyErr_SetObject(PyExc_KeyError, key);
        throw nanobind::python_error();
    }
    return value;
}

void bind_steps(nanobind::module_& m);

}  // namespace crossdock::serving
