// Packs and unpacks what test_schema.py writes to its standard input, one line each:
//   c op peer src_region src_offset dst_region dst_offset bytes counter value phase
//       answered by: low high, then the ten fields as read back
//   i counter_bits sequence_bits kind epoch counter value sequence
//       answered by: word, then kind epoch counter value sequence as read back
#include <cstdint>
#include <iostream>
#include <sstream>
#include <string>

#include "proxy/csrc/command.h"
#include "proxy/csrc/immediate.h"

namespace crossdock::proxy {
namespace {

Command read_command(std::istream& in, uint64_t& phase) {
    uint64_t op, peer, bytes, counter, value;
    Place src, dst;
    in >> op >> peer >> src.region >> src.offset >> dst.region >> dst.offset >> bytes >> counter >>
        value >> phase;
    const auto small = [](uint64_t number) { return static_cast<uint32_t>(number); };
    if (static_cast<Op>(op) > Op::kWriteSequenced) {
        return make_signal(static_cast<Op>(op), small(peer), small(counter), small(value));
    }
    return make_write(static_cast<Op>(op), small(peer), src, dst, bytes, small(counter),
                      small(value));
}

void answer_command(std::istream& in, std::ostream& out) {
    uint64_t phase = 0;
    Command command = read_command(in, phase);
    command.set(schema::kPhase, phase);
    out << command.low << ' ' << command.high << ' ' << static_cast<uint32_t>(command.op()) << ' '
        << command.peer() << ' ' << command.src_region() << ' ' << command.src_offset() << ' '
        << command.dst_region() << ' ' << command.dst_offset() << ' ' << command.bytes() << ' '
        << command.counter() << ' ' << command.value() << ' ' << command.get(schema::kPhase)
        << '\n';
}

void answer_immediate(std::istream& in, std::ostream& out) {
    ImmediateLayout layout;
    Immediate wanted;
    uint32_t kind = 0;
    in >> layout.counter_bits >> layout.sequence_bits >> kind >> wanted.epoch >> wanted.counter >>
        wanted.value >> wanted.sequence;
    wanted.kind = static_cast<ImmediateKind>(kind);
    const uint32_t word = layout.pack(wanted);
    const Immediate got = layout.unpack(word);
    out << word << ' ' << static_cast<uint32_t>(got.kind) << ' ' << got.epoch << ' ' << got.counter
        << ' ' << got.value << ' ' << got.sequence << '\n';
}

}  // namespace
}  // namespace crossdock::proxy

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream in(line);
        std::string what;
        in >> what;
        if (what == "c") crossdock::proxy::answer_command(in, std::cout);
        if (what == "i") crossdock::proxy::answer_immediate(in, std::cout);
    }
}
