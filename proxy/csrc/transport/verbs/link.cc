#include "proxy/csrc/transport/verbs/link.h"

#include <algorithm>
#include <array>

namespace crossdock::proxy::verbs {

using rdma::ControlMessage;
using rdma::Notice;

namespace {

constexpr std::chrono::milliseconds kSettle{10};

}  // namespace

Link::Link(const Options& options, std::vector<Path> paths)
    : options_(options), paths_(std::move(paths)), unacknowledged_(options.depth) {}

void Link::fail(const NicFailure& failure) {
    if (state_ != State::kUp && state_ != State::kWaiting) return;
    failure_ = failure;
    take_down(generation_ + 1, next_path());
}

void Link::suspect(const NicFailure& failure) {
    if (unacknowledged_.repeatable(acknowledged_)) fail(failure);
    // What failed before this was known has failed because of it.
    if (!up() && !over()) failure_ = failure;
}

void Link::take_down(uint32_t generation, uint32_t path) {
    if (failure_.status == 0) failure_ = unseen_failure();
    if (!unacknowledged_.repeatable(acknowledged_)) {
        lost_ = failure_;
        return;
    }
    if (!suspicious_) broken_since_ = Clock::now();
    suspicious_ = true;
    generation_ = generation;
    next_path_ = path;
    if (state_ == State::kUp || state_ == State::kWaiting) {
        paths_[path_].queue_pair->fail();
        taken_down_at_ = Clock::now();
        enter(State::kFailed);
        empty_polls_seen_ = ~0ull;
    }
}

// The peer has seen what this side has not.
NicFailure Link::unseen_failure() const {
    NicFailure failure{.status = IBV_WC_RESP_TIMEOUT_ERR,
                       .queue_pair = paths_[path_].number,
                       .operation = IBV_WR_RDMA_WRITE_WITH_IMM};
    const std::string& name = paths_[path_].nic_name;
    std::copy_n(name.begin(), std::min(name.size(), failure.nic.size() - 1), failure.nic.begin());
    return failure;
}

// The one after the present one whose port is up; the present one if there is no other.
uint32_t Link::next_path() const {
    const auto count = static_cast<uint32_t>(paths_.size());
    for (uint32_t i = 1; i < count; ++i) {
        const uint32_t candidate = (path_ + i) % count;
        if (paths_[candidate].nic->port_up()) return candidate;
    }
    return path_;
}

void Link::hear(const ControlMessage& message) {
    if (over() || message.path >= paths_.size()) return;
    const bool newer = message.generation > generation_;
    const bool same = message.generation == generation_ && state_ != State::kUp;
    if (!newer && !same) return;
    said_ = {message.generation, message.path, message.received};
    if (newer) {
        take_down(message.generation, message.path);
    } else if (message.path != next_path_ && options_.peer < options_.rank) {
        // Both have begun at once: the lower rank's choice holds.
        take_down(message.generation, message.path);
    }
}

// Whether the completion queue was found empty since this was first asked.
bool Link::drained(const std::vector<uint64_t>& empty_polls) {
    const uint64_t now = empty_polls[paths_[path_].nic_index];
    if (empty_polls_seen_ == ~0ull) empty_polls_seen_ = now;
    return now > empty_polls_seen_;
}

bool Link::mend(const std::vector<uint64_t>& empty_polls, Clock::time_point now) {
    if (up() || over() || lost_) return false;
    if (now - broken_since_ > options_.mend_limit) {
        lost_ = failure_;
        return false;
    }
    // A queue pair that fails may still be writing down what has arrived.
    const bool settled = now - taken_down_at_ > kSettle;
    if (state_ == State::kFailed && settled && drained(empty_polls)) {
        paths_[path_].queue_pair->reset();
        enter(State::kReset);
        empty_polls_seen_ = ~0ull;
    } else if (state_ == State::kReset && drained(empty_polls)) {
        prepare();
    }
    if (state_ != State::kWaiting || !agreed()) return false;
    acknowledged_ = std::max(acknowledged_, unacknowledged_.received_up_to(said_.received));
    enter(State::kUp);
    ++times_mended_;
    if (acknowledged_ == unacknowledged_.next()) suspicious_ = false;
    return true;
}

void Link::prepare() {
    Path& path = paths_[next_path_];
    if (!path.nic->port_up()) {
        const uint32_t other = next_path();
        if (!paths_[other].nic->port_up()) return;  // until a link comes back, or the time is over
        ++generation_;
        next_path_ = other;
        return;
    }
    path_ = next_path_;
    if (path.queue_pair->connect(*path.nic, path.remote->address, path.remote_number, generation_,
                                 options_.service) != 0) {
        ++generation_;
        next_path_ = next_path();
        return;
    }
    enter(State::kWaiting);
    channel_.send({.notice = Notice::kSwitch,
                   .generation = generation_,
                   .path = path_,
                   .received = received_});
}

bool Link::agreed() const {
    return said_.generation == generation_ && said_.path == path_;
}

void Link::enter(State state) {
    state_ = state;
    note(shown_, static_cast<uint64_t>(state) << 56 | uint64_t{path_} << 32 | generation_);
}

std::string Link::described() const {
    static constexpr std::array kNames{
        "up", "being mended", "being mended", "waiting for the peer to mend", "closing", "closed"};
    const uint64_t shown = peek(shown_);
    const auto path = static_cast<uint32_t>(shown >> 32) & 0xffffff;
    const Path& used = paths_[path];
    return used.nic_name + " queue pair " + std::to_string(used.number) + ", the peer's " +
           std::to_string(used.remote_number) + " at " + rdma::text_of(used.remote->address.gid) +
           ", " + kNames[shown >> 56] + ", path " + std::to_string(path + 1) + " of " +
           std::to_string(paths_.size()) + ", taken down " +
           std::to_string(static_cast<uint32_t>(shown)) + " times";
}

void Link::close() {
    if (over()) return;
    for (Path& path : paths_)
        path.queue_pair->fail();
    enter(State::kClosing);
}

void Link::destroy_queue_pairs() {
    enter(State::kGone);
    for (Path& path : paths_)
        path.queue_pair->destroy();
}

}  // namespace crossdock::proxy::verbs
