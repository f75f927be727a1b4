# Each tests/<part>/csrc/test_*.cc is one googletest executable and one ctest of the same name; the
# sim_*.cc beside them are what several of them share.
include(CTest)
find_package(GTest REQUIRED)

# A stand-in for libibverbs and libefa: the tests of RDMA open it at run time. It knows nothing of
# sanitizers, as the real ones.
add_subdirectory("${PROJECT_SOURCE_DIR}/tests/fake_verbs" fake_verbs EXCLUDE_FROM_ALL)
add_custom_target(fake_verbs ALL DEPENDS ibverbs efa)
set(fake_verbs "CROSSDOCK_LIBIBVERBS=$<TARGET_FILE:ibverbs>" "CROSSDOCK_LIBEFA=$<TARGET_FILE:efa>")

# Reading googletest is a third of what a test costs to compile: all programs share one reading of it.
function(precompile_gtest target)
    get_property(owner GLOBAL PROPERTY CROSSDOCK_GTEST_OWNER)
    if(owner)
        target_precompile_headers(${target} REUSE_FROM ${owner})
    else()
        target_precompile_headers(${target} PRIVATE <gtest/gtest.h>)
        set_property(GLOBAL PROPERTY CROSSDOCK_GTEST_OWNER ${target})
    endif()
endfunction()

# add_native_tests(<part> [<library that its sim_*.cc need>...])
function(add_native_tests part)
    set(needed crossdock_${part})
    file(GLOB shared CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/${part}/csrc/sim_*.cc")
    if(shared)
        set(needed crossdock_${part}_sim)
        add_library(${needed} STATIC ${shared})
        target_link_libraries(${needed} PUBLIC crossdock_${part} ${ARGN} GTest::gtest)
    endif()
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/${part}/csrc/test_*.cc")
    foreach(source IN LISTS sources)
        get_filename_component(file_name "${source}" NAME_WE)
        string(REGEX REPLACE "^test_" "" subject "${file_name}")
        set(target test_${part}_${subject})
        add_executable(${target} "${source}")
        target_link_libraries(${target} PRIVATE ${needed} GTest::gtest_main)
        precompile_gtest(${target})
        add_test(NAME ${part}.${subject} COMMAND ${target})
        set_tests_properties(${part}.${subject} PROPERTIES TIMEOUT 120 LABELS ${part}
                             ENVIRONMENT "${fake_verbs}")
    endforeach()
endfunction()

add_native_tests(proxy)
add_native_tests(ep crossdock_proxy_sim)
add_native_tests(serving)

# An inline function of a library that is compiled with AVX flags would be shared by the linker
# with the code that must run everywhere. Only meaningful where the optimiser has inlined the rest.
get_property(isa_variants GLOBAL PROPERTY CROSSDOCK_ISA_VARIANTS)
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT CROSSDOCK_SANITIZE AND CMAKE_NM)
    foreach(isa IN LISTS isa_variants)
        add_test(NAME ep.isa_symbols_${isa}
                 COMMAND ${CMAKE_COMMAND} "-DNM=${CMAKE_NM}" "-DISA=${isa}"
                         "-DOBJECTS=$<TARGET_OBJECTS:crossdock_isa_${isa}>"
                         -P "${PROJECT_SOURCE_DIR}/cmake/check_isa_symbols.cmake")
        set_tests_properties(ep.isa_symbols_${isa} PROPERTIES LABELS ep)
    endforeach()
endif()
