#include "serving/csrc/groups.h"

namespace crossdock::serving {

void Groups::sort(std::span<const double> chances, std::span<const double> by_position,
                  double all) {
    std::array<double, kClasses> counts{}, sums{};
    group_of.resize(chances.size());
    for (size_t i = 0; i < chances.size(); ++i) {
        const size_t found = class_of(chances[i]);
        group_of[i] = static_cast<uint8_t>(found);
        counts[found] += 1;
        sums[found] += chances[i];
    }
    std::array<uint8_t, kClasses> place{};
    count = 0;
    for (size_t found = 0; found < kClasses; ++found) {
        if (counts[found] == 0) continue;
        const double chance = sums[found] / counts[found];
        double alive = 1;
        for (size_t i = 0; i < positions; ++i)
            survival[count * positions + i] = alive *= conditional(chance, by_position[i], all);
        members[count] = counts[found];
        place[found] = static_cast<uint8_t>(count++);
    }
    for (uint8_t& group : group_of)
        group = place[group];
}

}  // namespace crossdock::serving
