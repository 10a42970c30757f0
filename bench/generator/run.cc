// SPDX-License-Identifier: BSD-3-Clause
#include "bench/generator/run.hh"

#include "bench/generator/fairness.hh"

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

run::run(std::vector<std::unique_ptr<endpoint>> ends, const options& settings,
         std::vector<std::uint32_t> order)
    : settings_(settings),
      next_look_(settings.reconnect ? 0 : ~std::uint64_t{0}),
      order_(std::move(order))
{
    lanes_.reserve(ends.size());
    for (auto& end : ends) {
        lanes_.emplace_back().end = std::move(end);
    }
    paths_ = make_paths();
    turns_ = make_turns();
    for (const path& one : paths_) {
        one.from->sends = true;
    }
}

std::vector<run::path> run::make_paths()
{
    std::vector<path> out;
    lane* const a = lanes_.data();
    const std::uint32_t paths = settings_.paths();
    switch (settings_.traffic) {
    case pattern::pair:
        if (settings_.a_to_b) {
            out.push_back({a, a + 1, 0});
        }
        if (settings_.b_to_a) {
            out.push_back({a + 1, a, 0});
        }
        break;
    case pattern::one_to_many:
        for (std::uint32_t i = 0; i < paths; ++i) {
            out.push_back({a, a + 1 + i, i});
        }
        break;
    case pattern::many_to_one:
        for (std::uint32_t i = 0; i < paths; ++i) {
            out.push_back({a + 1 + i, a, i});
        }
        break;
    case pattern::ring:
        for (std::uint32_t i = 0; i < paths; ++i) {
            out.push_back({a + i, a + (i + 1) % paths, i});
        }
        break;
    }
    return out;
}

// Whoever is sent to is looked at after each burst: its ring is to be full by the switch's doing,
// not because nobody looked. Ends that nobody sends to, once a round.
std::vector<run::turn> run::make_turns()
{
    std::vector<turn> out;
    for (const path& one : paths_) {
        out.push_back({one.from, one.to});
    }
    for (lane& one : lanes_) {
        if (std::ranges::none_of(out, [&](const turn& other) { return other.to == &one; })) {
            out.push_back({nullptr, &one});
        }
    }
    return out;
}

void run::next_round() noexcept
{
    if (turns_.size() > 2) {
        std::rotate(turns_.begin(), turns_.begin() + 1, turns_.end());
    }
}

bool run::wait_until_ready()
{
    const std::uint64_t start = __rdtsc();
    const std::uint64_t end = start + cycles_of(settings_.ready_timeout);
    const std::uint32_t flows_of_a_path =
        settings_.flows_of_a_side() / std::max(settings_.paths(), 1U);
    std::uint64_t next = start;
    while (!stopping()) {
        const std::uint64_t now = __rdtsc();
        if (now >= end) {
            return false;
        }
        if (now >= next) {
            expect_connected();
            for (const lane& one : lanes_) {
                one.end->transmit(one.end->own_flows() / flows_of_a_path, now);
            }
            next = now + cycles_of(0.005);
        }
        for (const lane& one : lanes_) {
            one.end->receive(now);
        }
        if (ends_not_ready().empty()) {
            ready_after_ = seconds_of(now - start);
            return true;
        }
    }
    return false;
}

std::string run::ends_not_ready() const
{
    std::string out;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        if (lanes_[i].end->counted().received == 0) {
            out += out.empty() ? "" : ", ";
            out += name_of_end(i);
        }
    }
    return out;
}

double run::prime_patience() const noexcept
{
    // A switch may take half a millisecond for a flow that it does not know.
    constexpr double each = 0.0005;
    return settings_.ready_timeout + each * 2 * settings_.flows_of_a_side();
}

