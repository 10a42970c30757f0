// SPDX-License-Identifier: BSD-3-Clause
// Orders by chance, from a seed that is always the same.
#include "bench/generator/flow_order.hh"

#include <algorithm>
#include <numeric>
#include <random>

namespace strait::bench {

namespace {

std::vector<std::uint32_t> shuffled(std::uint32_t flows, std::mt19937& random)
{
    // Long enough that no predictor learns it.
    constexpr std::size_t shortest = 65536;
    const std::size_t passes = (shortest + flows - 1) / flows;
    std::vector<std::uint32_t> out(passes * flows);
    for (auto begin = out.begin(); begin != out.end(); begin += flows) {
        std::iota(begin, begin + flows, 0);
        std::shuffle(begin, begin + flows, random);
    }
    return out;
}

std::vector<std::uint32_t> drawn_by_rank(std::uint32_t flows, std::mt19937& random)
{
    std::vector<double> up_to(flows); // the weight of a flow and of those before it
    double sum = 0;
    for (std::uint32_t i = 0; i < flows; ++i) {
        sum += 1.0 / (i + 1);
        up_to[i] = sum;
    }
    // Rare flows are to come, too: the rarest ones of many three times in ten.
    constexpr std::size_t shortest = std::size_t{1} << 20;
    std::vector<std::uint32_t> out(std::max(shortest, std::size_t{flows} * 4));
    std::uniform_real_distribution<double> weight(0, sum);
    std::generate(out.begin(), out.end(), [&] {
        const auto found = std::upper_bound(up_to.begin(), up_to.end(), weight(random));
        return static_cast<std::uint32_t>(
            std::min<std::ptrdiff_t>(found - up_to.begin(), std::ptrdiff_t{flows} - 1));
    });
    return out;
}

} // namespace

std::vector<std::uint32_t> make_order(flow_order order, std::uint32_t flows)
{
    std::mt19937 random{1}; // NOLINT(cert-msc51-cpp): turns are to be alike
    switch (order) {
    case flow_order::uniform:
        return shuffled(flows, random);
    case flow_order::zipf:
        return drawn_by_rank(flows, random);
    case flow_order::round:
        break;
    }
    return {};
}

void gather_by_queue(std::vector<std::uint32_t>& order, std::uint32_t queues, std::uint32_t run)
{
    const std::size_t window = std::size_t{queues} * run;
    for (std::size_t at = 0; at < order.size(); at += window) {
        std::stable_sort(
            order.begin() + static_cast<std::ptrdiff_t>(at),
            order.begin() + static_cast<std::ptrdiff_t>(std::min(at + window, order.size())),
            [queues](std::uint32_t a, std::uint32_t b) { return a % queues < b % queues; });
    }
}

} // namespace strait::bench
