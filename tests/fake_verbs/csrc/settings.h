#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fake_verbs {

enum class Kind : uint8_t { kRoce, kEfa };

// What the environment asks for; README.md explains every variable.
struct Settings {
    std::filesystem::path job;
    bool job_is_given = false;
    std::vector<Kind> devices;
    uint32_t host = 0;
    uint64_t seed = 0;
    uint64_t memlock_bytes = 0;
    uint64_t mr_bytes_max = 0;
    uint32_t message_bytes_max = 0;
    uint32_t qp_wr_max = 0;
    uint64_t completion_delay_ns = 0;
    uint64_t reorder_ns = 0;
    uint64_t srd_timeout_ns = 0;
    uint32_t rnr_percent = 0;
    uint32_t efa_caps = 0;
    std::string atomics;
};

Settings settings_from_environment();

}  // namespace fake_verbs
