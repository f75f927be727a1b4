#include "proxy/csrc/transport/shm/segment.h"

#include <cerrno>
#include <new>
#include <system_error>

namespace crossdock::proxy::shm {

Segment Segment::create(uint32_t num_ranks, uint32_t num_endpoints, uint64_t nonce) {
    Segment segment(SharedMemory::create("crossdock-control", bytes_for(num_ranks, num_endpoints)),
                    num_ranks, num_endpoints);
    auto* head = new (segment.memory_.data()) SegmentHead;
    head->nonce = nonce;
    for (uint32_t e = 0; e < num_endpoints; ++e) {
        new (&segment.bell(e)) Bell;
        // Only the header of an inbox is touched: its slots are zeroed memory already.
        for (uint32_t r = 0; r < num_ranks; ++r)
            (new (segment.inbox(e, r)) Ring)->capacity = kInboxSlots;
    }
    return segment;
}

Segment Segment::open(int pid, int fd, uint32_t num_ranks, uint32_t num_endpoints, uint64_t nonce) {
    Segment segment(SharedMemory::open(pid, fd, bytes_for(num_ranks, num_endpoints)), num_ranks,
                    num_endpoints);
    if (segment.head().nonce != nonce) {
        throw std::system_error(ESTALE, std::generic_category(),
                                "the opened control segment belongs to another job");
    }
    return segment;
}

}  // namespace crossdock::proxy::shm
