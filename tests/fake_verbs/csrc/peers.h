#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "settings.h"
#include "shared_ring.h"
#include "wire.h"

namespace fake_verbs {

inline constexpr uint32_t kProcessesMax = 128;
inline constexpr uint32_t kQpnProcessShift = 16;
inline constexpr uint32_t kDoorbellRung = 0;
inline constexpr uint32_t kDoorbellAsleep = 1;

using RequestRing = SharedRing<512 * 1024>;
using ResponseRing = SharedRing<256 * 1024>;

struct Inbox {
    RequestRing requests;
    ResponseRing responses;
};

// The file of one process in the folder of the job: where others leave their frames for it. It
// holds a lock on the file for as long as it lives, which is how others see that it died.
struct ProcessFile {
    std::atomic<uint64_t> generation;
    std::atomic<uint32_t> closed;
    alignas(64) std::atomic<uint32_t> doorbell;
    alignas(64) std::atomic<uint64_t> senders[kProcessesMax / 64];
    Inbox inbox[kProcessesMax];
};

// The way from this process to another one (or to itself).
class Link {
  public:
    Link(const std::string& path, uint32_t own_index);
    // To this process itself: closing a second descriptor of the file would drop the lock on it.
    Link(ProcessFile* own, uint32_t own_index);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    bool open() const { return file_ != nullptr && file_->closed.load() == 0; }
    uint64_t generation() const { return generation_; }
    RequestRing& requests() { return file_->inbox[own_index_].requests; }
    ResponseRing& responses() { return file_->inbox[own_index_].responses; }
    // Asks the kernel, so not for every message.
    bool alive() const;
    void ring_doorbell();

    // Something lies there that the other side has not been told of.
    bool unannounced = false;

  private:
    int file_descriptor_ = -1;
    uint32_t own_index_;
    uint64_t generation_ = 0;
    ProcessFile* file_ = nullptr;
};

// This process among those of the job.
class Peers {
  public:
    explicit Peers(const Settings& settings);
    ~Peers();
    Peers(const Peers&) = delete;
    Peers& operator=(const Peers&) = delete;

    bool joined() const { return own_ != nullptr; }
    uint32_t index() const { return index_; }
    ProcessFile& own() { return *own_; }
    // The link to a process, or nullptr where none is known to live. A generation other than 0 asks
    // for that very process.
    Link* link(uint32_t process, uint64_t generation = 0);
    void forget(uint32_t process) { links_[process].reset(); }
    void ring_doorbells();
    // Leaves the job; safe while other threads are still about.
    void withdraw();

  private:
    std::string path_of(uint32_t process) const;
    bool take(uint32_t process, bool even_if_dead);

    std::string folder_;
    bool remove_folder_;
    uint32_t index_ = 0;
    int file_descriptor_ = -1;
    ProcessFile* own_ = nullptr;
    std::unique_ptr<Link> links_[kProcessesMax];
};

}  // namespace fake_verbs
