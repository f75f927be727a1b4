// The flight recorder, the board of waits, and the JSON of a snapshot.
#include "proxy/csrc/flight_recorder.h"

#include <gtest/gtest.h>

#include "proxy/csrc/json_writer.h"
#include "proxy/csrc/wait_board.h"

namespace crossdock::proxy {
namespace {

constexpr uint64_t kUnit = 1ull << Stamped::kUnitShift;

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1'000'000'000 + uint64_t(now.tv_nsec);
}

TEST(Stamped, TellsTheTimeAlsoWhenItsCounterHasWrapped) {
    const uint64_t now = (5ull << 32) * kUnit + 7 * kUnit;  // the counter wrapped 7 units ago
    auto word = [](uint64_t at) { return (at >> Stamped::kUnitShift) << 32 | 0xABCD; };
    for (uint64_t age : {uint64_t{0}, kUnit, 7 * kUnit, 8 * kUnit, 1'000'000 * kUnit}) {
        const Stamped stamp = Stamped::unpacked(word(now - age), now);
        EXPECT_EQ(stamp.at_ns, now - age);
        EXPECT_EQ(stamp.content, 0xABCDu);
    }
    // Written by a clock that is a little ahead.
    EXPECT_EQ(Stamped::unpacked(word(now + 2 * kUnit), now).at_ns, now);
}

TEST(FlightRecorder, KeepsTheLastOfEachLane) {
    FlightRecorder recorder(3);
    EXPECT_FALSE(recorder.lane(1, now_ns()).arrived);
    recorder.arrived(1, 11);
    recorder.arrived(1, 12);
    recorder.arrived(2, 21);
    recorder.acknowledged(1, (7ull << 32) + 5);
    recorder.dropped(2, 99);
    recorder.dropped(2, 98);
    const uint64_t now = now_ns();
    const auto one = recorder.lane(1, now);
    EXPECT_EQ(one.arrived->content, 12u);
    EXPECT_LE(one.arrived->at_ns, now);
    EXPECT_LT(now - one.arrived->at_ns, 10'000'000'000u);
    EXPECT_EQ(one.acknowledged->content, 5u);
    EXPECT_FALSE(one.dropped);
    const auto two = recorder.lane(2, now);
    EXPECT_EQ(two.arrived->content, 21u);
    EXPECT_EQ(two.dropped->content, 98u);
    EXPECT_EQ(two.drops, 2u);
    EXPECT_FALSE(recorder.lane(0, now).arrived);
}

TEST(FlightRecorder, NotesWhenTicketsWerePopped) {
    FlightRecorder recorder(1);
    recorder.popped(0);
    recorder.popped(64);  // at the same moment
    ASSERT_EQ(recorder.moments(now_ns()).size(), 1u);
    timespec rest{0, 20'000'000};
    for (uint64_t batch = 1; batch <= 4; ++batch) {
        nanosleep(&rest, nullptr);
        recorder.tick();
        recorder.popped(100 * batch);
    }
    const auto moments = recorder.moments(now_ns());
    ASSERT_EQ(moments.size(), 5u);
    for (size_t i = 1; i < moments.size(); ++i) {
        EXPECT_EQ(moments[i].content, 100 * i);
        EXPECT_GT(moments[i].at_ns, moments[i - 1].at_ns);
    }
}

Wait described(const char* what) {
    return {.operation = "dispatch", .what = what, .missing = {1, 2}};
}

TEST(WaitBoard, ShowsWaitsThatLastAndThoseThatFailed) {
    WaitBoard board;
    const auto start = Wait::Clock::now();
    auto after = [&](int ms) { return start + std::chrono::milliseconds(ms); };
    {
        Waiting brief(&board, after(1000));
        brief.tick(after(0), [] { return described("brief"); });
        brief.tick(after(10), [] { return described("brief"); });
        EXPECT_TRUE(board.going_on().empty());

        Waiting lasting(&board, after(1000));
        lasting.tick(after(0), [] { return described("first"); });
        lasting.tick(after(30), [] { return described("first"); });
        lasting.tick(after(40), [] { return described("not asked again so soon"); });
        ASSERT_EQ(board.going_on().size(), 1u);
        EXPECT_EQ(board.going_on()[0].what, "first");
        EXPECT_EQ(board.going_on()[0].since, start);
        lasting.tick(after(140), [] { return described("second"); });
        EXPECT_EQ(board.going_on()[0].what, "second");
    }
    EXPECT_TRUE(board.going_on().empty());
    EXPECT_TRUE(board.failed().empty());
    for (size_t i = 0; i < WaitBoard::kFailures + 2; ++i) {
        Waiting failing(&board, after(1000));
        failing.fail("deadline", [&] { return described(i == 0 ? "oldest" : "newer"); });
    }
    ASSERT_EQ(board.failed().size(), WaitBoard::kFailures);
    EXPECT_EQ(board.failed()[0].what, "newer");
    EXPECT_STREQ(board.failed()[0].ending, "deadline");
}

TEST(WaitBoard, NamesALimitedNumberOfRanks) {
    WaitBoard board;
    Waiting waiting(&board, {});
    waiting.fail("fault",
                 [] { return Wait{.what = "all", .missing = std::vector<uint32_t>(1000, 1)}; });
    EXPECT_EQ(board.failed()[0].missing.size(), WaitBoard::kMissing);
}

TEST(JsonWriter, WritesWhatAParserReads) {
    JsonWriter out;
    out.open('{').field("a", 1).key("b").open('[').value(true).value(-2).null().close(']');
    out.field("c", "quote \" slash \\ line \n \x80").key("d").open('{').close('}');
    out.key("e").open('[').close(']').close('}');
    EXPECT_EQ(out.text(),
              R"({"a":1,"b":[true,-2,null],"c":"quote \" slash \\ line ? ?","d":{},"e":[]})");
}

}  // namespace
}  // namespace crossdock::proxy
