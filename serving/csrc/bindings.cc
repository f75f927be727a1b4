// crossdock.serving._native: registers the core of speculation control, and nothing else. Arrays
// that it gives are views of its own memory; lists of numbers are read into memory that is kept.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "serving/csrc/acceptance.h"
#include "serving/csrc/bindings.h"
#include "serving/csrc/chooser.h"
#include "serving/csrc/correction.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace crossdock::serving;

namespace {

template <class T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using View = nb::ndarray<nb::numpy, const double, nb::ndim<1>>;

template <class T>
std::span<T> span_of(const Array<T>& array) {
    return {array.data(), array.size()};
}

View view_of(std::span<const double> values) {
    return View(values.data(), {values.size()});
}

void read_numbers(nb::handle sequence, std::vector<int64_t>& into) {
    const Items items(sequence);
    into.clear();
    for (PyObject* const item : items.get())
        into.push_back(number(item));
}

// The slots of requests, by name; `take` gives one to a request that has none.
void read_slots(const nb::dict& slots, const nb::callable& take, nb::handle names,
                std::vector<int64_t>& into) {
    const Items items(names);
    into.clear();
    for (PyObject* const name : items.get()) {
        PyObject* const slot = found_in(slots, name);
        into.push_back(slot ? number(slot) : number(take(nb::handle(name)).ptr()));
    }
}

// With memory for the columns of a step.
class ReadingAcceptance : public Acceptance {
  public:
    using Acceptance::Acceptance;

    void observe_step(const nb::dict& slots, const nb::callable& take, nb::handle names,
                      nb::handle drafts, nb::handle accepted) {
        read_slots(slots, take, names, slots_);
        read_numbers(drafts, drafts_);
        read_numbers(accepted, accepted_);
        observe(slots_, drafts_, accepted_);
    }

    const Groups& groups_of(const nb::dict& slots, const nb::callable& take, nb::handle names,
                            bool alike) {
        read_slots(slots, take, names, slots_);
        return groups(slots_, alike);
    }

    std::vector<double> chances_of(const nb::dict& slots, const nb::callable& take,
                                   nb::handle names) {
        read_slots(slots, take, names, slots_);
        std::vector<double> chances(slots_.size());
        of_requests(slots_, chances);
        return chances;
    }

  private:
    std::vector<int64_t> slots_, drafts_, accepted_;
};

// With memory for the recent steps.
class ReadingChooser : public Chooser {
  public:
    using Chooser::Chooser;

    void expect_prompts(double known, nb::handle recent, double generated) {
        read_numbers(recent, recent_);
        expect(known, recent_, generated);
    }

  private:
    std::vector<int64_t> recent_;
};

// Numbers as a list, none above its limit.
nb::list at_most(const Array<const int64_t>& values, nb::object limits) {
    const std::optional<Items> most =
        limits.is_none() ? std::nullopt : std::make_optional<Items>(limits);
    if (most && most->get().size() != values.size())
        throw std::invalid_argument("there must be a limit for each of " +
                                    std::to_string(values.size()) + " numbers, not " +
                                    std::to_string(most->get().size()));
    nb::object list = nb::steal(PyList_New(static_cast<Py_ssize_t>(values.size())));
    if (!list.is_valid()) throw nb::python_error();
    for (size_t i = 0; i < values.size(); ++i) {
        const int64_t limit = most ? number(most->get()[i]) : values.data()[i];
        PyObject* const value = PyLong_FromLongLong(std::min(values.data()[i], limit));
        if (value == nullptr) throw nb::python_error();
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), value);
    }
    return nb::borrow<nb::list>(list);
}

