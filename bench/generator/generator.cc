// SPDX-License-Identifier: BSD-3-Clause
// strait-generator: offers frames to any vhost-user switch through two ports and counts what
// arrives, both ends in one poll loop on one CPU. What a frame is and how it is sent is in
// frames.cc and endpoint.cc; here are the phases of a run, the pacing and the report.

#include "bench/generator/cpu.hh"
#include "bench/generator/endpoint.hh"
#include "bench/generator/options.hh"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <exception>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <poll.h>
#include <unistd.h>
#include <x86intrin.h>

namespace strait::bench {

namespace {

std::atomic<bool> stop_wanted{false};

extern "C" void on_signal(int)
{
    stop_wanted.store(true, std::memory_order_relaxed);
}

bool stopping() noexcept
{
    return stop_wanted.load(std::memory_order_relaxed);
}

// The time and the TSC at the same moment: of several readings the one that took least.
std::pair<std::chrono::nanoseconds, std::uint64_t> moment() noexcept
{
    std::pair<std::chrono::nanoseconds, std::uint64_t> best;
    std::uint64_t least = ~0ULL;
    for (int i = 0; i < 16; ++i) {
        const std::uint64_t before = __rdtsc();
        const auto time = std::chrono::steady_clock::now().time_since_epoch();
        const std::uint64_t took = __rdtsc() - before;
        if (took < least) {
            least = took;
            best = {time, before + took / 2};
        }
    }
    return best;
}

// TSC cycles a second, measured once.
double tsc_hz() noexcept
{
    static const double rate = [] {
        const auto [start, first] = moment();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        const auto [end, last] = moment();
        return static_cast<double>(last - first) /
               std::chrono::duration<double>(end - start).count();
    }();
    return rate;
}

std::uint64_t cycles_of(double seconds) noexcept
{
    return static_cast<std::uint64_t>(seconds * tsc_hz());
}

double seconds_of(std::uint64_t cycles) noexcept
{
    return static_cast<double>(cycles) / tsc_hz();
}

// Whether there is a line on standard input, or its end.
bool line_came() noexcept
{
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    return poll(&input, 1, 0) > 0;
}

// Waits for a line on standard input and takes it; false at its end.
bool take_line() noexcept
{
    char character = 0;
    while (read(STDIN_FILENO, &character, 1) == 1) {
        if (character == '\n') {
            return true;
        }
    }
    return false;
}

void tell(const char* event)
{
    std::printf("{\"event\":\"%s\"}\n", event);
    std::fflush(stdout);
}

// How many frames may go out now, at a rate. What could not be sent for long is not made up for.
class pacer {
public:
    // `per_second` 0: no limit.
    explicit pacer(double per_second) noexcept : per_cycle_(per_second / tsc_hz()) {}

    unsigned allowance(std::uint64_t now) noexcept
    {
        if (per_cycle_ == 0) {
            return endpoint::burst;
        }
        due_ = std::min(due_ + static_cast<double>(now - last_) * per_cycle_, most_due);
        last_ = now;
        return std::min(static_cast<unsigned>(due_), unsigned{endpoint::burst});
    }

    void sent(unsigned frames) noexcept { due_ -= per_cycle_ == 0 ? 0.0 : frames; }

    void restart(std::uint64_t now) noexcept
    {
        last_ = now;
        due_ = 0;
    }

private:
    static constexpr double most_due = 256;

    double per_cycle_;
    double due_ = 0;
    std::uint64_t last_ = 0;
};

// Both ends and what happens between them.
class run {
public:
    run(endpoint& a, endpoint& b, const options& settings)
        : a_(a),
          b_(b),
          settings_(settings),
          pacer_a_(rate_of(settings)),
          pacer_b_(rate_of(settings)),
          order_(make_order(settings.order, settings.flows_of_a_side()))
    {}

    // Waits until a frame has come through in both directions. This and what follows throw when the
    // switch hangs up.
    bool wait_until_ready()
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

