// crossdock.ep._native: registers the CPU device, and nothing else. Pointers cross as integers, as
// torch.Tensor.data_ptr() gives them; crossdock.ep checks tensors before they get here.
#include <algorithm>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "ep/csrc/engine.h"
#include "ep/csrc/kernels/kernels.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace crossdock::ep;

namespace {

using Released = nb::call_guard<nb::gil_scoped_release>;

template <class T, class P>
void pointer(nb::class_<T>& cls, const char* name, P* T::*member) {
    cls.def_prop_rw(
        name, [member](const T& self) { return reinterpret_cast<uintptr_t>(self.*member); },
        [member](T& self, uintptr_t value) { self.*member = reinterpret_cast<P*>(value); });
}

Engine::Timeout milliseconds(double seconds) {
    constexpr double kLongestSeconds = 1e6;
    return Engine::Timeout(static_cast<int64_t>(std::min(seconds, kLongestSeconds) * 1000));
}

void bind_endings(nb::module_& m) {
    nb::enum_<RunStatus>(m, "RunStatus")
        .value("DONE", RunStatus::kDone)
        .value("DEADLINE", RunStatus::kDeadline)
        .value("PEER_GONE", RunStatus::kPeerGone)
        .value("CUT_OFF", RunStatus::kCutOff)
        .value("FAULT", RunStatus::kFault);
    nb::enum_<Refusal>(m, "Refusal")
        .value("NONE", Refusal::kNone)
        .value("ARGUMENTS", Refusal::kArguments)
        .value("MEMORY", Refusal::kMemory);
    nb::class_<Outcome>(m, "Outcome")
        .def_ro("status", &Outcome::status)
        .def_ro("missing", &Outcome::missing)
        .def_ro("held_up", &Outcome::held_up)
        .def_ro("waited_for", &Outcome::waited_for)
        .def_ro("counter", &Outcome::counter);
    nb::class_<Disagreement>(m, "Disagreement")
        .def_ro("peer", &Disagreement::peer)
        .def_ro("refusal", &Disagreement::refusal)
        .def_prop_ro("field", [](const Disagreement& d) { return Agreement::kNames[d.field]; })
        .def_ro("theirs", &Disagreement::theirs)
        .def_ro("mine", &Disagreement::mine);
    nb::class_<Ended<Disagreement>>(m, "Ended")
        .def_ro("outcome", &Ended<Disagreement>::outcome)
        .def_ro("mismatch", &Ended<Disagreement>::mismatch);
}

// What kernels of a GPU must know to write and read the messages themselves.
void bind_control(nb::module_& m) {
    m.attr("HEADER_COUNTER") = static_cast<uint32_t>(kHeaderCounter);
    m.attr("GRANT_COUNTER") = static_cast<uint32_t>(kGrantCounter);
    m.attr("ROW_COUNTER") = static_cast<uint32_t>(kRowCounter);
    m.attr("AGREEMENT_FIELDS") =
        nb::cast(std::vector<std::string>(Agreement::kNames.begin(), Agreement::kNames.end()));
    nb::enum_<Call>(m, "Call")
        .value("DISPATCH", Call::kDispatch)
        .value("CACHED_DISPATCH", Call::kCachedDispatch)
        .value("COMBINE", Call::kCombine);
    nb::class_<ControlArea>(m, "ControlArea")
        .def(nb::init<uint32_t>(), "num_ranks"_a)
        .def_prop_ro("header_bytes", [](const ControlArea&) { return ControlArea::kHeaderBytes; })
        .def_prop_ro("grant_bytes", &ControlArea::grant_bytes)
        .def("header", &ControlArea::header, "outgoing"_a, "round"_a, "peer"_a)
        .def("grant", &ControlArea::grant, "outgoing"_a, "round"_a, "peer"_a);
}

void bind_normal(nb::module_& m) {
    nb::class_<NormalHandle>(m, "NormalHandle")
        .def(nb::init<>())
        .def_static("empty", &NormalHandle::empty, "num_ranks"_a, "num_nodes"_a)
        .def_ro("num_tokens", &NormalHandle::num_tokens)
        .def_ro("num_recv", &NormalHandle::num_recv)
        .def_ro("first_row", &NormalHandle::first_row)
        .def_ro("complete", &NormalHandle::complete)
        .def_prop_ro("num_forwarded", [](const NormalHandle& handle) {
            uint64_t rows = 0;
            for (const auto& forwarded : handle.forwarded)
                rows += forwarded.rows;
            return rows;
        });
    auto input = nb::class_<DispatchInput>(m, "DispatchInput")
                     .def(nb::init<>())
                     .def_rw("num_tokens", &DispatchInput::num_tokens)
                     .def_rw("hidden_bytes", &DispatchInput::hidden_bytes)
                     .def_rw("element_bytes", &DispatchInput::element_bytes)
                     .def_rw("topk", &DispatchInput::topk)
                     .def_rw("num_scales", &DispatchInput::num_scales)
                     .def_rw("num_experts", &DispatchInput::num_experts)
                     .def_rw("cached", &DispatchInput::cached)
                     .def_rw("x_region", &DispatchInput::x_region)
                     .def_rw("refusal", &DispatchInput::refusal)
                     .def(
                         "set_scale_strides",
                         [](DispatchInput& self, int64_t row, int64_t column) {
                             self.scale_strides[0] = row;
                             self.scale_strides[1] = column;
                         },
                         "row"_a, "column"_a);
    pointer(input, "topk_idx", &DispatchInput::topk_idx);
    pointer(input, "topk_weights", &DispatchInput::topk_weights);
    pointer(input, "scales", &DispatchInput::scales);
    pointer(input, "is_token_in_rank", &DispatchInput::is_token_in_rank);
    pointer(input, "tokens_per_expert", &DispatchInput::tokens_per_expert);
    nb::class_<DispatchPlaces>(m, "DispatchPlaces")
        .def(nb::init<>())
        .def_rw("rows_at", &DispatchPlaces::rows_at)
        .def_rw("meta_at", &DispatchPlaces::meta_at)
        .def_rw("node_rows_at", &DispatchPlaces::node_rows_at)
        .def_rw("node_meta_at", &DispatchPlaces::node_meta_at)
        .def_rw("own_meta_at", &DispatchPlaces::own_meta_at)
        .def_rw("refusal", &DispatchPlaces::refusal);
    auto output = nb::class_<DispatchOutput>(m, "DispatchOutput")
                      .def(nb::init<>())
                      .def_rw("num_rows", &DispatchOutput::num_rows);
    pointer(output, "topk_idx", &DispatchOutput::topk_idx);
    pointer(output, "topk_weights", &DispatchOutput::topk_weights);
    pointer(output, "scales", &DispatchOutput::scales);
}

void bind_normal_combine(nb::module_& m) {
    nb::enum_<RowType>(m, "RowType")
        .value("BF16", RowType::kBf16)
        .value("FLOAT32", RowType::kFloat32);
    auto combine = nb::class_<CombineInput>(m, "CombineInput")
                       .def(nb::init<>())
                       .def_rw("hidden", &CombineInput::hidden)
                       .def_rw("row_type", &CombineInput::row_type)
                       .def_rw("topk", &CombineInput::topk)
                       .def_rw("x_region", &CombineInput::x_region)
                       .def_rw("refusal", &CombineInput::refusal)
                       .def_prop_ro("row_bytes", &CombineInput::row_bytes)
                       .def_prop_ro("meta_bytes", &CombineInput::meta_bytes)
                       .def(
                           "set_bias",
                           [](CombineInput& self, uint32_t index, uintptr_t bias) {
                               self.biases.at(index) = reinterpret_cast<const std::byte*>(bias);
                           },
                           "index"_a, "bias"_a);
    pointer(combine, "topk_weights", &CombineInput::topk_weights);
    pointer(combine, "out", &CombineInput::out);
    pointer(combine, "out_weights", &CombineInput::out_weights);
    nb::class_<CombineSizes>(m, "CombineSizes")
        .def_ro("rows", &CombineSizes::rows)
        .def_ro("node_rows", &CombineSizes::node_rows)
        .def_ro("partial_rows", &CombineSizes::partial_rows)
        .def_ro("own_rows", &CombineSizes::own_rows);
    nb::class_<CombinePlaces>(m, "CombinePlaces")
        .def(nb::init<>())
        .def_rw("rows_at", &CombinePlaces::rows_at)
        .def_rw("meta_at", &CombinePlaces::meta_at)
        .def_rw("node_rows_at", &CombinePlaces::node_rows_at)
        .def_rw("node_meta_at", &CombinePlaces::node_meta_at)
        .def_rw("partial_rows_at", &CombinePlaces::partial_rows_at)
        .def_rw("partial_meta_at", &CombinePlaces::partial_meta_at)
        .def_rw("own_meta_at", &CombinePlaces::own_meta_at);
}

void bind_low_latency(nb::module_& m) {
    nb::class_<LowLatencyShape>(m, "LowLatencyShape")
        .def(nb::init<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>(), "max_tokens"_a,
             "hidden"_a, "num_experts"_a, "topk"_a, "format"_a)
        .def_ro("max_tokens", &LowLatencyShape::max_tokens)
        .def_ro("hidden", &LowLatencyShape::hidden)
        .def_ro("num_experts", &LowLatencyShape::num_experts)
        .def_ro("topk", &LowLatencyShape::topk)
        .def_ro("format", &LowLatencyShape::format);
    nb::class_<LowLatencyLayout>(m, "LowLatencyLayout")
        .def_prop_ro("headers", [](const LowLatencyLayout& l) { return l.header(0); })
        .def_prop_ro("out_headers", [](const LowLatencyLayout& l) { return l.out_header(0); })
        .def_prop_ro("tokens", [](const LowLatencyLayout& l) { return l.token(0, 0); })
        .def_prop_ro("tokens_end", &LowLatencyLayout::tokens_end)
        .def_prop_ro("slot_bytes",
                     [](const LowLatencyLayout& l) { return l.token(0, 1) - l.token(0, 0); })
        .def_prop_ro("out_tokens", [](const LowLatencyLayout& l) { return l.out_token(0); })
        .def_prop_ro("results", [](const LowLatencyLayout& l) { return l.result(0, 0); })
        .def_prop_ro("results_per_token",
                     [](const LowLatencyLayout& l) {
                         return (l.result(1, 0) - l.result(0, 0)) /
                                (l.result(0, 1) - l.result(0, 0));
                     })
        .def_prop_ro("out_results", [](const LowLatencyLayout& l) { return l.out_result(0); });
    nb::class_<LowLatencyHandle>(m, "LowLatencyHandle")
        .def(nb::init<>())
        .def_ro("round", &LowLatencyHandle::round)
        .def_ro("shape", &LowLatencyHandle::shape)
        .def_ro("num_tokens", &LowLatencyHandle::num_tokens);
    auto input = nb::class_<LowLatencyDispatchInput>(m, "LowLatencyDispatchInput")
                     .def(nb::init<>())
                     .def_rw("shape", &LowLatencyDispatchInput::shape)
                     .def_rw("num_tokens", &LowLatencyDispatchInput::num_tokens);
    pointer(input, "x", &LowLatencyDispatchInput::x);
    pointer(input, "topk_idx", &LowLatencyDispatchInput::topk_idx);
    auto output =
        nb::class_<LowLatencyDispatchOutput>(m, "LowLatencyDispatchOutput").def(nb::init<>());
    pointer(output, "x", &LowLatencyDispatchOutput::x);
    pointer(output, "scales", &LowLatencyDispatchOutput::scales);
    pointer(output, "count", &LowLatencyDispatchOutput::count);
    pointer(output, "src_info", &LowLatencyDispatchOutput::src_info);
    pointer(output, "range", &LowLatencyDispatchOutput::range);
    pointer(output, "statistics", &LowLatencyDispatchOutput::statistics);
    pointer(output, "wait_us", &LowLatencyDispatchOutput::wait_us);
    auto combine = nb::class_<LowLatencyCombineInput>(m, "LowLatencyCombineInput")
                       .def(nb::init<>())
                       .def_rw("logfmt", &LowLatencyCombineInput::logfmt);
    pointer(combine, "x", &LowLatencyCombineInput::x);
    pointer(combine, "topk_idx", &LowLatencyCombineInput::topk_idx);
    pointer(combine, "topk_weights", &LowLatencyCombineInput::topk_weights);
    pointer(combine, "out", &LowLatencyCombineInput::out);
    pointer(combine, "wait_us", &LowLatencyCombineInput::wait_us);
    nb::class_<LowLatencyMismatch>(m, "LowLatencyMismatch")
        .def_ro("peer", &LowLatencyMismatch::peer)
        .def_ro("theirs", &LowLatencyMismatch::theirs);
    nb::class_<Ended<LowLatencyMismatch>>(m, "LowLatencyEnded")
        .def_ro("outcome", &Ended<LowLatencyMismatch>::outcome)
        .def_ro("mismatch", &Ended<LowLatencyMismatch>::mismatch);
}

int64_t layout(const Engine& engine, uintptr_t topk_idx, uint32_t num_tokens, uint32_t topk,
               uint32_t num_experts, uintptr_t per_rank, uintptr_t per_node, uintptr_t per_expert,
               uintptr_t in_rank) {
    return compute_layout(
        reinterpret_cast<const int64_t*>(topk_idx), num_tokens, topk, num_experts,
        engine.topology(),
        {reinterpret_cast<int32_t*>(per_rank), reinterpret_cast<int32_t*>(per_node),
         reinterpret_cast<int32_t*>(per_expert), reinterpret_cast<bool*>(in_rank)});
}

std::optional<std::pair<uint32_t, int32_t>> miscount(uintptr_t topk_idx, uint32_t num_tokens,
                                                     uint32_t topk, uintptr_t per_expert,
                                                     uint32_t num_experts) {
    const auto found = first_miscount(reinterpret_cast<const int64_t*>(topk_idx), num_tokens, topk,
                                      {reinterpret_cast<const int32_t*>(per_expert), num_experts});
    if (!found) return std::nullopt;
    return std::pair(found->expert, found->counted);
}

void bind_engine(nb::module_& m) {
    nb::class_<Engine>(m, "Engine")
        .def(
            "__init__",
            [](Engine* self, uintptr_t view, std::vector<uint32_t> node_of, uint64_t at,
               uint64_t bytes) {
                new (self) Engine(*reinterpret_cast<const DeviceView*>(view), std::move(node_of),
                                  at, bytes);
            },
            "device_view"_a, "node_of"_a, "low_latency_at"_a, "low_latency_bytes"_a)
        .def_prop_ro("num_nodes", [](const Engine& e) { return e.topology().num_nodes(); })
        .def("layout", &layout, "topk_idx"_a, "num_tokens"_a, "topk"_a, "num_experts"_a,
             "per_rank"_a, "per_node"_a, "per_expert"_a, "in_rank"_a, Released())
        .def(
            "meta_stride",
            [](const Engine& e, const DispatchInput& input) {
                return e.normal_dispatch().meta(input).stride();
            },
            "input"_a)
        .def(
            "announce",
            [](Engine& e, const DispatchInput& input, NormalHandle& handle, double timeout_s) {
                std::vector<uint32_t> expert_rows;
                auto ended = e.announce(input, handle, expert_rows, milliseconds(timeout_s));
                return std::make_tuple(std::move(ended), std::move(expert_rows));
            },
            "input"_a, "handle"_a, "timeout_s"_a, Released())
        .def(
            "transfer",
            [](Engine& e, const DispatchInput& input, NormalHandle& handle,
               const DispatchPlaces& places, double timeout_s) {
                return e.transfer(input, handle, places, milliseconds(timeout_s));
            },
            "input"_a, "handle"_a, "places"_a, "timeout_s"_a, Released())
        .def(
            "unpack",
            [](const Engine& e, const DispatchInput& input, const NormalHandle& handle,
               const DispatchPlaces& places, const DispatchOutput& output) {
                e.normal_dispatch().unpack(input, handle, places, output);
            },
            "input"_a, "handle"_a, "places"_a, "output"_a, Released())
        .def(
            "combine_sizes",
            [](const Engine& e, const NormalHandle& handle) {
                return e.normal_combine().sizes(handle);
            },
            "handle"_a)
        .def(
            "combine",
            [](Engine& e, const CombineInput& input, const NormalHandle& handle,
               const CombinePlaces& places, double timeout_s) {
                return e.combine(input, handle, places, milliseconds(timeout_s));
            },
            "input"_a, "handle"_a, "places"_a, "timeout_s"_a, Released())
        .def("low_latency_half_bytes", [](const Engine& e) { return e.low_latency().half_bytes(); })
        .def(
            "low_latency_needed_bytes",
            [](const Engine& e, const LowLatencyShape& shape) {
                return e.low_latency().layout(shape).half_bytes();
            },
            "shape"_a)
        .def(
            "low_latency_may_begin",
            [](const Engine& e, const LowLatencyShape& shape, uint32_t half) {
                return e.low_latency().may_begin(shape, half);
            },
            "shape"_a, "half"_a)
        .def("low_latency_clean", &Engine::low_latency_clean)
        .def(
            "low_latency_combine_buffer_at",
            [](const Engine& e, const LowLatencyHandle& handle) {
                return e.low_latency().combine_buffer_at(handle);
            },
            "handle"_a)
        .def(
            "low_latency_dispatch_send",
            [](Engine& e, const LowLatencyDispatchInput& input, LowLatencyHandle& handle,
               double timeout_s, bool masking) {
                return e.low_latency_dispatch_send(input, handle, milliseconds(timeout_s), masking);
            },
            "input"_a, "handle"_a, "timeout_s"_a, "masking"_a, Released())
        .def(
            "low_latency_dispatch_receive",
            [](Engine& e, const LowLatencyDispatchOutput& output, LowLatencyHandle& handle,
               double timeout_s, bool masking) {
                return e.low_latency_dispatch_receive(output, handle, milliseconds(timeout_s),
                                                      masking);
            },
            "output"_a, "handle"_a, "timeout_s"_a, "masking"_a, Released())
        .def(
            "low_latency_combine_send",
            [](Engine& e, const LowLatencyCombineInput& input, const LowLatencyHandle& handle,
               double timeout_s, bool masking) {
                return e.low_latency_combine_send(input, handle, milliseconds(timeout_s), masking);
            },
            "input"_a, "handle"_a, "timeout_s"_a, "masking"_a, Released())
        .def(
            "low_latency_combine_receive",
            [](Engine& e, const LowLatencyCombineInput& input, const LowLatencyHandle& handle,
               double timeout_s, bool masking) {
                return e.low_latency_combine_receive(input, handle, milliseconds(timeout_s),
                                                     masking);
            },
            "input"_a, "handle"_a, "timeout_s"_a, "masking"_a, Released())
        .def("restart", &Engine::restart)
        .def("mask", &Engine::mask, "rank"_a)
        .def("masked", &Engine::masked);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The CPU device of crossdock.ep.";
    m.attr("NUM_COUNTERS") = static_cast<uint32_t>(kNumCounters);
    m.attr("TOKEN_COUNTER") = static_cast<uint32_t>(kTokenCounter);
    m.attr("RESULT_COUNTER") = static_cast<uint32_t>(kResultCounter);
    m.attr("CREDIT_COUNTER") = static_cast<uint32_t>(kCreditCounter);
    m.attr("MAX_TOPK") = kMaxTopk;
    m.attr("MAX_LOCAL_EXPERTS") = kMaxLocalExperts;
    m.def(
        "normal_bytes", [](uint32_t num_ranks) { return ControlArea(num_ranks).bytes(); },
        "num_ranks"_a);
    m.def(
        "low_latency_bytes",
        [](uint32_t max_tokens, uint32_t hidden, uint32_t num_ranks, uint32_t num_experts) {
            return 2 * LowLatencyLayout(max_tokens, hidden, num_ranks, num_experts).half_bytes();
        },
        "max_tokens"_a, "hidden"_a, "num_ranks"_a, "num_experts"_a);
    m.def(
        "low_latency_layout",
        [](const LowLatencyShape& shape, uint32_t num_ranks) {
            return LowLatencyLayout(shape.max_tokens, shape.hidden, num_ranks, shape.num_experts);
        },
        "shape"_a, "num_ranks"_a);
    m.def("first_miscount", &miscount, "topk_idx"_a, "num_tokens"_a, "topk"_a, "per_expert"_a,
          "num_experts"_a, Released());
    m.def("isa", []() { return selected_kernels().kernels->isa; });
    m.def("isa_message", []() { return selected_kernels().message; });
    bind_endings(m);
    bind_control(m);
    bind_normal(m);
    bind_normal_combine(m);
    bind_low_latency(m);
    bind_engine(m);
}
