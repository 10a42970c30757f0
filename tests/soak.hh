// SPDX-License-Identifier: BSD-3-Clause
// How long tests go on that could go on for ever: moments, or minutes under `scripts/test --soak`.
#pragma once

#include <chrono>
#include <cstdlib>

namespace strait::test {

[[nodiscard]] inline bool soaking()
{
    return std::getenv("STRAIT_SOAK") != nullptr;
}
template <typename T>
[[nodiscard]] T short_or_soak(T usually, T soaked)
{
    return soaking() ? soaked : usually;
}
// What a sanitizer makes slow goes on for less under it. slow: whether this build has it.
template <typename T>
[[nodiscard]] T fewer_if(bool slow, T usually, T fewer)
{
    return slow && !soaking() ? fewer : usually;
}

} // namespace strait::test