bool run::prime() noexcept
{
    const std::uint64_t end = __rdtsc() + cycles_of(prime_patience());
    for (int round = 0; round < 2; ++round) {
        for (lane& one : lanes_) {
            one.end->drop_waiting();
            one.end->start_flows(0, 1);
            one.left = one.end->own_flows();
        }
        while (std::ranges::any_of(lanes_, [](const lane& one) { return one.left != 0; })) {
            const std::uint64_t now = __rdtsc();
            if (now >= end || stopping()) {
                return false;
            }
            for (lane& one : lanes_) {
                one.left -=
                    one.end->transmit(std::min(one.left, std::uint32_t{endpoint::burst}), now);
            }
            for (const lane& one : lanes_) {
                one.end->receive(now);
            }
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
    for (const lane& one : lanes_) {
        one.end->measure_latency(settings_.latency);
    }
}

void run::step()
{
    const auto senders = std::ranges::count_if(lanes_, &lane::sends);
    for (lane& one : lanes_) {
        one.pace = pacer{settings_.rate * 1e6 / static_cast<double>(senders), endpoint::burst};
    }
    drop_waiting();
    start_flows();
    for (const path& one : paths_) {
        one.to->end->begin_sequence(*one.from->end);
    }
    for (const lane& one : lanes_) {
        if (settings_.paths() != 0 &&
            std::ranges::none_of(paths_, [&](const path& other) { return other.to == &one; })) {
            one.end->take_none();
        }
    }
    clear(__rdtsc());
    series_.clear();
    if (settings_.frames != 0) {
        send_burst();
    } else {
        measure();
    }
    for (lane& one : lanes_) {
        const counts& more = one.end->counted();
        one.sent_in_all = one.before.sent + more.sent;
        one.received_in_all = one.before.received + more.received;
    }
    latency_.clear();
    for (const lane& one : lanes_) {
        for (const histogram& of_group : one.end->latencies()) {
            latency_.merge(of_group);
        }
    }
}

// What was counted up to now, and is about to be anew.
void run::keep(counts lane::*of, std::vector<tally> lane::*by_group)
{
    for (lane& one : lanes_) {
        one.*of = one.end->counted();
        const auto tallies = one.end->tallies();
        (one.*by_group).assign(tallies.begin(), tallies.end());
    }
}

// Traffic for `seconds`, after `warm_up`; then no more is sent and what is under way comes in.
// Between the two, and before the end, it goes on for as long as steps are waited for.
void run::measure()
{
    stop_latency();
    loop(__rdtsc() + cycles_of(settings_.warm_up));
    tell("warm");
    hold();
    keep(&lane::before, &lane::tallies_before);

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
    stop_latency();
    keep(&lane::counted, &lane::tallies);
    longest_round_counted_ = longest_round_;
    busy_counted_ = busy_;
    tell("measure_end");
    hold();
    drain();
    double not_taken = 0;
    double late = 0;
    for (const lane& one : lanes_) {
        not_taken += one.pace.not_taken();
        late += one.pace.late();
    }
    not_taken_ = static_cast<std::uint64_t>(not_taken);
    late_ = static_cast<std::uint64_t>(late);
}

// As many frames as were asked for of each end that sends; what the ring has no room for when it is
// due is not sent.
void run::send_burst()
{
    tell("measure_begin");
    const std::uint64_t start = __rdtsc();
    not_taken_ = 0;
    std::uint64_t left = 0;
    for (lane& one : lanes_) {
        one.left = one.sends ? settings_.frames : 0;
        left += one.left;
        one.pace.restart(start);
        one.before = {};
        one.tallies_before.clear();
    }
    while (left != 0 && !stopping()) {
        next_round();
        for (const turn& one : turns_) {
            if (one.from != nullptr) {
                const std::uint64_t now = __rdtsc();
                lane& from = *one.from;
                const unsigned most = std::min<std::uint32_t>(from.pace.allowance(now), from.left);
                if (most != 0) {
                    not_taken_ += most - from.end->transmit(most, now);
                    from.pace.sent(most, most);
                    from.left -= most;
                    left -= most;
                }
            }
            one.to->end->receive(__rdtsc());
        }
    }
    seconds_ = seconds_of(__rdtsc() - start);
    drain();
    expect_connected();
    tell("measure_end");
    keep(&lane::counted, &lane::tallies);
    longest_round_counted_ = busy_counted_ = 0;
    late_ = 0;
}

void run::start_flows()
{
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        endpoint& end = *lanes_[i].end;
        // Neighbours in time are no neighbours in a table: the golden ratio spreads any count.
        const std::uint32_t flows = end.own_flows();
        auto stride = std::max(1U, static_cast<std::uint32_t>(flows * 0.6180339887));
        while (std::gcd(stride, flows) != 1) {
            ++stride;
        }
        // Each end begins elsewhere.
        const double first = static_cast<double>(i) / static_cast<double>(lanes_.size());
        end.start_flows(static_cast<std::uint32_t>(flows * first), stride);
        if (settings_.flows != 0) {
            end.follow(order_, first);
            end.begin_flows(settings_.new_flows);
        }
    }
}

void run::clear(std::uint64_t now) noexcept
{
    for (const lane& one : lanes_) {
        one.end->clear(now);
    }
    longest_round_ = 0;
    busy_ = 0;
}

void run::stop_latency() noexcept
{
    for (const lane& one : lanes_) {
        one.end->stop_latency();
    }
}

void run::loop(std::uint64_t end)
{
    std::uint64_t last = __rdtsc();
    for (lane& one : lanes_) {
        one.pace.restart(last);
    }
    unsigned moved = 0;
    while (last < end && !stopping()) {
        const std::uint64_t now = __rdtsc();
        longest_round_ = std::max(longest_round_, now - last);
        busy_ += moved != 0 ? now - last : 0;
        last = now;
        moved = 0;
        const auto moment = [&] { return settings_.latency != 0 ? __rdtsc() : now; };
        next_round();
        for (const turn& one : turns_) {
            if (one.from != nullptr) {
                const std::uint64_t then = moment();
                if (const unsigned most = one.from->pace.allowance(then); most != 0) {
                    const unsigned sent = one.from->end->transmit(most, then);
                    one.from->pace.sent(most, sent);
                    moved += sent;
                }
            }
            moved += one.to->end->receive(moment());
        }
        if (now >= next_look_) [[unlikely]] {
            for (const lane& one : lanes_) {
                one.end->follow_switch();
            }
            next_look_ = now + cycles_of(0.001);
        }
        if (now >= next_interval_ && series_.size() < series_.capacity()) [[unlikely]] {
            std::uint64_t received = 0;
            for (const lane& one : lanes_) {
                received += one.end->counted().received;
            }
            series_.push_back(received);
            next_interval_ += cycles_of(settings_.interval);
        }
    }
}

void run::expect_connected()
{
    for (const lane& one : lanes_) {
        one.end->expect_connected();
    }
}

// Goes on until the next step is asked for.
void run::hold()
{
    if (!settings_.steps) {
        return;
    }
    while (!stopping() && !line_came()) {
        loop(__rdtsc() + cycles_of(0.001));
        if (!settings_.reconnect) {
            expect_connected();
        }
    }
    if (!stopping()) {
        (void)take_line();
    }
}

void run::drop_waiting() noexcept
{
    for (const lane& one : lanes_) {
        one.end->drop_waiting();
    }
}

// Sends no more, and receives until nothing has come for a while, half a second more at most.
void run::drain() noexcept
{
    drop_waiting();
    const std::uint64_t start = __rdtsc();
    std::uint64_t last = start;
    for (;;) {
        const std::uint64_t now = __rdtsc();
        for (const lane& one : lanes_) {
            last = one.end->receive(now) != 0 ? now : last;
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

std::uint64_t lost_of(std::uint64_t sent, std::uint64_t received) noexcept
{
    return sent > received ? sent - received : 0;
}

void print_direction(const char* name, const counts& from, const counts& to, double seconds)
{
    std::printf("\"%s\":{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"mpps\":%.4f,"
                "\"gbps\":%.4f,\"ring_full\":%.4f,\"longest_gap_us\":%.1f},",
                name, from.sent, to.received, static_cast<double>(to.received) / seconds / 1e6,
                static_cast<double>(to.received_bytes) * 8 / seconds / 1e9,
                share(from.blocked, from.bursts), seconds_of(to.longest_gap) * 1e6);
}

void print_percentiles(const histogram& latency)
{
    const auto at = [&](double part) { return seconds_of(latency.percentile(part)) * 1e6; };
    std::printf("\"latency_us\":{\"count\":%" PRIu64 ",\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,"
                "\"p999\":%.3f,\"max\":%.3f",
                latency.count(), at(0.5), at(0.9), at(0.99), at(0.999),
                seconds_of(latency.largest()) * 1e6);
}

void print_latency(const histogram& latency)
{
    print_percentiles(latency);
    std::printf(",\"histogram\":[");
    const char* separator = "";
    latency.each([&](std::uint64_t bound, std::uint64_t count) {
        std::printf("%s[%.3f,%" PRIu64 "]", std::exchange(separator, ","), seconds_of(bound) * 1e6,
                    count);
    });
    std::printf("]},");
}

void print_sequence(const sequence_summary& of)
{
    std::printf("\"sequence\":{\"lost\":%" PRIu64 ",\"duplicated\":%" PRIu64
                ",\"reordered\":%" PRIu64 ",\"stale\":%" PRIu64 ",\"flows_with_loss\":%" PRIu64 "}",
                of.lost, of.duplicated, of.reordered, of.stale, of.flows_with_loss);
}

// Those from `first` on, each `step`-th.
tally sum_of(std::span<const tally> tallies, std::size_t first, std::size_t step) noexcept
{
    tally out;
    for (std::size_t i = first; i < tallies.size(); i += step) {
        out += tallies[i];
    }
    return out;
}

} // namespace

counts run::counted() const noexcept
{
    counts out;
    for (const lane& one : lanes_) {
        out.received += one.counted.received;
        out.checked += one.counted.checked;
        out.checksum_left += one.counted.checksum_left;
        out.corrupt += one.counted.corrupt;
        out.foreign += one.counted.foreign;
        out.new_flows += one.counted.new_flows;
    }
    if (settings_.paths() != 0) { // but what came by a path
        out.received = 0;
        for (const path& one : paths_) {
            out.received += sum_of(one.to->tallies, one.number, settings_.paths()).received;
        }
    }
    return out;
}

run::fate run::fate_of(const path& of, std::size_t first, std::size_t step) noexcept
{
    const auto in_all = [&](const lane& one) {
        tally out = sum_of(one.tallies_before, first, step);
        out += sum_of(one.end->tallies(), first, step);
        return out;
    };
    const std::uint64_t sent = in_all(*of.from).sent;
    const std::uint64_t received = in_all(*of.to).received;
    return {.sent = sent, .received = received, .lost = lost_of(sent, received)};
}

// With paths the sums of theirs: what comes twice by one does not make up for a loss of another.
run::fate run::fate_of_all() const noexcept
{
    fate out;
    for (const lane& one : lanes_) {
        out.sent += one.sent_in_all;
        out.received += one.received_in_all;
    }
    if (settings_.paths() == 0) {
        out.lost = lost_of(out.sent, out.received);
        return out;
    }
    out.received = 0;
    for (const path& one : paths_) {
        const fate of = fate_of(one, one.number, settings_.paths());
        out.received += of.received;
        out.lost += of.lost;
    }
    return out;
}

void run::report_fate() const
{
    const auto [sent, received, lost] = fate_of_all();
    const counts all = counted();
    std::printf("\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64
                ",\"loss\":%.9f,\"not_taken\":%" PRIu64 ",\"late\":%" PRIu64 ",",
                sent, received, lost, share(lost, sent), not_taken_, late_);
    std::printf("\"checked\":%" PRIu64 ",\"checksum_left\":%" PRIu64 ",\"corrupt\":%" PRIu64
                ",\"foreign\":%" PRIu64 ",",
                all.checked, all.checksum_left, all.corrupt, all.foreign);
    if (settings_.sequence) {
        sequence_summary of;
        for (const path& one : paths_) {
            of +=
                one.to->end->sequence(*one.from->end, one.number, std::max(settings_.paths(), 1U));
        }
        print_sequence(of);
        std::printf(",");
    }
}

void run::report_ends() const
{
    std::printf("\"ends\":[");
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        const counts& of = lanes_[i].counted;
        std::printf("%s{\"end\":\"%c\",\"sent\":%" PRIu64 ",\"received\":%" PRIu64
                    ",\"mpps\":%.4f,\"gbps\":%.4f,\"ring_full\":%.4f,\"longest_gap_us\":%.1f,"
                    "\"corrupt\":%" PRIu64 ",\"foreign\":%" PRIu64 ",\"misdelivered\":%" PRIu64 "}",
                    i == 0 ? "" : ",", name_of_end(i), of.sent, of.received,
                    static_cast<double>(of.received) / seconds_ / 1e6,
                    static_cast<double>(of.received_bytes) * 8 / seconds_ / 1e9,
                    share(of.blocked, of.bursts), seconds_of(of.longest_gap) * 1e6, of.corrupt,
                    of.foreign, of.misdelivered);
    }
    std::printf("],");
}

// Of a path's groups from `first` on, each `step`-th: the whole step's frames, and the rate of the
// count.
void run::report_path(const path& of, std::size_t first, std::size_t step) const
{
    const auto [sent, received, lost] = fate_of(of, first, step);
    const tally counted = sum_of(of.to->tallies, first, step);
    std::printf("\"from\":\"%c\",\"to\":\"%c\",\"sent\":%" PRIu64 ",\"received\":%" PRIu64
                ",\"lost\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"mpps\":%.4f,\"share\":%.6f",
                name_of_end(index_of(of.from)), name_of_end(index_of(of.to)), sent, received, lost,
                counted.corrupt, static_cast<double>(counted.received) / seconds_ / 1e6,
                share(counted.received, this->counted().received));
    if (settings_.sequence) {
        std::printf(",");
        print_sequence(of.to->end->sequence(*of.from->end, first, step));
    }
    if (settings_.latency != 0) {
        histogram latency;
        of.to->end->add_latencies(first, step, latency);
        std::printf(",");
        print_percentiles(latency);
        std::printf("}");
    }
    std::printf("}");
}

void run::report_paths() const
{
    std::vector<double> rates;
    std::printf("\"paths\":[");
    const char* separator = "{";
    for (const path& one : paths_) {
        std::printf("%s", std::exchange(separator, ",{"));
        report_path(one, one.number, settings_.paths());
        const tally counted = sum_of(one.to->tallies, one.number, settings_.paths());
        rates.push_back(static_cast<double>(counted.received));
    }
    if (std::ranges::all_of(rates, [](double one) { return one == 0; })) {
        std::printf("],\"fairness\":null,"); // nothing was shared
    } else {
        std::printf("],\"fairness\":%.6f,", jain_index(rates));
    }
}

void run::report_flows() const
{
    std::printf("\"flows\":[");
    const char* separator = "";
    for (const path& one : paths_) {
        const std::uint32_t step = std::max(settings_.paths(), 1U);
        for (std::uint32_t flow = one.number; flow < settings_.groups(); flow += step) {
            std::printf("%s{\"flow\":%" PRIu32 ",", std::exchange(separator, ","), flow);
            report_path(one, flow, settings_.groups());
        }
    }
    std::printf("],");
}

void run::report() const
{
    const std::uint64_t received = counted().received;
    std::printf("{\"event\":\"result\",\"seconds\":%.6f,\"mpps\":%.4f,", seconds_,
                static_cast<double>(received) / seconds_ / 1e6);
    if (settings_.paths() == 0) {
        print_direction("a_to_b", lanes_[0].counted, lanes_[1].counted, seconds_);
        print_direction("b_to_a", lanes_[1].counted, lanes_[0].counted, seconds_);
    } else {
        report_ends();
        report_paths();
    }
    if (settings_.per_flow) {
        report_flows();
    }
    report_fate();
    if (settings_.flows != 0) {
        std::printf("\"new_flows\":%" PRIu64 ",", counted().new_flows);
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
