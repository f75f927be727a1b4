#include "proxy/csrc/wait_board.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace crossdock::proxy {

void WaitBoard::put(uint64_t& place, Wait wait) {
    const std::lock_guard lock(mutex_);
    if (place == 0) {
        place = ++places_;
        going_on_.push_back({place, std::move(wait)});
        return;
    }
    const auto found = std::find_if(going_on_.begin(), going_on_.end(),
                                    [&](const Place& p) { return p.number == place; });
    if (found != going_on_.end()) found->wait = std::move(wait);
}

void WaitBoard::remove(uint64_t place) {
    const std::lock_guard lock(mutex_);
    going_on_.remove_if([&](const Place& p) { return p.number == place; });
}

void WaitBoard::fail(Wait wait) {
    const std::lock_guard lock(mutex_);
    failed_.push_back(std::move(wait));
    if (failed_.size() > kFailures) failed_.pop_front();
}

std::vector<Wait> WaitBoard::going_on() const {
    const std::lock_guard lock(mutex_);
    std::vector<Wait> waits;
    for (const Place& place : going_on_)
        waits.push_back(place.wait);
    return waits;
}

std::vector<Wait> WaitBoard::failed() const {
    const std::lock_guard lock(mutex_);
    return {failed_.begin(), failed_.end()};
}

Wait Waiting::completed(Wait wait) const {
    wait.since = since_;
    wait.deadline = deadline_;
    wait.thread = static_cast<uint64_t>(syscall(SYS_gettid));
    if (wait.missing.size() > WaitBoard::kMissing) wait.missing.resize(WaitBoard::kMissing);
    return wait;
}

}  // namespace crossdock::proxy
