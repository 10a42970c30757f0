# SPDX-License-Identifier: BSD-3-Clause
# The target strait_options: language level, warnings, code generation, sanitizers and the include
# path of the tree. Every target of ours links it; nothing of a dependency's is set here.

set(STRAIT_MARCH "x86-64-v2" CACHE STRING
    "The -march the whole tree is built for; DPDK's headers need x86-64-v2 at least")
set(STRAIT_SANITIZE "" CACHE STRING
    "Sanitizers, comma separated: address,undefined or thread or fuzzer,address,undefined")
option(STRAIT_WERROR "Treat warnings as errors" ON)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1 -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")
set(CMAKE_C_FLAGS_DEBUG "-Og -g")

find_package(Threads REQUIRED)

add_library(strait_options INTERFACE)
target_include_directories(strait_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_link_libraries(strait_options INTERFACE Threads::Threads)

set(strait_cxx_warnings
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
    -Wcast-align -Wcast-qual -Wformat=2 -Wnon-virtual-dtor -Woverloaded-virtual
    -Wnull-dereference -Wundef -Wunused -Wimplicit-fallthrough -Wextra-semi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
        message(FATAL_ERROR "Strait needs GCC 12 or later (or clang 14); this is GCC "
                            "${CMAKE_CXX_COMPILER_VERSION}.")
    endif()
    list(APPEND strait_cxx_warnings -Wduplicated-cond -Wlogical-op -Wsuggest-override)
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
        message(FATAL_ERROR "Strait needs clang 14 or later (or GCC 12); this is clang "
                            "${CMAKE_CXX_COMPILER_VERSION}.")
    endif()
    # A zero-length designated tail or a GNU statement expression comes only from DPDK's macros.
    list(APPEND strait_cxx_warnings
         -Wsuggest-override -Wno-gnu-statement-expression -Wno-gnu-zero-variadic-macro-arguments)
else()
    message(FATAL_ERROR "Strait is built with GCC or clang; this is ${CMAKE_CXX_COMPILER_ID}.")
endif()
if(STRAIT_WERROR)
    list(APPEND strait_cxx_warnings -Werror)
endif()

target_compile_options(strait_options INTERFACE
    -march=${STRAIT_MARCH} -fno-omit-frame-pointer -fstack-protector-strong
    "$<$<COMPILE_LANGUAGE:CXX>:${strait_cxx_warnings}>")
target_link_options(strait_options INTERFACE -Wl,-z,relro -Wl,-z,now)

if(STRAIT_SANITIZE)
    string(REPLACE "," ";" strait_sanitizers "${STRAIT_SANITIZE}")
    list(TRANSFORM strait_sanitizers REPLACE "^fuzzer$" "fuzzer-no-link")
    if("fuzzer-no-link" IN_LIST strait_sanitizers AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "STRAIT_SANITIZE=fuzzer needs clang: use the preset 'fuzz'.")
    endif()
    if("thread" IN_LIST strait_sanitizers AND "address" IN_LIST strait_sanitizers)
        message(FATAL_ERROR "STRAIT_SANITIZE: thread and address cannot be had in one build.")
    endif()
    list(JOIN strait_sanitizers "," strait_sanitizers)
    target_compile_options(strait_options INTERFACE
        -fsanitize=${strait_sanitizers} -fno-sanitize-recover=all -g1)
    target_link_options(strait_options INTERFACE -fsanitize=${strait_sanitizers})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # GCC's flow warnings misfire on instrumented code, and TSan's on rte_atomic fences.
        target_compile_options(strait_options INTERFACE
            "$<$<COMPILE_LANGUAGE:CXX>:-Wno-null-dereference;-Wno-maybe-uninitialized>")
        if(strait_sanitizers MATCHES "thread")
            # DPDK's rings by C11 atomics: TSan cannot see the barriers that x86 needs not.
            target_compile_definitions(strait_options INTERFACE RTE_USE_C11_MEM_MODEL)
            target_compile_options(strait_options INTERFACE
                "$<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>")
        endif()
    endif()
else()
    target_compile_definitions(strait_options INTERFACE
        $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()
