// Numbered places that are used again; what lies in one stays where it is until it is released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace crossdock::proxy {

template <class T>
class SimPool {
  public:
    uint32_t take() {
        if (free_.empty()) {
            items_.emplace_back();
            return static_cast<uint32_t>(items_.size() - 1);
        }
        const uint32_t number = free_.back();
        free_.pop_back();
        return number;
    }
    void release(uint32_t number) { free_.push_back(number); }

    T& operator[](uint32_t number) { return items_[number]; }
    auto begin() { return items_.begin(); }
    auto end() { return items_.end(); }

  private:
    std::deque<T> items_;
    std::vector<uint32_t> free_;
};

}  // namespace crossdock::proxy
