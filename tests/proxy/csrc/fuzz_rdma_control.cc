// What a peer may say over the control channel, cut into pieces as the first byte says: the channel
// ends at the first message that is none, and a link hears only what its state allows.
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "proxy/csrc/rdma/control_channel.h"

namespace {

using crossdock::proxy::Loss;
using crossdock::proxy::rdma::ControlChannel;
using crossdock::proxy::rdma::ControlMessage;
using crossdock::proxy::rdma::Notice;
using crossdock::proxy::tcp::OwnedFd;

void require(bool fine) {
    if (!fine) std::abort();
}

bool is_known(const ControlMessage& message) {
    return message.notice == Notice::kSwitch || message.notice == Notice::kLeave;
}

// The messages before the first one that is none.
std::vector<ControlMessage> sound_part(const std::vector<uint8_t>& bytes, bool& broken) {
    std::vector<ControlMessage> messages;
    for (size_t at = 0; at + sizeof(ControlMessage) <= bytes.size(); at += sizeof(ControlMessage)) {
        ControlMessage message;
        std::memcpy(&message, bytes.data() + at, sizeof message);
        broken = !is_known(message);
        if (broken) break;
        messages.push_back(message);
    }
    return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0 || size > 4096) return 0;
    std::minstd_rand random(data[0]);
    std::vector<uint8_t> bytes(data + 1, data + size);
    if (data[0] >= 128) {
        for (size_t at = 0; at + sizeof(ControlMessage) <= bytes.size();
             at += sizeof(ControlMessage))
            bytes[at] = bytes[at] % 2 + 1, bytes[at + 1] = bytes[at + 2] = bytes[at + 3] = 0;
    }
    bool broken = false;
    const std::vector<ControlMessage> expected = sound_part(bytes, broken);
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    ControlChannel channel(OwnedFd(ends[0]), 0);
    OwnedFd peer(ends[1]);
    size_t heard = 0;
    const auto listen = [&] {
        while (const auto message = channel.receive()) {
            require(heard < expected.size());
            require(std::memcmp(&*message, &expected[heard], sizeof(ControlMessage)) == 0);
            ++heard;
        }
    };
    for (size_t at = 0; at < bytes.size();) {
        const size_t cut = std::min<size_t>(bytes.size() - at, 1 + random() % 40);
        require(send(peer.get(), bytes.data() + at, cut, MSG_NOSIGNAL) ==
                static_cast<ssize_t>(cut));
        at += cut;
        if (random() % 2 == 0) listen();
    }
    listen();
    require(heard == expected.size());
    require(broken == (channel.ending() == Loss::kBadFrame));
    peer.reset();
    listen();
    const bool whole = bytes.size() % sizeof(ControlMessage) == 0;
    const Loss ending = broken || !whole ? Loss::kBadFrame : Loss::kConnectionClosed;
    require(channel.ending() == ending);
    return 0;
}
