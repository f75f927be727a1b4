// Writing rows of a region to a peer: runs of rows that lie one after another on both sides become
// one command, as long as its fields allow.
#pragma once

#include <algorithm>
#include <vector>

#include "ep/csrc/device.h"

namespace crossdock::ep {

// A stretch of rows of equal size.
struct Rows {
    Place first{};
    uint64_t stride = 0;  // bytes of a row

    Place row(uint64_t index) const { return {first.region, first.offset + index * stride}; }
};

inline uint64_t rows_per_command(uint64_t stride) {
    const uint64_t fit = proxy::schema::kMaxTransferBytes / stride;
    return std::clamp<uint64_t>(fit, 1, proxy::schema::kMaxValue);
}

// Writes rows picked[0..] of `from` to rows 0.. of `to` at the peer; each adds one to the counter.
inline Task write_rows(Device& device, uint32_t peer, Rows from,
                       const std::vector<uint32_t>& picked, Rows to, uint32_t counter) {
    const uint64_t limit = rows_per_command(from.stride);
    for (uint64_t i = 0; i < picked.size();) {
        uint64_t run = 1;
        while (run < limit && i + run < picked.size() && picked[i + run] == picked[i] + run)
            ++run;
        const Command command =
            proxy::make_write(Op::kWriteAdd, peer, from.row(picked[i]), to.row(i),
                              run * from.stride, counter, static_cast<uint32_t>(run));
        if (device.emit(command)) co_await device.flush();
        i += run;
    }
}

// Writes rows first, first + 1, ... of `from` likewise.
inline Task write_block(Device& device, uint32_t peer, Rows from, uint64_t first, uint64_t count,
                        Rows to, uint32_t counter) {
    const uint64_t limit = rows_per_command(from.stride);
    for (uint64_t i = 0; i < count;) {
        const uint64_t run = std::min(limit, count - i);
        const Command command =
            proxy::make_write(Op::kWriteAdd, peer, from.row(first + i), to.row(i),
                              run * from.stride, counter, static_cast<uint32_t>(run));
        if (device.emit(command)) co_await device.flush();
        i += run;
    }
}

}  // namespace crossdock::ep
