// SPDX-License-Identifier: BSD-3-Clause
#include "bench/generator/run.hh"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace strait::bench {

namespace {

std::atomic<bool> stop_wanted{false};

// Whether there is a line on standard input, or its end.
bool line_came() noexcept
{
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    return poll(&input, 1, 0) > 0;
}

double rate_of(const options& settings) noexcept
{
    const double directions = settings.a_to_b && settings.b_to_a ? 2 : 1;
    return settings.rate * 1e6 / directions;
}

} // namespace

void stop_all() noexcept
{
    stop_wanted.store(true, std::memory_order_relaxed);
}

bool stopping() noexcept
{
    return stop_wanted.load(std::memory_order_relaxed);
}

std::optional<std::string> take_line()
{
    std::string line;
    char character = 0;
    while (read(STDIN_FILENO, &character, 1) == 1) {
        if (character == '\n') {
            return line;
        }
        line += character;
    }
    return std::nullopt;
}

void tell(const char* event)
{
    std::printf("{\"event\":\"%s\"}\n", event);
    std::fflush(stdout);
}

run::run(endpoint& a, endpoint& b, const options& settings, std::vector<std::uint32_t> order)
    : a_(a),
      b_(b),
      settings_(settings),
      pacer_a_(rate_of(settings), endpoint::burst),
      pacer_b_(rate_of(settings), endpoint::burst),
      order_(std::move(order))
{}

bool run::wait_until_ready()
{
    const std::uint64_t start = __rdtsc();
    const std::uint64_t end = start + cycles_of(settings_.ready_timeout);
    std::uint64_t next = start;
    while (!stopping()) {
        const std::uint64_t now = __rdtsc();
        if (now >= end) {
            return false;
        }
        if (now >= next) {
            expect_connected();
            a_.transmit(1, now);
            b_.transmit(1, now);
            next = now + cycles_of(0.005);
        }
        a_.receive(now);
        b_.receive(now);
        if (a_.counted().received != 0 && b_.counted().received != 0) {
            ready_after_ = seconds_of(now - start);
            return true;
        }
    }
    return false;
}

double run::prime_patience() const noexcept
{
    // A switch may take half a millisecond for a flow that it does not know.
    constexpr double each = 0.0005;
    return settings_.ready_timeout + each * 2 * settings_.flows_of_a_side();
}

bool run::prime() noexcept
{
    const std::uint32_t flows = settings_.flows_of_a_side();
    const std::uint64_t end = __rdtsc() + cycles_of(prime_patience());
    for (int round = 0; round < 2; ++round) {
        a_.start_flows(0, 1);
        b_.start_flows(0, 1);
        std::uint32_t left_a = flows;
        std::uint32_t left_b = flows;
        while (left_a + left_b != 0) {
            const std::uint64_t now = __rdtsc();
            if (now >= end || stopping()) {
                return false;
            }
            left_a -= a_.transmit(std::min(left_a, std::uint32_t{endpoint::burst}), now);
            left_b -= b_.transmit(std::min(left_b, std::uint32_t{endpoint::burst}), now);
            a_.receive(now);
            b_.receive(now);
        }
        drain();
    }
    return true;
}

void run::take_step(const std::string& line)
{
    if (const auto wrong = bench::take_step(line, settings_)) {
        throw std::runtime_error{*wrong};
    }
    a_.measure_latency(settings_.latency);
    b_.measure_latency(settings_.latency);
}

void run::step()
{
    pacer_a_ = pacer{rate_of(settings_), endpoint::burst};
    pacer_b_ = pacer{rate_of(settings_), endpoint::burst};
    start_flows();
    a_.begin_sequence(b_);
    b_.begin_sequence(a_);
    clear(__rdtsc());
    latency_.clear();
    series_.clear();
    if (settings_.frames != 0) {
        send_burst();
    } else {
        measure();
    }
    sequence_ = b_.sequence(a_);
    sequence_ += a_.sequence(b_);
}

// Traffic for `seconds`, after `warm_up`; then no more is sent and what is under way comes in.
// Between the two, and before the end, it goes on for as long as steps are waited for.
void run::measure()
{
    loop(__rdtsc() + cycles_of(settings_.warm_up));
    tell("warm");
    hold();
    const counts before_a = a_.counted();
    const counts before_b = b_.counted();

    tell("measure_begin");
    const std::uint64_t now = __rdtsc();
    clear(now);
    began_ = moment().first;
    if (settings_.interval != 0) {
        series_.reserve(static_cast<std::size_t>(settings_.seconds / settings_.interval) + 1);
        next_interval_ = now + cycles_of(settings_.interval);
    }
    loop(now + cycles_of(settings_.seconds));
    next_interval_ = ~std::uint64_t{0};
    expect_connected();
    seconds_ = seconds_of(__rdtsc() - now);
    counts_a_ = a_.counted();
    counts_b_ = b_.counted();
    latency_ = a_.latency();
    latency_.merge(b_.latency());
    longest_round_counted_ = longest_round_;
    busy_counted_ = busy_;
    tell("measure_end");
    hold();
    drain();
    sent_in_all_ = before_a.sent + before_b.sent + a_.counted().sent + b_.counted().sent;
    received_in_all_ =
        before_a.received + before_b.received + a_.counted().received + b_.counted().received;
    not_taken_ = static_cast<std::uint64_t>(pacer_a_.not_taken() + pacer_b_.not_taken());
    late_ = static_cast<std::uint64_t>(pacer_a_.late() + pacer_b_.late());
}

