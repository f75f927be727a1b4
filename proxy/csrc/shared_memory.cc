#include "proxy/csrc/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace crossdock::proxy {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

SharedMemory::SharedMemory(int fd, uint64_t bytes) : bytes_(bytes), fd_(fd) {
    // MAP_NORESERVE: a large region costs what is touched of it, not what it could hold.
    void* place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (place == MAP_FAILED) {
        const int error = errno;
        ::close(fd);
        errno = error;
        fail("cannot map " + std::to_string(bytes) + " bytes of shared memory");
    }
    data_ = static_cast<std::byte*>(place);
    madvise(place, bytes, MADV_HUGEPAGE);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(fd_, other.fd_);
    return *this;
}

SharedMemory::~SharedMemory() {
    if (data_ != nullptr) munmap(data_, bytes_);
    if (fd_ >= 0) ::close(fd_);
}

SharedMemory SharedMemory::create(const char* label, uint64_t bytes) {
    const int fd = memfd_create(label, MFD_CLOEXEC);
    if (fd < 0) fail("cannot create shared memory");
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        const int error = errno;
        ::close(fd);
        errno = error;
        fail("cannot size shared memory at " + std::to_string(bytes) + " bytes");
    }
    return {fd, bytes};
}

SharedMemory SharedMemory::open(int pid, int fd, uint64_t bytes) {
    const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
    const int own = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (own < 0) fail("cannot open " + path);
    struct stat info {};
    if (fstat(own, &info) != 0 || static_cast<uint64_t>(info.st_size) != bytes) {
        ::close(own);
        errno = ESTALE;
        fail(path + " is not the announced memory");
    }
    return {own, bytes};
}

}  // namespace crossdock::proxy
