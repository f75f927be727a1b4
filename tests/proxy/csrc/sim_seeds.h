// Running a simulated test over seeds: first those that once failed, then a range of new ones.
//
//   CROSSDOCK_SIM_SEED=n      only this seed
//   CROSSDOCK_SIM_SEEDS=n     so many new seeds instead of the test's own number
#pragma once

#include <cstdint>
#include <functional>

namespace crossdock::proxy {

// Calls run(seed) for each seed. A Finding, or anything else that is thrown, fails the test with
// the seed and how to run just that one; the first few end it.
void for_seeds(uint64_t count, const std::function<void(uint64_t)>& run);

}  // namespace crossdock::proxy
