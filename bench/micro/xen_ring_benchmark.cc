// SPDX-License-Identifier: BSD-3-Clause
// The Xen ring engine on the simulated hypervisor: a burst out of one guest's ring, through the L2
// path, into another's, by frame size. What the hypervisor's calls take is measured and left out:
// here they are copies of this process, on Xen they are hypercalls. How many of those a packet
// would need is counted instead. The guests' drivers run on the same core between two bursts,
// untimed, as in ring_benchmark.cc, whose figures these are to be held beside.

#include "bench/generator/histogram.hh"
#include "bench/micro/cycles.hh"
#include "dataplane/forward.hh"
#include "dataplane/poll_order.hh"
#include "ports/xen-netback/queue.hh"
#include "ports/xen-netback/simulated/netfront_queue.hh"
#include "ports/xen-netback/simulated/server.hh"
#include "ports/xen-netback/simulated/simulated_hypervisor.hh"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace strait::bench {

namespace {

using dataplane::burst;
using dataplane::packet;
using xen::domain_id;
using xen::simulated::netfront_queue;
using xen::simulated::simulated_guest;
using xen::simulated::simulated_hypervisor;

template <typename T>
T must(ports::result<T> r)
{
    if (r.has_error()) {
        throw std::runtime_error{r.error().message};
    }
    return std::move(r).value();
}

// A simulated hypervisor of this process's own.
class xen_host {
public:
    xen_host()
    {
        std::string folder = std::filesystem::temp_directory_path() / "strait-bench-XXXXXX";
        if (::mkdtemp(folder.data()) == nullptr) {
            throw std::runtime_error{"no temporary folder"};
        }
        folder_ = folder;
        server_ = must(xen::simulated::server_thread::start({.socket = socket()}));
        hypervisor_ = must(simulated_hypervisor::connect(socket(), domain_id{0}));
    }
    xen_host(const xen_host&) = delete;
    xen_host& operator=(const xen_host&) = delete;
    ~xen_host()
    {
        hypervisor_.reset();
        server_.reset();
        std::filesystem::remove_all(folder_);
    }
    [[nodiscard]] std::string socket() const { return folder_ / "xen.sock"; }
    [[nodiscard]] simulated_hypervisor& hypervisor() noexcept { return *hypervisor_; }

private:
    std::filesystem::path folder_;
    std::unique_ptr<xen::simulated::server_thread> server_;
    std::unique_ptr<simulated_hypervisor> hypervisor_;
};

// Another one's copies and notifications, with the cycles that they take.
class timed_hypervisor final : public xen::hypervisor {
public:
    explicit timed_hypervisor(simulated_hypervisor& h) noexcept : hypervisor_{h} {}
    [[nodiscard]] std::string_view name() const noexcept override { return hypervisor_.name(); }
    [[nodiscard]] domain_id own_domain() const noexcept override
    {
        return hypervisor_.own_domain();
    }
    [[nodiscard]] xen::result<std::unique_ptr<xen::mapped_grants>>
    map(domain_id d, std::span<const xen::grant_ref> pages) override
    {
        return hypervisor_.map(d, pages);
    }
    [[nodiscard]] xen::result<std::unique_ptr<xen::event_channel>> bind(domain_id d,
                                                                        xen::event_port p) override
    {
        auto channel = hypervisor_.bind(d, p);
        if (channel.has_error()) {
            return channel.error();
        }
        return std::make_unique<timed_channel>(*this, std::move(*channel));
    }
    [[nodiscard]] xen::store& store() noexcept override { return hypervisor_.store(); }
    void copy(std::span<dataplane::remote_copy> pieces) noexcept override
    {
        const std::uint64_t begin = rte_rdtsc_precise();
        hypervisor_.copy(pieces);
        across_ += static_cast<std::uint64_t>(
            std::ranges::count_if(pieces, [](const dataplane::remote_copy& c) {
                return c.flags() == (dataplane::remote_copy::source_granted |
                                     dataplane::remote_copy::target_granted);
            }));
        cycles_ += rte_rdtsc_precise() - begin;
    }
    // Pieces from a guest's page to another's, so far.
    [[nodiscard]] std::uint64_t across() const noexcept { return across_; }
    // Since the last call.
    [[nodiscard]] std::uint64_t take_cycles() noexcept { return std::exchange(cycles_, 0); }

private:
    class timed_channel final : public xen::event_channel {
    public:
        timed_channel(timed_hypervisor& h, std::unique_ptr<xen::event_channel> c) noexcept
            : hypervisor_{h}, channel_{std::move(c)}
        {}
        void notify() noexcept override
        {
            const std::uint64_t begin = rte_rdtsc_precise();
            channel_->notify();
            hypervisor_.cycles_ += rte_rdtsc_precise() - begin;
        }
        [[nodiscard]] int descriptor() const noexcept override { return channel_->descriptor(); }
        [[nodiscard]] bool take() noexcept override { return channel_->take(); }

