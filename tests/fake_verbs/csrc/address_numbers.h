// The numbers by which EFA names address handles: one for each remote GID, however many handles
// there are for it. A completion names its sender by that number.
#pragma once

#include <infiniband/verbs.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fake_verbs {

class AddressNumbers {
  public:
    static constexpr uint16_t kUnknown = 0xffff;

    static AddressNumbers& instance() {
        static AddressNumbers numbers;
        return numbers;
    }

    uint16_t add(const ibv_gid& gid) {
        const uint16_t known = find(gid);
        if (known != kUnknown) return known;
        gids_.push_back(gid);
        return static_cast<uint16_t>(gids_.size() - 1);
    }

    uint16_t find(const ibv_gid& gid) const {
        const auto same = [&](const ibv_gid& g) { return std::memcmp(&g, &gid, sizeof g) == 0; };
        const auto found = std::find_if(gids_.begin(), gids_.end(), same);
        return found == gids_.end() ? kUnknown : static_cast<uint16_t>(found - gids_.begin());
    }

  private:
    std::vector<ibv_gid> gids_;
};

}  // namespace fake_verbs
