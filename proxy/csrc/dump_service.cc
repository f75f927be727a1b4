#include "proxy/csrc/dump_service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "proxy/csrc/json_writer.h"
#include "proxy/csrc/snapshot.h"

namespace crossdock::proxy {

namespace {

constexpr std::chrono::milliseconds kPatience{1500};  // with the thread of Python

// What the handler may touch.
std::atomic<int> request_file{-1};
std::atomic<int> owner{0};

void on_signal(int) {
    const int saved = errno;
    // A forked child has inherited the handler and the file, but a dump of its parent is not its
    // own.
    if (getpid() == owner.load()) {
        const uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = write(request_file.load(), &one, sizeof one);
    }
    errno = saved;
}

bool is_ours(const struct sigaction& action) {
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &on_signal;
}

// Whoever reads the folder sees all of a file, or nothing.
void write_whole(const std::string& path, const std::string& text) {
    const std::string draft = path + ".part";
    FILE* file = fopen(draft.c_str(), "we");
    if (file == nullptr) return;
    const bool whole = fwrite(text.data(), 1, text.size(), file) == text.size();
    if (fclose(file) == 0 && whole) {
        rename(draft.c_str(), path.c_str());
    } else {
        unlink(draft.c_str());
    }
}

}  // namespace

DumpService& DumpService::instance() {
    // Never destroyed: its threads may outlive static objects.
    static auto* const service = new DumpService;
    return *service;
}

void DumpService::begin_in_this_process() {
    if (process_ == getpid()) return;
    if (process_ != 0) {
        // After a fork, whose threads are gone: the mutex may be held by one of them for ever.
        new (this) DumpService;
    }
    const int file = eventfd(0, EFD_CLOEXEC);
    if (file < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    request_file = file;
    owner = process_ = getpid();
    std::thread([this, file] { listen(file); }).detach();
}

bool DumpService::start(int signal) {
    begin_in_this_process();
    const std::lock_guard lock(mutex_);
    stopped_ = false;
    struct sigaction now {};
    if (sigaction(signal, nullptr, &now) != 0)
        throw std::system_error(errno, std::generic_category(), "sigaction");
    if (is_ours(now)) return true;
    if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) return false;
    struct sigaction ours {};
    ours.sa_handler = &on_signal;
    ours.sa_flags = SA_RESTART | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    return sigaction(signal, &ours, nullptr) == 0;
}

uint64_t DumpService::add(Communicator* communicator, std::string facts, std::string path) {
    const std::lock_guard lock(mutex_);
    ranks_[++numbers_] = {communicator, std::move(facts), std::move(path)};
    return numbers_;
}

void DumpService::remove(uint64_t number) {
    // In a forked child the mutex may be held by a thread that is not there.
    if (process_ != getpid()) return;
    const std::lock_guard lock(mutex_);
    ranks_.erase(number);
}

bool DumpService::await_request() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || answers_ < requests_; });
    return !stopped_;
}

void DumpService::answered() {
    const std::lock_guard lock(mutex_);
    answers_ = requests_;
    changed_.notify_all();
}

void DumpService::stop() {
    if (process_ != getpid()) return;
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
}

// The life of the service's thread.
void DumpService::listen(int file) {
    uint64_t count = 0;
    while (true) {
        if (read(file, &count, sizeof count) == sizeof count) {
            serve();
        } else if (errno != EINTR) {
            return;
        }
    }
}

void DumpService::serve() {
    std::unique_lock lock(mutex_);
    if (ranks_.empty()) return;
    ++requests_;
    changed_.notify_all();
    if (changed_.wait_for(lock, kPatience, [&] { return answers_ == requests_; })) return;
    dump_all();
}

void DumpService::dump_all() {
    for (const auto& [number, rank] : ranks_) {
        JsonWriter out;
        out.open('{').field("format", 1).key("facts").raw(rank.facts);
        out.key("reason").open('{').field("kind", "signal").close('}');
        out.key("state").raw(snapshot(*rank.communicator)).key("python").open('{');
        out.field("silence", "Python did not answer: something holds the interpreter").close('}');
        write_whole(rank.path, out.close('}').text());
    }
}

}  // namespace crossdock::proxy
