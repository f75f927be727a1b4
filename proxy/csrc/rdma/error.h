// What the setup of RDMA throws. Data in flight never throws: what fails there is an Event.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

namespace crossdock::proxy::rdma {

// `code` is an errno; the message says what was tried, with its values, and what may help.
class RdmaError : public std::runtime_error {
  public:
    RdmaError(int code, const std::string& what)
        : std::runtime_error(code == 0 ? what : what + ": " + std::strerror(code)), code_(code) {}
    int code() const { return code_; }

  private:
    int code_;
};

}  // namespace crossdock::proxy::rdma
