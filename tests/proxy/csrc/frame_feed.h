// Gives the frame parser bytes the way a socket would.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>

#include "proxy/csrc/transport/tcp/frame_parser.h"

namespace crossdock::proxy::tcp {

// Feeds `fragment`: straight into the room where there is some, when asked. `whole` is called at
// the end of each frame.
template <typename Whole>
FrameStatus feed(FrameParser& parser, std::span<const std::byte> fragment, bool direct,
                 Whole&& whole) {
    while (!fragment.empty()) {
        const std::span<std::byte> room = parser.room();
        const size_t before = fragment.size();
        FrameStatus status;
        if (direct && !room.empty()) {
            const size_t bytes = std::min(room.size(), fragment.size());
            std::memcpy(room.data(), fragment.data(), bytes);
            fragment = fragment.subspan(bytes);
            status = parser.filled(bytes);
        } else {
            status = parser.consume(fragment);
        }
        if (is_broken(status)) return status;
        if (fragment.size() == before) throw std::logic_error("the parser takes nothing");
        if (status == FrameStatus::kWhole) whole();
    }
    return FrameStatus::kPartial;
}

}  // namespace crossdock::proxy::tcp
