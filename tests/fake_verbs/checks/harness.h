#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace checks {

struct Failed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Fails the scenario, saying where and what was found.
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            throw ::checks::Failed(std::string(__FILE__) + ":" + std::to_string(__LINE__) + ": " + \
                                   #condition);                                                    \
    } while (false)

#define EXPECT_EQ(left, right)                                                                     \
    do {                                                                                           \
        const auto got = (left);                                                                   \
        const auto wanted = (right);                                                               \
        if (static_cast<long long>(got) != static_cast<long long>(wanted))                         \
            throw ::checks::Failed(std::string(__FILE__) + ":" + std::to_string(__LINE__) + ": " + \
                                   #left + " is " + std::to_string(static_cast<long long>(got)) +  \
                                   ", not " + std::to_string(static_cast<long long>(wanted)));     \
    } while (false)

// Between the two processes of a scenario.
class Wire {
  public:
    explicit Wire(int descriptor) : descriptor_(descriptor) {}

    // Gives ours and takes theirs.
    template <typename Data>
    Data swap(const Data& own) {
        Data other{};
        give(&own, sizeof(own));
        take(&other, sizeof(other));
        return other;
    }
    void meet() { swap(char{0}); }

  private:
    void give(const void* data, size_t bytes);
    void take(void* data, size_t bytes);

    int descriptor_;
};

// Runs one in this process and one in a forked child; both must come through.
void in_two_processes(const std::function<void(Wire&)>& here,
                      const std::function<void(Wire&)>& there);
// The same, but the child is expected to die by SIGKILL.
void with_a_peer_that_dies(const std::function<void(Wire&)>& here,
                           const std::function<void(Wire&)>& there);

// So many processes, each with a wire to each of the others.
void among_processes(size_t count, const std::function<void(std::vector<Wire*>)>& each);

using Scenario = void (*)();
std::map<std::string, Scenario>& scenarios();

struct Registered {
    Registered(const char* name, Scenario scenario) { scenarios()[name] = scenario; }
};

#define SCENARIO(name)                                                \
    static void name();                                               \
    static const ::checks::Registered registered_##name(#name, name); \
    static void name()

}  // namespace checks
