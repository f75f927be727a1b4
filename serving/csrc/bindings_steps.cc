// What vLLM's scheduler says of a step, in lists and dictionaries of hundreds of requests: read,
// and its drafts cut. crossdock.serving.vllm.seen says what for.
#include "serving/csrc/bindings.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nb = nanobind;
using namespace nb::literals;

namespace crossdock::serving {
namespace {

void check_sizes(const char* what, size_t own, size_t of) {
    if (own != of)
        throw std::invalid_argument("there are " + std::to_string(own) + " " + what + " for " +
                                    std::to_string(of) + " requests");
}

nb::object attribute(PyObject* of, nb::handle name) {
    nb::object value = nb::steal(PyObject_GetAttr(of, name.ptr()));
    if (!value.is_valid()) throw nb::python_error();
    return value;
}

size_t size_of(PyObject* sequence) {
    const Py_ssize_t size = PyObject_Size(sequence);
    if (size < 0) throw nb::python_error();
    return static_cast<size_t>(size);
}

bool contains(const nb::handle set, PyObject* name) {
    const int found = PySet_Contains(set.ptr(), name);
    if (found < 0) throw nb::python_error();
    return found == 1;
}

// Places of the requests that have fewer than `enough` tokens left.
nb::list near_end(nb::handle names, nb::handle had, const nb::dict& ends, int64_t enough) {
    const Items of(names), counts(had);
    check_sizes("counts", counts.get().size(), of.get().size());
    nb::list places;
    for (size_t i = 0; i < of.get().size(); ++i)
        if (number(value_of(ends, of.get()[i])) - number(counts.get()[i]) < enough)
            places.append(i);
    return places;
}

// A request of vLLM that goes on: it was neither ended nor preempted while the step ran.
class Alive {
  public:
    explicit Alive(int64_t last_status) : last_status_(last_status) {}

    bool operator()(PyObject* request) const {
        return number(attribute(request, stale_).ptr()) <= 0 &&
               number(attribute(request, status_).ptr()) <= last_status_;
    }

  private:
    const nb::str stale_{nb::steal<nb::str>(PyUnicode_InternFromString("num_stale_output_tokens"))};
    const nb::str status_{nb::steal<nb::str>(PyUnicode_InternFromString("status"))};
    const int64_t last_status_;
};

nb::tuple verified(const nb::dict& requests, const nb::dict& drafts, nb::handle sampled,
                   const nb::dict& places, const nb::set& left_out, const nb::dict& invalid,
                   int64_t last_alive) {
    const Alive alive(last_alive);
    const Items tokens(sampled);
    nb::list names, counts, accepted;
    PyObject *name = nullptr, *own = nullptr;
    for (Py_ssize_t next = 0; PyDict_Next(drafts.ptr(), &next, &name, &own);) {
        PyObject* const request = found_in(requests, name);
        if (request == nullptr || !alive(request)) continue;
        const auto place = static_cast<size_t>(number(value_of(places, name)));
        if (place >= tokens.get().size())
            throw std::out_of_range("a request is at place " + std::to_string(place) + " of " +
                                    std::to_string(tokens.get().size()) + " that have tokens");
        const auto right = static_cast<int64_t>(size_of(tokens.get()[place])) - 1;
        auto count = static_cast<int64_t>(size_of(own));
        if (PyObject* const ruled_out = found_in(invalid, name)) count -= number(ruled_out);
        if (right < 0 || count <= 0 || contains(left_out, name)) continue;
        names.append(nb::handle(name));
        counts.append(count);
        accepted.append(std::min(right, count));
    }
    return nb::make_tuple(names, counts, accepted);
}

// The drafts that a request is to verify, in whatever order the worker has the requests.
class Allowed {
  public:
    Allowed(nb::handle names, nb::handle verify, int64_t most)
        : names_(names), verify_(verify), most_(most) {
        check_sizes("numbers of drafts", verify_.get().size(), names_.get().size());
    }

    // As a rule the order is that of the plan, and no name must be looked up.
    int64_t of(size_t place, PyObject* name) {
        if (place < names_.get().size() && names_.get()[place] == name)
            return number(verify_.get()[place]);
        if (by_name_.size() == 0)
            for (size_t i = 0; i < names_.get().size(); ++i)
                if (PyDict_SetItem(by_name_.ptr(), names_.get()[i], verify_.get()[i]) != 0)
                    throw nb::python_error();
        PyObject* const found = found_in(by_name_, name);
        return found == nullptr ? most_ : number(found);
    }

  private:
    const Items names_, verify_;
    const int64_t most_;
    nb::dict by_name_;
};

nb::list cut(nb::handle drafted, nb::handle tokens, nb::handle names, nb::handle verify,
             int64_t most) {
    const Items of(drafted), own(tokens);
    check_sizes("drafts", own.get().size(), of.get().size());
    Allowed allowed(names, verify, most);
    nb::list kept;
    for (size_t i = 0; i < of.get().size(); ++i) {
        PyObject* const draft = own.get()[i];
        const int64_t end = allowed.of(i, of.get()[i]);
        if (static_cast<int64_t>(size_of(draft)) <= end) {
            kept.append(nb::handle(draft));
            continue;
        }
        nb::object part = nb::steal(PySequence_GetSlice(draft, 0, end));
        if (!part.is_valid()) throw nb::python_error();
        kept.append(part);
    }
    return kept;
}

}  // namespace

void bind_steps(nb::module_& m) {
    m.def("near_end", &near_end, "names"_a, "had"_a, "ends"_a, "enough"_a,
          nb::sig("def near_end(names: collections.abc.Sequence[str], "
                  "had: collections.abc.Sequence[int], ends: dict[str, int], "
                  "enough: int) -> list[int]"));
    m.def("verified", &verified, "requests"_a, "drafts"_a, "sampled"_a, "places"_a, "left_out"_a,
          "invalid"_a, "last_alive"_a,
          nb::sig("def verified(requests: dict[str, object], "
                  "drafts: dict[str, list[int]], "
                  "sampled: collections.abc.Sequence[collections.abc.Sequence[int]], "
                  "places: dict[str, int], left_out: set[str], invalid: dict[str, int], "
                  "last_alive: int) -> tuple[list[str], list[int], list[int]]"));
    m.def("cut", &cut, "drafted"_a, "tokens"_a, "names"_a, "verify"_a, "most"_a,
          nb::sig("def cut(drafted: collections.abc.Sequence[str], "
                  "tokens: collections.abc.Sequence[list[int]], "
                  "names: collections.abc.Sequence[str], "
                  "verify: collections.abc.Sequence[int], most: int) -> list[list[int]]"));
}

}  // namespace crossdock::serving
