#include "tests/ep/csrc/sim_normal.h"

#include <algorithm>

#include "ep/csrc/layout.h"

namespace crossdock::ep {

namespace {

constexpr int32_t kLargestTerm = 31;  // at most 6 rows and 2 biases: their sum has 8 bits

float weight_of(uint64_t seed, uint32_t k) {
    return 0.25f * static_cast<float>(small(seed, k, 8));
}

}  // namespace

std::vector<int64_t> draw_experts(SimRandom& random, uint64_t tokens, uint32_t topk,
                                  uint32_t num_experts) {
    const bool unmasked = random.chance(0.7);
    const bool twice = random.chance(0.1);  // the same expert, now and then
    const uint64_t favourites = random.chance(0.2) ? random.between(1, num_experts) : num_experts;
    std::vector<int64_t> experts(tokens * topk, -1);
    for (uint64_t i = 0; i < experts.size(); ++i) {
        if (!unmasked && random.chance(0.3)) continue;
        const auto expert = static_cast<int64_t>(random.below(favourites));
        const auto first = experts.begin() + static_cast<ptrdiff_t>(i / topk * topk);
        const auto here = experts.begin() + static_cast<ptrdiff_t>(i);
        if (twice || std::find(first, here, expert) == here) experts[i] = expert;
    }
    return experts;
}

NormalJob NormalJob::draw(SimRandom& random, uint32_t num_ranks) {
    NormalJob job;
    job.salt = random.next();
    job.hidden_bytes = static_cast<uint32_t>(16 * random.between(1, 8));
    job.combine_hidden = static_cast<uint32_t>(8 * random.between(1, 8));
    job.topk = static_cast<uint32_t>(random.between(1, 4));
    job.num_experts = static_cast<uint32_t>(num_ranks * random.between(1, 3));
    if (random.chance(0.3)) job.num_scales = static_cast<uint32_t>(random.between(1, 5));
    job.with_indices = random.chance(0.7);
    job.column_major_scales = random.chance(0.5);
    job.padding = static_cast<uint32_t>(random.below(3));
    job.cached_rounds = random.chance(0.4) ? static_cast<uint32_t>(random.between(1, 2)) : 0;
    job.combines = random.chance(0.8) ? static_cast<uint32_t>(random.between(1, 2)) : 0;
    job.combine_weights = random.chance(0.5);
    job.num_biases = static_cast<uint32_t>(random.below(3));
    if (random.chance(0.1)) job.refused_at = static_cast<Stage>(random.between(1, 3));
    job.refuser = static_cast<uint32_t>(random.below(num_ranks));
    const uint64_t most = random.chance(0.1) ? 40 : 10;
    for (uint32_t r = 0; r < num_ranks; ++r) {
        const uint64_t tokens = random.chance(0.2) ? 0 : random.between(0, most);
        job.topk_idx.push_back(draw_experts(random, tokens, job.topk, job.num_experts));
    }
    return job;
}

bool NormalJob::goes_to(uint32_t source, uint32_t token, uint32_t destination) const {
    for (uint32_t k = 0; k < topk; ++k) {
        const int64_t id = expert(source, token, k);
        if (id >= 0 && id / local_experts() == destination) return true;
    }
    return false;
}

// ---- one rank's part ------------------------------------------------------------------------

NormalRound::NormalRound(SimRank& rank, const NormalJob& job) : rank_(rank), job_(job) {
    prepare();
}

NormalRound::~NormalRound() {
    rank_.close(kDispatchWindow);
    rank_.close(kCombineWindow);
}

void NormalRound::prepare() {
    const uint32_t me = rank_.rank();
    const uint32_t num_tokens = job_.tokens(me);
    for (uint32_t s = 0; s < job_.num_ranks(); ++s) {
        for (uint32_t t = 0; t < job_.tokens(s); ++t) {
            if (job_.goes_to(s, t, me)) expected_.emplace_back(s, t);
        }
    }
    in_rank_ = std::make_unique<bool[]>(uint64_t{num_tokens} * job_.num_ranks());
    per_rank_.resize(job_.num_ranks());
    per_expert_.resize(job_.num_experts);
    compute_layout(job_.topk_idx[me].data(), num_tokens, job_.topk, job_.num_experts,
                   rank_.topology, {per_rank_.data(), nullptr, per_expert_.data(), in_rank_.get()});
    input_.num_tokens = num_tokens;
    input_.hidden_bytes = job_.hidden_bytes;
    input_.topk = job_.with_indices ? job_.topk : 0;
    input_.num_scales = job_.num_scales;
    input_.num_experts = job_.num_experts;
    input_.x_region = kDispatchWindow;
    input_.topk_idx = job_.topk_idx[me].data();
    input_.is_token_in_rank = in_rank_.get();
    input_.tokens_per_expert = per_expert_.data();
}

Task NormalRound::run() {
    co_await announce();
    if (job_.refused_at == Stage::kAnnounce) co_return;
    co_await dispatch(0);
    if (job_.refused_at == Stage::kTransfer) co_return;
    for (uint32_t turn = 1; turn <= job_.cached_rounds; ++turn)
        co_await dispatch(turn);
    for (uint32_t turn = 0; turn < job_.combines; ++turn)
        co_await combine(turn);
}

bool NormalRound::refuses(Stage stage) const {
    return job_.refused_at == stage && job_.refuser == rank_.rank();
}

// Every rank learns who refused, and all others end well.
void NormalRound::check_ending(Stage stage, const std::optional<Disagreement>& disagreement) const {
    const bool refused = stage != Stage::kNever && job_.refused_at == stage;
    expect_equal("whether ranks disagree", disagreement.has_value(), refused);
    if (!disagreement) return;
    expect_equal("whether a rank refuses", disagreement->refusal != Refusal::kNone, true);
    expect_equal("the rank that refuses", disagreement->peer, job_.refuser);
}

uint64_t NormalRound::hold(uint64_t bytes) {
    blocks_.push_back(rank_.allocate(bytes));
    return blocks_.back()->offset();
}

// ---- dispatch -------------------------------------------------------------------------------

Task NormalRound::announce() {
    rank_.begins("announce");
    std::vector<uint32_t> expert_rows;
    std::optional<Disagreement> disagreement;
    input_.refusal = refuses(Stage::kAnnounce) ? Refusal::kArguments : Refusal::kNone;
    co_await rank_.dispatch.announce(input_, handle_, expert_rows, disagreement);
    check_ending(Stage::kAnnounce, disagreement);
    if (!disagreement) check_counts(expert_rows);
}

void NormalRound::check_counts(const std::vector<uint32_t>& expert_rows) const {
    expect_equal("the number of rows that come", handle_.num_recv, expected_.size());
    std::vector<uint32_t> expected(job_.local_experts(), 0);
    for (uint32_t e = 0; e < expected.size(); ++e) {
        const int64_t id = int64_t{rank_.rank()} * job_.local_experts() + e;
        for (const auto& [source, token] : expected_) {
            bool named = false;
            for (uint32_t k = 0; k < job_.topk; ++k)
                named |= job_.expert(source, token, k) == id;
            expected[e] += named;
        }
    }
    if (expert_rows != expected) throw Finding("the rows of an expert are counted wrongly");
}

void NormalRound::fill_dispatch(uint64_t salt) {
    const uint32_t me = rank_.rank();
    const uint64_t words = job_.hidden_bytes / 8;
    x_.resize(input_.num_tokens * words);
    weights_.resize(uint64_t{input_.num_tokens} * job_.topk);
    scales_.resize(uint64_t{input_.num_tokens} * job_.num_scales);
    input_.scale_strides[0] = job_.column_major_scales ? 1 : job_.num_scales;
    input_.scale_strides[1] = job_.column_major_scales ? input_.num_tokens : 1;
    for (uint32_t t = 0; t < input_.num_tokens; ++t) {
        fill_row(std::span(x_).subspan(t * words, words), mix(salt, me, t));
        for (uint32_t k = 0; k < job_.topk; ++k) {
            weights_[uint64_t{t} * job_.topk + k] = weight_of(mix(salt, me, t, 1), k);
        }
        for (uint32_t s = 0; s < job_.num_scales; ++s) {
            const int64_t at = t * input_.scale_strides[0] + s * input_.scale_strides[1];
            scales_[static_cast<uint64_t>(at)] = static_cast<uint32_t>(mix(salt, me, t, 2 + s));
        }
    }
    input_.topk_weights = weights_.data();
    input_.scales = scales_.data();
}

Task NormalRound::dispatch(uint32_t turn) {
    rank_.begins(turn == 0 ? "dispatch" : "cached dispatch");
    const uint64_t salt = mix(job_.salt + turn);
    input_.cached = turn > 0;
    if (input_.cached) input_.topk = 0;
    fill_dispatch(salt);
    rank_.open(kDispatchWindow, std::as_writable_bytes(std::span(x_)));
    const uint64_t stride = rank_.dispatch.meta(input_).stride();
    uint64_t node_rows = 0;
    for (const auto& forwarded : handle_.forwarded)
        node_rows += forwarded.rows;
    blocks_.clear();
    DispatchPlaces places;
    places.rows_at = hold(uint64_t{handle_.num_recv} * job_.hidden_bytes);
    places.meta_at = hold(handle_.num_recv * stride);
    places.node_rows_at = hold(node_rows * job_.hidden_bytes);
    places.node_meta_at = hold(node_rows * stride);
    places.own_meta_at = hold(input_.num_tokens * stride);
    places.refusal = turn == 0 && refuses(Stage::kTransfer) ? Refusal::kMemory : Refusal::kNone;
    std::optional<Disagreement> disagreement;
    co_await rank_.dispatch.transfer(input_, handle_, places, disagreement);
    // The sources are the caller's again.
    std::fill(x_.begin(), x_.end(), ~0ull);
    rank_.close(kDispatchWindow);
    check_ending(turn == 0 ? Stage::kTransfer : Stage::kNever, disagreement);
    if (disagreement) co_return;
    check_rows(rank_.device.at({proxy::kHeapRegion, places.rows_at}), salt);
    unpack_and_check(places, salt);
}

void NormalRound::check_rows(const std::byte* rows, uint64_t salt) const {
    for (uint64_t i = 0; i < expected_.size(); ++i) {
        const auto [source, token] = expected_[i];
        if (row_is(rows + i * job_.hidden_bytes, job_.hidden_bytes, mix(salt, source, token))) {
            continue;
        }
        throw Finding("row " + std::to_string(i) + " is not token " + std::to_string(token) +
                      " of rank " + std::to_string(source));
    }
}

void NormalRound::unpack_and_check(const DispatchPlaces& places, uint64_t salt) const {
    const uint64_t rows = expected_.size() + job_.padding;
    std::vector<int64_t> idx(rows * job_.topk, -7);
    std::vector<float> weights(rows * job_.topk, -7.0f);
    std::vector<uint32_t> scales(rows * job_.num_scales, 7);
    const bool indices = input_.topk > 0;
    const DispatchOutput output{.topk_idx = indices ? idx.data() : nullptr,
                                .topk_weights = indices ? weights.data() : nullptr,
                                .scales = scales.data(),
                                .num_rows = static_cast<uint32_t>(rows)};
    rank_.dispatch.unpack(input_, handle_, places, output);
    for (uint32_t row = 0; row < expected_.size(); ++row)
        check_meta_row(row, salt, output);
    for (uint64_t i = expected_.size() * input_.topk; i < rows * input_.topk; ++i) {
        expect_equal("an index of the padding", idx[i], -1);
        expect_equal("a weight of the padding", weights[i], 0);
    }
}

void NormalRound::check_meta_row(uint32_t row, uint64_t salt, const DispatchOutput& output) const {
    const auto [source, token] = expected_[row];
    const int64_t first = int64_t{rank_.rank()} * job_.local_experts();
    for (uint32_t k = 0; k < input_.topk; ++k) {
        const int64_t local = job_.expert(source, token, k) - first;
        const bool mine = local >= 0 && local < job_.local_experts();
        const uint64_t at = uint64_t{row} * job_.topk + k;
        expect_equal("an expert of a row", output.topk_idx[at], mine ? local : -1);
        expect_equal("a weight of a row", output.topk_weights[at],
                     mine ? weight_of(mix(salt, source, token, 1), k) : 0.0f);
    }
    for (uint32_t s = 0; s < job_.num_scales; ++s) {
        expect_equal("a scale of a row", output.scales[uint64_t{row} * job_.num_scales + s],
                     static_cast<uint32_t>(mix(salt, source, token, 2 + s)));
    }
}

// ---- combine --------------------------------------------------------------------------------

void NormalRound::fill_combine(uint64_t salt, CombineInput& input) {
    const uint32_t me = rank_.rank();
    const uint32_t hidden = job_.combine_hidden;
    const uint64_t tokens = job_.tokens(me);
    y_.assign(expected_.size() * hidden / 4, 0);
    y_weights_.resize(expected_.size() * input.topk);
    auto* y = reinterpret_cast<uint16_t*>(y_.data());
    for (uint64_t i = 0; i < expected_.size(); ++i) {
        const uint64_t seed = mix(salt + me, expected_[i].first, expected_[i].second);
        for (uint32_t c = 0; c < hidden; ++c) {
            y[i * hidden + c] = bf16(static_cast<float>(small(seed, c, kLargestTerm)));
        }
        for (uint32_t k = 0; k < input.topk; ++k) {
            y_weights_[i * input.topk + k] = weight_of(~seed, k);
        }
    }
    for (uint32_t b = 0; b < job_.num_biases; ++b) {
        biases_[b].resize(tokens * hidden);
        for (uint64_t i = 0; i < biases_[b].size(); ++i) {
            biases_[b][i] = bf16(static_cast<float>(small(salt ^ b, static_cast<uint32_t>(i), 31)));
        }
        input.biases[b] = reinterpret_cast<const std::byte*>(biases_[b].data());
    }
    out_.assign(tokens * hidden, 0xffff);
    out_weights_.assign(tokens * input.topk, -7.0f);
    input.topk_weights = y_weights_.data();
    input.out = reinterpret_cast<std::byte*>(out_.data());
    input.out_weights = out_weights_.data();
}

Task NormalRound::combine(uint32_t turn) {
    rank_.begins("combine");
    const uint64_t salt = mix(job_.salt + 100 + turn);
    CombineInput input;
    input.hidden = job_.combine_hidden;
    input.topk = job_.combine_weights ? job_.topk : 0;
    input.x_region = kCombineWindow;
    fill_combine(salt, input);
    rank_.open(kCombineWindow, std::as_writable_bytes(std::span(y_)));
    const CombineSizes sizes = rank_.combine.sizes(handle_);
    blocks_.clear();
    const CombinePlaces places{.rows_at = hold(sizes.rows * input.row_bytes()),
                               .meta_at = hold(sizes.rows * input.meta_bytes()),
                               .node_rows_at = hold(sizes.node_rows * input.row_bytes()),
                               .node_meta_at = hold(sizes.node_rows * input.meta_bytes()),
                               .partial_rows_at = hold(sizes.partial_rows * input.row_bytes()),
                               .partial_meta_at = hold(sizes.partial_rows * input.meta_bytes()),
                               .own_meta_at = hold(sizes.own_rows * input.meta_bytes())};
    const Stage stage = turn == 0 ? Stage::kCombine : Stage::kNever;
    input.refusal = turn == 0 && refuses(stage) ? Refusal::kArguments : Refusal::kNone;
    std::optional<Disagreement> disagreement;
    co_await rank_.combine.run(input, handle_, places, disagreement);
    std::fill(y_.begin(), y_.end(), ~0ull);
    rank_.close(kCombineWindow);
    check_ending(stage, disagreement);
    if (!disagreement) check_sums(input, salt);
}

void NormalRound::check_sums(const CombineInput& input, uint64_t salt) const {
    const uint32_t me = rank_.rank();
    std::vector<uint64_t> seeds;
    for (uint32_t t = 0; t < job_.tokens(me); ++t) {
        seeds.clear();
        for (uint32_t d = 0; d < job_.num_ranks(); ++d) {
            if (job_.goes_to(me, t, d)) seeds.push_back(mix(salt + d, me, t));
        }
        for (uint32_t c = 0; c < input.hidden; ++c) {
            const uint32_t at = t * input.hidden + c;
            int32_t sum = 0;
            for (uint64_t seed : seeds)
                sum += small(seed, c, kLargestTerm);
            for (uint32_t b = 0; b < job_.num_biases; ++b)
                sum += small(salt ^ b, at, 31);
            expect_equal("a sum", from_bf16(out_[at]), sum);
        }
        for (uint32_t k = 0; k < input.topk; ++k) {
            float sum = 0;
            for (uint64_t seed : seeds)
                sum += weight_of(~seed, k);
            expect_equal("a sum of weights", out_weights_[uint64_t{t} * input.topk + k], sum);
        }
    }
}

}  // namespace crossdock::ep
