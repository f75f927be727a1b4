// Connections that wait for their turn, first come, first served, each at most once.
#pragma once

#include <cstdint>
#include <vector>

namespace crossdock::proxy::tcp {

class Turns {
  public:
    explicit Turns(size_t connections) : order_(connections), waits_(connections) {}

    bool empty() const { return size_ == 0; }
    uint32_t size() const { return size_; }
    uint32_t front() const { return order_[first_]; }

    void push(uint32_t connection) {
        if (waits_[connection]) return;
        waits_[connection] = true;
        const size_t end = first_ + size_++;
        order_[end < order_.size() ? end : end - order_.size()] = connection;
    }

    void pop() {
        waits_[front()] = false;
        first_ = first_ + 1 == order_.size() ? 0 : first_ + 1;
        --size_;
    }

  private:
    std::vector<uint32_t> order_;
    std::vector<bool> waits_;
    size_t first_ = 0;
    uint32_t size_ = 0;
};

}  // namespace crossdock::proxy::tcp
