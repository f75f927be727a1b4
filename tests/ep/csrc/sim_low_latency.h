// One low-latency dispatch and its combine, in parts that a program may take apart, as hooks do.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "tests/ep/csrc/sim_content.h"

namespace crossdock::ep {

struct LowLatencyJob {
    uint64_t salt = 0;
    LowLatencyShape shape;
    bool zero_copy = false;
    bool combines = true;
    std::vector<std::vector<int64_t>> topk_idx;  // [rank][token, k]

    static LowLatencyShape draw_shape(SimRandom& random, uint32_t num_ranks);
    static LowLatencyJob draw(SimRandom& random, uint32_t num_ranks, const LowLatencyShape& shape);

    uint32_t num_ranks() const { return static_cast<uint32_t>(topk_idx.size()); }
    uint32_t local_experts() const { return shape.num_experts / num_ranks(); }
    uint32_t tokens(uint32_t rank) const {
        return static_cast<uint32_t>(topk_idx[rank].size() / shape.topk);
    }
    const int64_t* experts(uint32_t rank, uint32_t token) const {
        return topk_idx[rank].data() + uint64_t{token} * shape.topk;
    }
    bool names(uint32_t rank, uint32_t token, int64_t expert) const;
    LowLatencyLayout layout() const {
        return {shape.max_tokens, shape.hidden, num_ranks(), shape.num_experts};
    }
    uint64_t tokens_end() const { return layout().tokens_end(); }
};

// One rank's part of it.
class LowLatencyRound {
  public:
    LowLatencyRound(SimRank& rank, const LowLatencyJob& job) : rank_(rank), job_(job) {}

    Task send();
    Task receive();
    Task combine_send();
    Task combine_receive();

  private:
    uint64_t capacity() const { return uint64_t{job_.num_ranks()} * job_.shape.max_tokens; }
    uint64_t row_bytes() const {
        return (job_.shape.format == kBf16 ? 2ull : 1ull) * job_.shape.hidden;
    }
    std::vector<uint16_t> token_of(uint32_t source, uint32_t token) const;
    void check_expert(uint32_t expert) const;
    void check_row(uint32_t expert, uint32_t row, uint32_t source, uint32_t token) const;
    void fill_results(uint16_t* y) const;
    void check_sums() const;
    float weight(uint32_t token, uint32_t k) const;

    SimRank& rank_;
    const LowLatencyJob& job_;
    LowLatencyHandle handle_;
    std::vector<uint16_t> x_;
    std::vector<std::byte> rows_;
    std::vector<float> scales_;
    std::vector<int32_t> count_, src_info_, statistics_;
    std::vector<int64_t> range_;
    std::vector<uint16_t> y_, out_;
    std::vector<float> weights_;
    LowLatencyCombineInput combine_;
    std::vector<uint8_t> masked_;  // ranks whose rows were left out of the dispatch
};

}  // namespace crossdock::ep
