#include "ep/csrc/normal_combine.h"

#include <algorithm>
#include <span>

#include "ep/csrc/kernels/kernels.h"

namespace crossdock::ep {

namespace {

Rows heap_rows(uint64_t at, uint64_t stride) {
    return {{proxy::kHeapRegion, at}, stride};
}

// One stream of rows, in the order of the tokens that they belong to.
struct Stream {
    const std::vector<uint32_t>* tokens = nullptr;
    Rows rows{};
    Rows meta{};
    const float* weights = nullptr;  // instead of meta, when they are the caller's own
    uint64_t next = 0;

    bool holds(uint32_t token) const { return next < tokens->size() && (*tokens)[next] == token; }
};

// Sums the streams, one after another, for token after token.
struct Summation {
    const Device& device;
    const CombineInput& input;
    std::vector<Stream> streams;

    std::vector<const std::byte*> rows{};
    std::vector<const float*> weights{};

    // Gathers the rows of one token in the order of the streams.
    void gather(uint32_t token) {
        rows.clear();
        weights.clear();
        for (Stream& stream : streams) {
            if (!stream.holds(token)) continue;
            const uint64_t row = stream.next++;
            rows.push_back(device.at(stream.rows.row(row)));
            if (input.topk == 0) continue;
            weights.push_back(stream.weights != nullptr ? stream.weights + row * input.topk
                                                        : reinterpret_cast<const float*>(
                                                              device.at(stream.meta.row(row))));
        }
    }

    void sum_rows(std::byte* out, std::span<const std::byte* const> biases) const {
        const Kernels& kernels = *selected_kernels().kernels;
        if (input.row_type == RowType::kFloat32) {
            run(kernels.sum_float_rows, out, biases);
        } else {
            run(kernels.sum_rows, out, biases);
        }
    }

    void sum_weights(float* out) const {
        std::fill_n(out, input.topk, 0.0f);
        for (const float* source : weights) {
            for (uint32_t k = 0; k < input.topk; ++k)
                out[k] += source[k];
        }
    }

  private:
    template <typename T>
    void run(void (*kernel)(T*, const T* const*, size_t, const T* const*, size_t, size_t),
             std::byte* out, std::span<const std::byte* const> biases) const {
        kernel(reinterpret_cast<T*>(out), reinterpret_cast<const T* const*>(rows.data()),
               rows.size(), reinterpret_cast<const T* const*>(biases.data()), biases.size(),
               input.hidden);
    }
};

}  // namespace

// The staging of a gateway or source holds, for each source that it serves (itself, then the
// forwarded ones) and each near rank but itself, the rows that this rank returns.
struct NormalCombine::Staging {
    Staging(const Topology& topology, const NormalHandle& handle)
        : first(topology.neighbours().size(), std::vector<uint64_t>(topology.num_ranks(), 0)) {
        auto add = [&](uint32_t source, auto rows_at_place) {
            for (uint32_t place = 0; place < first.size(); ++place) {
                if (topology.neighbours()[place] == topology.rank()) continue;
                first[place][source] = rows;
                rows += rows_at_place(place);
            }
        };
        add(topology.rank(),
            [&](uint32_t place) { return handle.to_rank[topology.neighbours()[place]].size(); });
        for (const auto& forwarded : handle.forwarded) {
            add(forwarded.source, [&](uint32_t place) { return forwarded.to_place[place].size(); });
        }
    }

