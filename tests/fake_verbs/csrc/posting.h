#pragma once

#include "queue_pair.h"

namespace fake_verbs {

// Why the request cannot be posted now, as an errno value, or 0.
int refusal(const Qp& qp, const Send& send, uint32_t already_taken);
// Takes a request that nothing speaks against; it leaves with the next activate().
void accept(Qp& qp, Send send);

int post_send(ibv_qp* qp, ibv_send_wr* wr, ibv_send_wr** bad);
int post_recv(ibv_qp* qp, ibv_recv_wr* wr, ibv_recv_wr** bad);
int post_srq_recv(ibv_srq* srq, ibv_recv_wr* wr, ibv_recv_wr** bad);

// Lets the program build requests with ibv_wr_*.
void equip_for_batches(Qp& qp);

}  // namespace fake_verbs
