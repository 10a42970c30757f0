// SPDX-License-Identifier: BSD-3-Clause
// The Xen ring engine on the simulated hypervisor: a burst out of one guest's ring, through the L2
// path, into another's, by frame size. What the hypervisor's calls take is measured and left out of
// all stages but the copy: here they are copies of this process, on Xen they are hypercalls. How
// many of those a packet would need is counted. The guests' drivers run on the same core between
// two bursts, untimed, as in ring_stages_benchmark.cc, whose figures these are to be held beside.

#include "bench/micro/cycles.hh"
#include "bench/micro/stages.hh"
#include "dataplane/packet_pool.hh"
#include "dataplane/poll_order.hh"
#include "ports/xen-netback/queue.hh"
#include "ports/xen-netback/simulated/netfront_queue.hh"
#include "ports/xen-netback/simulated/server.hh"
#include "ports/xen-netback/simulated/simulated_hypervisor.hh"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace strait::bench {

namespace {

using dataplane::burst;
using dataplane::offloads;
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
    struct cycles {
        std::uint64_t copy{0};
        std::uint64_t notify{0};
        std::uint64_t counting{0}; // this class's own
        [[nodiscard]] std::uint64_t all() const noexcept { return copy + notify + counting; }
    };
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
        const std::uint64_t copied = rte_rdtsc_precise();
        across_ += static_cast<std::uint64_t>(
            std::ranges::count_if(pieces, [](const dataplane::remote_copy& c) {
                return c.flags() == (dataplane::remote_copy::source_granted |
                                     dataplane::remote_copy::target_granted);
            }));
        cycles_.copy += copied - begin;
        cycles_.counting += rte_rdtsc_precise() - copied;
    }
    // Pieces from a guest's page to another's, so far.
    [[nodiscard]] std::uint64_t across() const noexcept { return across_; }
    // Since the last call.
    [[nodiscard]] cycles take_cycles() noexcept { return std::exchange(cycles_, {}); }

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
            hypervisor_.cycles_.notify += rte_rdtsc_precise() - begin;
        }
        [[nodiscard]] int descriptor() const noexcept override { return channel_->descriptor(); }
        [[nodiscard]] bool take() noexcept override { return channel_->take(); }

    private:
        timed_hypervisor& hypervisor_;
        std::unique_ptr<xen::event_channel> channel_;
    };
    simulated_hypervisor& hypervisor_;
    cycles cycles_;
    std::uint64_t across_{0};
};

constexpr offloads usual_offloads = offloads::checksum_ipv4 | offloads::checksum_ipv6 |
                                    offloads::segmentation_ipv4 | offloads::segmentation_ipv6;

