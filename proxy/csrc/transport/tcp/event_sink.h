// The caller's array of events, and how far it is filled.
#pragma once

#include <cstddef>
#include <span>

#include "proxy/csrc/endpoint.h"

namespace crossdock::proxy::tcp {

class EventSink {
  public:
    explicit EventSink(std::span<Event> events) : events_(events) {}

    bool is_full() const { return count_ == events_.size(); }
    size_t count() const { return count_; }
    void push(const Event& event) { events_[count_++] = event; }  // not when it is full

  private:
    std::span<Event> events_;
    size_t count_ = 0;
};

}  // namespace crossdock::proxy::tcp
