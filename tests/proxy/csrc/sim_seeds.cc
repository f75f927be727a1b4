#include "tests/proxy/csrc/sim_seeds.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace crossdock::proxy {

namespace {

constexpr uint32_t kEnoughFailures = 3;

// Sanitizers are slow, and what they look for shows in few seeds.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::string test_name() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    return std::string(info->test_suite_name()) + "." + info->name();
}

// Lines of `test seed`; what follows a # is a comment.
std::vector<uint64_t> kept_seeds(const std::string& test) {
    std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "sim_seeds.txt");
    EXPECT_TRUE(file) << "sim_seeds.txt is not beside " << __FILE__;
    std::vector<uint64_t> seeds;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line.substr(0, line.find('#')));
        std::string name;
        uint64_t seed = 0;
        if (words >> name >> seed && name == test) seeds.push_back(seed);
    }
    return seeds;
}

std::vector<uint64_t> seeds_of(const std::string& test, uint64_t count) {
    if (kSanitized) count /= 10;
    if (const char* only = std::getenv("CROSSDOCK_SIM_SEED")) return {std::stoull(only)};
    if (const char* number = std::getenv("CROSSDOCK_SIM_SEEDS")) count = std::stoull(number);
    std::vector<uint64_t> seeds = kept_seeds(test);
    for (uint64_t seed = 0; seed < count; ++seed)
        seeds.push_back(seed);
    return seeds;
}

}  // namespace

void for_seeds(uint64_t count, const std::function<void(uint64_t)>& run) {
    const std::string test = test_name();
    uint32_t failures = 0;
    for (uint64_t seed : seeds_of(test, count)) {
        try {
            run(seed);
        } catch (const std::exception& error) {
            ADD_FAILURE() << "finding: seed " << seed << ": " << error.what()
                          << "\nto run it alone: CROSSDOCK_SIM_SEED=" << seed
                          << " <this program> --gtest_filter=" << test
                          << "\nonce it is mended, add it to sim_seeds.txt";
            if (++failures == kEnoughFailures) return;
        }
    }
}

}  // namespace crossdock::proxy
