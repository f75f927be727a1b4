// Chances that drafts are accepted: how those of requests and positions combine, and the classes
// into which requests of like chances are put.
#pragma once

#include <array>
#include <cstddef>

namespace crossdock::serving {

// Requests of like chances are counted together. Fine where chances are high, since there they
// matter most.
inline constexpr std::array kEdges{0.3, 0.5, 0.65, 0.77, 0.86, 0.92, 0.96};
inline constexpr size_t kClasses = kEdges.size() + 1;

inline size_t class_of(double chance) {
    size_t edges_below = 0;
    for (const double edge : kEdges)
        edges_below += edge < chance;
    return edges_below;
}

inline double odds(double chance) {
    return chance / (1 - chance);
}

// The odds of a position are scaled by those of the request against those of all, so that a chance
// stays one. That a draft is accepted once all before it are.
inline double conditional(double request, double position, double all) {
    const double scaled = odds(request) * ((1 - all) / all) * odds(position);
    return scaled / (1 + scaled);
}

}  // namespace crossdock::serving
