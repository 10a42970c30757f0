// SPDX-License-Identifier: BSD-3-Clause
// The CPU that a load generator's frames come from.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

#include <sched.h>

namespace strait::bench {

// The calling thread, from now on; throws std::system_error if it is not to be had.
inline void stay_on(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        throw std::system_error{errno, std::generic_category(),
                                "CPU " + std::to_string(cpu) + " cannot be had"};
    }
}

} // namespace strait::bench
