// SPDX-License-Identifier: BSD-3-Clause
// What both hypervisors' calibrations have: how it is asked for, time, rounds of medians. All times
// are cycles of the TSC.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <x86intrin.h>

namespace strait::bench {

struct calibration_options {
    unsigned cpu = 0;       // the worker's
    unsigned other_cpu = 0; // of what it talks to: a vCPU, or a thread at a channel's other end
    unsigned rounds = 0;
};

// Cycles by name, a value a round; facts of the host. They throw std::runtime_error with a sentence
// if there is nothing to be calibrated. One thread; what they start has ended when they return.
[[nodiscard]] boost::json::object calibrate_kvm(const calibration_options& o);
[[nodiscard]] boost::json::object calibrate_xen(const calibration_options& o);

// Not before what was loaded earlier, nor after what is executed later.
inline std::uint64_t now() noexcept
{
    _mm_lfence();
    const std::uint64_t time = __rdtsc();
    _mm_lfence();
    return time;
}

// Spins until `done`; throws what `late` makes after ten seconds.
template <typename Done, typename Late>
void spin_until(Done done, Late late)
{
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + std::chrono::seconds{10};
    for (unsigned looks = 1; !done(); ++looks) {
        if (looks % 4096 == 0 && clock::now() > end) {
            throw std::runtime_error{late()};
        }
    }
}

inline void spin_for(std::chrono::microseconds time) noexcept
{
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {}
}

// Of many shots, of which some were interrupted.
[[nodiscard]] inline double median(std::vector<std::uint64_t>& values)
{
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return static_cast<double>(*middle);
}

// Adds a round's value.
inline void add_round(boost::json::object& cycles, std::string_view name, double value)
{
    auto& rounds = cycles[name];
    if (!rounds.is_array()) {
        rounds = boost::json::array{};
    }
    rounds.as_array().emplace_back(value);
}

// A file's first line; null where there is none.
[[nodiscard]] inline boost::json::value fact(const std::string& path)
{
    std::ifstream file{path};
    std::string line;
    return std::getline(file, line) ? boost::json::value(line) : boost::json::value(nullptr);
}

} // namespace strait::bench
