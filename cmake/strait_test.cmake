# SPDX-License-Identifier: BSD-3-Clause
# Functions for the tests: strait_unit_test, strait_test_library, strait_fuzz_target, and
# strait_check_headers, which compiles every header alone.

find_package(GTest QUIET)
if(NOT GTest_FOUND)
    message(FATAL_ERROR "GoogleTest was not found (Debian 12: apt-get install libgtest-dev "
                        "libgmock-dev), or configure with -DSTRAIT_TESTS=OFF.")
endif()
include(GoogleTest)

# How tests are compiled: they are not timed, and the optimiser takes its time.
add_library(strait_test_options INTERFACE)
target_compile_options(strait_test_options INTERFACE $<$<CONFIG:Release>:-O1>)
# What is instrumented is compiled in a third of the time without; what is under test has it all the
# same.
set(strait_test_optimisation)
if(STRAIT_SANITIZE)
    set(strait_test_optimisation -O0)
endif()
if(STRAIT_SANITIZE MATCHES "undefined")
    # Checks of every access, which what is under test keeps: half of what the compiler emits.
    target_compile_options(strait_test_options INTERFACE
        -fno-sanitize=alignment,null,object-size,vptr)
endif()
target_link_libraries(strait_test_options INTERFACE strait_options GTest::gmock GTest::gtest)

# What most tests include, once. For clang alone: GCC is slower with it. Not with ccache: compiled
# headers have the paths and times of their files in them, and what is compiled with them would be
# found for the same folder alone. A header of ours that leans on one of these would be found by
# check-headers.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND NOT CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache")
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/test_headers.cc" @ONLY
         CONTENT "int main() {}\n")
    add_executable(strait_test_headers EXCLUDE_FROM_ALL "${PROJECT_BINARY_DIR}/test_headers.cc")
    target_link_libraries(strait_test_headers PRIVATE
        strait_test_options strait_dpdk Boost::headers Boost::json)
    target_compile_options(strait_test_headers PRIVATE ${strait_test_optimisation})
    target_precompile_headers(strait_test_headers PRIVATE
        <gmock/gmock.h> <gtest/gtest.h> <boost/json.hpp> <rte_ethdev.h> <rte_mbuf.h>
        <algorithm> <array> <atomic> <charconv> <chrono> <cstring> <filesystem> <fstream>
        <functional> <map> <memory> <mutex> <optional> <random> <set> <span> <sstream> <string>
        <string_view> <thread> <utility> <vector>)
    set_target_properties(strait_test_headers PROPERTIES PCH_INSTANTIATE_TEMPLATES ON)
endif()

# What every program and library of tests has. OPTIMISED: yes or no.
function(strait_as_test TARGET OPTIMISED)
    target_link_libraries(${TARGET} PUBLIC strait_test_options)
    # As a program is compiled, libraries too, so that all can use one set of compiled headers.
    set_target_properties(${TARGET} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${TARGET} PRIVATE -fPIE)
    if(OPTIMISED)
        target_compile_options(${TARGET} PRIVATE ${strait_busy_flags})
        return() # compiled headers are those of the others
    endif()
    target_compile_options(${TARGET} PRIVATE ${strait_test_optimisation})
    if(TARGET strait_test_headers)
        target_precompile_headers(${TARGET} REUSE_FROM strait_test_headers)
    endif()
endfunction()

# strait_test_library(NAME <name> SOURCES <file>... [LIBS <target>...])
# What several test programs share, found by including its headers' names.
function(strait_test_library)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LIBS")
    if(NOT arg_NAME OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "strait_test_library(NAME name SOURCES file... [LIBS target...])")
    endif()
    add_library(${arg_NAME} STATIC EXCLUDE_FROM_ALL ${arg_SOURCES})
    target_include_directories(${arg_NAME} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${arg_NAME} PUBLIC ${arg_LIBS})
    strait_as_test(${arg_NAME} NO)
endfunction()

