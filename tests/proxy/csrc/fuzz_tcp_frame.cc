// Feeds the frame parser a stream cut as the input says: its first byte seeds the cutting, how the
// fragments are given, and whether the headers are mended first, so that long streams are reached
// too. Address sanitizer guards the region; a frame is only whole when its payload lies inside.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "proxy/csrc/transport/tcp/frame_parser.h"
#include "tests/proxy/csrc/frame_feed.h"

namespace {

using crossdock::proxy::RegionTable;
using crossdock::proxy::tcp::feed;
using crossdock::proxy::tcp::FrameHeader;
using crossdock::proxy::tcp::FrameParser;
using crossdock::proxy::tcp::FrameStatus;
using crossdock::proxy::tcp::FrameType;
using crossdock::proxy::tcp::is_broken;

constexpr size_t kRegionBytes = 192;

void require(bool fine) {
    if (!fine) std::abort();
}

// Puts what a header cannot do without at every place where one is expected.
void mend(std::span<std::byte> stream) {
    uint32_t number = 0;
    while (stream.size() >= sizeof(FrameHeader)) {
        FrameHeader header;
        std::memcpy(&header, stream.data(), sizeof(header));
        header.magic = crossdock::proxy::tcp::kMagic;
        header.version = crossdock::proxy::tcp::kVersion;
        header.reserved = 0;
        header.number = number;
        header.bytes %= 2 * kRegionBytes;
        std::memcpy(stream.data(), &header, sizeof(header));
        number += header.type == FrameType::kWrite;
        stream = stream.subspan(std::min(stream.size(), sizeof(header) + header.bytes));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    std::minstd_rand random(data[0]);
    const auto memory = std::make_unique<std::byte[]>(kRegionBytes);
    RegionTable regions;
    regions.open(data[0] % 2, {memory.get(), kRegionBytes});
    FrameParser parser(regions);
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    std::vector<std::byte> input(bytes + 1, bytes + size);
    if (data[0] >= 128) mend(input);
    std::span<const std::byte> stream(input);
    const size_t longest = data[0] % 8 == 0 ? stream.size() + 1 : 1 + data[0] % 64;
    while (!stream.empty()) {
        const size_t cut = std::min(stream.size(), 1 + random() % longest);
        // A copy of its own for each fragment, so that reading beyond it is noticed.
        const auto fragment = std::make_unique<std::byte[]>(cut);
        std::memcpy(fragment.get(), stream.data(), cut);
        const FrameStatus status = feed(parser, {fragment.get(), cut}, random() % 2 == 0, [&] {
            require(parser.room().empty());
            require(parser.frame().dst_offset + parser.frame().bytes <= kRegionBytes);
        });
        if (is_broken(status)) return 0;
        stream = stream.subspan(cut);
    }
    return 0;
}
