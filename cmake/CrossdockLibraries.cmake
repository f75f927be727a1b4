# The native core: crossdock_proxy, crossdock_ep. Neither knows Python or torch.

# add_core_library(<name> <source>...): a static library, or an interface one while it is
# headers only.
function(add_core_library name)
    if(ARGN)
        add_library(${name} STATIC ${ARGN})
        target_link_libraries(${name} PUBLIC crossdock_options)
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE crossdock_options)
    endif()
endfunction()

# add_isa_variant(<library> <isa> <flag>...): the *_isa.cc sources once more, in the namespace
# that the macro CROSSDOCK_ISA names, with the flags of that instruction set.
function(add_isa_variant library isa)
    set(variant ${library}_${isa})
    add_library(${variant} OBJECT ${isa_sources})
    target_link_libraries(${variant} PRIVATE crossdock_options)
    target_compile_definitions(${variant} PRIVATE CROSSDOCK_ISA=${isa})
    target_compile_options(${variant} PRIVATE ${ARGN})
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${variant}>)
    set_property(TARGET ${library} APPEND PROPERTY CROSSDOCK_ISA_VARIANTS ${variant})
endfunction()

file(GLOB proxy_sources CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/proxy/csrc/*.cc" "${PROJECT_SOURCE_DIR}/proxy/csrc/transport/*/*.cc")
list(FILTER proxy_sources EXCLUDE REGEX "/bindings\\.cc$")
add_core_library(crossdock_proxy ${proxy_sources})

file(GLOB_RECURSE ep_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/ep/csrc/*.cc")
list(FILTER ep_sources EXCLUDE REGEX "/bindings\\.cc$")
set(isa_sources ${ep_sources})
list(FILTER isa_sources INCLUDE REGEX "_isa\\.cc$")
list(FILTER ep_sources EXCLUDE REGEX "_isa\\.cc$")
add_core_library(crossdock_ep ${ep_sources})
get_target_property(ep_type crossdock_ep TYPE)
if(ep_type STREQUAL "STATIC_LIBRARY")
    target_link_libraries(crossdock_ep PUBLIC crossdock_proxy)
    if(isa_sources)
        string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
        add_isa_variant(crossdock_ep generic)
        if(processor MATCHES "^(x86_64|amd64)$")
            add_isa_variant(crossdock_ep avx2 -mavx2 -mfma -mf16c)
            add_isa_variant(crossdock_ep avx512
                            -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq)
        endif()
    endif()
else()
    target_link_libraries(crossdock_ep INTERFACE crossdock_proxy)
endif()
