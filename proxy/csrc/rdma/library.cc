#include "proxy/csrc/rdma/library.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace crossdock::proxy::rdma {

namespace {

// Never closed: the objects of a library may outlive whoever opened it.
void* open_library(const char* variable, const char* name, const char* package) {
    const char* chosen = std::getenv(variable);
    const std::string file = chosen != nullptr && *chosen != 0 ? chosen : name;
    void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        const char* why = dlerror();
        throw RdmaError(0, "cannot open " + file + " (" + (why != nullptr ? why : "?") +
                               "); install " + package + ", or point " + variable + " to it");
    }
    return handle;
}

template <class Function>
void look_up(void* handle, const char* name, Function& function, bool needed) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    if (function == nullptr && needed) {
        throw RdmaError(ENOSYS, std::string("the RDMA library has no ") + name +
                                    "; install rdma-core 28 or later");
    }
}

Verbs open_verbs() {
    void* handle = open_library("CROSSDOCK_LIBIBVERBS", "libibverbs.so.1",
                                "libibverbs1 and ibverbs-providers (rdma-core)");
    Verbs table;
#define CROSSDOCK_NEEDED(name) look_up(handle, #name, table.name, true);
#define CROSSDOCK_OPTIONAL(name) look_up(handle, #name, table.name, false);
    CROSSDOCK_IBV_FUNCTIONS(CROSSDOCK_NEEDED)
    CROSSDOCK_IBV_OPTIONAL(CROSSDOCK_OPTIONAL)
#undef CROSSDOCK_OPTIONAL
    return table;
}

Efa open_efa() {
    void* handle = open_library("CROSSDOCK_LIBEFA", "libefa.so.1", "libefa (rdma-core)");
    Efa table;
    CROSSDOCK_EFA_FUNCTIONS(CROSSDOCK_NEEDED)
#undef CROSSDOCK_NEEDED
    return table;
}

}  // namespace

const Verbs& verbs() {
    static const Verbs table = open_verbs();
    return table;
}

const Efa& efa() {
    static const Efa table = open_efa();
    return table;
}

}  // namespace crossdock::proxy::rdma
