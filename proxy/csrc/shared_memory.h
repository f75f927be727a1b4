// Memory that other processes of the job may map. It has no name: peers reach it through the
// owner's file descriptor, so nothing is left behind however a process ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crossdock::proxy {

class SharedMemory {
  public:
    SharedMemory() = default;
    SharedMemory(SharedMemory&& other) noexcept;
    SharedMemory& operator=(SharedMemory&& other) noexcept;
    ~SharedMemory();

    // Zeroed; pages are only taken when they are touched. Throws std::system_error.
    static SharedMemory create(const char* label, uint64_t bytes);
    // Memory of another process that runs under the same user. Throws std::system_error.
    static SharedMemory open(int pid, int fd, uint64_t bytes);

    std::byte* data() const { return data_; }
    uint64_t bytes() const { return bytes_; }
    int fd() const { return fd_; }

  private:
    SharedMemory(int fd, uint64_t bytes);

    std::byte* data_ = nullptr;
    uint64_t bytes_ = 0;
    int fd_ = -1;
};

}  // namespace crossdock::proxy
