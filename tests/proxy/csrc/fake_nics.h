// The NICs of the tests: those of the stand-in for libibverbs (tests/fake_verbs), which ctest names
// in the environment. Every test is a job of its own.
#pragma once

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace crossdock::proxy::testing {

// Set before the first NIC is opened and after the last one was closed: the stand-in reads its
// environment anew each time.
class FakeJob {
  public:
    using Settings = std::initializer_list<std::pair<const char*, std::string>>;

    explicit FakeJob(const std::string& devices, Settings more = {}) {
        if (std::getenv("CROSSDOCK_LIBIBVERBS") == nullptr) {
            throw std::runtime_error(
                "CROSSDOCK_LIBIBVERBS and CROSSDOCK_LIBEFA must name the libraries that "
                "tests/fake_verbs/build.py makes; ctest sets both");
        }
        std::string name = (std::filesystem::temp_directory_path() / "fake-nics-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder " + name);
        folder_ = name;
        set("FAKE_VERBS_JOB", name);
        set("FAKE_VERBS_DEVICES", devices);
        for (const auto& [variable, value] : more)
            set(variable, value);
    }
    ~FakeJob() {
        for (const std::string& variable : set_)
            unsetenv(variable.c_str());
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    FakeJob(const FakeJob&) = delete;
    FakeJob& operator=(const FakeJob&) = delete;

    void set(const char* variable, const std::string& value) {
        setenv(variable, value.c_str(), 1);
        set_.push_back(variable);
    }
    // "down", "mute" or "up"; seen within 20 ms.
    void port(const std::string& device, const std::string& word) const {
        std::ofstream(folder_ / (device + ".port")) << word;
    }
    // What is open, by kind ("mr", "qp", ...).
    std::map<std::string, int64_t> objects() const {
        std::map<std::string, int64_t> found;
        std::ifstream table(folder_ / ("objects." + std::to_string(getpid())));
        std::string name;
        for (int64_t count = 0; table >> name >> count;)
            if (count != 0) found[name] = count;
        return found;
    }

  private:
    std::filesystem::path folder_;
    std::vector<std::string> set_;
};

inline std::array<int, 2> stream_pair() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw std::runtime_error("no socket pair");
    return ends;
}

// Calls `step` until it returns true; false when that takes too long.
inline bool soon(const std::function<bool()>& step,
                 std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
        if (step()) return true;
    }
    return false;
}

}  // namespace crossdock::proxy::testing
