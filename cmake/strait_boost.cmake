# SPDX-License-Identifier: BSD-3-Clause
# Boost for the control side: headers (Asio, Result), JSON and Program Options. The data plane uses
# none of it.

find_package(Boost 1.81 QUIET COMPONENTS headers json program_options system)
if(NOT Boost_FOUND)
    find_path(STRAIT_OTHER_BOOST boost/version.hpp)
    mark_as_advanced(STRAIT_OTHER_BOOST)
    set(found "none was found")
    if(STRAIT_OTHER_BOOST)
        file(STRINGS "${STRAIT_OTHER_BOOST}/boost/version.hpp" line
             REGEX "define BOOST_LIB_VERSION")
        string(REGEX REPLACE ".*\"(.*)\".*" "\\1" version "${line}")
        string(REPLACE "_" "." version "${version}")
        if(version VERSION_LESS 1.81)
            set(found "found ${version}, which is Debian 12's default and too old")
        else()
            set(found "found the headers of ${version} without its libraries")
        endif()
    endif()
    message(FATAL_ERROR "Strait needs Boost 1.81 or later with JSON and Program Options; ${found} "
                        "(Debian 12: apt-get install libboost1.81-dev libboost-json1.81-dev "
                        "libboost-program-options1.81-dev libboost-system1.81-dev).")
endif()
message(STATUS "Boost ${Boost_VERSION_STRING}")

# GCC's flow warnings misfire in Boost's result and Asio, and on literal + std::string (its bug
# 105651). Linked last, because the later option wins.
add_library(strait_result_warnings INTERFACE)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(strait_result_warnings INTERFACE
        "$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict;-Wno-null-dereference>")
endif()
