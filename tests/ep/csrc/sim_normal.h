// One normal dispatch with what may follow it: cached dispatches, combines. Every row is checked.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/ep/csrc/sim_content.h"

namespace crossdock::ep {

struct NormalJob {
    enum class Stage : uint8_t { kNever, kAnnounce, kTransfer, kCombine };

    uint64_t salt = 0;
    uint32_t hidden_bytes = 16;   // of a dispatched row
    uint32_t combine_hidden = 8;  // channels of a combined row
    uint32_t topk = 1;
    uint32_t num_experts = 1;
    uint32_t num_scales = 0;
    bool with_indices = true;  // indices and weights travel
    bool column_major_scales = false;
    uint32_t padding = 0;  // rows of the results beyond those that come
    uint32_t cached_rounds = 0;
    uint32_t combines = 0;
    bool combine_weights = false;
    uint32_t num_biases = 0;
    Stage refused_at = Stage::kNever;
    uint32_t refuser = 0;
    std::vector<std::vector<int64_t>> topk_idx;  // [rank][token, k]

    static NormalJob draw(SimRandom& random, uint32_t num_ranks);

    uint32_t num_ranks() const { return static_cast<uint32_t>(topk_idx.size()); }
    uint32_t local_experts() const { return num_experts / num_ranks(); }
    uint32_t tokens(uint32_t rank) const {
        return static_cast<uint32_t>(topk_idx[rank].size() / topk);
    }
    int64_t expert(uint32_t rank, uint32_t token, uint32_t k) const {
        return topk_idx[rank][uint64_t{token} * topk + k];
    }
    bool goes_to(uint32_t source, uint32_t token, uint32_t destination) const;
};

// One rank's part of it.
class NormalRound {
  public:
    NormalRound(SimRank& rank, const NormalJob& job);
    ~NormalRound();
    NormalRound(const NormalRound&) = delete;

    Task run();

  private:
    using Block = std::shared_ptr<proxy::Heap::Block>;
    using Stage = NormalJob::Stage;
    static constexpr uint32_t kDispatchWindow = proxy::kFirstWindow;
    static constexpr uint32_t kCombineWindow = proxy::kFirstWindow + 1;

    void prepare();
    Task announce();
    Task dispatch(uint32_t turn);
    Task combine(uint32_t turn);
    bool refuses(Stage stage) const;
    void check_ending(Stage stage, const std::optional<Disagreement>& disagreement) const;

    void fill_dispatch(uint64_t salt);
    void fill_combine(uint64_t salt, CombineInput& input);
    uint64_t hold(uint64_t bytes);
    void check_counts(const std::vector<uint32_t>& expert_rows) const;
    void check_rows(const std::byte* rows, uint64_t salt) const;
    void unpack_and_check(const DispatchPlaces& places, uint64_t salt) const;
    void check_meta_row(uint32_t row, uint64_t salt, const DispatchOutput& output) const;
    void check_sums(const CombineInput& input, uint64_t salt) const;

    SimRank& rank_;
    const NormalJob& job_;
    std::vector<std::pair<uint32_t, uint32_t>> expected_;  // (source, token) of each row that comes
    DispatchInput input_;
    NormalHandle handle_;
    std::unique_ptr<bool[]> in_rank_;
    std::vector<int32_t> per_rank_, per_expert_;
    std::vector<float> weights_;
    std::vector<uint32_t> scales_;
    std::vector<uint64_t> x_, y_;
    std::vector<float> y_weights_, out_weights_;
    std::vector<uint16_t> biases_[2], out_;
    std::vector<Block> blocks_;
};

}  // namespace crossdock::ep