    private:
        timed_hypervisor& hypervisor_;
        std::unique_ptr<xen::event_channel> channel_;
    };
    simulated_hypervisor& hypervisor_;
    std::uint64_t cycles_{0};
    std::uint64_t across_{0};
};

// A guest's queues, and the engine on them.
class xen_port {
public:
    xen_port(xen_host& host, xen::hypervisor& h, std::uint16_t id, unsigned queues = 1)
        : guest_{must(
              simulated_guest::connect(host.socket(), domain_id{id},
                                       {.pages = queues * (2 * xen::netif::ring_size + 2) + 16}))}
    {
        rings_.guest = std::make_unique<xen::guest>();
        rings_.guest->hypervisor = &h;
        rings_.guest->domain = domain_id{id};
        using enum dataplane::offloads;
        rings_.guest->features = {.scatter_gather = true,
                                  .offloads = checksum_ipv4 | checksum_ipv6 | segmentation_ipv4 |
                                              segmentation_ipv6,
                                  .multicast_control = false};
        for (unsigned i = 0; i < queues; ++i) {
            fronts_.push_back(must(netfront_queue::make(*guest_, {.backend = domain_id{0}})));
            const netfront_queue& front = *fronts_.back();
            const std::array refs{front.tx_ring_ref(), front.rx_ring_ref()};
            rings_.mappings.push_back(must(h.map(domain_id{id}, refs)));
            auto* const base = static_cast<std::byte*>(rings_.mappings.back()->base());
            rings_.channels.push_back(must(h.bind(domain_id{id}, front.tx_port())));
            xen::event_channel& tx = *rings_.channels.back();
            rings_.channels.push_back(must(h.bind(domain_id{id}, front.rx_port())));
            rings_.sources.push_back(
                std::make_unique<xen::source>(xen::netif::tx_ring{base}, *rings_.guest, tx, false));
            rings_.sinks.push_back(
                std::make_unique<xen::sink>(xen::netif::rx_ring{base + xen::page_size},
                                            *rings_.guest, *rings_.channels.back(), false));
        }
        queue_.publish(&rings_);
    }
    [[nodiscard]] xen::queue& queue() noexcept { return queue_; }
    [[nodiscard]] netfront_queue& front() noexcept { return *fronts_.front(); }

private:
    std::unique_ptr<simulated_guest> guest_;
    std::vector<std::unique_ptr<netfront_queue>> fronts_;
    xen::ring_set rings_;
    xen::queue queue_;
};

class xen_pair {
public:
    explicit xen_pair(std::uint32_t frame)
        : from_{host_, hypervisor_, 1}, to_{host_, hypervisor_, 2}, frame_(frame)
    {
        const std::array<std::uint8_t, 14> header{0x02, 1, 0, 0, 0, 2, 0x02, 1, 0, 0, 0, 1, 8, 0};
        std::memcpy(frame_.data(), header.data(), header.size());
        for (std::size_t at = header.size(); at < frame_.size(); ++at) {
            frame_[at] = static_cast<std::byte>(at * 7 + at / 253);
        }
        auto bridge = std::make_shared<dataplane::bridge_config>();
        bridge->macs = std::make_shared<dataplane::mac_table>(1024);
        bridge->members = {dataplane::port_index{0}, dataplane::port_index{1}};
        config_.bridges.push_back(bridge);
        for (std::uint16_t i = 0; i < 2; ++i) {
            auto port = std::make_shared<dataplane::port_config>();
            port->index = dataplane::port_index{i};
            port->incarnation = 1;
            port->mtu = 65'521;
            config_.ports.push_back(port);
        }
        // A frame the other way, so that all that follow have a destination.
        auto back = frame_;
        std::swap_ranges(back.begin(), back.begin() + 6, back.begin() + 6);
        if (!to_.front().send({.bytes = back})) {
            throw std::runtime_error{"the guest's ring has no room"};
        }
        to_.front().publish_sent();
        forward(to_, from_, 1, 0);
        to_.front().reap();
        from_.front().receive(1, [](const auto&) {});
        (void)hypervisor_.take_cycles();
    }
    [[nodiscard]] std::uint32_t burst_size() const noexcept
    {
        const auto slots =
            static_cast<std::uint32_t>((frame_.size() + xen::page_size - 1) / xen::page_size);
        return std::min<std::uint32_t>(burst::capacity, xen::netif::ring_size / slots);
    }
    void offer()
    {
        for (std::uint32_t i = 0; i < burst_size(); ++i) {
            if (!from_.front().send({.bytes = frame_})) {
                throw std::runtime_error{"the guest's ring has no room"};
            }
        }
        from_.front().publish_sent();
    }
    struct stages {
        std::uint64_t packets{0};
        std::uint64_t out{0};        // of the sender's ring
        std::uint64_t lookup{0};     // the L2 path
        std::uint64_t in{0};         // into the receiver's
        std::uint64_t release{0};    // answers to the sender, and telling both
        std::uint64_t hypervisor{0}; // in none of the others
    };
    stages forward() { return forward(from_, to_, 0, 1); }
    // What the drivers do then. False unless all came back, and came as it was.
    [[nodiscard]] bool settle()
    {
        from_.front().reap();
        bool same = true;
        const std::size_t got = to_.front().receive(1000, [&](const auto& f) {
            same = same && f.bytes.size() == frame_.size() &&
                   std::equal(f.bytes.begin(), f.bytes.end(), frame_.begin());
        });
        // As a driver that is busy does not: the back end is to have it as hard as it can be.
        (void)from_.front().may_sleep();
        (void)to_.front().may_sleep();
        return same && got == burst_size() && from_.front().tx().outstanding() == 0;
    }
    [[nodiscard]] xen::simulated::hypervisor_counts counts() noexcept
    {
        return host_.hypervisor().counts();
    }
    [[nodiscard]] std::uint64_t across() const noexcept { return hypervisor_.across(); }

private:
    stages forward(xen_port& from, xen_port& to, std::uint16_t in, std::uint16_t out)
    {
        stages s;
        now_ += rte_get_tsc_hz(); // each look into a ring is due
        const ports::queue_context receiving{now_, nullptr, &counters_[in], &notifications_,
                                             &to.queue()};
        const ports::queue_context sending{now_, nullptr, &counters_[out], &notifications_};
        burst_->clear();
        const std::uint64_t t0 = rte_rdtsc_precise();
        if (from.queue().receive(*burst_, receiving) != ports::rx_queue::poll::taken) {
            return s;
        }
        const std::uint64_t t1 = rte_rdtsc_precise();
        const std::uint64_t heads = hypervisor_.take_cycles();
        const std::uint64_t t2 = rte_rdtsc_precise();
        dataplane::forward(*burst_, *config_.ports[in], {&config_, 1, &worker_}, counters_[in],
                           lists_);
        const std::span<packet*> packets = lists_.packets(dataplane::port_index{out});
        const std::size_t kept =
            dataplane::admit(packets, *config_.ports[out], counters_[out]).count;
        const std::uint64_t t3 = rte_rdtsc_precise();
        to.queue().transmit(std::span<packet* const>{packets}.first(kept), sending);
        const std::uint64_t t4 = rte_rdtsc_precise();
        const std::uint64_t copies = hypervisor_.take_cycles();
        const std::uint64_t t5 = rte_rdtsc_precise();
        lists_.clear();
        from.queue().release(*burst_, receiving);
        notifications_.flush();
        const std::uint64_t t6 = rte_rdtsc_precise();
        const std::uint64_t told = hypervisor_.take_cycles();
        s = {.packets = burst_->count,
             .out = t1 - t0 - heads,
             .lookup = t3 - t2,
             .in = t4 - t3 - copies,
             .release = t6 - t5 - told,
             .hypervisor = heads + copies + told};
        return s;
    }

