#include "proxy/csrc/rdma/congestion_counters.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace crossdock::proxy::rdma {

namespace {

// As the drivers name them: rxe; mlx5; bnxt_re; irdma.
constexpr std::array kNames{
    "rcvd_rnr_err",      "completer_retry_err", "retry_exceeded_err",     //
    "rnr_nak_retry_err", "packet_seq_err",      "local_ack_timeout_err",  //
    "rp_cnp_handled",    "rnr_naks_rcvd",       "seq_err_naks_rcvd",      //
    "to_retransmits",    "rx_cnp_pkts",         "cnpHandled",
};

}  // namespace

CongestionCounters::CongestionCounters(const std::string& nic) {
    const auto colon = nic.find(':');
    const std::string folder = "/sys/class/infiniband/" + nic.substr(0, colon) + "/ports/" +
                               nic.substr(colon + 1) + "/hw_counters/";
    for (const char* name : kNames) {
        tcp::OwnedFd file(::open((folder + name).c_str(), O_RDONLY | O_CLOEXEC));
        if (file.is_open()) files_.push_back(std::move(file));
    }
}

uint64_t CongestionCounters::read() const {
    uint64_t sum = 0;
    for (const auto& file : files_) {
        std::array<char, 32> text{};
        if (::pread(file.get(), text.data(), text.size() - 1, 0) > 0) {
            sum += std::strtoull(text.data(), nullptr, 10);
        }
    }
    return sum;
}

}  // namespace crossdock::proxy::rdma
