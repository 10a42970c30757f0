// SPDX-License-Identifier: BSD-3-Clause
// How alike shares of something are (Jain, Chiu, Hawe: A Quantitative Measure of Fairness,
// DEC-TR-301).
#pragma once

#include <span>

namespace strait::bench {

// 1: all the same; 1 / n: one of n has all of it. 1 if there is nothing to share.
[[nodiscard]] inline double jain_index(std::span<const double> shares) noexcept
{
    double sum = 0;
    double squares = 0;
    for (const double one : shares) {
        sum += one;
        squares += one * one;
    }
    return squares == 0 ? 1 : sum * sum / (static_cast<double>(shares.size()) * squares);
}

} // namespace strait::bench
