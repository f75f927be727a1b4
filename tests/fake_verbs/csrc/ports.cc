#include "ports.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace fake_verbs {
namespace {

PortWord read_word(const std::string& path) {
    const int file_descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_descriptor < 0) return PortWord::kUp;
    char text[16] = {};
    const ssize_t bytes = read(file_descriptor, text, sizeof(text) - 1);
    close(file_descriptor);
    const std::string_view word(text, bytes < 0 ? 0 : static_cast<size_t>(bytes));
    if (word.starts_with("down")) return PortWord::kDown;
    if (word.starts_with("mute")) return PortWord::kMute;
    return PortWord::kUp;
}

}  // namespace

PortWord read_port(const Settings& settings, const Device& device) {
    const std::string prefix = settings.job.string() + "/" + device.base.name;
    const std::string host = prefix + ".host" + std::to_string(settings.host) + ".port";
    const std::string process = prefix + "." + std::to_string(getpid()) + ".port";
    PortWord worst = PortWord::kUp;
    for (const std::string& path : {prefix + ".port", host, process}) {
        const PortWord word = read_word(path);
        if (word == PortWord::kDown || worst == PortWord::kUp) worst = word;
    }
    return worst;
}

}  // namespace fake_verbs