void bind_acceptance(nb::module_& m) {
    nb::class_<Groups>(m, "Groups")
        .def_prop_ro("requests", [](const Groups& groups) { return groups.group_of.size(); })
        .def_prop_ro("members",
                     [](const Groups& groups) {
                         return std::vector<double>(groups.members.begin(),
                                                    groups.members.begin() + groups.count);
                     })
        .def(
            "__init__",
            [](Groups* made, const Array<const double>& chances,
               const Array<const double>& positions, double all) {
                new (made) Groups(positions.size());
                made->sort(span_of(chances), span_of(positions), all);
            },
            "chances"_a, "positions"_a, "all"_a)
        .def_prop_ro(
            "survival",
            [](const Groups& groups) {
                return view_of({groups.survival.data(), groups.count * groups.positions});
            },
            nb::rv_policy::reference_internal);
    nb::class_<ReadingAcceptance>(m, "Acceptance")
        .def(nb::init<size_t, double, double>(), "positions"_a, "memory"_a, "request_memory"_a)
        .def("observe", &ReadingAcceptance::observe_step, "slots"_a, "take"_a, "requests"_a,
             "drafts"_a, "accepted"_a,
             nb::sig("def observe(self, slots: dict[str, int], "
                     "take: collections.abc.Callable[[str], int], "
                     "requests: collections.abc.Sequence[str], "
                     "drafts: collections.abc.Sequence[int], "
                     "accepted: collections.abc.Sequence[int]) -> None"))
        .def("recall", &Acceptance::recall)
        .def("clear", &Acceptance::clear, "slot"_a)
        .def("groups", &ReadingAcceptance::groups_of, "slots"_a, "take"_a, "requests"_a, "alike"_a,
             nb::rv_policy::reference_internal,
             nb::sig("def groups(self, slots: dict[str, int], "
                     "take: collections.abc.Callable[[str], int], "
                     "requests: collections.abc.Sequence[str], alike: bool) -> Groups"))
        .def("of_requests", &ReadingAcceptance::chances_of, "slots"_a, "take"_a, "requests"_a,
             nb::sig("def of_requests(self, slots: dict[str, int], "
                     "take: collections.abc.Callable[[str], int], "
                     "requests: collections.abc.Sequence[str]) -> list[float]"))
        .def_prop_ro("by_position",
                     [](const ReadingAcceptance& self) {
                         std::vector<double> chances(self.seen().accepted.size());
                         self.by_position(chances);
                         return chances;
                     })
        .def_prop_ro("chance", &Acceptance::chance)
        .def_prop_ro("suspected",
                     [](const ReadingAcceptance& self) { return self.change().suspected(); })
        .def_prop_ro("accepted", [](const ReadingAcceptance& self) { return self.seen().accepted; })
        .def_prop_ro("rejected",
                     [](const ReadingAcceptance& self) { return self.seen().rejected; });
}

void bind_chooser(nb::module_& m) {
    nb::class_<Costs>(m, "Costs")
        .def(nb::init<>())
        .def_rw("step_s", &Costs::step_s)
        .def_rw("request_s", &Costs::request_s)
        .def_rw("context_s", &Costs::context_s)
        .def_rw("draft_s", &Costs::draft_s)
        .def_rw("draft_first_request_s", &Costs::draft_first_request_s)
        .def_rw("draft_token_s", &Costs::draft_token_s)
        .def_rw("draft_request_s", &Costs::draft_request_s)
        .def_rw("knots", &Costs::knots)
        .def_rw("knots_s", &Costs::knots_s);
    auto choices = nb::class_<Choices>(m, "Choices");
    const auto view = [&](const char* name, std::vector<double> Choices::*member) {
        choices.def_prop_ro(
            name, [member](const Choices& self) { return view_of(self.*member); },
            nb::rv_policy::reference_internal);
    };
    view("tokens", &Choices::tokens);
    view("seconds", &Choices::seconds);
    view("drafts", &Choices::drafts);
    view("goodput", &Choices::goodput);
    view("worth", &Choices::worth);
    nb::class_<ReadingChooser>(m, "Chooser")
        .def(nb::init<size_t, Costs, double>(), "positions"_a, "costs"_a,
             "time_per_token_s"_a = Chooser::kNoBound)
        .def_prop_ro(
            "choices", [](const ReadingChooser& self) -> const Choices& { return self.choices(); },
            nb::rv_policy::reference_internal)
        .def("expect", &ReadingChooser::expect_prompts, "known"_a, "recent"_a, "generated"_a,
             nb::sig("def expect(self, known: float, recent: collections.abc.Sequence[int], "
                     "generated: float) -> None"))
        .def(
            "choose",
            [](ReadingChooser& self, const Groups& groups, double context,
               const Correction::Parts& factors, double fill) {
                const auto [engine, target, per_context, draft] = factors;
                self.choose(groups, context, {engine, target, per_context, draft}, fill);
            },
            "groups"_a, "context"_a, "factors"_a, "fill"_a)
        .def(
            "verify",
            [](const ReadingChooser& self, size_t length, const Groups& groups,
               const Array<int64_t>& drafts) {
                if (drafts.size() != groups.group_of.size())
                    throw std::invalid_argument("there must be a place for each request");
                self.verify(length, groups, span_of(drafts));
            },
            "length"_a, "groups"_a, "drafts"_a)
        .def("more_tokens_s", &Chooser::more_tokens_s, "tokens"_a, "more"_a, "factor"_a);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The core of speculation control: estimates, the chooser, the correction of costs.";
    m.def("at_most", &at_most, "values"_a, "limits"_a.none(),
          nb::sig("def at_most(values: numpy.typing.NDArray[numpy.int64], "
                  "limits: collections.abc.Sequence[int] | None) -> list[int]"));
    bind_acceptance(m);
    bind_chooser(m);
    bind_steps(m);
    nb::class_<Correction>(m, "Correction")
        .def(nb::init<const Correction::Parts&>(), "spread"_a)
        .def("observe", &Correction::observe, "parts"_a, "seconds"_a)
        .def_prop_ro("factors", [](Correction& self) { return self.factors(); });
}
