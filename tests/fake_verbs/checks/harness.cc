#include "harness.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace checks {
namespace {

constexpr unsigned kSecondsAtMost = 60;

// The child ends without the exit handlers of the parent.
[[noreturn]] void run_child(const std::function<void(Wire&)>& there, int descriptor) {
    int status = 0;
    alarm(kSecondsAtMost);
    try {
        Wire wire(descriptor);
        there(wire);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "there: %s\n", error.what());
        status = 1;
    }
    _exit(status);
}

int run_both(const std::function<void(Wire&)>& here, const std::function<void(Wire&)>& there) {
    int ends[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        close(ends[0]);
        run_child(there, ends[1]);
    }
    close(ends[1]);
    std::string failure;
    try {
        Wire wire(ends[0]);
        here(wire);
    } catch (const std::exception& error) {
        failure = error.what();
    }
    close(ends[0]);
    int status = 0;
    if (!failure.empty()) kill(child, SIGTERM);
    EXPECT(waitpid(child, &status, 0) == child);
    if (!failure.empty()) throw Failed(failure);
    return status;
}

}  // namespace

void Wire::give(const void* data, size_t bytes) {
    EXPECT(write(descriptor_, data, bytes) == static_cast<ssize_t>(bytes));
}

void Wire::take(void* data, size_t bytes) {
    EXPECT(recv(descriptor_, data, bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes));
}

void in_two_processes(const std::function<void(Wire&)>& here,
                      const std::function<void(Wire&)>& there) {
    const int status = run_both(here, there);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void with_a_peer_that_dies(const std::function<void(Wire&)>& here,
                           const std::function<void(Wire&)>& there) {
    const int status = run_both(here, there);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void among_processes(size_t count, const std::function<void(std::vector<Wire*>)>& each) {
    std::vector<std::vector<Wire>> wires(count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            int ends[2];
            EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
            wires[i].emplace_back(ends[0]);
            wires[j].emplace_back(ends[1]);
        }
    }
    std::vector<pid_t> children;
    for (std::vector<Wire>& own : wires) {
        children.push_back(fork());
        EXPECT(children.back() >= 0);
        if (children.back() != 0) continue;
        run_child(
            [&](Wire&) {
                std::vector<Wire*> all;
                for (Wire& wire : own)
                    all.push_back(&wire);
                each(all);
            },
            -1);
    }
    int failures = 0;
    for (const pid_t child : children) {
        int status = 0;
        EXPECT(waitpid(child, &status, 0) == child);
        failures += status != 0 ? 1 : 0;
    }
    EXPECT_EQ(failures, 0);
}

std::map<std::string, Scenario>& scenarios() {
    static std::map<std::string, Scenario> all;
    return all;
}

}  // namespace checks

int main(int count, char** arguments) {
    std::signal(SIGPIPE, SIG_IGN);
    alarm(checks::kSecondsAtMost);
    if (count == 1)
        for (const auto& [name, scenario] : checks::scenarios())
            std::printf("%s\n", name.c_str());
    for (int i = 1; i < count; i++) {
        const auto found = checks::scenarios().find(arguments[i]);
        if (found == checks::scenarios().end()) return 2;
        try {
            found->second();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s: %s\n", arguments[i], error.what());
            return 1;
        }
    }
    return 0;
}
