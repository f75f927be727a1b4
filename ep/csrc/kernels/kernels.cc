#include "ep/csrc/kernels/kernels.h"

#include <array>
#include <cstdlib>

namespace crossdock::ep {

namespace generic {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#endif

namespace {

struct Isa {
    std::string_view name;
    const Kernels* kernels;
    bool (*supported)();
};

// Widest first.
constexpr std::array kIsas = {
#if defined(__x86_64__)
    Isa{"avx512", &avx512::kKernels,
        [] {
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                   __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
        }},
    Isa{"avx2", &avx2::kKernels,
        [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    Isa{"generic", &generic::kKernels, [] { return true; }},
};

const Isa* find_isa(std::string_view name) {
    for (const Isa& isa : kIsas) {
        if (isa.name == name) return &isa;
    }
    return nullptr;
}

const Isa& widest_isa() {
    for (const Isa& isa : kIsas) {
        if (isa.supported()) return isa;
    }
    return kIsas.back();
}

std::string supported_names() {
    std::string names;
    for (const Isa& isa : kIsas) {
        if (isa.supported()) names += (names.empty() ? "" : ", ") + std::string(isa.name);
    }
    return names;
}

}  // namespace

const Kernels* kernels_for(std::string_view name) {
    const Isa* isa = find_isa(name);
    return isa != nullptr && isa->supported() ? isa->kernels : nullptr;
}

IsaSelection select_kernels(std::string_view requested_isa) {
    const Isa& widest = widest_isa();
    if (requested_isa.empty()) return {widest.kernels, IsaChoice::kDetected, ""};
    if (const Kernels* kernels = kernels_for(requested_isa)) {
        return {kernels, IsaChoice::kRequested, ""};
    }
    const bool known = find_isa(requested_isa) != nullptr;
    return {widest.kernels, known ? IsaChoice::kUnsupported : IsaChoice::kUnknown,
            "instruction set '" + std::string(requested_isa) +
                (known ? "' is not supported by this machine" : "' is unknown to this build") +
                "; using " + std::string(widest.name) +
                "; set CROSSDOCK_ISA to one of: " + supported_names()};
}

const IsaSelection& selected_kernels() {
    static const IsaSelection selection = [] {
        const char* requested = std::getenv("CROSSDOCK_ISA");
        return select_kernels(requested != nullptr ? requested : "");
    }();
    return selection;
}

}  // namespace crossdock::ep