    // Sends of every flow once in each of two rounds, so that the switch knows all of them.
    bool prime() noexcept
    {
        const std::uint32_t flows = settings_.flows_of_a_side();
        const std::uint64_t end = __rdtsc() + cycles_of(settings_.ready_timeout);
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

    // Traffic for `seconds`, after `warm_up`; then no more is sent and what is under way comes in.
    // Between the two, and before the end, it goes on for as long as steps are waited for.
    void measure()
    {
        start_flows();
        std::uint64_t now = __rdtsc();
        clear(now);
        loop(now + cycles_of(settings_.warm_up));
        tell("warm");
        hold();
        const counts before_a = a_.counted();
        const counts before_b = b_.counted();

        tell("measure_begin");
        now = __rdtsc();
        clear(now);
        series_.clear();
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
        tell("measure_end");
        hold();
        drain();
        sent_in_all_ = before_a.sent + before_b.sent + a_.counted().sent + b_.counted().sent;
        received_in_all_ =
            before_a.received + before_b.received + a_.counted().received + b_.counted().received;
    }

    void report() const;
    [[nodiscard]] double ready_after() const noexcept { return ready_after_; }

private:
    void start_flows() noexcept
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

    static double rate_of(const options& settings) noexcept
    {
        const double directions = settings.a_to_b && settings.b_to_a ? 2 : 1;
        return settings.rate * 1e6 / directions;
    }

    void clear(std::uint64_t now) noexcept
    {
        a_.clear(now);
        b_.clear(now);
        longest_round_ = 0;
    }

    void loop(std::uint64_t end) noexcept
    {
        std::uint64_t last = __rdtsc();
        pacer_a_.restart(last);
        pacer_b_.restart(last);
        while (last < end && !stopping()) {
            const std::uint64_t now = __rdtsc();
            longest_round_ = std::max(longest_round_, now - last);
            last = now;
            if (settings_.a_to_b) {
                if (const unsigned most = pacer_a_.allowance(now); most != 0) {
                    pacer_a_.sent(a_.transmit(most, now));
                }
            }
            b_.receive(settings_.latency ? __rdtsc() : now);
            if (settings_.b_to_a) {
                const std::uint64_t then = settings_.latency ? __rdtsc() : now;
                if (const unsigned most = pacer_b_.allowance(then); most != 0) {
                    pacer_b_.sent(b_.transmit(most, then));
                }
            }
            a_.receive(settings_.latency ? __rdtsc() : now);
            if (now >= next_interval_ && series_.size() < series_.capacity()) [[unlikely]] {
                series_.push_back(a_.counted().received + b_.counted().received);
                next_interval_ += cycles_of(settings_.interval);
            }
        }
    }

    void expect_connected() const
    {
        a_.expect_connected();
        b_.expect_connected();
    }

    // Goes on until the next step is asked for.
    void hold()
    {
        if (!settings_.steps) {
            return;
        }
        while (!stopping() && !line_came()) {
            loop(__rdtsc() + cycles_of(0.001));
            expect_connected();
        }
        if (!stopping()) {
            take_line();
        }
    }

    // Receives until nothing has come for 20 ms, half a second at most.
    void drain() noexcept
    {
        const std::uint64_t start = __rdtsc();
        std::uint64_t last = start;
        for (;;) {
            const std::uint64_t now = __rdtsc();
            if (a_.receive(now) + b_.receive(now) != 0) {
                last = now;
            }
            if (now - last > cycles_of(0.02) || now - start > cycles_of(0.5)) {
                return;
            }
        }
    }

    endpoint& a_;
    endpoint& b_;
    const options& settings_;
    pacer pacer_a_;
    pacer pacer_b_;
    double ready_after_ = 0;
    double seconds_ = 0;
    std::uint64_t longest_round_ = 0;
    std::uint64_t longest_round_counted_ = 0;
    // What had arrived when each interval ended.
    std::vector<std::uint64_t> series_;
    std::chrono::nanoseconds began_{}; // the count, by the steady clock
    std::uint64_t next_interval_ = ~std::uint64_t{0};
    std::vector<std::uint32_t> order_;
    histogram latency_;
    counts counts_a_;
    counts counts_b_;
    std::uint64_t sent_in_all_ = 0;
    std::uint64_t received_in_all_ = 0;
};

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

void run::report() const
{
    const std::uint64_t received = counts_a_.received + counts_b_.received;
    std::printf("{\"event\":\"result\",\"seconds\":%.6f,\"mpps\":%.4f,", seconds_,
                static_cast<double>(received) / seconds_ / 1e6);
    print_direction("a_to_b", counts_a_, counts_b_, seconds_);
    print_direction("b_to_a", counts_b_, counts_a_, seconds_);
    // Loss is over warm-up, count and drain, so that nothing under way is taken for lost.
    const std::uint64_t lost =
        sent_in_all_ > received_in_all_ ? sent_in_all_ - received_in_all_ : 0;
    std::printf("\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"loss\":%.9f,",
                sent_in_all_, received_in_all_, lost, share(lost, sent_in_all_));
    std::printf("\"checked\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"foreign\":%" PRIu64 ",",
                counts_a_.checked + counts_b_.checked, counts_a_.corrupt + counts_b_.corrupt,
                counts_a_.foreign + counts_b_.foreign);
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
    if (settings_.latency) {
        const auto at = [&](double part) { return seconds_of(latency_.percentile(part)) * 1e6; };
        std::printf("\"latency_us\":{\"count\":%" PRIu64 ",\"p50\":%.3f,\"p99\":%.3f,"
                    "\"p999\":%.3f,\"max\":%.3f},",
                    latency_.count(), at(0.5), at(0.99), at(0.999),
                    seconds_of(latency_.largest()) * 1e6);
    }
    std::printf("\"ready_after_s\":%.4f,\"longest_round_us\":%.1f}\n", ready_after_,
                seconds_of(longest_round_counted_) * 1e6);
    std::fflush(stdout);
}

void list_flows(const options& settings)
{
    const auto address = [](std::uint32_t one) {
        return std::to_string(one >> 24) + '.' + std::to_string(one >> 16 & 0xff) + '.' +
               std::to_string(one >> 8 & 0xff) + '.' + std::to_string(one & 0xff);
    };
    for (const side from : {side::a, side::b}) {
        for (std::uint32_t flow = 0; flow < settings.flows_of_a_side(); ++flow) {
            const flow_fields f = fields_of(settings.kind, from, flow);
            std::printf("%c %s %s %u %u\n", from == side::a ? 'a' : 'b', address(f.source).c_str(),
                        address(f.destination).c_str(), f.source_port, f.destination_port);
        }
    }
}

int generate(const options& settings)
{
    if (settings.list_flows) {
        list_flows(settings);
        return 0;
    }
    stay_on(settings.cpu);
    endpoint a(side::a, settings);
    endpoint b(side::b, settings);
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::duration<double>(settings.ready_timeout));
    a.attach(patience);
    b.attach(patience);
    run traffic(a, b, settings);
    if (!traffic.wait_until_ready()) {
        std::fprintf(stderr,
                     "strait-generator: no frame came through the switch in both directions "
                     "within %.1f s\n",
                     settings.ready_timeout);
        return 1;
    }
    if (settings.prime && !traffic.prime()) {
        std::fprintf(stderr,
                     "strait-generator: the switch did not take a frame from each of %u %s within "
                     "%.1f s\n",
                     settings.flows_of_a_side() * 2, settings.flows == 0 ? "addresses" : "flows",
                     settings.ready_timeout);
        return 1;
    }
    std::printf("{\"event\":\"ready\",\"after_s\":%.4f}\n", traffic.ready_after());
    std::fflush(stdout);
    do {
        if (settings.steps && !take_line()) {
            break;
        }
        traffic.measure();
        traffic.report();
    } while (settings.steps && !stopping());
    return 0;
}

} // namespace

} // namespace strait::bench

int main(int argc, char** argv)
{
    using namespace strait::bench;
    const auto parsed = parse_options(argc, argv);
    if (std::holds_alternative<help_wanted>(parsed)) {
        std::fputs(usage(), stdout);
        return 0;
    }
    if (const auto* const bad = std::get_if<bad_usage>(&parsed)) {
        std::fprintf(stderr, "strait-generator: %s\n", bad->message.c_str());
        return 2;
    }
    const options& settings = std::get<options>(parsed);
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN); // sockets that it made go with it, whoever reads the report
    try {
        return generate(settings);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "strait-generator: %s\n", error.what());
        return 1;
    }
}
