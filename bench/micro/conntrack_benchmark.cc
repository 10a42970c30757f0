// SPDX-License-Identifier: BSD-3-Clause
// Connection tracking: packets of connections by how many there are, whole connections from the
// first packet to the last, with and without translation, by a worker alone; and by two, who share
// connections or do not. Headers are written between the measured bursts, as receiving does; keys
// come with them, as from extract().

#include "bench/micro/cycles.hh"
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace strait::bench {

namespace {

using namespace dataplane;
using conntrack::parameters;
namespace tcp = conntrack::tcp;

constexpr std::size_t burst_size = burst::capacity;

// The packets of one burst, of so many connections, by number.
class packets {
public:
    explicit packets(std::uint8_t protocol)
    {
        for (std::size_t i = 0; i < burst_size; ++i) {
            packet_slot& p = burst_->slots[i];
            p.data = p.head.data();
            p.length = 64;
            p.head_length = 64;
            p.segment_count = 0;
            std::byte* to = p.data + 12;
            const auto put = [&to](auto... values) noexcept {
                ((std::memcpy(to, &values, sizeof values), to += sizeof values), ...);
            };
            put(be16{ethertype_ipv4}, be16{0x4500}, be16{40}, be32{0}, std::uint8_t{64}, protocol,
                be16{0}, be32{0}, be32{0}, be16{0}, be16{0});
            put(be32{0}, be32{0}, be16{0x5010}, be16{1000}, be32{0});
            conntrack::request& r = requests_[i];
            r.p = &p;
            r.headers = &keys_[i];
            flow::extract(p, keys_[i], r.at);
        }
    }
    void ask(const parameters& asked) noexcept
    {
        for (conntrack::request& r : requests_) {
            r.asked = asked;
        }
    }
    // The packet at `i` becomes one of this connection.
    void set(std::size_t i, std::uint32_t connection, bool reply, std::uint8_t flags = tcp::ack,
             std::uint32_t sequence = 0, std::uint32_t acknowledged = 0) noexcept
    {
        const std::uint32_t from = 0x0a00'0000 + connection / 32'768;
        const std::uint32_t to = 0x0b00'0001;
        const auto port = static_cast<std::uint16_t>(1024 + connection % 32'768);
        set_ends(i, reply ? to : from, reply ? from : to, reply ? 80 : port, reply ? port : 80,
                 flags, sequence, acknowledged);
    }
    void set_ends(std::size_t i, std::uint32_t source, std::uint32_t destination,
                  std::uint16_t source_port, std::uint16_t destination_port, std::uint8_t flags,
                  std::uint32_t sequence, std::uint32_t acknowledged) noexcept
    {
        std::byte* const ip = burst_->slots[i].data + ethernet_header;
        store(ip + 12, be32{source});
        store(ip + 16, be32{destination});
        std::byte* const transport = ip + min_ipv4_header;
        store(transport, be16{source_port});
        store(transport + 2, be16{destination_port});
        store(transport + 4, be32{sequence});
        store(transport + 8, be32{acknowledged});
        store(transport + 13, flags);
        flow::extract(burst_->slots[i], keys_[i], requests_[i].at);
        requests_[i].answer = {};
        requests_[i].dropped = false;
    }
    void track(conntrack::tracker& t, seconds_t now) noexcept { t.track(requests_, now); }
    [[nodiscard]] std::size_t with_state(std::uint32_t bits) const noexcept
    {
        std::size_t n = 0;
        for (const conntrack::request& r : requests_) {
            n += !r.dropped && (r.answer.state & bits) == bits ? 1 : 0;
        }
        return n;
    }
    [[nodiscard]] const conntrack::request& request(std::size_t i) const noexcept
    {
        return requests_[i];
    }

private:
    std::unique_ptr<burst> burst_{new burst{}};
    std::array<flow::key, burst_size> keys_{};
    std::array<conntrack::request, burst_size> requests_{};
};

struct tracking {
    explicit tracking(std::size_t connections) : store{{.connections = connections}}, tracker{store}
    {}
    conntrack::store store;
    conntrack::tracker tracker;
    seconds_t now{1000};
};

// Connections of which the handshake is done.
void establish(tracking& t, packets& p, std::uint8_t protocol, std::uint32_t connections,
               const flow::nat* nat)
{
    for (std::uint32_t first = 0; first < connections; first += burst_size) {
        const auto step = [&](bool reply, std::uint8_t flags, std::uint32_t sequence,
                              std::uint32_t acknowledged) {
            for (std::size_t i = 0; i < burst_size; ++i) {
                p.set(i, (first + static_cast<std::uint32_t>(i)) % connections, reply, flags,
                      sequence, acknowledged);
            }
            p.ask({.commit = !reply, .translation = nat});
            p.track(t.tracker, t.now);
        };
        step(false, protocol == protocol_tcp ? tcp::syn : tcp::ack, 100, 0);
        if (nat == nullptr) {
            step(true, tcp::syn | tcp::ack, 500, 101);
            step(false, tcp::ack, 101, 501);
        }
    }
}

void conntrack_established(benchmark::State& state, std::uint8_t protocol, bool translated)
{
    const auto connections = static_cast<std::uint32_t>(state.range(0));
    const auto p = std::make_unique<packets>(protocol);
    const flow::nat nat{
        .which = flow::nat::side::source, .first = 0x0c00'0000, .last = 0x0c00'00ff};
    const auto t = std::make_unique<tracking>(connections);
    establish(*t, *p, protocol, connections, translated ? &nat : nullptr);
    if (t->store.connections().size() != connections) {
        state.SkipWithError("connections are missing");
        return;
    }
    std::mt19937 random{1};
    cycle_meter meter{state};
    std::uint64_t asked = 0;
    std::uint64_t found = 0;
    const flow::nat restore{};
    for (auto _ : state) {
        for (std::size_t i = 0; i < burst_size; ++i) {
            p->set(i, static_cast<std::uint32_t>(random()) % connections,
                   !translated && (random() & 1) != 0, tcp::ack, 101, 101);
        }
        p->ask({.translation = translated ? &restore : nullptr});
        meter.start();
        p->track(t->tracker, t->now);
        meter.stop(burst_size);
        asked += burst_size;
        found += burst_size - p->with_state(conntrack::state::invalid);
    }
    meter.report();
    state.counters["bytes/connection"] =
        static_cast<double>(t->store.connections().bytes()) / connections;
    if (asked != found) {
        state.SkipWithError("packets of connections were not found");
    }
}

// Whole connections: an item is one. Time goes on as it does in the measured part.
class life {
public:
    life(benchmark::State& state, std::uint8_t protocol)
        : t_{static_cast<std::size_t>(state.range(0))}, p_{protocol}, state_{state}
    {}
    void step(bool reply, std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged,
              bool commit = false)
    {
        for (std::size_t i = 0; i < burst_size; ++i) {
            p_.set(i, next_ + static_cast<std::uint32_t>(i), reply, flags, sequence, acknowledged);
        }
        p_.ask({.commit = commit});
        const std::uint64_t start = rte_rdtsc_precise();
        p_.track(t_.tracker, t_.now);
        t_.tracker.maintain(t_.now);
        cycles_ += rte_rdtsc_precise() - start;
        bad_ += burst_size - p_.with_state(reply ? conntrack::state::reply : 0);
        bad_ += p_.with_state(conntrack::state::invalid);
    }
    void end()
    {
        next_ = (next_ + burst_size) % (32'768 * 4096);
        done_ += burst_size;
        all_cycles_ += cycles_;
        const double hz = static_cast<double>(rte_get_tsc_hz());
        state_.SetIterationTime(static_cast<double>(cycles_) / hz);
        cycles_ = 0;
        t_.now = 1000 + static_cast<seconds_t>(static_cast<double>(all_cycles_) / hz);
    }
    void report()
    {
        state_.SetItemsProcessed(static_cast<std::int64_t>(done_));
        state_.counters["cycles/connection"] =
            static_cast<double>(all_cycles_) / static_cast<double>(done_);
        state_.counters["held"] = static_cast<double>(t_.store.connections().size());
        state_.counters["evicted"] = static_cast<double>(t_.tracker.counters.evicted.read());
        if (t_.tracker.counters.created.read() != done_) {
            state_.SkipWithError("connections are missing");
        }
        if (bad_ != 0) {
            state_.SkipWithError("packets were not found to be of their connections");
        }
    }

private:
    tracking t_;
    packets p_;
    benchmark::State& state_;
    std::uint32_t next_{0};
    std::uint64_t done_{0};
    std::uint64_t bad_{0};
    std::uint64_t cycles_{0};
    std::uint64_t all_cycles_{0};
};

void conntrack_tcp_lives(benchmark::State& state)
{
    const auto l = std::make_unique<life>(state, protocol_tcp);
    for (auto _ : state) {
        l->step(false, tcp::syn, 100, 0, true);
        l->step(true, tcp::syn | tcp::ack, 500, 101);
        l->step(false, tcp::ack, 101, 501);
        l->step(false, tcp::ack | tcp::fin, 101, 501);
        l->step(true, tcp::ack | tcp::fin, 501, 102);
        l->step(false, tcp::ack, 102, 502);
        l->end();
    }
    l->report();
}

void conntrack_udp_lives(benchmark::State& state)
{
    const auto l = std::make_unique<life>(state, protocol_udp);
    for (auto _ : state) {
        l->step(false, 0, 0, 0, true);
        l->step(true, 0, 0, 0);
        l->end();
    }
    l->report();
}

// Two workers, each a thread: of the same connections one has the packets and the other the
// answers, or each has connections of its own, in a zone of its own. Cycles are of the median
// burst.
void conntrack_workers(benchmark::State& state, bool shared)
{
    constexpr std::uint32_t connections = 10'000;
    static std::unique_ptr<conntrack::store> all;
    const auto worker = static_cast<unsigned>(state.thread_index());
    if (worker == 0) {
        all = std::make_unique<conntrack::store>(conntrack::store_settings{
            .connections = 4 * connections, .workers = static_cast<unsigned>(state.threads())});
    }
    const bool answers = shared && worker == 1;
    const conntrack::zone_id zone = shared ? 1 : 1 + worker;
    const auto p = std::make_unique<packets>(protocol_udp);
    std::unique_ptr<conntrack::tracker> t;
    std::mt19937 random{worker};
    cycle_meter meter{state};
    std::uint64_t missed = 0;
    for (auto _ : state) {
        if (!t) { // all threads are here, and so is the store
            t = std::make_unique<conntrack::tracker>(*all, worker);
            p->ask({.zone = zone, .commit = true});
            for (std::uint32_t i = 0; i < connections; i += burst_size) {
                for (std::uint32_t n = 0; n < burst_size; ++n) {
                    p->set(n, (i + n) % connections, false);
                }
                p->track(*t, 1000);
            }
            p->ask({.zone = zone});
        }
        for (std::size_t i = 0; i < burst_size; ++i) {
            p->set(i, static_cast<std::uint32_t>(random()) % connections, answers);
        }
        meter.start();
        p->track(*t, 1000);
        meter.stop(burst_size);
        missed += burst_size - p->with_state(answers ? conntrack::state::reply : 0);
    }
    meter.report();
    state.counters["cycles/packet"].flags = benchmark::Counter::kAvgThreads;
    if (missed != 0) {
        state.SkipWithError("packets were not found to be of their connections");
    }
}

constexpr std::int64_t many = 4'000'000;

} // namespace

BENCHMARK_CAPTURE(conntrack_established, tcp, protocol_tcp, false)
    ->Arg(1000)
    ->Arg(100'000)
    ->Arg(many)
    ->UseManualTime();
BENCHMARK_CAPTURE(conntrack_established, udp, protocol_udp, false)
    ->Arg(1000)
    ->Arg(100'000)
    ->Arg(many)
    ->UseManualTime();
BENCHMARK_CAPTURE(conntrack_established, udp_translated, protocol_udp, true)
    ->Arg(1000)
    ->Arg(100'000)
    ->UseManualTime();
BENCHMARK_CAPTURE(conntrack_workers, one_zone, true)->ThreadRange(1, 2)->UseManualTime();
BENCHMARK_CAPTURE(conntrack_workers, two_zones, false)->ThreadRange(1, 2)->UseManualTime();
BENCHMARK(conntrack_tcp_lives)->Arg(many)->UseManualTime();
BENCHMARK(conntrack_udp_lives)->Arg(many)->UseManualTime();

} // namespace strait::bench
