#include "rc_requester.h"
#include "rc_responder.h"

namespace fake_verbs {
namespace {

class Rc final : public Service {
  public:
    explicit Rc(Qp& qp) : requester_(qp), responder_(qp) {}

    void post(Send send) override { requester_.post(std::move(send)); }
    uint64_t progress(uint64_t now) override { return requester_.progress(now); }
    bool busy() const override { return requester_.busy(); }
    bool handle(const Request& request, Link& back) override {
        return responder_.handle(request, back);
    }
    void handle(const Response& response) override { requester_.handle(response); }
    void flush() override {
        requester_.flush();
        responder_.flush();
    }
    void entered(ibv_qp_state state) override {
        if (state == IBV_QPS_RTR) responder_.start();
        if (state == IBV_QPS_RTS) requester_.start();
        if (state != IBV_QPS_RESET) return;
        requester_.reset();
        responder_.reset();
    }

  private:
    RcRequester requester_;
    RcResponder responder_;
};

}  // namespace

std::unique_ptr<Service> make_rc(Qp& qp) {
    return std::make_unique<Rc>(qp);
}

}  // namespace fake_verbs
