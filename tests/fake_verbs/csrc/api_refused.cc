// What programs may ask of libibverbs and the stand-in does not do, and what they ask in vain of
// every device without a driver in the kernel.

#include <cerrno>
#include <cstring>

#include "api.h"

using fake_verbs::failed;

FAKE_VERBS_API int ibv_fork_init() {
    return 0;
}
FAKE_VERBS_API ibv_fork_status ibv_is_fork_initialized() {
    return IBV_FORK_UNNEEDED;
}
FAKE_VERBS_API int ibv_dontfork_range(void*, size_t) {
    return 0;
}
FAKE_VERBS_API int ibv_dofork_range(void*, size_t) {
    return 0;
}

FAKE_VERBS_API const char* ibv_get_sysfs_path() {
    return "/sys";
}
FAKE_VERBS_API int ibv_read_sysfs_file(const char*, const char*, char*, size_t) {
    return -1;
}
FAKE_VERBS_API int ibv_read_ibdev_sysfs_file(char*, size_t, ibv_device*, const char*, ...) {
    errno = ENOENT;
    return -1;
}

FAKE_VERBS_API int ibv_attach_mcast(ibv_qp*, const ibv_gid*, uint16_t) {
    return EOPNOTSUPP;
}
FAKE_VERBS_API int ibv_detach_mcast(ibv_qp*, const ibv_gid*, uint16_t) {
    return EOPNOTSUPP;
}
FAKE_VERBS_API int ibv_resolve_eth_l2_from_gid(ibv_context*, ibv_ah_attr*, uint8_t*, uint16_t*) {
    return EOPNOTSUPP;
}
FAKE_VERBS_API int ibv_set_ece(ibv_qp*, ibv_ece* ece) {
    return ece->vendor_id == 0 ? 0 : EOPNOTSUPP;
}
FAKE_VERBS_API int ibv_query_ece(ibv_qp*, ibv_ece* ece) {
    *ece = {};
    return 0;
}

FAKE_VERBS_API ibv_context* ibv_import_device(int) {
    return failed<ibv_context>(EOPNOTSUPP);
}
FAKE_VERBS_API ibv_pd* ibv_import_pd(ibv_context*, uint32_t) {
    return failed<ibv_pd>(EOPNOTSUPP);
}
FAKE_VERBS_API void ibv_unimport_pd(ibv_pd*) {}
FAKE_VERBS_API ibv_mr* ibv_import_mr(ibv_pd*, uint32_t) {
    return failed<ibv_mr>(EOPNOTSUPP);
}
FAKE_VERBS_API void ibv_unimport_mr(ibv_mr*) {}
FAKE_VERBS_API ibv_dm* ibv_import_dm(ibv_context*, uint32_t) {
    return failed<ibv_dm>(EOPNOTSUPP);
}
FAKE_VERBS_API void ibv_unimport_dm(ibv_dm*) {}