    xen_host host_;
    timed_hypervisor hypervisor_{host_.hypervisor()};
    xen_port from_;
    xen_port to_;
    std::vector<std::byte> frame_;
    dataplane::snapshot config_;
    dataplane::worker_counters worker_;
    std::array<dataplane::port_counters, 2> counters_;
    dataplane::output_lists lists_;
    std::unique_ptr<burst> burst_ = std::make_unique<burst>();
    ports::notification_list notifications_;
    std::uint64_t now_{0};
};

// Cycles a packet of each burst, of which the median counts: a burst that was interrupted does not.
class stage_meter {
public:
    void add(std::uint64_t cycles, std::uint64_t packets) noexcept
    {
        histogram_->add((cycles << 10U) / packets);
    }
    [[nodiscard]] double cycles_a_packet() const
    {
        return static_cast<double>(histogram_->percentile(0.5)) / 1024;
    }

private:
    std::unique_ptr<histogram> histogram_ = std::make_unique<histogram>();
};

// "cycles/packet" is the engine's and the lookup's; "ring" is the engine's alone, to be held beside
// ring_split's.
void xen_ring(benchmark::State& state)
{
    xen_pair guests{static_cast<std::uint32_t>(state.range(0))};
    stage_meter out;
    stage_meter lookup;
    stage_meter in;
    stage_meter release;
    stage_meter hypervisor;
    stage_meter ring;
    stage_meter all;
    std::uint64_t packets = 0;
    const auto before = guests.counts();
    const std::uint64_t across = guests.across();
    for (auto _ : state) {
        guests.offer();
        const auto s = guests.forward();
        if (s.packets != guests.burst_size()) {
            state.SkipWithError("the engine left packets in the ring");
            return;
        }
        packets += s.packets;
        out.add(s.out, s.packets);
        lookup.add(s.lookup, s.packets);
        in.add(s.in, s.packets);
        release.add(s.release, s.packets);
        hypervisor.add(s.hypervisor, s.packets);
        ring.add(s.out + s.in + s.release, s.packets);
        all.add(s.out + s.lookup + s.in + s.release, s.packets);
        state.SetIterationTime(static_cast<double>(s.out + s.lookup + s.in + s.release) /
                               static_cast<double>(rte_get_tsc_hz()));
        if (!guests.settle()) {
            state.SkipWithError("a frame did not arrive as it was sent");
            return;
        }
    }
    const auto after = guests.counts();
    const auto a_packet = [packets](std::uint64_t n) {
        return static_cast<double>(n) / static_cast<double>(packets);
    };
    state.SetItemsProcessed(static_cast<std::int64_t>(packets));
    state.counters["cycles/packet"] = all.cycles_a_packet();
    state.counters["ring"] = ring.cycles_a_packet();
    state.counters["ring_out"] = out.cycles_a_packet();
    state.counters["lookup"] = lookup.cycles_a_packet();
    state.counters["ring_in"] = in.cycles_a_packet();
    state.counters["release"] = release.cycles_a_packet();
    state.counters["hypervisor"] = hypervisor.cycles_a_packet();
    state.counters["segments"] = a_packet(after.pieces - before.pieces);
    state.counters["across"] = a_packet(guests.across() - across);
    state.counters["calls"] = a_packet(after.calls - before.calls);
    state.counters["hypercalls"] = a_packet(after.hypercalls - before.hypercalls);
    state.counters["notifications"] = a_packet(after.notifications - before.notifications);
    state.counters["bytes"] = a_packet(after.bytes - before.bytes);
}

// A round over ports whose guests have nothing to say.
void xen_ring_idle(benchmark::State& state)
{
    const auto queues = static_cast<unsigned>(state.range(0));
    const auto ports = static_cast<std::uint16_t>(state.range(1));
    xen_host host;
    std::vector<std::unique_ptr<xen_port>> idle;
    for (std::uint16_t i = 1; i <= ports; ++i) {
        idle.push_back(std::make_unique<xen_port>(host, host.hypervisor(), i, queues));
    }
    const auto b = std::make_unique<burst>();
    dataplane::port_counters counters;
    ports::notification_list notifications;
    stage_meter a_port;
    for (auto _ : state) {
        const std::uint64_t begin = rte_rdtsc_precise();
        const ports::queue_context context{begin, nullptr, &counters, &notifications};
        bool any = false;
        for (const auto& p : idle) {
            any = p->queue().receive(*b, context) == ports::rx_queue::poll::taken || any;
        }
        const std::uint64_t cycles = rte_rdtsc_precise() - begin;
        if (any) {
            state.SkipWithError("an empty ring had packets");
            return;
        }
        a_port.add(cycles, ports);
        state.SetIterationTime(static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz()));
    }
    state.counters["cycles/port"] = a_port.cycles_a_packet();
}

