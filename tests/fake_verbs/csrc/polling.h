#pragma once

#include "completion_queue.h"

namespace fake_verbs {

int poll_cq(ibv_cq* cq, int count, ibv_wc* wc);
int req_notify_cq(ibv_cq* cq, int solicited_only);

}  // namespace fake_verbs
