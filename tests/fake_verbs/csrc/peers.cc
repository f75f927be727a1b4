#include "peers.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "futex.h"

namespace fake_verbs {
namespace {

struct flock whole_file(short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}

bool locked_by_another(int file_descriptor) {
    struct flock lock = whole_file(F_WRLCK);
    return fcntl(file_descriptor, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool is_live_file(const std::string& path) {
    const int file_descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file_descriptor < 0) return false;
    const bool live = locked_by_another(file_descriptor);
    close(file_descriptor);
    return live;
}

ProcessFile* map(int file_descriptor) {
    void* at =
        mmap(nullptr, sizeof(ProcessFile), PROT_READ | PROT_WRITE, MAP_SHARED, file_descriptor, 0);
    return at == MAP_FAILED ? nullptr : static_cast<ProcessFile*>(at);
}

uint64_t fresh_generation() {
    std::random_device random;
    return (uint64_t{random()} << 32 | random()) | 1;
}

}  // namespace

Link::Link(const std::string& path, uint32_t own_index) : own_index_(own_index) {
    file_descriptor_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file_descriptor_ < 0) return;
    struct stat status {};
    if (fstat(file_descriptor_, &status) != 0 ||
        status.st_size != static_cast<off_t>(sizeof(ProcessFile)))
        return;
    file_ = map(file_descriptor_);
    if (file_ == nullptr) return;
    generation_ = file_->generation.load();
    file_->senders[own_index / 64].fetch_or(uint64_t{1} << (own_index % 64));
}

Link::Link(ProcessFile* own, uint32_t own_index)
    : own_index_(own_index), generation_(own->generation.load()), file_(own) {
    file_->senders[own_index / 64].fetch_or(uint64_t{1} << (own_index % 64));
}

Link::~Link() {
    if (file_descriptor_ < 0) return;
    if (file_ != nullptr) munmap(file_, sizeof(ProcessFile));
    close(file_descriptor_);
}

bool Link::alive() const {
    return open() && (file_descriptor_ < 0 || locked_by_another(file_descriptor_));
}

void Link::ring_doorbell() {
    unannounced = false;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (file_->doorbell.load(std::memory_order_relaxed) == kDoorbellRung) return;
    if (file_->doorbell.exchange(kDoorbellRung) == kDoorbellAsleep) futex_wake(file_->doorbell);
}

Peers::Peers(const Settings& settings)
    : folder_(settings.job.string()), remove_folder_(!settings.job_is_given) {
    mkdir(folder_.c_str(), 0700);
    const int registry = open((folder_ + "/registry").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (registry < 0) return;
    flock(registry, LOCK_EX);
    for (const bool even_if_dead : {false, true})
        for (uint32_t process = 0; process < kProcessesMax && own_ == nullptr; process++)
            if (take(process, even_if_dead)) index_ = process;
    close(registry);
}

Peers::~Peers() {
    for (auto& link : links_)
        link.reset();
    if (own_ == nullptr) return;
    withdraw();
    munmap(own_, sizeof(ProcessFile));
    close(file_descriptor_);
}

void Peers::withdraw() {
    own_->closed.store(1);
    unlink(path_of(index_).c_str());
    if (!remove_folder_) return;
    // Only the last one finds the folder without the files of others.
    for (uint32_t process = 0; process < kProcessesMax; process++)
        if (access(path_of(process).c_str(), F_OK) == 0) return;
    unlink((folder_ + "/registry").c_str());
    rmdir(folder_.c_str());
}

std::string Peers::path_of(uint32_t process) const {
    return folder_ + "/process." + std::to_string(process);
}

bool Peers::take(uint32_t process, bool even_if_dead) {
    const std::string path = path_of(process);
    if (even_if_dead && !is_live_file(path)) unlink(path.c_str());
    const int file_descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file_descriptor < 0) return false;
    struct flock lock = whole_file(F_WRLCK);
    ProcessFile* file = nullptr;
    if (ftruncate(file_descriptor, sizeof(ProcessFile)) == 0 &&
        fcntl(file_descriptor, F_SETLK, &lock) == 0)
        file = map(file_descriptor);
    if (file == nullptr) {
        close(file_descriptor);
        unlink(path.c_str());
        return false;
    }
    file->generation.store(fresh_generation());
    file_descriptor_ = file_descriptor;
    own_ = file;
    return true;
}

Link* Peers::link(uint32_t process, uint64_t generation) {
    if (process >= kProcessesMax) return nullptr;
    auto& link = links_[process];
    const auto usable = [&] {
        return link != nullptr && link->open() &&
               (generation == 0 || link->generation() == generation);
    };
    if (usable()) return link.get();
    if (process == index_)
        link = std::make_unique<Link>(own_, index_);
    else
        link = std::make_unique<Link>(path_of(process), index_);
    return usable() ? link.get() : nullptr;
}

void Peers::ring_doorbells() {
    for (auto& link : links_)
        if (link != nullptr && link->unannounced) link->ring_doorbell();
}

}  // namespace fake_verbs