// What ports whose guests have nothing to say take of a worker's loop, beside a guest that sends
// bursts of small frames without end. Time is the loop's own: the drivers', and the hypervisor's,
// does not pass.
void xen_ring_beside_idle(benchmark::State& state)
{
    const auto ports = static_cast<std::uint16_t>(state.range(0));
    constexpr std::uint32_t frame = 64;
    xen_pair guests{frame};
    xen_host host;
    std::vector<std::unique_ptr<xen_port>> idle;
    for (std::uint16_t i = 1; i <= ports; ++i) {
        idle.push_back(std::make_unique<xen_port>(host, host.hypervisor(), i));
    }
    const auto b = std::make_unique<burst>();
    dataplane::port_counters counters;
    ports::notification_list notifications;
    dataplane::poll_order order{std::vector<bool>(ports + 1U, true), 0, rte_get_tsc_hz()};
    std::uint64_t now = 0;
    std::uint64_t rounds = 0; // of looks at all idle ports, once they are quiet
    std::uint64_t first = 0;  // when
    std::uint64_t last = 0;
    stage_meter round; // cycles of one, and of the loop itself
    stage_meter no_round;
    for (auto _ : state) {
        guests.offer();
        std::uint64_t own = 0;
        std::uint64_t looked = 0;
        std::uint64_t beside = 0;
        const std::uint64_t begin = rte_rdtsc_precise();
        order.run(now, false, [&](std::size_t source) noexcept {
            if (source > 0) {
                ++looked;
                const ports::queue_context context{now, nullptr, &counters, &notifications};
                return idle[source - 1]->queue().receive(*b, context) ==
                       ports::rx_queue::poll::taken;
            }
            const std::uint64_t from = rte_rdtsc_precise();
            const auto s = guests.forward();
            own = s.out + s.lookup + s.in + s.release;
            beside = rte_rdtsc_precise() - from;
            return true;
        });
        const std::uint64_t loop = rte_rdtsc_precise() - begin - beside;
        if (looked == ports) {
            round.add(loop, 1);
        } else if (looked == 0) {
            no_round.add(loop, 1);
        }
        if (looked == ports && now > rte_get_tsc_hz() / 500) {
            first = rounds++ == 0 ? now : first;
            last = now;
        }
        now += own + loop;
        state.SetIterationTime(static_cast<double>(own + loop) /
                               static_cast<double>(rte_get_tsc_hz()));
        if (!guests.settle()) {
            state.SkipWithError("a frame did not arrive as it was sent");
            return;
        }
    }
    if (rounds < 2) {
        state.SkipWithError("too short: the idle ports were not looked at twice");
        return;
    }
    const double cycles = round.cycles_a_packet() - no_round.cycles_a_packet();
    state.counters["cycles/round"] = cycles;
    state.counters["share_%"] =
        100 * cycles * static_cast<double>(rounds - 1) / static_cast<double>(last - first);
}

} // namespace

BENCHMARK(xen_ring)
    ->Arg(64)
    ->Arg(256)
    ->Arg(512)
    ->Arg(1024)
    ->Arg(1500)
    ->Arg(9000)
    ->Arg(65000)
    ->UseManualTime();
BENCHMARK(xen_ring_idle)
    ->ArgNames({"queues", "ports"})
    ->Args({1, 64})
    ->Args({16, 8})
    ->UseManualTime();
BENCHMARK(xen_ring_beside_idle)->Arg(64)->Iterations(20'000)->UseManualTime();

} // namespace strait::bench