// A guest's queues, and the engine on them.
class xen_port {
public:
    xen_port(xen_host& host, xen::hypervisor& h, std::uint16_t id, unsigned queues = 1,
             offloads takes = usual_offloads)
        : guest_{must(
              simulated_guest::connect(host.socket(), domain_id{id},
                                       {.pages = queues * (2 * xen::netif::ring_size + 2) + 16}))}
    {
        rings_.guest = std::make_unique<xen::guest>();
        rings_.guest->hypervisor = &h;
        rings_.guest->domain = domain_id{id};
        rings_.guest->features = {
            .scatter_gather = true, .offloads = takes, .multicast_control = false};
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

struct mempool_deleter {
    void operator()(rte_mempool* pool) const noexcept { rte_mempool_free(pool); }
};

class xen_pair {
public:
    // With `fills`, the sender leaves checksums and the receiver takes none that were.
    explicit xen_pair(std::uint32_t bytes, bool fills = false)
        : fills_{fills},
          frame_{make_segment(bytes)},
          arrives_{fills ? make_whole_segment(bytes) : frame_},
          from_{host_, hypervisor_, 1},
          to_{host_, hypervisor_, 2, 1, fills ? offloads::none : usual_offloads}
    {
        if (fills) {
            pool_.reset(dataplane::make_packet_pool({.name = "xen_ring_filled",
                                                     .packets = 511,
                                                     .cache = 128,
                                                     .private_size = 0,
                                                     .data_room = RTE_MBUF_DEFAULT_BUF_SIZE}));
            if (!pool_) {
                throw std::runtime_error{"no memory for a packet pool"};
            }
        }
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
            if (!from_.front().send({.bytes = frame_, .extras = {.checksum_blank = fills_}})) {
                throw std::runtime_error{"the guest's ring has no room"};
            }
        }
        from_.front().publish_sent();
    }
    // Cycles of one burst.
    struct stages {
        std::uint64_t packets{0};
        std::uint64_t out{0};    // of the sender's ring
        std::uint64_t lookup{0}; // the L2 path
        std::uint64_t checksum{0};
        std::uint64_t in{0};      // into the receiver's
        std::uint64_t release{0}; // answers to the sender
        std::uint64_t notify{0};  // looking whether they wait
        std::uint64_t copy{0};    // the hypervisor's, in none of the others
        [[nodiscard]] std::uint64_t rings() const noexcept { return out + in + release + notify; }
        [[nodiscard]] std::uint64_t own() const noexcept { return rings() + lookup + checksum; }
    };
    stages forward() noexcept
    {
        stages s;
        now_ += rte_get_tsc_hz(); // each look into a ring is due
        const ports::queue_context receiving{now_, nullptr, &path_.sender(), &notifications_,
                                             &to_.queue()};
        const ports::queue_context sending{now_, nullptr, &path_.receiver(), &notifications_};
        burst_->clear();
        (void)hypervisor_.take_cycles();
        const std::uint64_t t0 = rte_rdtsc_precise();
        if (from_.queue().receive(*burst_, receiving) != ports::rx_queue::poll::taken) {
            return s;
        }
        const std::uint64_t t1 = rte_rdtsc_precise();
        const auto heads = hypervisor_.take_cycles();
        const std::uint64_t t2 = rte_rdtsc_precise();
        const std::span<packet*> packets = path_.look_up(*burst_);
        const std::uint64_t t3 = rte_rdtsc_precise();
        if (fills_) {
            fill_checksums(packets, pool_.get());
        }
        const std::uint64_t t4 = rte_rdtsc_precise();
        const auto payload = hypervisor_.take_cycles();
        const std::uint64_t t5 = rte_rdtsc_precise();
        to_.queue().transmit(packets, sending);
        const std::uint64_t t6 = rte_rdtsc_precise();
        const auto frames = hypervisor_.take_cycles();
        const std::uint64_t t7 = rte_rdtsc_precise();
        path_.clear();
        from_.queue().release(*burst_, receiving);
        const std::uint64_t t8 = rte_rdtsc_precise();
        notifications_.flush();
        const std::uint64_t t9 = rte_rdtsc_precise();
        const auto told = hypervisor_.take_cycles();
        s = {.packets = burst_->count,
             .out = t1 - t0 - heads.all(),
             .lookup = t3 - t2,
             .checksum = t4 - t3 - payload.all(),
             .in = t6 - t5 - frames.all(),
             .release = t8 - t7,
             .notify = t9 - t8 - told.all(),
             .copy = heads.copy + payload.copy + frames.copy};
        return s;
    }
    // What the drivers do then. False unless all came back, and came as it has to.
    [[nodiscard]] bool settle()
    {
        from_.front().reap();
        bool same = true;
        const std::size_t got = to_.front().receive(1000, [&](const auto& f) {
            same = same && std::ranges::equal(f.bytes, arrives_) && !f.extras.checksum_blank;
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
    const bool fills_;
    const std::vector<std::byte> frame_;
    const std::vector<std::byte> arrives_;
    l2_path path_;
    std::unique_ptr<rte_mempool, mempool_deleter> pool_; // for payload that is summed
    xen_host host_;
    timed_hypervisor hypervisor_{host_.hypervisor()};
    xen_port from_;
    xen_port to_;
    std::unique_ptr<burst> burst_ = std::make_unique<burst>();
    ports::notification_list notifications_;
    std::uint64_t now_{0};
};

// "cycles/packet" is the engine's and the lookup's; "ring" is the engine's alone, to be held beside
// ring_split's.
void run_stages(benchmark::State& state, bool fills)
{
    xen_pair guests{static_cast<std::uint32_t>(state.range(0)), fills};
    stage_meter out;
    stage_meter copy;
    stage_meter checksum;
    stage_meter lookup;
    stage_meter in;
    stage_meter release;
    stage_meter notify;
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
        copy.add(s.copy, s.packets);
        checksum.add(s.checksum, s.packets);
        lookup.add(s.lookup, s.packets);
        in.add(s.in, s.packets);
        release.add(s.release, s.packets);
        notify.add(s.notify, s.packets);
        ring.add(s.rings(), s.packets);
        all.add(s.own(), s.packets);
        state.SetIterationTime(static_cast<double>(s.own()) /
                               static_cast<double>(rte_get_tsc_hz()));
        if (!guests.settle()) {
            state.SkipWithError("a frame did not arrive as it has to");
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
    state.counters["copy"] = copy.cycles_a_packet();
    if (fills) {
        state.counters["checksum"] = checksum.cycles_a_packet();
    }
    state.counters["lookup"] = lookup.cycles_a_packet();
    state.counters["ring_in"] = in.cycles_a_packet();
    state.counters["release"] = release.cycles_a_packet();
    state.counters["notify"] = notify.cycles_a_packet();
    state.counters["segments"] = a_packet(after.pieces - before.pieces);
    state.counters["across"] = a_packet(guests.across() - across);
    state.counters["calls"] = a_packet(after.calls - before.calls);
    state.counters["hypercalls"] = a_packet(after.hypercalls - before.hypercalls);
    state.counters["notifications"] = a_packet(after.notifications - before.notifications);
    state.counters["bytes"] = a_packet(after.bytes - before.bytes);
}

void xen_ring(benchmark::State& state)
{
    run_stages(state, false);
}
void xen_ring_filled(benchmark::State& state)
{
    run_stages(state, true);
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
            own = s.own();
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
BENCHMARK(xen_ring_filled)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(xen_ring_idle)
    ->ArgNames({"queues", "ports"})
    ->Args({1, 64})
    ->Args({16, 8})
    ->UseManualTime();
BENCHMARK(xen_ring_beside_idle)->Arg(64)->Iterations(20'000)->UseManualTime();

} // namespace strait::bench
