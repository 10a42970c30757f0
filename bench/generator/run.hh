// SPDX-License-Identifier: BSD-3-Clause
// The phases of a run of the load generator: both ends and what happens between them, step by step,
// and the report of a step. The command line is generator.cc's.
#pragma once

#include "bench/generator/endpoint.hh"
#include "bench/generator/histogram.hh"
#include "bench/generator/options.hh"
#include "bench/generator/pacer.hh"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace strait::bench {

// Asks all that run to come to their end; for signal handlers.
void stop_all() noexcept;
[[nodiscard]] bool stopping() noexcept;

// Waits for a line on standard input and takes it; nothing at its end.
[[nodiscard]] std::optional<std::string> take_line();

// Prints an event, one line of JSON.
void tell(const char* event);

class run {
public:
    // `order` is that of a side's flows; see flow_order.hh.
    run(endpoint& a, endpoint& b, const options& settings, std::vector<std::uint32_t> order);

    // Waits until a frame has come through in both directions. This and what follows throw when the
    // switch hangs up.
    bool wait_until_ready();
    // Sends of every flow once in each of two rounds, so that the switch knows all of them.
    bool prime() noexcept;
    // Seconds until that fails.
    [[nodiscard]] double prime_patience() const noexcept;
    // The first line of a step. Throws std::runtime_error if it is wrong.
    void take_step(const std::string& line);
    // One step: measured seconds, or a burst. Nothing is under way before and after.
    void step();
    void report() const;

    [[nodiscard]] double ready_after() const noexcept { return ready_after_; }

private:
    void measure();
    void send_burst();
    void start_flows() noexcept;
    void clear(std::uint64_t now) noexcept;
    void loop(std::uint64_t end) noexcept;
    void expect_connected();
    void hold();
    void drain() noexcept;
    void report_paths() const;

    endpoint& a_;
    endpoint& b_;
    options settings_;
    pacer pacer_a_;
    pacer pacer_b_;
    double ready_after_ = 0;
    double seconds_ = 0;
    std::uint64_t longest_round_ = 0;
    std::uint64_t longest_round_counted_ = 0;
    // Cycles of rounds in which something moved, and of those that were counted.
    std::uint64_t busy_ = 0;
    std::uint64_t busy_counted_ = 0;
    // What had arrived when each interval ended.
    std::vector<std::uint64_t> series_;
    std::chrono::nanoseconds began_{}; // the count, by the steady clock
    std::uint64_t next_interval_ = ~std::uint64_t{0};
    std::vector<std::uint32_t> order_;
    histogram latency_;
    counts counts_a_;
    counts counts_b_;
    // Over a whole step, so that nothing under way is taken for lost.
    std::uint64_t sent_in_all_ = 0;
    std::uint64_t received_in_all_ = 0;
    std::uint64_t not_taken_ = 0;
    std::uint64_t late_ = 0;
    sequence_summary sequence_;
};

} // namespace strait::bench
