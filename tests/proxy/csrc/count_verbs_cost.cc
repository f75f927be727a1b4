// count_verbs_cost MESSAGES BATCH: writes with an immediate through a verbs endpoint, whose
// instructions on the sending side test_instructions.py counts.
#include <array>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "tests/proxy/csrc/verbs_rank.h"

namespace {

using namespace crossdock::proxy;  // NOLINT: everything here is about it
namespace harness = crossdock::proxy::testing;

// What is counted: a post, and a poll that brings completions.
[[gnu::noinline]] size_t post_and_poll(Endpoint& endpoint, std::span<const WriteOp> writes,
                                       std::span<Event> events, size_t& completed) {
    const size_t posted = endpoint.post(writes);
    const size_t got = endpoint.poll(events);
    for (size_t i = 0; i < got; ++i)
        completed += events[i].kind == EventKind::kCompleted ? 1 : 0;
    return posted;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const size_t messages = std::stoul(argv[1]);
    const size_t batch = std::stoul(argv[2]);
    const harness::FakeJob devices("rc:2");
    harness::VerbsSetup setup;
    setup.depth = 128;
    harness::VerbsJob job(2, setup);
    std::vector<WriteOp> writes;
    for (size_t i = 0; i < batch; ++i)
        writes.push_back(harness::write_to(1, 0, 7168, 1));
    std::vector<Event> events(128);
    size_t posted = 0;
    size_t completed = 0;
    while (completed < messages) {
        const size_t wanted = std::min(batch, messages - posted);
        posted +=
            post_and_poll(job[0].endpoint(), std::span(writes).first(wanted), events, completed);
        job[1].endpoint().poll(events);
    }
    std::cout << completed << "\n";
    return 0;
}
