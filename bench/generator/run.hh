// SPDX-License-Identifier: BSD-3-Clause
// The phases of a run of the load generator: all ends and what happens between them, step by step,
// and the report of a step. The command line is generator.cc's.
#pragma once

#include "bench/generator/endpoint.hh"
#include "bench/generator/histogram.hh"
#include "bench/generator/options.hh"
#include "bench/generator/pacer.hh"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
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
    run(std::vector<std::unique_ptr<endpoint>> ends, const options& settings,
        std::vector<std::uint32_t> order);

    // Waits until a frame has come through to each end. This and what follows throw when the switch
    // hangs up.
    bool wait_until_ready();
    // Of those that none has come to yet.
    [[nodiscard]] std::string ends_not_ready() const;
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
    // An end, and what is kept of it at moments of a step.
    struct lane {
        std::unique_ptr<endpoint> end;
        pacer pace{0, endpoint::burst};
        bool sends = false;
        std::uint32_t left = 0; // to be sent: of a burst, or of all flows
        counts counted;
        std::vector<tally> tallies;
        // Of the step, before the count.
        counts before;
        std::vector<tally> tallies_before;
        // Over a whole step, so that nothing under way is taken for lost.
        std::uint64_t sent_in_all = 0;
        std::uint64_t received_in_all = 0;
    };
    // Who sends to whom; see frame_form::paths.
    struct path {
        lane* from;
        lane* to;
        std::uint32_t number;
    };
    // What is done one after the other: an end sends, if there is one, and one receives.
    struct turn {
        lane* from;
        lane* to;
    };

    [[nodiscard]] std::vector<path> make_paths();
    [[nodiscard]] std::vector<turn> make_turns();
    // Of more than two ends each round begins with the next one: none has a place of its own in it,
    // which a switch would see.
    void next_round() noexcept;
    [[nodiscard]] std::size_t index_of(const lane* one) const noexcept
    {
        return static_cast<std::size_t>(one - lanes_.data());
    }
    void measure();
    void send_burst();
    void start_flows();
    void clear(std::uint64_t now) noexcept;
    void stop_latency() noexcept;
    void keep(counts lane::*of, std::vector<tally> lane::*by_group);
    void loop(std::uint64_t end);
    void expect_connected();
    void hold();
    void drop_waiting() noexcept;
    void drain() noexcept;
    [[nodiscard]] counts counted() const noexcept; // of all ends: what arrived
    // What became of frames in the whole step.
    struct fate {
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        std::uint64_t lost = 0;
    };
    // Of a path's groups from `first` on, each `step`-th.
    [[nodiscard]] static fate fate_of(const path& of, std::size_t first, std::size_t step) noexcept;
    [[nodiscard]] fate fate_of_all() const noexcept;
    void report_fate() const;
    void report_ends() const;
    void report_path(const path& of, std::size_t first, std::size_t step) const;
    void report_paths() const;
    void report_flows() const;

    options settings_;
    std::vector<lane> lanes_;
    std::vector<path> paths_;
    std::vector<turn> turns_;
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
    std::uint64_t next_look_; // for a switch
    std::vector<std::uint32_t> order_;
    histogram latency_;
    std::uint64_t not_taken_ = 0;
    std::uint64_t late_ = 0;
};

} // namespace strait::bench
