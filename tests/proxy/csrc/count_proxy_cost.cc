// count_proxy_cost MESSAGES BATCH PEERS OP PACED ARRIVALS: the loop whose instructions
// test_instructions.py counts.
#include <array>
#include <cstdlib>
#include <exception>
#include <iostream>

#include "bench/csrc/proxy_cost.h"

int main(int argc, char** argv) {
    std::array<uint32_t, 6> values{};
    if (argc != 7) {
        std::cerr << "usage: count_proxy_cost MESSAGES BATCH PEERS OP PACED ARRIVALS\n";
        return 2;
    }
    try {
        for (size_t i = 0; i < values.size(); ++i)
            values[i] = static_cast<uint32_t>(std::stoul(argv[i + 1]));
        const uint64_t rounds =
            crossdock::bench::run_proxy_cost({.messages = values[0],
                                              .batch = values[1],
                                              .num_peers = values[2],
                                              .op = static_cast<crossdock::proxy::Op>(values[3]),
                                              .paced = values[4] != 0,
                                              .arrivals = values[5] != 0});
        std::cout << rounds << "\n";
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    return 0;
}
