# Each tests/<part>/csrc/test_*.cc is one googletest executable and one ctest of the same name.
include(CTest)
find_package(GTest REQUIRED)

function(add_native_tests part)
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/${part}/csrc/test_*.cc")
    foreach(source IN LISTS sources)
        get_filename_component(file_name "${source}" NAME_WE)
        string(REGEX REPLACE "^test_" "" subject "${file_name}")
        set(target test_${part}_${subject})
        add_executable(${target} "${source}")
        target_link_libraries(${target} PRIVATE crossdock_${part} GTest::gtest_main)
        add_test(NAME ${part}.${subject} COMMAND ${target})
        set_tests_properties(${part}.${subject} PROPERTIES TIMEOUT 120 LABELS ${part})
    endforeach()
endfunction()

add_native_tests(proxy)
add_native_tests(ep)

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