// As many frames as were asked for in each direction; what the ring has no room for when it is due
// is not sent.
void run::send_burst()
{
    tell("measure_begin");
    const std::uint64_t start = __rdtsc();
    std::uint32_t left_a = settings_.a_to_b ? settings_.frames : 0;
    std::uint32_t left_b = settings_.b_to_a ? settings_.frames : 0;
    not_taken_ = 0;
    pacer_a_.restart(start);
    pacer_b_.restart(start);
    const auto send = [&](endpoint& end, pacer& pace, std::uint32_t& left) {
        const std::uint64_t now = __rdtsc();
        const unsigned most = std::min<std::uint32_t>(pace.allowance(now), left);
        if (most != 0) {
            not_taken_ += most - end.transmit(most, now);
            pace.sent(most, most);
            left -= most;
        }
    };
    while (left_a + left_b != 0 && !stopping()) {
        send(a_, pacer_a_, left_a);
        b_.receive(__rdtsc());
        send(b_, pacer_b_, left_b);
        a_.receive(__rdtsc());
    }
    seconds_ = seconds_of(__rdtsc() - start);
    drain();
    expect_connected();
    tell("measure_end");
    counts_a_ = a_.counted();
    counts_b_ = b_.counted();
    latency_ = a_.latency();
    latency_.merge(b_.latency());
    longest_round_counted_ = busy_counted_ = 0;
    sent_in_all_ = counts_a_.sent + counts_b_.sent;
    received_in_all_ = counts_a_.received + counts_b_.received;
    late_ = 0;
}

void run::start_flows() noexcept
{
    // Neighbours in time are no neighbours in a table: the golden ratio spreads any count.
    const std::uint32_t flows = settings_.flows_of_a_side();
    auto stride = std::max(1U, static_cast<std::uint32_t>(flows * 0.6180339887));
    while (std::gcd(stride, flows) != 1) {
        ++stride;
    }
    a_.start_flows(0, stride);
    b_.start_flows(flows / 2, stride);
    if (settings_.flows != 0) {
        a_.follow(order_, 0);
        b_.follow(order_, order_.size() / 2);
        a_.begin_flows(settings_.new_flows);
        b_.begin_flows(settings_.new_flows);
    }
}

void run::clear(std::uint64_t now) noexcept
{
    a_.clear(now);
    b_.clear(now);
    longest_round_ = 0;
    busy_ = 0;
}

void run::loop(std::uint64_t end) noexcept
{
    std::uint64_t last = __rdtsc();
    pacer_a_.restart(last);
    pacer_b_.restart(last);
    unsigned moved = 0;
    while (last < end && !stopping()) {
        const std::uint64_t now = __rdtsc();
        longest_round_ = std::max(longest_round_, now - last);
        busy_ += moved != 0 ? now - last : 0;
        last = now;
        moved = 0;
        if (settings_.a_to_b) {
            if (const unsigned most = pacer_a_.allowance(now); most != 0) {
                const unsigned sent = a_.transmit(most, now);
                pacer_a_.sent(most, sent);
                moved += sent;
            }
        }
        moved += b_.receive(settings_.latency != 0 ? __rdtsc() : now);
        if (settings_.b_to_a) {
            const std::uint64_t then = settings_.latency != 0 ? __rdtsc() : now;
            if (const unsigned most = pacer_b_.allowance(then); most != 0) {
                const unsigned sent = b_.transmit(most, then);
                pacer_b_.sent(most, sent);
                moved += sent;
            }
        }
        moved += a_.receive(settings_.latency != 0 ? __rdtsc() : now);
        if (now >= next_interval_ && series_.size() < series_.capacity()) [[unlikely]] {
            series_.push_back(a_.counted().received + b_.counted().received);
            next_interval_ += cycles_of(settings_.interval);
        }
    }
}

void run::expect_connected()
{
    a_.expect_connected();
    b_.expect_connected();
}

