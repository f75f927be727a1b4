// Answers a signal with dumps, whatever the rank is doing: sleeping, computing in C code, waiting.
//
// The handler only writes to an eventfd. A thread of this service hears it and asks a thread of
// Python, which knows more than the core. When that one does not answer, because the interpreter is
// held by something that computes, the service writes what the core knows itself.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace crossdock::proxy {

class Communicator;

class DumpService {
  public:
    // One for the process, for good: a handler cannot know when it is safe to take it away.
    static DumpService& instance();

    // Starts the threads and takes the signal, unless the application has a handler of its own.
    // Returns whether the signal is ours. Throws std::system_error.
    bool start(int signal);

    // From now on, and until it is removed, a signal dumps this rank: into `path`, where Python
    // does not answer. `facts`: JSON that the dump begins with.
    uint64_t add(Communicator* communicator, std::string facts, std::string path);
    void remove(uint64_t number);

    // For the thread of Python: returns true when a dump is asked for, false when the service has
    // ended.
    bool await_request();
    void answered();
    // Ends await_request().
    void stop();

  private:
    struct Rank {
        Communicator* communicator;
        std::string facts;
        std::string path;
    };

    DumpService() = default;
    void begin_in_this_process();
    void listen(int file);
    void serve();
    void dump_all();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<uint64_t, Rank> ranks_;
    uint64_t numbers_ = 0;
    uint64_t requests_ = 0;
    uint64_t answers_ = 0;
    bool stopped_ = false;
    int process_ = 0;  // whose threads these are: a forked child has none
};

}  // namespace crossdock::proxy
