// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/endpoint/error_limit.hh"

#include <gtest/gtest.h>

#include <memory>

namespace strait::endpoint {
namespace {

using dataplane::port_index;

TEST(error_limit, is_a_burst_and_then_a_rate_of_each_port)
{
    constexpr std::uint64_t hz = 2'000'000'000;
    constexpr std::uint64_t start = 100 * hz;
    constexpr port_index one{1};
    constexpr port_index last{dataplane::max_ports - 1};
    const auto limit = std::make_unique<error_limit>(hz);
    const auto taken = [&](port_index port, std::uint64_t from, std::uint64_t until) {
        std::uint64_t out = 0;
        for (std::uint64_t now = from; now <= until; now += hz / 10'000) {
            out += limit->take(port, now) ? 1U : 0U;
        }
        return out;
    };
    std::uint64_t at_once = 0;
    while (limit->take(one, start)) {
        ++at_once;
    }
    EXPECT_EQ(at_once, error_limit::at_once);
    EXPECT_TRUE(limit->take(last, start)); // nobody took from it
    EXPECT_EQ(taken(one, start + 1, start + hz), error_limit::a_second - 1);
    // What was not taken for long is no more than a burst.
    at_once = 0;
    while (limit->take(one, start + 100 * hz)) {
        ++at_once;
    }
    EXPECT_EQ(at_once, error_limit::at_once);
}

} // namespace
} // namespace strait::endpoint
