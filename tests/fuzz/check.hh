// SPDX-License-Identifier: BSD-3-Clause
// How a fuzz target says that something does not hold.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace strait::fuzz {

// Says where, which the stack does not: the compiler merges calls of abort().
inline void check(bool holds, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) noexcept
{
    if (!holds) {
        (void)std::fprintf(stderr, "%s:%d: does not hold\n", file, line);
        std::abort();
    }
}

} // namespace strait::fuzz
