#include "rnr_timer.h"
#include "srd_requester.h"
#include "srd_responder.h"

namespace fake_verbs {
namespace {

class Srd final : public Service {
  public:
    explicit Srd(Qp& qp) : requester_(qp), responder_(qp) { qp.attr.rnr_retry = kRetryForEver; }

    void post(Send send) override { requester_.post(std::move(send)); }
    uint64_t progress(uint64_t now) override { return requester_.progress(now); }
    bool busy() const override { return requester_.busy(); }
    bool handle(const Request& request, Link& back) override {
        return responder_.handle(request, back);
    }
    void handle(const Response& response) override { requester_.handle(response); }
    void flush() override { requester_.flush(); }
    void entered(ibv_qp_state state) override {
        if (state != IBV_QPS_RESET) return;
        requester_.reset();
        responder_.reset();
    }

  private:
    SrdRequester requester_;
    SrdResponder responder_;
};

}  // namespace

std::unique_ptr<Service> make_srd(Qp& qp) {
    return std::make_unique<Srd>(qp);
}

}  // namespace fake_verbs
