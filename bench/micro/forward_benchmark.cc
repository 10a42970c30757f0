// SPDX-License-Identifier: BSD-3-Clause
// Parsing alone, and the whole L2 path of a burst (parse, classify, learn, look up, sort by
// destination), by the number of addresses in play and by how the ports carry VLANs.

#include "bench/micro/cycles.hh"
#include "bench/micro/two_ports.hh"
#include "dataplane/forward.hh"
#include "dataplane/parse.hh"

#include <array>
#include <cstring>
#include <memory>
#include <utility>

namespace strait::bench {

namespace {

using namespace dataplane;

constexpr std::size_t frame_length = 64;

void write_mac(std::byte* at, std::uint8_t group, std::uint32_t number) noexcept
{
    const std::array<std::uint8_t, 6> bytes = {0x02,
                                               group,
                                               0,
                                               static_cast<std::uint8_t>(number >> 16),
                                               static_cast<std::uint8_t>(number >> 8),
                                               static_cast<std::uint8_t>(number)};
    std::memcpy(at, bytes.data(), bytes.size());
}

// Packet `i` of a burst from side `from` to the other, as a port's receive() leaves it.
void write_packet(packet_slot& p, std::uint8_t from, std::uint32_t number, bool tagged) noexcept
{
    p.data = p.head.data();
    p.length = frame_length;
    p.head_length = frame_length;
    p.segments = nullptr;
    p.segment_count = 0;
    p.mbuf = nullptr;
    p.remote = nullptr;
    p.offload = {};
    std::memset(p.data, 0, frame_length);
    write_mac(p.data, from == 0 ? 1 : 0, number);
    write_mac(p.data + 6, from, number);
    const be16 type = tagged ? ethertype_vlan : std::uint16_t{0x0800};
    std::memcpy(p.data + 12, &type, sizeof type);
    if (tagged) {
        const be16 words[2] = {std::uint16_t{10}, std::uint16_t{0x0800}};
        std::memcpy(p.data + ethernet_header, words, sizeof words);
    }
}

// One bridge and two ports of it.
class two_ports {
public:
    explicit two_ports(vlan_policy first, vlan_policy second)
    {
        bridge_of_two made{262144};
        made.ports[0]->vlan = first;
        made.ports[1]->vlan = second;
        config_ = std::move(made.config);
    }

