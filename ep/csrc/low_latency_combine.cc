#include <array>
#include <cstring>

#include "ep/csrc/arrivals.h"
#include "ep/csrc/kernels/kernels.h"
#include "ep/csrc/low_latency.h"

namespace crossdock::ep {

Task LowLatency::combine_send(const LowLatencyCombineInput& input, const LowLatencyHandle& handle) {
    const LowLatencyShape& shape = handle.shape;
    const LowLatencyLayout layout = this->layout(shape);
    const Kernels& kernels = *selected_kernels().kernels;
    const uint64_t bytes = input.logfmt ? logfmt_bytes(shape.hidden) : 2ull * shape.hidden;
    for (uint32_t i = 1; i <= device_.num_ranks(); ++i) {
        const uint32_t source = (device_.rank() + i) % device_.num_ranks();
        if (device_.excused(source)) continue;
        for (const auto& row : handle.rows[source]) {
            const Place from = place(handle.round, layout.out_result(row.row));
            if (input.x != nullptr) {
                const uint16_t* x = input.x + uint64_t{row.row} * shape.hidden;
                if (input.logfmt) {
                    kernels.encode_logfmt(x, device_.at(from), shape.hidden);
                } else {
                    std::memcpy(device_.at(from), x, bytes);
                }
            }
            const Place to = place(handle.round, layout.result(row.token, row.slot));
            if (device_.emit(proxy::make_write(Op::kWriteAdd, source, from, to,
                                               (bytes + 15) / 16 * 16,
                                               kResultCounter + (handle.round & 1), 1))) {
                co_await device_.flush();
            }
        }
    }
    co_await device_.flush();
}

Task LowLatency::combine_receive(const LowLatencyCombineInput& input,
                                 const LowLatencyHandle& handle) {
    const LowLatencyShape& shape = handle.shape;
    const uint32_t index = kResultCounter + (handle.round & 1);
    const uint32_t local_experts = shape.num_experts / device_.num_ranks();
    std::vector<uint32_t> expected(device_.num_ranks(), 0);
    for (uint32_t token = 0; token < handle.num_tokens; ++token) {
        const int64_t* experts = input.topk_idx + uint64_t{token} * shape.topk;
        for (uint32_t k = 0; k < shape.topk; ++k) {
            if (experts[k] < 0 || first_mention(experts, k) != k) continue;
            ++expected[static_cast<uint32_t>(experts[k]) / local_experts];
        }
    }
    for (uint32_t peer = 0; peer < expected.size(); ++peer) {
        if (!device_.excused(peer)) device_.counter(peer, index).seal(expected[peer]);
    }
    auto ready = [this, index](uint32_t peer) {
        return device_.counter(peer, index).read().ready();
    };
    co_await Arrivals("rows of experts", device_, static_cast<int32_t>(index), input.wait_us,
                      ready);
    for (uint32_t token = 0; token < handle.num_tokens; ++token)
        sum_token(input, handle, token);
    for (uint32_t peer = 0; peer < expected.size(); ++peer) {
        if (!device_.excused(peer)) device_.counter(peer, index).reset();
    }
    co_await device_.flush();
}

void LowLatency::sum_token(const LowLatencyCombineInput& input, const LowLatencyHandle& handle,
                           uint32_t token) const {
    const LowLatencyShape& shape = handle.shape;
    const LowLatencyLayout layout = this->layout(shape);
    const uint32_t local_experts = shape.num_experts / device_.num_ranks();
    const int64_t* experts = input.topk_idx + uint64_t{token} * shape.topk;
    const auto slots = result_slots(experts, shape.topk);
    std::array<const std::byte*, kMaxTopk> rows;
    std::array<float, kMaxTopk> weights;
    uint32_t count = 0;
    for (uint32_t k = 0; k < shape.topk; ++k) {
        if (experts[k] < 0) continue;
        if (device_.excused(static_cast<uint32_t>(experts[k]) / local_experts)) continue;
        rows[count] = device_.at(place(handle.round, layout.result(token, slots[k])));
        weights[count++] = input.topk_weights[uint64_t{token} * shape.topk + k];
    }
    const Kernels& kernels = *selected_kernels().kernels;
    uint16_t* out = input.out + uint64_t{token} * shape.hidden;
    if (input.logfmt) {
        kernels.weighted_sum_logfmt(out, rows.data(), weights.data(), count, shape.hidden);
        return;
    }
    std::array<const uint16_t*, kMaxTopk> bf16;
    for (uint32_t i = 0; i < count; ++i)
        bf16[i] = reinterpret_cast<const uint16_t*>(rows[i]);
    kernels.weighted_sum_rows(out, bf16.data(), weights.data(), count, shape.hidden);
}

}  // namespace crossdock::ep
