# The extension modules crossdock.{proxy,ep,serving,bench}._native, and the facts of the build.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(
    COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
    OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE nanobind_ROOT COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind CONFIG REQUIRED)

# add_native_module(<part>): <part>/csrc/bindings*.cc become crossdock/<part>/_native.
function(add_native_module part)
    file(GLOB bindings CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${part}/csrc/bindings*.cc")
    if(NOT bindings)
        message(STATUS "crossdock: no ${part}/csrc/bindings.cc, so no crossdock.${part}._native")
        return()
    endif()
    set(target crossdock_${part}_native)
    nanobind_add_module(${target} NB_STATIC ${bindings})
    set_target_properties(${target} PROPERTIES
        OUTPUT_NAME _native LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${part}")
    target_link_libraries(${target} PRIVATE crossdock_${part})
    install(TARGETS ${target} LIBRARY DESTINATION crossdock/${part})
endfunction()

add_native_module(proxy)
add_native_module(ep)
add_native_module(serving)
add_native_module(bench)

execute_process(
    COMMAND git -C "${PROJECT_SOURCE_DIR}" describe --always --dirty --abbrev=12
    OUTPUT_VARIABLE git_revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT git_revision)
    set(git_revision "unknown")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/build.json.in" "${PROJECT_BINARY_DIR}/build.json" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/build.json" DESTINATION crossdock/proxy)
