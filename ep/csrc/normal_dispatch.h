// Normal dispatch: one copy of a token to each rank that has an expert for it, straight from the
// caller's tensor into the receiver's result; between nodes one copy to each node's gateway, which
// forwards it.
//
//   announce   every rank tells every rank how many rows it will send; arguments are compared
//   (caller)   allocates the results, whose size is known now
//   transfer   every rank grants places; rows are written; gateways forward; counters settle
//   unpack     meta rows become indices, weights and scales
#pragma once

#include <optional>
#include <vector>

#include "ep/csrc/control_all_to_all.h"
#include "ep/csrc/handle.h"
#include "ep/csrc/meta.h"
#include "ep/csrc/rows.h"
#include "ep/csrc/topology.h"

namespace crossdock::ep {

struct DispatchInput {
    uint32_t num_tokens = 0;
    uint32_t hidden_bytes = 0;
    uint32_t element_bytes = 0;  // for the ranks to compare; rows are bytes here
    uint32_t topk = 0;           // 0: no indices travel (cached dispatch)
    uint32_t num_scales = 0;     // for each token
    uint32_t num_experts = 0;
    bool cached = false;
    uint32_t x_region = 0;                       // window on x: [num_tokens] rows of hidden_bytes
    const int64_t* topk_idx = nullptr;           // [num_tokens, topk]
    const float* topk_weights = nullptr;         // [num_tokens, topk]
    const uint32_t* scales = nullptr;            // 4-byte elements
    int64_t scale_strides[2] = {0, 0};           // in elements
    const bool* is_token_in_rank = nullptr;      // [num_tokens, num_ranks]
    const int32_t* tokens_per_expert = nullptr;  // [num_experts]
    Refusal refusal = Refusal::kNone;  // this rank's arguments are unusable; tell the others
};

// Heap blocks that the caller has allocated for transfer(). Offsets into the heap region.
struct DispatchPlaces {
    uint64_t rows_at = 0;       // num_recv rows of x
    uint64_t meta_at = 0;       // num_recv meta rows
    uint64_t node_rows_at = 0;  // rows to forward
    uint64_t node_meta_at = 0;
    uint64_t own_meta_at = 0;          // num_tokens meta rows to send
    Refusal refusal = Refusal::kNone;  // no memory; tell the others
};

struct DispatchOutput {
    int64_t* topk_idx = nullptr;    // [num_rows, topk]
    float* topk_weights = nullptr;  // [num_rows, topk]
    uint32_t* scales = nullptr;     // [num_rows, num_scales]
    uint32_t num_rows = 0;          // at least num_recv; rows beyond it are padding
};

class NormalDispatch {
  public:
    NormalDispatch(Device& device, const Topology& topology, ControlAllToAll<Header>& headers,
                   ControlAllToAll<Grant>& grants)
        : device_(device), topology_(topology), headers_(headers), grants_(grants) {}

    MetaLayout meta(const DispatchInput& input) const;

    // Fills in the handle, and adds up what each local expert gets. A cached dispatch skips this.
    Task announce(const DispatchInput& input, NormalHandle& handle,
                  std::vector<uint32_t>& expert_rows, std::optional<Disagreement>& disagreement);
    Task transfer(const DispatchInput& input, NormalHandle& handle, const DispatchPlaces& places,
                  std::optional<Disagreement>& disagreement);
    void unpack(const DispatchInput& input, const NormalHandle& handle,
                const DispatchPlaces& places, const DispatchOutput& output) const;
    // After a new epoch has begun on all ranks: in the last one, some had announced more than
    // others.
    void restart() { dispatches_ = ++restarts_ << 24; }

  private:
    Agreement agreement(const DispatchInput& input, const NormalHandle& handle) const;
    void plan(const DispatchInput& input, NormalHandle& handle) const;
    void pack_meta(const DispatchInput& input, uint64_t at) const;
    void receive_plan(const DispatchInput& input, NormalHandle& handle,
                      std::vector<uint32_t>& expert_rows) const;
    Task send_grants(const DispatchInput& input, const NormalHandle& handle,
                     const DispatchPlaces& places);
    Task send_rows(const DispatchInput& input, const NormalHandle& handle,
                   const DispatchPlaces& places);
    Task forward(const DispatchInput& input, NormalHandle& handle, const DispatchPlaces& places);
    void read_forwarding(NormalHandle::Forwarded& forwarded, const Rows& meta) const;
    void expect_rows(const NormalHandle& handle, uint32_t pieces) const;

    Device& device_;
    const Topology& topology_;
    ControlAllToAll<Header>& headers_;
    ControlAllToAll<Grant>& grants_;
    uint32_t dispatches_ = 0;  // announced, on this rank as on all
    uint32_t restarts_ = 0;
};

}  // namespace crossdock::ep