    std::vector<std::vector<uint64_t>> first;  // [place][source]
    uint64_t rows = 0;
};

Agreement NormalCombine::agreement(const CombineInput& input, const NormalHandle& handle) const {
    return {.call = Call::kCombine,
            .hidden_bytes = static_cast<uint32_t>(input.row_bytes()),
            .topk = input.topk,
            .dispatch = handle.dispatch,
            .element_bytes = static_cast<uint32_t>(input.element_bytes())};
}

CombineSizes NormalCombine::sizes(const NormalHandle& handle) const {
    CombineSizes sizes{.rows = Staging(topology_, handle).rows, .own_rows = handle.num_recv};
    for (const auto& to_node : handle.to_node)
        sizes.node_rows += to_node.size();
    for (const auto& forwarded : handle.forwarded)
        sizes.partial_rows += forwarded.rows;
    return sizes;
}

Task NormalCombine::run(const CombineInput& input, const NormalHandle& handle,
                        const CombinePlaces& places, std::optional<Disagreement>& disagreement) {
    if (input.refusal == Refusal::kNone) expect_rows(input, handle);
    co_await send_grants(input, handle, places);
    co_await grants_.collect("grants", topology_.all());
    disagreement = grants_.disagreement(agreement(input, handle));
    if (!disagreement) {
        if (input.topk > 0) pack_weights(input, handle, places.own_meta_at);
        co_await return_rows(input, handle, places);
        co_await device_.settle("rows of near ranks", topology_.neighbours(), kRowCounter);
        co_await pass_sums_on(input, handle, places);
        std::vector<uint32_t> gateways;
        for (uint32_t n = 0; n < topology_.num_nodes(); ++n) {
            if (n != topology_.node()) gateways.push_back(topology_.gateway(topology_.rank(), n));
        }
        co_await device_.settle("sums of other nodes", std::move(gateways), kNodeRowCounter);
        sum_for_me(input, handle, places);
    } else {
        for (uint32_t r = 0; r < topology_.num_ranks(); ++r) {
            device_.counter(r, kRowCounter).reset();
            device_.counter(r, kNodeRowCounter).reset();
        }
    }
    co_await device_.fence();
    grants_.next_round();
}

void NormalCombine::expect_rows(const CombineInput& input, const NormalHandle& handle) const {
    const uint32_t pieces = input.topk > 0 ? 2 : 1;
    for (uint32_t place = 0; place < topology_.neighbours().size(); ++place) {
        const uint32_t peer = topology_.neighbours()[place];
        size_t rows = 0;
        if (peer != topology_.rank()) {
            rows = handle.to_rank[peer].size();
            for (const auto& f : handle.forwarded)
                rows += f.to_place[place].size();
        }
        device_.counter(peer, kRowCounter).seal(static_cast<uint32_t>(rows) * pieces);
    }
    for (uint32_t n = 0; n < topology_.num_nodes(); ++n) {
        if (n == topology_.node()) continue;
        device_.counter(topology_.gateway(topology_.rank(), n), kNodeRowCounter)
            .seal(static_cast<uint32_t>(handle.to_node[n].size()) * pieces);
    }
}

Task NormalCombine::send_grants(const CombineInput& input, const NormalHandle& handle,
                                const CombinePlaces& places) {
    const Staging staging(topology_, handle);
    std::vector<uint64_t> node_first(topology_.num_nodes(), 0);
    for (uint32_t n = 1; n < topology_.num_nodes(); ++n) {
        node_first[n] = node_first[n - 1] + handle.to_node[n - 1].size();
    }
    for (uint32_t peer = 0; peer < topology_.num_ranks(); ++peer) {
        Grant& grant = grants_.outgoing(peer);
        grant = {.agreement = agreement(input, handle), .refusal = input.refusal};
        grant.rows_at = places.rows_at;
        grant.meta_at = places.meta_at;
        if (topology_.near(peer)) {
            const auto& first = staging.first[topology_.place(peer)];
            std::transform(first.begin(), first.end(), grant.first_row(),
                           [](uint64_t row) { return static_cast<uint32_t>(row); });
        } else {
            const uint64_t first = node_first[topology_.node_of(peer)];
            grant.node_rows_at = places.node_rows_at + first * input.row_bytes();
            grant.node_meta_at = places.node_meta_at + first * input.meta_bytes();
        }
    }
    co_await grants_.send(sizeof(Grant) + 4ull * topology_.num_ranks());
}

void NormalCombine::pack_weights(const CombineInput& input, const NormalHandle& handle,
                                 uint64_t at) const {
    const Rows meta = heap_rows(at, input.meta_bytes());
    for (uint32_t i = 0; i < handle.num_recv; ++i) {
        std::memcpy(device_.at(meta.row(i)), input.topk_weights + uint64_t{i} * input.topk,
                    4ull * input.topk);
    }
}

Task NormalCombine::return_rows(const CombineInput& input, const NormalHandle& handle,
                                const CombinePlaces& places) {
    const Rows x{{input.x_region, 0}, input.row_bytes()};
    const Rows meta = heap_rows(places.own_meta_at, input.meta_bytes());
    for (uint32_t i = 1; i <= topology_.num_ranks(); ++i) {
        const uint32_t source = (topology_.rank() + i) % topology_.num_ranks();
        const uint32_t writer = topology_.writer(source);
        if (writer == topology_.rank()) continue;
        const Grant& grant = grants_.incoming(writer);
        const uint64_t first = grant.first_row()[source];
        const uint32_t rows = handle.rows_from(source);
        co_await write_block(device_, writer, x, handle.first_row[source], rows,
                             heap_rows(grant.rows_at + first * x.stride, x.stride), kRowCounter);
        if (input.topk == 0) continue;
        co_await write_block(device_, writer, meta, handle.first_row[source], rows,
                             heap_rows(grant.meta_at + first * meta.stride, meta.stride),
                             kRowCounter);
    }
    co_await device_.flush();
}

// ---- sums -----------------------------------------------------------------------------------

Task NormalCombine::pass_sums_on(const CombineInput& input, const NormalHandle& handle,
                                 const CombinePlaces& places) {
    Rows partial = heap_rows(places.partial_rows_at, input.row_bytes());
    Rows meta = heap_rows(places.partial_meta_at, input.meta_bytes());
    for (const auto& forwarded : handle.forwarded) {
        sum_for_source(input, handle, places, forwarded, partial, meta);
        const Grant& grant = grants_.incoming(forwarded.source);
        co_await write_block(device_, forwarded.source, partial, 0, forwarded.rows,
                             heap_rows(grant.node_rows_at, partial.stride), kNodeRowCounter);
        if (input.topk > 0) {
            co_await write_block(device_, forwarded.source, meta, 0, forwarded.rows,
                                 heap_rows(grant.node_meta_at, meta.stride), kNodeRowCounter);
        }
        co_await device_.flush();
        partial.first = partial.row(forwarded.rows);
        meta.first = meta.row(forwarded.rows);
    }
}

void NormalCombine::sum_for_source(const CombineInput& input, const NormalHandle& handle,
                                   const CombinePlaces& places,
                                   const NormalHandle::Forwarded& forwarded, const Rows& partial,
                                   const Rows& partial_meta) const {
    const Staging staging(topology_, handle);
    const Rows staged = heap_rows(places.rows_at, input.row_bytes());
    const Rows staged_meta = heap_rows(places.meta_at, input.meta_bytes());
    const Rows x{{input.x_region, 0}, input.row_bytes()};
    Summation sum{device_, input, {}};
    for (uint32_t place = 0; place < topology_.neighbours().size(); ++place) {
        Stream stream{.tokens = &forwarded.to_place[place]};
        if (topology_.neighbours()[place] == topology_.rank()) {
            const uint64_t first = handle.first_row[forwarded.source];
            stream.rows = {x.row(first), x.stride};
            stream.weights = input.topk > 0 ? input.topk_weights + first * input.topk : nullptr;
        } else {
            const uint64_t first = staging.first[place][forwarded.source];
            stream.rows = {staged.row(first), staged.stride};
            stream.meta = {staged_meta.row(first), staged_meta.stride};
        }
        sum.streams.push_back(stream);
    }
    for (uint32_t i = 0; i < forwarded.rows; ++i) {
        sum.gather(i);
        sum.sum_rows(device_.at(partial.row(i)), {});
        if (input.topk > 0) {
            sum.sum_weights(reinterpret_cast<float*>(device_.at(partial_meta.row(i))));
        }
    }
}

void NormalCombine::sum_for_me(const CombineInput& input, const NormalHandle& handle,
                               const CombinePlaces& places) const {
    const uint32_t me = topology_.rank();
    const Staging staging(topology_, handle);
    const Rows staged = heap_rows(places.rows_at, input.row_bytes());
    const Rows staged_meta = heap_rows(places.meta_at, input.meta_bytes());
    const Rows x{{input.x_region, 0}, input.row_bytes()};
    Rows node_rows = heap_rows(places.node_rows_at, input.row_bytes());
    Rows node_meta = heap_rows(places.node_meta_at, input.meta_bytes());
    Summation sum{device_, input, {}};
    for (uint32_t n = 0; n < topology_.num_nodes(); ++n) {
        if (n != topology_.node()) {
            sum.streams.push_back(
                {.tokens = &handle.to_node[n], .rows = node_rows, .meta = node_meta});
            node_rows.first = node_rows.row(handle.to_node[n].size());
            node_meta.first = node_meta.row(handle.to_node[n].size());
            continue;
        }
        for (uint32_t r : topology_.neighbours()) {
            Stream stream{.tokens = &handle.to_rank[r]};
            if (r == me) {
                const uint64_t first = handle.first_row[me];
                stream.rows = {x.row(first), x.stride};
                stream.weights = input.topk > 0 ? input.topk_weights + first * input.topk : nullptr;
            } else {
                const uint64_t first = staging.first[topology_.place(r)][me];
                stream.rows = {staged.row(first), staged.stride};
                stream.meta = {staged_meta.row(first), staged_meta.stride};
            }
            sum.streams.push_back(stream);
        }
    }
    for (uint32_t t = 0; t < handle.num_tokens; ++t) {
        sum.gather(t);
        const uint64_t at = t * input.row_bytes();
        std::array<const std::byte*, 2> biases{};
        size_t num_biases = 0;
        for (const std::byte* bias : input.biases) {
            if (bias != nullptr) biases[num_biases++] = bias + at;
        }
        sum.sum_rows(input.out + at, {biases.data(), num_biases});
        if (input.topk > 0) sum.sum_weights(input.out_weights + uint64_t{t} * input.topk);
    }
}

}  // namespace crossdock::ep
