#pragma once

#include "queue_pair.h"

namespace fake_verbs {

// What ibv_modify_qp does; 0 or an errno value.
int modify(Qp& qp, const ibv_qp_attr& attr, int mask);

}  // namespace fake_verbs
