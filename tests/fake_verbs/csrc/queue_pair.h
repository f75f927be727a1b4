#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "completion_queue.h"
#include "context.h"
#include "receive_queue.h"
#include "wire.h"

namespace fake_verbs {

// A work request as the program posted it.
struct Send {
    uint64_t wr_id = 0;
    ibv_wr_opcode opcode = IBV_WR_SEND;
    uint32_t flags = 0;
    SgeList sges;
    bool is_inline = false;
    std::string inline_bytes;
    uint32_t imm = 0;
    uint64_t remote_addr = 0;
    uint32_t rkey = 0;
    uint64_t compare_add = 0;
    uint64_t swap = 0;
    ibv_gid target_gid{};
    uint32_t target_qpn = 0;
    uint32_t target_qkey = 0;

    uint64_t bytes() const { return is_inline ? inline_bytes.size() : sges.bytes(); }
    Op op() const;
    bool has_imm() const;
    // Answers bring data for it: they are not told by the answer to a later one.
    bool fetches() const {
        return op() == Op::kRead || op() == Op::kFetchAdd || op() == Op::kCompareSwap;
    }
};

class Link;

// What a transport (RC, SRD) makes of work requests and frames.
class Service {
  public:
    virtual ~Service() = default;
    virtual void post(Send send) = 0;
    // Sends what can be sent and looks at the clock; returns when it wants to be called again.
    virtual uint64_t progress(uint64_t now) = 0;
    virtual bool busy() const = 0;
    // False where the answer does not fit into the way back: the frame stays where it is.
    virtual bool handle(const Request& request, Link& back) = 0;
    virtual void handle(const Response& response) = 0;
    virtual void flush() = 0;
    // The QP has just come into this state.
    virtual void entered(ibv_qp_state state) = 0;
};

struct Qp {
    ibv_qp_ex ex{};
    bool extended = false;
    uint64_t send_ops = 0;
    ibv_qp_attr attr{};
    ibv_qp_init_attr init{};
    uint16_t efa_flags = 0;
    uint32_t send_used = 0;
    uint32_t unretired = 0;  // done without a completion, so their places are still taken
    ReceiveQueue receives;
    Srq* srq = nullptr;
    Cq* send_cq = nullptr;
    Cq* recv_cq = nullptr;
    std::unique_ptr<Service> service;
    bool active = false;
    Acknowledged async_events;
    uint64_t last_due[2] = {0, 0};

    std::mutex batch_mutex;
    std::vector<Send> batch;
    int batch_error = 0;

    static Qp& of(ibv_qp* qp) { return *reinterpret_cast<Qp*>(qp); }
    static Qp& of(ibv_qp_ex* qp) { return *reinterpret_cast<Qp*>(qp); }
    ibv_qp* base() { return &ex.qp_base; }
    Context& context() const { return Context::of(ex.qp_base.context); }
    Device& device() const { return *context().device; }
    uint32_t number() const { return ex.qp_base.qp_num; }
    ibv_qp_state state() const { return ex.qp_base.state; }
    bool receives_frames() const;
    const Gid& source_gid() const { return device().gids[attr.ah_attr.grh.sgid_index]; }

    // A receive for an arriving message, if one is posted.
    std::optional<Receive> take_receive();
    void complete_send(const Send& send, ibv_wc_status status, uint32_t vendor_error = 0);
    void complete_receive(ibv_wc wc, bool solicited, const ibv_gid& sgid);
    void complete_unsolicited(ibv_wc wc, const ibv_gid& sgid);
    void fail();
    void flush_receives();
    void raise(ibv_event_type type);

  private:
    void add(Cq& cq, Completion completion, bool sends);
};

// Scatters into and gathers from local memory; false where a key does not allow it.
bool scatter(const Qp& qp, const SgeList& sges, uint64_t offset, const void* from, uint64_t bytes);
bool gather(const Qp& qp, const Send& send, uint64_t offset, void* into, uint64_t bytes);
bool readable(const Qp& qp, const Send& send);
bool writable(const Qp& qp, const SgeList& sges);

std::unique_ptr<Service> make_rc(Qp& qp);
std::unique_ptr<Service> make_srd(Qp& qp);

}  // namespace fake_verbs
