#include "proxy/csrc/rdma/nic.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

namespace crossdock::proxy::rdma {

namespace {

template <class Range, class Name>
std::string listed(const Range& range, Name name) {
    std::string text;
    for (const auto& item : range) {
        if (!text.empty()) text.append(", ");
        text.append(name(item));
    }
    return text.empty() ? "none" : text;
}

ibv_context* open_device(const std::string& name) {
    int count = 0;
    errno = 0;
    ibv_device** list = verbs().ibv_get_device_list(&count);
    if (list == nullptr) {
        throw RdmaError(errno, "cannot open RDMA device " + name +
                                   ": this kernel lists none; is ib_uverbs loaded?");
    }
    ibv_device** end = list + count;
    const auto found = std::find_if(
        list, end, [&](ibv_device* d) { return name == verbs().ibv_get_device_name(d); });
    ibv_context* context = nullptr;
    errno = 0;
    if (found != end) context = verbs().ibv_open_device(*found);
    const int error = errno;
    const std::string others = listed(std::vector(list, end), [](ibv_device* d) {
        return std::string(verbs().ibv_get_device_name(d));
    });
    const bool exists = found != end;
    verbs().ibv_free_device_list(list);
    if (!exists) throw RdmaError(0, "there is no RDMA device " + name + "; there is " + others);
    if (context == nullptr) {
        throw RdmaError(
            error, "cannot open RDMA device " + name + "; may this user read /dev/infiniband?");
    }
    return context;
}

bool is_ipv4(const GidBytes& gid) {
    static constexpr GidBytes prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::equal(gid.begin(), gid.begin() + 12, prefix.begin());
}

bool is_link_local(const GidBytes& gid) {
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
}

// Routable addresses go before link-local ones, and RoCE v2, which can be routed, before v1.
int preference(const GidFacts& gid) {
    return (gid.type == "roce-v2" ? 4 : 0) + (is_ipv4(gid.gid) ? 2 : 0) +
           (is_link_local(gid.gid) ? 0 : 1);
}

std::string described(const GidFacts& gid) {
    return std::to_string(gid.index) + " (" + gid.type + " " + text_of(gid.gid) + ")";
}

}  // namespace

Nic::Nic(const NicChoice& choice) : context_(open_device(choice.device)), name_(choice.device) {
    try {
        facts_ = describe(context_);
        choose_port(choice);
        choose_gid(choice);
        const int flags = fcntl(context_->async_fd, F_GETFL);
        fcntl(context_->async_fd, F_SETFL, flags | O_NONBLOCK);
        pd_ = verbs().ibv_alloc_pd(context_);
        if (pd_ == nullptr) throw RdmaError(errno, "cannot get a protection domain of " + name_);
    } catch (...) {
        close();
        throw;
    }
}

Nic::~Nic() {
    close();
}

void Nic::close() {
    if (pd_ != nullptr) verbs().ibv_dealloc_pd(pd_);
    if (context_ != nullptr) verbs().ibv_close_device(context_);
}

void Nic::choose_port(const NicChoice& choice) {
    auto fits = [&](const PortFacts& port) {
        return choice.port == 0 ? port.active : port.number == choice.port;
    };
    const auto found = std::find_if(facts_.ports.begin(), facts_.ports.end(), fits);
    const std::string ports = listed(facts_.ports, [](const PortFacts& port) {
        return std::to_string(port.number) + " (" + port.state + ")";
    });
    if (found == facts_.ports.end()) {
        const std::string wanted =
            choice.port == 0 ? "active port" : "port " + std::to_string(choice.port);
        throw RdmaError(0, "RDMA device " + name_ + " has no " + wanted + "; its ports: " + ports);
    }
    name_.append(":").append(std::to_string(found->number));
    if (!found->active) {
        throw RdmaError(0,
                        "port " + name_ + " is " + found->state + ", not ACTIVE; is its link up?");
    }
    port_ = *found;
    address_.lid = port_.lid;
    address_.ethernet = port_.link_layer == "ethernet";
    address_.mtu_bytes = port_.mtu_bytes;
    if (choice.mtu_bytes == 0) return;
    if (choice.mtu_bytes > port_.mtu_bytes) {
        throw RdmaError(0, "an RDMA MTU of " + std::to_string(choice.mtu_bytes) +
                               " bytes is more than the " + std::to_string(port_.mtu_bytes) +
                               " of " + name_);
    }
    address_.mtu_bytes = choice.mtu_bytes;
}

void Nic::choose_gid(const NicChoice& choice) {
    std::vector<GidFacts> fitting;
    for (const GidFacts& gid : port_.gids) {
        const bool version =
            choice.roce_version.empty() || gid.type == "roce-" + choice.roce_version;
        const bool index =
            choice.gid_index < 0 || gid.index == static_cast<uint32_t>(choice.gid_index);
        if (version && index) fitting.push_back(gid);
    }
    if (fitting.empty()) {
        if (port_.gids.empty() && choice.gid_index < 0 && !address_.ethernet) return;  // LID only
        std::string wanted = "GID";
        if (!choice.roce_version.empty()) wanted += " of RoCE " + choice.roce_version;
        if (choice.gid_index >= 0) wanted += " with index " + std::to_string(choice.gid_index);
        throw RdmaError(
            0, name_ + " has no " + wanted + "; its GIDs: " + listed(port_.gids, described));
    }
    const auto best = std::max_element(
        fitting.begin(), fitting.end(),
        [](const GidFacts& a, const GidFacts& b) { return preference(a) < preference(b); });
    address_.gid = best->gid;
    gid_index_ = static_cast<uint8_t>(best->index);
}

void Nic::take_events() {
    const std::unique_lock lock(events_, std::try_to_lock);
    if (!lock.owns_lock()) return;
    ibv_async_event event{};
    while (verbs().ibv_get_async_event(context_, &event) == 0) {
        const bool port =
            event.event_type == IBV_EVENT_PORT_ERR || event.event_type == IBV_EVENT_PORT_ACTIVE;
        if (port && event.element.port_num == port_.number) {
            const bool up = event.event_type == IBV_EVENT_PORT_ACTIVE;
            note(port_up_, up);
            if (!up) outages_.fetch_add(1, std::memory_order_relaxed);
        }
        verbs().ibv_ack_async_event(&event);
    }
}

}  // namespace crossdock::proxy::rdma
