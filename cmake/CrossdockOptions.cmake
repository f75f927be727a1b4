# Flags shared by everything that is compiled here: the target crossdock_options.
find_package(Threads REQUIRED)

add_library(crossdock_options INTERFACE)
target_include_directories(crossdock_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_link_libraries(crossdock_options INTERFACE Threads::Threads)
target_compile_options(crossdock_options INTERFACE -Wall -Wextra)
if(CROSSDOCK_WERROR)
    target_compile_options(crossdock_options INTERFACE -Werror)
endif()

# Sums must not depend on the compiler's freedom to fuse: the oracle compares bits.
target_compile_options(crossdock_options INTERFACE -ffp-contract=off)

if(CROSSDOCK_SANITIZE)
    list(JOIN CROSSDOCK_SANITIZE "," sanitizers)
    # Little is optimised away that a sanitizer could see, reports have lines, and it compiles in half
    # the time of -O2 -g.
    set(sanitize_flags -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer
                       -O1 -g1)
    target_compile_options(crossdock_options INTERFACE ${sanitize_flags})
    target_link_options(crossdock_options INTERFACE ${sanitize_flags})
endif()
