# Each tests/<part>/csrc/fuzz_*.cc is one libFuzzer executable in build/.../fuzz/.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "CROSSDOCK_FUZZ needs clang, not ${CMAKE_CXX_COMPILER_ID}: "
                        "configure with -DCMAKE_CXX_COMPILER=clang++-14")
endif()

# The libraries are watched by the fuzzer too, else it sees no coverage to follow.
target_compile_options(crossdock_options INTERFACE
    -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer -g1)
target_link_options(crossdock_options INTERFACE -fsanitize=address,undefined)

# Only these are built for fuzzing: clang 14 cannot compile coroutines with these sanitizers.
add_custom_target(fuzzers)

file(GLOB fuzz_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/proxy/csrc/fuzz_*.cc")
foreach(source IN LISTS fuzz_sources)
    get_filename_component(target "${source}" NAME_WE)
    add_executable(${target} "${source}")
    target_link_libraries(${target} PRIVATE crossdock_proxy)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${target})
    set_target_properties(${target} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
endforeach()
