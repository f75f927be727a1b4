#include <algorithm>
#include <array>
#include <cstring>

#include "ep/csrc/arrivals.h"
#include "ep/csrc/kernels/kernels.h"
#include "ep/csrc/low_latency.h"

namespace crossdock::ep {

uint64_t scale_bytes(const LowLatencyShape& shape) {
    if (shape.format == kBf16) return 0;
    return shape.format == kFp8Ue8m0 ? shape.hidden / 128 : 4ull * (shape.hidden / 128);
}

uint32_t first_mention(const int64_t* topk_idx, uint32_t k) {
    return static_cast<uint32_t>(std::find(topk_idx, topk_idx + k, topk_idx[k]) - topk_idx);
}

std::array<uint32_t, kMaxTopk> result_slots(const int64_t* topk_idx, uint32_t topk) {
    std::array<uint32_t, kMaxTopk> slots{};
    uint32_t used = 0;
    for (uint32_t k = 0; k < topk; ++k) {
        if (topk_idx[k] < 0) continue;
        const uint32_t first = first_mention(topk_idx, k);
        slots[k] = first == k ? used++ : slots[first];
    }
    return slots;
}

namespace {

uint64_t row_bytes(const LowLatencyShape& shape) {
    return shape.format == kBf16 ? 2ull * shape.hidden : shape.hidden;
}

}  // namespace

// Composes a token's message and returns its length.
uint64_t LowLatency::pack(const LowLatencyDispatchInput& input, uint32_t token,
                          std::byte* slot) const {
    const LowLatencyShape& shape = input.shape;
    const TokenHead head{.token = static_cast<int32_t>(token),
                         .topk = static_cast<int32_t>(shape.topk)};
    std::memcpy(slot, &head, sizeof head);
    for (uint32_t k = 0; k < shape.topk; ++k) {
        const auto id = static_cast<int32_t>(input.topk_idx[uint64_t{token} * shape.topk + k]);
        std::memcpy(slot + sizeof head + 4ull * k, &id, 4);
    }
    std::byte* payload = slot + TokenHead::bytes(shape.topk);
    const uint16_t* x = input.x + uint64_t{token} * shape.hidden;
    if (shape.format == kBf16) {
        std::memcpy(payload, x, 2ull * shape.hidden);
    } else {
        // At most 2^20 / 2 channels fit a transfer, so the scales of a row fit this.
        thread_local std::vector<float> scales;
        scales.resize(shape.hidden / 128);
        const Kernels& kernels = *selected_kernels().kernels;
        kernels.cast_fp8(x, reinterpret_cast<uint8_t*>(payload), scales.data(), shape.hidden,
                         shape.format != kFp8);
        std::byte* to = payload + shape.hidden;
        if (shape.format == kFp8Ue8m0) {
            kernels.pack_ue8m0(scales.data(), reinterpret_cast<uint32_t*>(to), scales.size());
        } else {
            std::memcpy(to, scales.data(), 4 * scales.size());
        }
    }
    const uint64_t bytes = TokenHead::bytes(shape.topk) + row_bytes(shape) + scale_bytes(shape);
    return (bytes + 15) / 16 * 16;
}

Task LowLatency::dispatch_send(const LowLatencyDispatchInput& input, LowLatencyHandle& handle) {
    const LowLatencyShape& shape = input.shape;
    const LowLatencyLayout layout = this->layout(shape);
    const uint32_t round = round_++;
    tokens_end_[round & 1] = layout.tokens_end();
    const uint32_t local_experts = shape.num_experts / device_.num_ranks();
    handle.round = round;
    handle.shape = shape;
    handle.num_tokens = input.num_tokens;
    std::vector<uint32_t> all(device_.num_ranks());
    for (uint32_t r = 0; r < all.size(); ++r)
        all[r] = r;
    // Enough to use this half again as a source, too: who has given its credit has all tokens of
    // the last round in it, and who begins this round has all results. A fence would also wait for
    // the acknowledgements of masked ranks, which may never come.
    if (round >= 2) co_await device_.collect("credits", all, kCreditCounter + (round & 1), 1);
    std::vector<uint32_t> sent(device_.num_ranks(), 0);
    std::vector<uint32_t> last(device_.num_ranks(), 0);  // token it got last, plus one
    for (uint32_t token = 0; token < input.num_tokens; ++token) {
        const Place from = place(round, layout.out_token(token));
        const uint64_t bytes = pack(input, token, device_.at(from));
        for (uint32_t k = 0; k < shape.topk; ++k) {
            const int64_t expert = input.topk_idx[uint64_t{token} * shape.topk + k];
            if (expert < 0) continue;
            const auto peer = static_cast<uint32_t>(expert) / local_experts;
            if (last[peer] == token + 1 || device_.excused(peer)) continue;
            last[peer] = token + 1;
            const Place to = place(round, layout.token(device_.rank(), sent[peer]++));
            if (device_.emit(proxy::make_write(Op::kWriteAdd, peer, from, to, bytes,
                                               kTokenCounter + (round & 1), 1))) {
                co_await device_.flush();
            }
        }
    }
    for (uint32_t peer : all) {
        if (device_.excused(peer)) continue;
        const Place from = place(round, layout.out_header(peer));
        *reinterpret_cast<LowLatencyHeader*>(device_.at(from)) = {.shape = shape,
                                                                  .tokens = sent[peer]};
        device_.emit(proxy::make_write(
            Op::kWriteSeal, peer, from, place(round, layout.header(device_.rank())),
            sizeof(LowLatencyHeader), kTokenCounter + (round & 1), sent[peer]));
    }
    co_await device_.flush();
}

Task LowLatency::dispatch_receive(const LowLatencyDispatchOutput& output, LowLatencyHandle& handle,
                                  std::optional<LowLatencyMismatch>& mismatch) {
    const uint32_t round = handle.round;
    const uint32_t index = kTokenCounter + (round & 1);
    const uint32_t num_ranks = device_.num_ranks();
    const uint32_t local_experts = handle.shape.num_experts / num_ranks;
    const LowLatencyLayout layout = this->layout(handle.shape);
    auto ready = [this, index](uint32_t peer) {
        return device_.counter(peer, index).read().ready();
    };
    co_await Arrivals("tokens", device_, static_cast<int32_t>(index), output.wait_us, ready);

    std::vector<uint32_t> filled(local_experts, 0);
    handle.rows.assign(num_ranks, {});
    for (uint32_t source = 0; source < num_ranks; ++source) {
        const std::vector<uint32_t> begin = filled;
        if (!device_.excused(source)) {
            // The header may lie elsewhere when the peer's shape differs; then this is stale or
            // foreign, and differs too.
            const auto& header = *reinterpret_cast<const LowLatencyHeader*>(
                device_.at(place(round, layout.header(source))));
            if (header.shape != handle.shape) {
                if (!mismatch) mismatch = LowLatencyMismatch{source, header.shape};
            } else {
                unpack(output, handle, source, header.tokens, filled);
            }
        }
        for (uint32_t e = 0; e < local_experts; ++e) {
            const int64_t count = filled[e] - begin[e];
            output.range[uint64_t{e} * num_ranks + source] = int64_t{begin[e]} << 32 | count;
        }
    }
    for (uint32_t e = 0; e < local_experts; ++e) {
        output.count[e] = static_cast<int32_t>(filled[e]);
        if (output.statistics != nullptr) output.statistics[e] += output.count[e];
    }
    // Then no rank combines, and all have begun the round: none waits for older results here.
    if (mismatch) tokens_end_[round & 1] = 0;
    for (uint32_t peer = 0; peer < num_ranks; ++peer) {
        if (device_.excused(peer)) continue;
        device_.counter(peer, index).reset();
        device_.emit(proxy::make_signal(Op::kAdd, peer, kCreditCounter + (round & 1), 1));
    }
    co_await device_.flush();
}

void LowLatency::unpack(const LowLatencyDispatchOutput& output, LowLatencyHandle& handle,
                        uint32_t source, uint32_t tokens, std::vector<uint32_t>& filled) const {
    const LowLatencyShape& shape = handle.shape;
    const LowLatencyLayout layout = this->layout(shape);
    const auto local_experts = static_cast<uint32_t>(filled.size());
    const uint32_t capacity = device_.num_ranks() * shape.max_tokens;
    const int64_t first_expert = int64_t{local_experts} * device_.rank();
    std::array<int64_t, kMaxTopk> ids;
    for (uint32_t i = 0; i < std::min(tokens, shape.max_tokens); ++i) {
        const std::byte* slot = device_.at(place(handle.round, layout.token(source, i)));
        const auto& head = *reinterpret_cast<const TokenHead*>(slot);
        for (uint32_t k = 0; k < shape.topk; ++k) {
            int32_t id;
            std::memcpy(&id, slot + sizeof(TokenHead) + 4ull * k, 4);
            ids[k] = id;
        }
        const auto slots = result_slots(ids.data(), shape.topk);
        for (uint32_t k = 0; k < shape.topk; ++k) {
            const int64_t expert = ids[k] - first_expert;
            if (ids[k] < 0 || expert < 0 || expert >= local_experts) continue;
            if (first_mention(ids.data(), k) != k) continue;
            const auto e = static_cast<uint32_t>(expert);
            const uint32_t row = filled[e]++;
            place_row(output, shape, e, row, slot + TokenHead::bytes(shape.topk));
            output.src_info[uint64_t{e} * capacity + row] = head.token;
            handle.rows[source].push_back(
                {e * capacity + row, static_cast<uint32_t>(head.token), slots[k]});
        }
    }
}

void LowLatency::place_row(const LowLatencyDispatchOutput& output, const LowLatencyShape& shape,
                           uint32_t expert, uint32_t row, const std::byte* payload) const {
    const uint64_t capacity = uint64_t{device_.num_ranks()} * shape.max_tokens;
    const uint64_t bytes = row_bytes(shape);
    std::memcpy(output.x + (expert * capacity + row) * bytes, payload, bytes);
    const uint64_t num_scales = scale_bytes(shape) / 4;
    for (uint64_t s = 0; s < num_scales; ++s) {
        std::memcpy(output.scales + ((expert * num_scales + s) * capacity + row) * 4,
                    payload + bytes + 4 * s, 4);
    }
}

}  // namespace crossdock::ep
