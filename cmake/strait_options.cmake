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
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")
set(CMAKE_C_FLAGS_DEBUG "-Og -g")
if(STRAIT_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # It takes twice as long to optimise what it instruments. Of that, tests wait for what has these
    # flags alone: above all the code that packets run through.
    set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
    set(strait_busy_flags -Og)
    # GNU's linker takes some seconds for each of a hundred test programs.
    find_program(STRAIT_LLD ld.lld)
    if(STRAIT_LLD)
        add_link_options(-fuse-ld=lld)
    endif()
endif()

# Several sources of a target are compiled as one unless -DCMAKE_UNITY_BUILD=OFF: most of the
# compiler's time goes into headers that all of them include.
option(CMAKE_UNITY_BUILD "Compile several sources of a target as one" ON)
set(CMAKE_UNITY_BUILD_BATCH_SIZE 12)

# strait_alone(<file>...)
# Sources of this folder that are compiled alone all the same, as names of theirs are others', too.
function(strait_alone)
    set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# strait_per_packet(<target>...)
# Libraries whose code every packet runs: compiled source by source, so that what the compiler makes
# of one depends on no other, and with -O3, which has most of the compiler's time.
function(strait_per_packet)
    set_target_properties(${ARGN} PROPERTIES UNITY_BUILD OFF)
    foreach(target ${ARGN})
        target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O3> ${strait_busy_flags})
    endforeach()
endfunction()

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
if(CMAKE_UNITY_BUILD)
    # A name in one source is no shadow of another source's.
    list(REMOVE_ITEM strait_cxx_warnings -Wshadow)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        list(APPEND strait_cxx_warnings -Wshadow=local)
    endif()
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
