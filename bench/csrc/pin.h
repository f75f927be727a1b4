// Pinning of measuring threads: unpinned, the kernel may pack both ends of an exchange on one core.
#pragma once

#include <pthread.h>
#include <sched.h>

namespace crossdock::bench {

// A negative cpu: not pinned.
inline void pin_to(int cpu) {
    if (cpu < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

}  // namespace crossdock::bench
