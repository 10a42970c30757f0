// SPDX-License-Identifier: BSD-3-Clause
// Frames into VXLAN and out of it: the headers alone, and the whole way of a burst from a tenants'
// bridge to the underlay's list and back, beside which forward_macs is the same without a tunnel.

#include "bench/micro/cycles.hh"
#include "dataplane/forward.hh"
#include "dataplane/parse.hh"
#include "dataplane/tunnel/carrier.hh"

#include <array>
#include <cstring>
#include <memory>

namespace strait::bench {

namespace {

using namespace dataplane;
using endpoint::ip_address;

constexpr std::size_t frame_length = 64;
constexpr mac_address far_mac{0x0f00'0000'0002};
constexpr mac_address near_mac{0x0a00'0000'0002};
constexpr mac_address own_mac{0x0100'0000'0002};

constexpr port_index guest{0};
constexpr port_index vxlan{1};
constexpr port_index local{2};
constexpr port_index uplink{3};

void write_mac(std::byte* at, mac_address mac) noexcept
{
    const auto bytes = mac.bytes();
    std::memcpy(at, bytes.data(), bytes.size());
}

// A tenants' bridge with a guest and a tunnel, and an underlay with the switch and an uplink.
class two_bridges {
public:
    two_bridges() : carrier_{known_, 1'000'000'000}
    {
        for (std::uint16_t i = 0; i < 2; ++i) {
            auto bridge = std::make_shared<bridge_config>();
            bridge->index = bridge_index{i};
            bridge->macs = std::make_shared<mac_table>(65536);
            bridge->members = {port_index{static_cast<std::uint16_t>(2 * i)},
                               port_index{static_cast<std::uint16_t>(2 * i + 1)}};
            config_.bridges.push_back(bridge);
        }
        for (std::uint16_t i = 0; i < 4; ++i) {
            auto port = std::make_shared<port_config>();
            port->index = port_index{i};
            port->incarnation = i + 1U;
            port->bridge = bridge_index{static_cast<std::uint16_t>(i / 2)};
            port->local = port->index == local;
            port->mtu = 9000;
            if (port->index == vxlan) {
                auto s = std::make_shared<tunnel::settings>();
                s->remote = ip_address::v4(0x0a00'0002);
                s->key = 42;
                s->has_key = true;
                s->destination_port = tunnel::vxlan_port;
                port->tunnel = s;
                auto table = std::make_shared<tunnel::table>();
                table->add(*s, vxlan);
                config_.tunnels = table;
            }
            config_.ports.push_back(port);
        }
        auto addresses = std::make_shared<endpoint::config>();
        const endpoint::ip_prefix at{ip_address::v4(0x0a00'0001), 120};
        addresses->interfaces.push_back({at, {}, bridge_index{1}, local, own_mac});
        addresses->routes.push_back({{ip_address::v4(0x0a00'0000), 120}, {}, 0});
        addresses->version = 1;
        config_.endpoint = addresses;
        const endpoint::neighbours::key who{ip_address::v4(0x0a00'0002), bridge_index{1}, {}};
        (void)known_.use(who, 1);
        known_.learn(who, far_mac, 1);
        macs(1).learn({far_mac, {}}, uplink, 1);
        macs(1).learn({own_mac, {}}, local, 1);
        macs(0).learn({far_mac, {}}, vxlan, 1);
        macs(0).learn({near_mac, {}}, guest, 1);
    }

    // All that a worker does, but for receiving and transmitting; what goes on is forwarded to
    // `out_` of the other bridge. Returns how many packets came to `to`.
    std::size_t carry(burst& b, port_index from, port_index through, port_index to)
    {
        forward(b, *config_.port(from), context(), counters_[to_index(from)], out_);
        const port_config& between = *config_.port(through);
        const std::size_t kept =
            admit(out_.packets(through), between, counters_[to_index(through)]).count;
        next on{*this, to};
        carrier_.take(out_.packets(through).first(kept), between,
                      {config_, 1, 1, nullptr, counters_.data(), ready_, on});
        on.go_on();
        out_.clear();
        carrier_.notes().clear();
        return on.came;
    }

private:
    struct next final : tunnel::continuation {
        next(two_bridges& b, port_index t) noexcept : bridges{b}, to{t} {}
        void go_on() noexcept override
        {
            tunnel::ready_packets& ready = bridges.ready_;
            if (ready.count == 0) {
                return;
            }
            const port_index from = ready.from[0];
            const std::span packets{ready.packets.data(), ready.count};
            forward(packets, *bridges.config_.port(from), bridges.context(),
                    bridges.counters_[to_index(from)], bridges.later_);
            came += admit(bridges.later_.packets(to), *bridges.config_.port(to),
                          bridges.counters_[to_index(to)])
                        .count;
            bridges.later_.clear();
            ready.clear();
        }
        two_bridges& bridges;
        port_index to;
        std::size_t came{0};
    };

    [[nodiscard]] forward_context context() noexcept { return {&config_, 1, &worker_}; }
    [[nodiscard]] mac_table& macs(std::size_t i) { return *config_.bridges[i]->macs; }

    snapshot config_;
    endpoint::neighbours known_;
    worker_counters worker_;
    std::array<port_counters, 4> counters_;
    output_lists out_;
    output_lists later_;
    tunnel::ready_packets ready_;
    tunnel::carrier carrier_;
};

void write_packet(packet_slot& p, mac_address to, mac_address from, std::size_t length) noexcept
{
    static_cast<packet&>(p) = {};
    p.data = p.head.data();
    p.length = static_cast<std::uint32_t>(length);
    p.head_length = static_cast<std::uint16_t>(length);
    write_mac(p.data, to);
    write_mac(p.data + 6, from);
    store(p.data + 12, be16{ethertype_ipv4});
}

void write_inner(packet_slot& p, std::uint32_t number) noexcept
{
    write_packet(p, far_mac, near_mac, frame_length);
    std::memset(p.data + ethernet_header, 0, frame_length - ethernet_header);
    store(p.data + 14, std::uint8_t{0x45});
    store(p.data + 23, std::uint8_t{17});
    store(p.data + 26, be32{0x0a01'0001});
    store(p.data + 30, be32{0x0a01'0002});
    store(p.data + 34, be32{number});
}

void fill_inner(burst& b) noexcept
{
    b.count = burst::capacity;
    for (std::uint32_t i = 0; i < burst::capacity; ++i) {
        write_inner(b.slots[i], i);
    }
}

// As they would come from the far end.
void fill_outer(burst& b) noexcept
{
    b.count = burst::capacity;
    for (std::uint32_t i = 0; i < burst::capacity; ++i) {
        packet_slot& p = b.slots[i];
        write_inner(p, i);
        write_mac(p.data, near_mac);
        write_mac(p.data + 6, far_mac);
        tunnel::description d;
        d.source = ip_address::v4(0x0a00'0002);
        d.destination = ip_address::v4(0x0a00'0001);
        d.key = 42;
        d.source_port = static_cast<std::uint16_t>(50000 + i);
        tunnel::push(p, d);
        std::memmove(p.head.data() + ethernet_header, p.data, p.length);
        const std::size_t length = p.length + ethernet_header;
        write_packet(p, own_mac, far_mac, length);
    }
}

void tunnel_into_vxlan(benchmark::State& state)
{
    const auto bridges = std::make_unique<two_bridges>();
    const auto b = std::make_unique<burst>();
    std::uint64_t astray = 0;
    cycle_meter meter{state};
    for (auto _ : state) {
        fill_inner(*b);
        meter.start();
        const std::size_t came = bridges->carry(*b, guest, vxlan, uplink);
        meter.stop(burst::capacity);
        astray += burst::capacity - came;
    }
    meter.report();
    if (astray != 0) {
        state.SkipWithError("packets went astray");
    }
}

void tunnel_out_of_vxlan(benchmark::State& state)
{
    const auto bridges = std::make_unique<two_bridges>();
    const auto b = std::make_unique<burst>();
    std::uint64_t astray = 0;
    cycle_meter meter{state};
    for (auto _ : state) {
        fill_outer(*b);
        meter.start();
        const std::size_t came = bridges->carry(*b, uplink, local, guest);
        meter.stop(burst::capacity);
        astray += burst::capacity - came;
    }
    meter.report();
    if (astray != 0) {
        state.SkipWithError("packets went astray");
    }
}

// The headers alone, pushed and read.
void tunnel_headers(benchmark::State& state)
{
    const auto b = std::make_unique<burst>();
    tunnel::description d;
    d.source = ip_address::v4(0x0a00'0001);
    d.destination = ip_address::v4(0x0a00'0002);
    d.key = 42;
    cycle_meter meter{state};
    for (auto _ : state) {
        fill_inner(*b);
        meter.start();
        for (packet_slot& p : b->packets()) {
            d.source_port = tunnel::entropy_port({p.data, p.head_length});
            tunnel::push(p, d);
        }
        for (packet_slot& p : b->packets()) {
            tunnel::outer_ip ip;
            tunnel::contents c;
            if (tunnel::read_ip(p, 0, false, ip) == tunnel::fault::none &&
                tunnel::read_udp(p, ip, tunnel::kind::vxlan, c) == tunnel::fault::none) {
                tunnel::pop(p, c);
            }
            benchmark::DoNotOptimize(p.data);
        }
        meter.stop(burst::capacity);
    }
    meter.report();
}

} // namespace

BENCHMARK(tunnel_headers)->UseManualTime();
BENCHMARK(tunnel_into_vxlan)->UseManualTime();
BENCHMARK(tunnel_out_of_vxlan)->UseManualTime();

} // namespace strait::bench
