// Normal combine: the way back of a dispatch. Every rank returns its rows to the rank that handed
// them over: the source itself when it is near, else the source's gateway, which sums the rows of
// its node and sends one row on. The source sums what it gets.
//
// The order of summation is that of crossdock.ep.reference.combine, so results agree bit by bit.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "ep/csrc/control_all_to_all.h"
#include "ep/csrc/handle.h"
#include "ep/csrc/meta.h"
#include "ep/csrc/rows.h"
#include "ep/csrc/topology.h"

namespace crossdock::ep {

// What rows to be summed are made of; the value is the size of an element in bytes.
enum class RowType : uint32_t { kBf16 = 2, kFloat32 = 4 };

struct CombineInput {
    uint32_t hidden = 0;                       // elements of a row
    RowType row_type = RowType::kBf16;         // of x, the biases, the sums and what nodes send
    uint32_t topk = 0;                         // 0: no weights travel
    uint32_t x_region = 0;                     // window on x: [num_recv, hidden]
    const float* topk_weights = nullptr;       // [num_recv, topk]
    std::array<const std::byte*, 2> biases{};  // [num_tokens, hidden] each, or null
    std::byte* out = nullptr;                  // [num_tokens, hidden]
    float* out_weights = nullptr;              // [num_tokens, topk]
    Refusal refusal = Refusal::kNone;

    uint64_t element_bytes() const { return static_cast<uint64_t>(row_type); }
    uint64_t row_bytes() const { return element_bytes() * hidden; }
    uint64_t meta_bytes() const { return MetaLayout{.topk = topk}.stride(); }
};

// Heap blocks that the caller has allocated, of the sizes that CombineSizes tells.
struct CombinePlaces {
    uint64_t rows_at = 0;  // rows of near ranks, to be summed here
    uint64_t meta_at = 0;
    uint64_t node_rows_at = 0;  // sums of other nodes, for this rank's tokens
    uint64_t node_meta_at = 0;
    uint64_t partial_rows_at = 0;  // sums made here as a gateway
    uint64_t partial_meta_at = 0;
    uint64_t own_meta_at = 0;  // this rank's weights, to be sent
};

struct CombineSizes {
    uint64_t rows = 0;
    uint64_t node_rows = 0;
    uint64_t partial_rows = 0;
    uint64_t own_rows = 0;
};

class NormalCombine {
  public:
    NormalCombine(Device& device, const Topology& topology, ControlAllToAll<Grant>& grants)
        : device_(device), topology_(topology), grants_(grants) {}

    CombineSizes sizes(const NormalHandle& handle) const;
    Task run(const CombineInput& input, const NormalHandle& handle, const CombinePlaces& places,
             std::optional<Disagreement>& disagreement);

  private:
    struct Staging;  // where the rows of each (source, near rank) lie

    void expect_rows(const CombineInput& input, const NormalHandle& handle) const;
    Task send_grants(const CombineInput& input, const NormalHandle& handle,
                     const CombinePlaces& places);
    Task return_rows(const CombineInput& input, const NormalHandle& handle,
                     const CombinePlaces& places);
    Task pass_sums_on(const CombineInput& input, const NormalHandle& handle,
                      const CombinePlaces& places);
    void sum_for_source(const CombineInput& input, const NormalHandle& handle,
                        const CombinePlaces& places, const NormalHandle::Forwarded& forwarded,
                        const Rows& partial, const Rows& partial_meta) const;
    void sum_for_me(const CombineInput& input, const NormalHandle& handle,
                    const CombinePlaces& places) const;
    void pack_weights(const CombineInput& input, const NormalHandle& handle, uint64_t at) const;
    Agreement agreement(const CombineInput& input, const NormalHandle& handle) const;

    Device& device_;
    const Topology& topology_;
    ControlAllToAll<Grant>& grants_;
};

}  // namespace crossdock::ep
