# The native core: crossdock_proxy, crossdock_ep, crossdock_serving, and the measuring loops
# crossdock_bench. None knows Python or torch.

# add_core_library(<name> <needed target> <source>...): a static library, or an interface one where
# there are headers only.
function(add_core_library name needs)
    if(ARGN)
        add_library(${name} STATIC ${ARGN})
        set(visibility PUBLIC)
    else()
        add_library(${name} INTERFACE)
        set(visibility INTERFACE)
    endif()
    target_link_libraries(${name} ${visibility} ${needs})
endfunction()

# add_isa_variant(<isa> <flag>...): the *_isa.cc sources once more, in the namespace that the macro
# CROSSDOCK_ISA names, compiled with the flags of that instruction set.
function(add_isa_variant isa)
    set(variant crossdock_isa_${isa})
    add_library(${variant} OBJECT ${isa_sources})
    target_link_libraries(${variant} PRIVATE crossdock_options)
    target_compile_definitions(${variant} PRIVATE CROSSDOCK_ISA=${isa})
    target_compile_options(${variant} PRIVATE ${ARGN})
    set(isa_objects ${isa_objects} $<TARGET_OBJECTS:${variant}> PARENT_SCOPE)
    set_property(GLOBAL APPEND PROPERTY CROSSDOCK_ISA_VARIANTS ${isa})
endfunction()

# Only the headers: libibverbs and libefa are opened at run time, where there are any.
find_path(rdma_headers infiniband/efadv.h)
if(NOT rdma_headers)
    message(FATAL_ERROR "infiniband/efadv.h is missing; install libibverbs-dev (Debian, Ubuntu) or "
                        "rdma-core-devel (Fedora, RHEL)")
endif()

file(GLOB proxy_sources CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/proxy/csrc/*.cc" "${PROJECT_SOURCE_DIR}/proxy/csrc/rdma/*.cc"
     "${PROJECT_SOURCE_DIR}/proxy/csrc/transport/*/*.cc")
list(FILTER proxy_sources EXCLUDE REGEX "/bindings[^/]*\\.cc$")
add_core_library(crossdock_proxy crossdock_options ${proxy_sources})
# Tests compile it in a few pieces, which takes half of the time; what is installed file by file, so
# that each file is seen to include what it needs.
if(CROSSDOCK_BUILD_TESTS OR CROSSDOCK_FUZZ)
    set_target_properties(crossdock_proxy PROPERTIES UNITY_BUILD ON)
endif()

file(GLOB_RECURSE ep_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/ep/csrc/*.cc")
list(FILTER ep_sources EXCLUDE REGEX "/bindings[^/]*\\.cc$")
set(isa_sources ${ep_sources})
list(FILTER isa_sources INCLUDE REGEX "_isa\\.cc$")
list(FILTER ep_sources EXCLUDE REGEX "_isa\\.cc$")
set(isa_objects)
if(isa_sources)
    string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
    add_isa_variant(generic)
    if(processor MATCHES "^(x86_64|amd64)$")
        add_isa_variant(avx2 -mavx2 -mfma -mf16c)
        add_isa_variant(avx512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq)
    endif()
endif()
add_core_library(crossdock_ep crossdock_proxy ${ep_sources} ${isa_objects})

file(GLOB bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/csrc/*.cc")
list(FILTER bench_sources EXCLUDE REGEX "/bindings[^/]*\\.cc$")
add_core_library(crossdock_bench crossdock_proxy ${bench_sources})

file(GLOB serving_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/serving/csrc/*.cc")
list(FILTER serving_sources EXCLUDE REGEX "/bindings[^/]*\\.cc$")
add_core_library(crossdock_serving crossdock_options ${serving_sources})
