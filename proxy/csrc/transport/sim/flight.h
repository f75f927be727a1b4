// A write on its way through a simulated network, from post to completion, and a report on its way
// to an endpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/endpoint.h"

namespace crossdock::proxy {

// Which endpoint is meant. Every endpoint has another `attachment`, so that what was addressed to
// an earlier endpoint of the same rank can be told from what is meant for the present one.
struct SimAddress {
    static constexpr uint64_t kWhoeverIsThere = 0;

    uint32_t rank = 0;
    uint32_t index = 0;
    uint64_t attachment = kWhoeverIsThere;
};

struct SimFlight {
    WriteOp op;
    SimAddress from;
    uint64_t to_attachment = 0;  // who was there when it was posted
    uint64_t place = 0;          // among all that was posted to its peer
    uint64_t place_after_ns = 0;
    uint64_t arrive_ns = 0;
    uint16_t pieces = 1;
    bool under_way = false;
    bool was_read = false;
    bool damaged = false;  // a piece could not be placed
    uint32_t tries = 0;    // at a receiver that was not ready
    uint64_t stall = 0;    // of its lane, that it knows of
    std::vector<std::byte> payload;

    std::span<const std::byte> piece(uint16_t number) const {
        const size_t begin = payload.size() * number / pieces;
        const size_t end = payload.size() * (number + size_t{1}) / pieces;
        return std::span(payload).subspan(begin, end - begin);
    }
};

struct SimReport {
    SimAddress to;
    Event event;
};

}  // namespace crossdock::proxy
