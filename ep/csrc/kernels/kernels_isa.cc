// Compiled once for each instruction set, into the namespace that the macro CROSSDOCK_ISA names.

#include "ep/csrc/kernels/bf16_sum.h"
#include "ep/csrc/kernels/f32_sum.h"
#include "ep/csrc/kernels/fp8.h"
#include "ep/csrc/kernels/kernels.h"
#include "ep/csrc/kernels/logfmt.h"

#define CROSSDOCK_STRING_OF(token) #token
#define CROSSDOCK_STRING(macro) CROSSDOCK_STRING_OF(macro)

namespace crossdock::ep::CROSSDOCK_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    CROSSDOCK_STRING(CROSSDOCK_ISA),
    sum_rows,
    sum_float_rows,
    weighted_sum_rows,
    weighted_sum_logfmt,
    cast_fp8,
    pack_ue8m0,
    encode_logfmt,
};

}  // namespace crossdock::ep::CROSSDOCK_ISA
