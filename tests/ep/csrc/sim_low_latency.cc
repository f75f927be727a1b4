#include "tests/ep/csrc/sim_low_latency.h"

#include <algorithm>
#include <cstring>

#include "ep/csrc/kernels/kernels.h"

namespace crossdock::ep {

namespace {

constexpr int32_t kLargestTerm = 15;  // at most 4 rows and weights of at most 2, in halves: 8 bits

}  // namespace

LowLatencyShape LowLatencyJob::draw_shape(SimRandom& random, uint32_t num_ranks) {
    LowLatencyShape shape;
    const bool fp8 = random.chance(0.1);
    shape.max_tokens = static_cast<uint32_t>(random.between(1, random.chance(0.1) ? 40 : 10));
    shape.hidden = fp8 ? 128 : static_cast<uint32_t>(8 * random.between(1, 8));
    shape.num_experts = static_cast<uint32_t>(num_ranks * random.between(1, 3));
    shape.topk = static_cast<uint32_t>(random.between(1, std::min(4u, shape.num_experts)));
    shape.format = fp8 ? static_cast<uint32_t>(random.between(kFp8, kFp8RoundScale)) : kBf16;
    return shape;
}

LowLatencyJob LowLatencyJob::draw(SimRandom& random, uint32_t num_ranks,
                                  const LowLatencyShape& shape) {
    LowLatencyJob job{.salt = random.next(),
                      .shape = shape,
                      .zero_copy = random.chance(0.3),
                      .combines = random.chance(0.8),
                      .topk_idx = {}};
    for (uint32_t r = 0; r < num_ranks; ++r) {
        const uint64_t tokens = random.chance(0.2) ? 0 : random.between(0, shape.max_tokens);
        job.topk_idx.push_back(draw_experts(random, tokens, shape.topk, shape.num_experts));
    }
    return job;
}

bool LowLatencyJob::names(uint32_t rank, uint32_t token, int64_t expert) const {
    const int64_t* chosen = experts(rank, token);
    return std::find(chosen, chosen + shape.topk, expert) != chosen + shape.topk;
}

// ---- dispatch -------------------------------------------------------------------------------

std::vector<uint16_t> LowLatencyRound::token_of(uint32_t source, uint32_t token) const {
    std::vector<uint16_t> row(job_.shape.hidden);
    const uint64_t seed = mix(job_.salt, source, token);
    for (uint32_t c = 0; c < row.size(); ++c) {
        // Any bits travel as bf16; for fp8 they must be numbers.
        row[c] = job_.shape.format == kBf16 ? static_cast<uint16_t>(mix(seed + c))
                                            : bf16(static_cast<float>(small(seed, c, 99)));
    }
    return row;
}

Task LowLatencyRound::send() {
    rank_.begins("low-latency dispatch, first part");
    const uint32_t me = rank_.rank();
    x_.clear();
    for (uint32_t t = 0; t < job_.tokens(me); ++t) {
        const auto row = token_of(me, t);
        x_.insert(x_.end(), row.begin(), row.end());
    }
    std::vector<int64_t> experts = job_.topk_idx[me];
    const LowLatencyDispatchInput input{.shape = job_.shape,
                                        .num_tokens = job_.tokens(me),
                                        .x = x_.data(),
                                        .topk_idx = experts.data()};
    expect_equal("whether the round may begin",
                 rank_.low_latency.may_begin(job_.shape, rank_.low_latency_rounds++ & 1), true);
    co_await rank_.low_latency.dispatch_send(input, handle_);
    // The sources are the caller's again.
    std::fill(x_.begin(), x_.end(), uint16_t{0xffff});
    std::fill(experts.begin(), experts.end(), -1);
}

Task LowLatencyRound::receive() {
    rank_.begins("low-latency dispatch, second part");
    const uint32_t experts = job_.local_experts();
    rows_.assign(experts * capacity() * row_bytes(), std::byte{0xcd});
    scales_.assign(experts * capacity() * (scale_bytes(job_.shape) / 4), -7.0f);
    count_.assign(experts, -7);
    src_info_.assign(experts * capacity(), -7);
    range_.assign(uint64_t{experts} * job_.num_ranks(), -7);
    statistics_.assign(experts, 3);
    const LowLatencyDispatchOutput output{.x = rows_.data(),
                                          .scales = reinterpret_cast<std::byte*>(scales_.data()),
                                          .count = count_.data(),
                                          .src_info = src_info_.data(),
                                          .range = range_.data(),
                                          .statistics = statistics_.data(),
                                          .wait_us = nullptr};
    std::optional<LowLatencyMismatch> mismatch;
    co_await rank_.low_latency.dispatch_receive(output, handle_, mismatch);
    if (mismatch) {
        throw Finding("the shape of rank " + std::to_string(mismatch->peer) + " differs");
    }
    masked_ = rank_.mask;
    for (uint32_t e = 0; e < experts; ++e)
        check_expert(e);
}

void LowLatencyRound::check_expert(uint32_t expert) const {
    const int64_t id = int64_t{rank_.rank()} * job_.local_experts() + expert;
    uint32_t row = 0;
    for (uint32_t source = 0; source < job_.num_ranks(); ++source) {
        const uint32_t begin = row;
        for (uint32_t t = 0; masked_[source] == 0 && t < job_.tokens(source); ++t) {
            if (job_.names(source, t, id)) check_row(expert, row++, source, t);
        }
        expect_equal("the range of a source", range_[uint64_t{expert} * job_.num_ranks() + source],
                     int64_t{begin} << 32 | (row - begin));
    }
    expect_equal("the count of an expert", count_[expert], row);
    expect_equal("the statistics of an expert", statistics_[expert], row + 3);
}

void LowLatencyRound::check_row(uint32_t expert, uint32_t row, uint32_t source,
                                uint32_t token) const {
    const uint64_t at = expert * capacity() + row;
    expect_equal("the source of a row", src_info_[at], token);
    const auto x = token_of(source, token);
    std::vector<std::byte> expected(row_bytes());
    if (job_.shape.format == kBf16) {
        std::memcpy(expected.data(), x.data(), expected.size());
    } else {
        float scale = 0;
        kernels().cast_fp8(x.data(), reinterpret_cast<uint8_t*>(expected.data()), &scale, x.size(),
                           job_.shape.format != kFp8);
        expect_equal("the scale of a row", scales_[at], scale);
    }
    if (std::memcmp(rows_.data() + at * row_bytes(), expected.data(), expected.size()) != 0) {
        throw Finding("row " + std::to_string(row) + " of expert " + std::to_string(expert) +
                      " is not token " + std::to_string(token) + " of rank " +
                      std::to_string(source));
    }
}

// ---- combine --------------------------------------------------------------------------------

void LowLatencyRound::fill_results(uint16_t* y) const {
    for (uint32_t e = 0; e < job_.local_experts(); ++e) {
        const uint32_t id = rank_.rank() * job_.local_experts() + e;
        uint64_t row = e * capacity();
        for (uint32_t source = 0; source < job_.num_ranks(); ++source) {
            for (uint32_t t = 0; masked_[source] == 0 && t < job_.tokens(source); ++t) {
                if (!job_.names(source, t, id)) continue;
                const uint64_t seed = mix(~job_.salt, source, t, id);
                for (uint32_t c = 0; c < job_.shape.hidden; ++c) {
                    y[row * job_.shape.hidden + c] =
                        bf16(static_cast<float>(small(seed, c, kLargestTerm)));
                }
                ++row;
            }
        }
    }
}

float LowLatencyRound::weight(uint32_t token, uint32_t k) const {
    return 0.5f * static_cast<float>(small(mix(job_.salt, rank_.rank(), token, 7), k, 4));
}

Task LowLatencyRound::combine_send() {
    rank_.begins("low-latency combine, first part");
    if (job_.zero_copy) {
        std::byte* buffer =
            rank_.device.at({proxy::kMainRegion, rank_.low_latency.combine_buffer_at(handle_)});
        fill_results(reinterpret_cast<uint16_t*>(buffer));
    } else {
        y_.assign(job_.local_experts() * capacity() * job_.shape.hidden, 0xffff);
        fill_results(y_.data());
        combine_.x = y_.data();
    }
    co_await rank_.low_latency.combine_send(combine_, handle_);
    std::fill(y_.begin(), y_.end(), uint16_t{0xffff});
}

Task LowLatencyRound::combine_receive() {
    rank_.begins("low-latency combine, second part");
    const uint32_t me = rank_.rank();
    weights_.clear();
    for (uint32_t t = 0; t < job_.tokens(me); ++t) {
        for (uint32_t k = 0; k < job_.shape.topk; ++k)
            weights_.push_back(weight(t, k));
    }
    out_.assign(uint64_t{job_.tokens(me)} * job_.shape.hidden, 0xffff);
    combine_.topk_idx = job_.topk_idx[me].data();
    combine_.topk_weights = weights_.data();
    combine_.out = out_.data();
    co_await rank_.low_latency.combine_receive(combine_, handle_);
    check_sums();
}

void LowLatencyRound::check_sums() const {
    const uint32_t me = rank_.rank();
    for (uint32_t t = 0; t < job_.tokens(me); ++t) {
        const int64_t* experts = job_.experts(me, t);
        for (uint32_t c = 0; c < job_.shape.hidden; ++c) {
            float sum = 0;
            for (uint32_t k = 0; k < job_.shape.topk; ++k) {
                if (experts[k] < 0) continue;
                if (rank_.mask[static_cast<uint32_t>(experts[k]) / job_.local_experts()]) continue;
                const auto id = static_cast<uint32_t>(experts[k]);
                const auto term =
                    static_cast<float>(small(mix(~job_.salt, me, t, id), c, kLargestTerm));
                sum += weight(t, k) * term;
            }
            expect_equal("a sum", from_bf16(out_[uint64_t{t} * job_.shape.hidden + c]), sum);
        }
    }
}

}  // namespace crossdock::ep
