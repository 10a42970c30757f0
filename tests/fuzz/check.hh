// SPDX-License-Identifier: BSD-3-Clause
// How a fuzz target says that something does not hold.
#pragma once

#include <cstdlib>

namespace strait::fuzz {

inline void check(bool holds) noexcept
{
    if (!holds) {
        std::abort();
    }
}

} // namespace strait::fuzz
