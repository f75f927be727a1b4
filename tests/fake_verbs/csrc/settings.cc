#include "settings.h"

#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "efa_abi.h"

namespace fake_verbs {
namespace {

constexpr uint64_t kMicrosecond = 1000;
constexpr uint64_t kMillisecond = 1000 * kMicrosecond;
constexpr uint32_t kDevicesMax = 64;

std::string text(const char* name, const std::string& otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : otherwise;
}

uint64_t number(const char* name, uint64_t otherwise) {
    const std::string value = text(name, "");
    return value.empty() ? otherwise : std::strtoull(value.c_str(), nullptr, 0);
}

// "rc:2", "efa:4", "rc:1,efa:1": an unknown kind makes no device.
std::vector<Kind> devices(const std::string& wanted) {
    std::vector<Kind> found;
    std::istringstream words(wanted);
    for (std::string word; std::getline(words, word, ',');) {
        const size_t colon = word.find(':');
        const std::string kind = word.substr(0, colon);
        if (kind != "rc" && kind != "efa") continue;
        const uint64_t count =
            colon == std::string::npos ? 1 : std::strtoull(&word[colon + 1], nullptr, 10);
        for (uint64_t i = 0; i < count && found.size() < kDevicesMax; i++)
            found.push_back(kind == "efa" ? Kind::kEfa : Kind::kRoce);
    }
    return found;
}

}  // namespace

Settings settings_from_environment() {
    Settings read;
    const std::string job = text("FAKE_VERBS_JOB", "");
    read.job_is_given = !job.empty();
    read.job = read.job_is_given
                   ? job
                   : text("TMPDIR", "/tmp") + "/fake_verbs." + std::to_string(geteuid());
    read.devices = devices(text("FAKE_VERBS_DEVICES", "rc:1"));
    read.host = static_cast<uint32_t>(number("FAKE_VERBS_HOST", 0)) & 0xff;
    read.seed = number("FAKE_VERBS_SEED", 0);
    read.memlock_bytes = number("FAKE_VERBS_MEMLOCK", UINT64_MAX);
    read.mr_bytes_max = number("FAKE_VERBS_MAX_MR_BYTES", uint64_t{1} << 40);
    read.message_bytes_max =
        static_cast<uint32_t>(number("FAKE_VERBS_MAX_MSG_BYTES", uint64_t{1} << 30));
    read.qp_wr_max = static_cast<uint32_t>(number("FAKE_VERBS_MAX_QP_WR", 0));
    read.completion_delay_ns = number("FAKE_VERBS_COMPLETION_DELAY_US", 0) * kMicrosecond;
    read.reorder_ns = number("FAKE_VERBS_REORDER_US", 50) * kMicrosecond;
    read.srd_timeout_ns = number("FAKE_VERBS_SRD_TIMEOUT_MS", 1000) * kMillisecond;
    read.rnr_percent = static_cast<uint32_t>(number("FAKE_VERBS_RNR_PERCENT", 0));
    read.efa_caps = static_cast<uint32_t>(number("FAKE_VERBS_EFA_CAPS", kEfaCapsAll));
    read.atomics = text("FAKE_VERBS_ATOMICS", "glob");
    return read;
}

}  // namespace fake_verbs
