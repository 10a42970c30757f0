// SPDX-License-Identifier: BSD-3-Clause
// Numbers that are the same each time: what a test does by them can be done again.
#pragma once

#include <cstdint>
#include <random>

namespace strait::test {

class random_source {
public:
    explicit random_source(unsigned seed) : generator_{seed} {}
    std::uint32_t operator()() { return static_cast<std::uint32_t>(generator_()); }

private:
    std::mt19937 generator_;
};

} // namespace strait::test
