// One socket to a peer, both ways. It reads as long as the caller has room for events, so nothing
// that has happened needs to be kept: what is not read yet waits in the kernel, and the peer with
// it.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/tcp/event_sink.h"
#include "proxy/csrc/transport/tcp/frame_parser.h"
#include "proxy/csrc/transport/tcp/outbox.h"
#include "proxy/csrc/transport/tcp/socket.h"

namespace crossdock::proxy::tcp {

// Where sockets are read into when the place of the bytes is not known yet. Shared by all
// connections: only the last one that was served can have left bytes unread.
struct Scratch {
    std::vector<std::byte> memory;
    std::span<const std::byte> unread;
};

// How a connection ended.
struct Ending {
    bool over = false;
    Loss loss = Loss::kNone;  // kNone: a GOODBYE in peace
    int32_t detail = 0;       // kAborted: who is blamed; kBadFrame: the FrameStatus; else errno
};

class Connection {
  public:
    Connection(uint32_t id, uint32_t peer, OwnedFd socket, const RegionTable& regions,
               uint32_t depth)
        : id_(id), peer_(peer), socket_(std::move(socket)), outbox_(depth), parser_(regions) {}

    uint32_t peer() const { return peer_; }
    int fd() const { return socket_.get(); }
    const Ending& ending() const { return ending_; }
    Outbox& outbox() { return outbox_; }
    const Outbox& outbox() const { return outbox_; }

    // What the poller has told. True: there is something to read.
    bool note_change(uint32_t epoll_events);

    // Reports what is done and what has arrived, as long as the sink has room and within a bounded
    // number of reads. True: there is more to do although the poller will not say so.
    bool serve(Scratch& scratch, EventSink& sink);
    // Reports what is done, of a peer that is gone.
    bool serve_done(EventSink& sink);

    // Sends until nothing is left or the kernel takes no more. True: the socket is broken, or there
    // is something to read; serve() finds out.
    bool flush();

    // Closes the socket, for good. What the peer has sent meanwhile is thrown away first: the
    // kernel would otherwise drop our last frames as well.
    void close();

  private:
    void parse(Scratch& scratch, EventSink& sink);
    void read(Scratch& scratch, EventSink& sink);
    void settle_read(ssize_t got, size_t wanted);
    void account(FrameStatus status, EventSink& sink);
    void account_whole(EventSink& sink);
    void end(Loss loss, int32_t detail) {
        ending_ = {.over = true, .loss = loss, .detail = detail};
    }

    uint32_t id_;
    uint32_t peer_;
    OwnedFd socket_;
    Outbox outbox_;
    FrameParser parser_;
    Ending ending_;
    uint32_t last_payload_bytes_ = 0;
    bool readable_ = false;
    bool hung_up_ = false;  // nothing follows what lies in the kernel
    bool shut_ = false;     // for writing
    bool writable_ = true;
};

}  // namespace crossdock::proxy::tcp
