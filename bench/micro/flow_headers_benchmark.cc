// SPDX-License-Identifier: BSD-3-Clause
// Packets to keys and back: parsing by what a frame is, and the changes of headers that flows make
// most. Bursts of 64 heads, which are warm: receiving a packet has just copied them.

#include "bench/micro/cycles.hh"
#include "dataplane/flow/rewrite.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <array>
#include <cstring>
#include <initializer_list>
#include <memory>

namespace strait::bench {

namespace {

using namespace dataplane;
using flow::field;

// A burst of frames of one kind from many flows, and what is found in them.
class parsed_burst {
public:
    parsed_burst(bool ipv6, std::uint8_t protocol, unsigned tags)
    {
        for (std::size_t i = 0; i < burst::capacity; ++i) {
            packet_slot& p = burst_->slots[i];
            p.data = p.head.data();
            p.length = 128;
            p.head_length = 128;
            std::byte* to = p.data + 12;
            const auto put = [&to](auto... values) noexcept {
                ((std::memcpy(to, &values, sizeof values), to += sizeof values), ...);
            };
            for (unsigned t = 0; t < tags; ++t) {
                put(be16{ethertype_vlan}, be16{static_cast<std::uint16_t>(5 + t)});
            }
            put(be16{ipv6 ? ethertype_ipv6 : ethertype_ipv4});
            const auto size = static_cast<std::uint16_t>(p.data + p.length - to);
            const auto number = static_cast<std::uint32_t>(i);
            if (ipv6) {
                put(be32{0x6000'0000}, be16{static_cast<std::uint16_t>(size - ipv6_header)},
                    protocol, std::uint8_t{64});
                put(be32{0xfd00'0000}, be32{0}, be32{0}, be32{number});
                put(be32{0xfd00'0000}, be32{0}, be32{0}, be32{~number});
            } else {
                put(be16{0x4500}, be16{size}, be32{0}, std::uint8_t{64}, protocol, be16{0});
                put(be32{0x0a00'0000 + number}, be32{0x0a01'0000 + number});
            }
            put(be16{static_cast<std::uint16_t>(1024 + i)}, be16{80}, be32{0}, be32{0},
                be32{0x5010'0000}, be32{0x1234'0000});
            burst_->count = i + 1;
        }
    }
    void extract(flow::depth deepest = flow::depth::transport) noexcept
    {
        for (std::size_t i = 0; i < burst::capacity; ++i) {
            flow::extract(burst_->slots[i], keys_[i], layouts_[i], deepest);
        }
    }
    // `act` is called with a packet, its layout and its key.
    template <typename Act>
    void each(Act act) noexcept
    {
        for (std::size_t i = 0; i < burst::capacity; ++i) {
            act(burst_->slots[i], layouts_[i], keys_[i]);
        }
    }

private:
    std::unique_ptr<burst> burst_{new burst{}};
    std::array<flow::key, burst::capacity> keys_;
    std::array<flow::header_layout, burst::capacity> layouts_;
};

void flow_extract(benchmark::State& state, bool ipv6, std::uint8_t protocol, unsigned tags,
                  flow::depth deepest = flow::depth::transport)
{
    const auto packets = std::make_unique<parsed_burst>(ipv6, protocol, tags);
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        packets->extract(deepest);
        benchmark::ClobberMemory();
        meter.stop(burst::capacity);
    }
    meter.report();
}

void flow_set(benchmark::State& state, bool ipv6, std::initializer_list<field> fields)
{
    const auto packets = std::make_unique<parsed_burst>(ipv6, protocol_tcp, 1);
    packets->extract();
    flow::match to;
    for (const field f : fields) {
        to.require(f, flow::wide::ones(40));
    }
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        packets->each([&](packet& p, const flow::header_layout& at, const flow::key&) noexcept {
            benchmark::DoNotOptimize(flow::set_headers(p, at, to.value, to.mask));
        });
        meter.stop(burst::capacity);
    }
    meter.report();
}

void flow_decrement_ttl(benchmark::State& state)
{
    const auto packets = std::make_unique<parsed_burst>(false, protocol_tcp, 0);
    packets->extract();
    cycle_meter meter{state};
    for (auto _ : state) {
        packets->each([](packet& p, const flow::header_layout& at, const flow::key&) noexcept {
            p.data[at.network + 8] = std::byte{64};
        });
        meter.start();
        packets->each([](packet& p, const flow::header_layout& at, const flow::key&) noexcept {
            benchmark::DoNotOptimize(flow::decrement_ttl(p, at));
        });
        meter.stop(burst::capacity);
    }
    meter.report();
}

void flow_tag_in_and_out(benchmark::State& state)
{
    const auto packets = std::make_unique<parsed_burst>(false, protocol_tcp, 0);
    packets->extract();
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        packets->each([](packet& p, flow::header_layout& at, const flow::key&) noexcept {
            benchmark::DoNotOptimize(flow::insert_tag(p, at, ethertype_vlan, 7));
        });
        packets->each([](packet& p, flow::header_layout& at, const flow::key&) noexcept {
            benchmark::DoNotOptimize(flow::remove_tag(p, at));
        });
        meter.stop(burst::capacity);
    }
    meter.report();
}

} // namespace

BENCHMARK_CAPTURE(flow_extract, udp, false, protocol_udp, 0U)->UseManualTime();
BENCHMARK_CAPTURE(flow_extract, tcp, false, protocol_tcp, 0U)->UseManualTime();
BENCHMARK_CAPTURE(flow_extract, tcp_vlan, false, protocol_tcp, 1U)->UseManualTime();
BENCHMARK_CAPTURE(flow_extract, tcp_ipv6, true, protocol_tcp, 0U)->UseManualTime();
BENCHMARK_CAPTURE(flow_extract, link, false, protocol_tcp, 0U, flow::depth::link)->UseManualTime();
BENCHMARK_CAPTURE(flow_extract, network, false, protocol_tcp, 0U, flow::depth::network)
    ->UseManualTime();
BENCHMARK_CAPTURE(flow_set, addresses_of_ethernet, false, {field::eth_src, field::eth_dst})
    ->UseManualTime();
BENCHMARK_CAPTURE(flow_set, vlan, false, {field::vlan_tci})->UseManualTime();
BENCHMARK_CAPTURE(flow_set, source_and_port, false, {field::nw_src, field::tp_src})
    ->UseManualTime();
BENCHMARK_CAPTURE(flow_set, source_and_port_ipv6, true, {field::ipv6_src, field::tp_src})
    ->UseManualTime();
BENCHMARK(flow_decrement_ttl)->UseManualTime();
BENCHMARK(flow_tag_in_and_out)->UseManualTime();

} // namespace strait::bench