// Goes on until the next step is asked for.
void run::hold()
{
    if (!settings_.steps) {
        return;
    }
    while (!stopping() && !line_came()) {
        loop(__rdtsc() + cycles_of(0.001));
        expect_connected();
    }
    if (!stopping()) {
        (void)take_line();
    }
}

// Receives until nothing has come for a while, half a second more at most.
void run::drain() noexcept
{
    const std::uint64_t start = __rdtsc();
    std::uint64_t last = start;
    for (;;) {
        const std::uint64_t now = __rdtsc();
        if (a_.receive(now) + b_.receive(now) != 0) {
            last = now;
        }
        if (now - last > cycles_of(settings_.settle) ||
            now - start > cycles_of(settings_.settle + 0.5)) {
            return;
        }
    }
}

// ---- the report ----

namespace {

double share(std::uint64_t part, std::uint64_t whole) noexcept
{
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

void print_direction(const char* name, const counts& from, const counts& to, double seconds)
{
    std::printf("\"%s\":{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"mpps\":%.4f,"
                "\"gbps\":%.4f,\"ring_full\":%.4f,\"longest_gap_us\":%.1f},",
                name, from.sent, to.received, static_cast<double>(to.received) / seconds / 1e6,
                static_cast<double>(to.received_bytes) * 8 / seconds / 1e9,
                share(from.blocked, from.bursts), seconds_of(to.longest_gap) * 1e6);
}

void print_latency(const histogram& latency)
{
    const auto at = [&](double part) { return seconds_of(latency.percentile(part)) * 1e6; };
    std::printf("\"latency_us\":{\"count\":%" PRIu64 ",\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,"
                "\"p999\":%.3f,\"max\":%.3f,\"histogram\":[",
                latency.count(), at(0.5), at(0.9), at(0.99), at(0.999),
                seconds_of(latency.largest()) * 1e6);
    const char* separator = "";
    latency.each([&](std::uint64_t bound, std::uint64_t count) {
        std::printf("%s[%.3f,%" PRIu64 "]", std::exchange(separator, ","), seconds_of(bound) * 1e6,
                    count);
    });
    std::printf("]},");
}

} // namespace

// What became of the frames of the whole step.
void run::report_paths() const
{
    const std::uint64_t lost =
        sent_in_all_ > received_in_all_ ? sent_in_all_ - received_in_all_ : 0;
    std::printf("\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64
                ",\"loss\":%.9f,\"not_taken\":%" PRIu64 ",\"late\":%" PRIu64 ",",
                sent_in_all_, received_in_all_, lost, share(lost, sent_in_all_), not_taken_, late_);
    std::printf("\"checked\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"foreign\":%" PRIu64 ",",
                counts_a_.checked + counts_b_.checked, counts_a_.corrupt + counts_b_.corrupt,
                counts_a_.foreign + counts_b_.foreign);
    if (settings_.sequence) {
        std::printf("\"sequence\":{\"lost\":%" PRIu64 ",\"duplicated\":%" PRIu64
                    ",\"reordered\":%" PRIu64 ",\"stale\":%" PRIu64 ",\"flows_with_loss\":%" PRIu64
                    "},",
                    sequence_.lost, sequence_.duplicated, sequence_.reordered, sequence_.stale,
                    sequence_.flows_with_loss);
    }
}

void run::report() const
{
    const std::uint64_t received = counts_a_.received + counts_b_.received;
    std::printf("{\"event\":\"result\",\"seconds\":%.6f,\"mpps\":%.4f,", seconds_,
                static_cast<double>(received) / seconds_ / 1e6);
    print_direction("a_to_b", counts_a_, counts_b_, seconds_);
    print_direction("b_to_a", counts_b_, counts_a_, seconds_);
    report_paths();
    if (settings_.flows != 0) {
        std::printf("\"new_flows\":%" PRIu64 ",", counts_a_.new_flows + counts_b_.new_flows);
    }
    if (settings_.interval != 0) {
        std::uint64_t before = 0;
        std::printf("\"began_at_s\":%.9f,\"series\":[",
                    std::chrono::duration<double>(began_).count());
        const char* separator = "";
        for (const std::uint64_t arrived : series_) {
            std::printf("%s%" PRIu64, std::exchange(separator, ","), arrived - before);
            before = arrived;
        }
        std::printf("],");
    }
    if (settings_.latency != 0) {
        print_latency(latency_);
    }
    if (busy_counted_ != 0) {
        // What it could do with a switch that costs nothing.
        std::printf("\"ceiling_mpps\":%.4f,",
                    static_cast<double>(received) / seconds_of(busy_counted_) / 1e6);
    }
    std::printf("\"ready_after_s\":%.4f,\"longest_round_us\":%.1f}\n", ready_after_,
                seconds_of(longest_round_counted_) * 1e6);
    std::fflush(stdout);
}

} // namespace strait::bench