    [[nodiscard]] const port_config& port(std::size_t i) const { return *config_.ports[i]; }
    [[nodiscard]] forward_context context() noexcept { return {&config_, 1, &worker_}; }
    [[nodiscard]] port_counters& counters(std::size_t i) noexcept { return counters_[i]; }

private:
    snapshot config_;
    worker_counters worker_;
    std::array<port_counters, 2> counters_;
};

void parse(benchmark::State& state)
{
    const auto b = std::make_unique<burst>();
    b->count = burst::capacity;
    for (std::uint32_t i = 0; i < burst::capacity; ++i) {
        write_packet(b->slots[i], 0, i, false);
    }
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        for (packet_slot& p : b->packets()) {
            auto header = parse_ethernet(p.data);
            benchmark::DoNotOptimize(header);
        }
        meter.stop(b->count);
    }
    meter.report();
}

// Bursts go to and fro, each packet of another flow; `macs` addresses are in play. `tagged`:
// whether frames of each side come with a tag.
void run_forward(benchmark::State& state, two_ports& ports, std::uint32_t macs,
                 std::array<bool, 2> tagged)
{
    const auto b = std::make_unique<burst>();
    output_lists out;
    const std::uint32_t flows = macs / 2;
    const auto fill = [&](std::uint8_t from, std::uint32_t first) {
        b->count = burst::capacity;
        for (std::uint32_t i = 0; i < burst::capacity; ++i) {
            write_packet(b->slots[i], from, (first + i * 40503U) % flows, tagged[from]);
        }
    };
    // All addresses are known before anything counts.
    for (std::uint32_t first = 0; first < flows; ++first) {
        for (std::uint8_t from = 0; from < 2; ++from) {
            write_packet(b->slots[0], from, first, tagged[from]);
            b->count = 1;
            forward(*b, ports.port(from), ports.context(), ports.counters(from), out);
            out.clear();
        }
    }
    std::uint32_t first = 0;
    std::uint8_t from = 0;
    std::uint64_t astray = 0;
    cycle_meter meter{state};
    for (auto _ : state) {
        fill(from, first);
        const port_config& to = ports.port(1U - from);
        meter.start();
        forward(*b, ports.port(from), ports.context(), ports.counters(from), out);
        const std::size_t kept = admit(out.packets(to.index), to, ports.counters(1U - from)).count;
        meter.stop(burst::capacity);
        astray += burst::capacity - kept;
        out.clear();
        from ^= 1U;
        first = (first + std::uint32_t{burst::capacity} * 40503U) % flows;
    }
    meter.report();
    if (astray > 0) {
        state.SkipWithError("not every packet went to the other port");
    }
}

void forward_macs(benchmark::State& state)
{
    two_ports ports{vlan_policy::transparent(), vlan_policy::transparent()};
    run_forward(state, ports, static_cast<std::uint32_t>(state.range(0)), {false, false});
}

void forward_access(benchmark::State& state)
{
    two_ports ports{vlan_policy::access(vlan_id{10}), vlan_policy::access(vlan_id{10})};
    run_forward(state, ports, 2, {false, false});
}

void forward_tagged(benchmark::State& state)
{
    two_ports ports{vlan_policy::transparent(), vlan_policy::transparent()};
    run_forward(state, ports, 2, {true, true});
}

// Tags are put in one way and taken out the other way.
void forward_access_to_trunk(benchmark::State& state)
{
    vlan_policy trunk;
    trunk.allowed.set(10);
    two_ports ports{vlan_policy::access(vlan_id{10}), trunk};
    run_forward(state, ports, 2, {false, true});
}

// From one port to many, in no order: an uplink's packets to guests.
void forward_ports(benchmark::State& state)
{
    const auto count = static_cast<std::uint16_t>(state.range(0));
    auto bridge = std::make_shared<bridge_config>();
    bridge->macs = std::make_shared<mac_table>(262144);
    snapshot config;
    config.bridges.push_back(bridge);
    for (std::uint16_t i = 0; i <= count; ++i) {
        auto port = std::make_shared<port_config>();
        port->index = port_index{i};
        port->incarnation = 1;
        bridge->members.push_back(port->index);
        config.ports.push_back(port);
    }
    const auto b = std::make_unique<burst>();
    worker_counters worker;
    port_counters counters;
    output_lists out;
    const forward_context context{&config, 1, &worker};
    b->count = 1;
    for (std::uint32_t i = 0; i < count; ++i) {
        write_packet(b->slots[0], 1, i, false);
        forward(*b, *config.ports[i + 1], context, counters, out);
        out.clear();
    }
    b->count = burst::capacity;
    std::uint32_t random = 1;
    cycle_meter meter{state};
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < burst::capacity; ++i) {
            random = random * 1664525U + 1013904223U;
            write_packet(b->slots[i], 0, (random >> 16) % count, false);
        }
        meter.start();
        forward(*b, *config.ports[0], context, counters, out);
        meter.stop(burst::capacity);
        out.clear();
    }
    meter.report();
}

} // namespace

BENCHMARK(parse)->UseManualTime();
BENCHMARK(forward_macs)->Arg(2)->Arg(1000)->Arg(65536)->UseManualTime();
BENCHMARK(forward_ports)->Arg(1)->Arg(4)->Arg(32)->UseManualTime();
BENCHMARK(forward_access)->UseManualTime();
BENCHMARK(forward_tagged)->UseManualTime();
BENCHMARK(forward_access_to_trunk)->UseManualTime();

} // namespace strait::bench