# strait_unit_test(NAME <name> SOURCES <file>... [LIBS <target>...] [LABELS <label>...]
#                  [TIMEOUT <seconds>] [OPTIMISED])
# A GoogleTest program, one ctest entry a test. GoogleTest's main() is used if the sources have
# none. NAME is the program's: say what is under test (dataplane_mac_table_test). The label
# "threads" has scripts/test run it under TSan too. OPTIMISED is for tests that themselves do most of
# the work, or look at what the optimiser made: scripts/test always runs them on the release build.
# Built by the targets unit-tests, thread-tests and optimised-tests, not by all.
function(strait_unit_test)
    cmake_parse_arguments(PARSE_ARGV 0 arg "OPTIMISED" "NAME;TIMEOUT" "SOURCES;LIBS;LABELS")
    if(NOT arg_NAME OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "strait_unit_test(NAME name SOURCES file... [LIBS target...] "
                            "[LABELS label...] [TIMEOUT seconds] [OPTIMISED])")
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    add_executable(${arg_NAME} EXCLUDE_FROM_ALL ${arg_SOURCES})
    target_link_libraries(${arg_NAME} PUBLIC ${arg_LIBS} GTest::gtest_main)
    strait_as_test(${arg_NAME} ${arg_OPTIMISED})
    set_property(GLOBAL APPEND PROPERTY STRAIT_UNIT_TESTS ${arg_NAME})
    if("threads" IN_LIST arg_LABELS)
        set_property(GLOBAL APPEND PROPERTY STRAIT_THREAD_TESTS ${arg_NAME})
    endif()
    if(arg_OPTIMISED)
        set_property(GLOBAL APPEND PROPERTY STRAIT_OPTIMISED_TESTS ${arg_NAME})
    endif()
    gtest_discover_tests(${arg_NAME}
        DISCOVERY_MODE PRE_TEST
        DISCOVERY_TIMEOUT 60
        TEST_PREFIX "${arg_NAME}."
        PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "unit;${arg_LABELS}")
endfunction()

# strait_fuzz_target(NAME <name> SOURCES <file>... [LIBS <target>...])
# A libFuzzer program whose sources define LLVMFuzzerTestOneInput; built in the preset 'fuzz' only.
# A folder <name>.corpus beside the sources, if there is one, is its seed corpus.
function(strait_fuzz_target)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LIBS")
    if(NOT arg_NAME OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "strait_fuzz_target(NAME name SOURCES file... [LIBS target...])")
    endif()
    if(NOT STRAIT_SANITIZE MATCHES "fuzzer")
        return()
    endif()
    add_executable(${arg_NAME} ${arg_SOURCES})
    target_link_libraries(${arg_NAME} PRIVATE strait_options ${arg_LIBS})
    target_compile_options(${arg_NAME} PRIVATE ${strait_busy_flags})
    target_link_options(${arg_NAME} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${arg_NAME} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
    set_property(GLOBAL APPEND PROPERTY STRAIT_FUZZ_TARGETS ${arg_NAME})
    if(IS_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/${arg_NAME}.corpus")
        file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
        file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}/${arg_NAME}.corpus"
             "${PROJECT_BINARY_DIR}/fuzz/${arg_NAME}.corpus" SYMBOLIC)
    endif()
endfunction()

# strait_check_headers(FOLDERS <folder>...)
# The target check-headers: each header of these folders is compiled alone, so that it needs no other
# before it.
function(strait_check_headers)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FOLDERS")
    list(TRANSFORM arg_FOLDERS PREPEND "${PROJECT_SOURCE_DIR}/")
    list(TRANSFORM arg_FOLDERS APPEND "/*.hh")
    file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}" ${arg_FOLDERS})
    set(sources)
    foreach(header IN LISTS headers)
        set(source "${PROJECT_BINARY_DIR}/check-headers/${header}.cc")
        file(CONFIGURE OUTPUT "${source}" @ONLY CONTENT "#include \"${header}\"\n")
        list(APPEND sources "${source}")
    endforeach()
    add_library(check-headers OBJECT EXCLUDE_FROM_ALL ${sources})
    target_link_libraries(check-headers PRIVATE
        strait_options strait_dpdk Boost::headers Boost::json Boost::program_options GTest::gmock)
    set_target_properties(check-headers PROPERTIES UNITY_BUILD OFF)
    target_compile_options(check-headers PRIVATE -O0 -g0)
    add_test(NAME check_headers
             COMMAND "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}" --target check-headers)
    set_tests_properties(check_headers PROPERTIES LABELS lint TIMEOUT 600)
endfunction()
