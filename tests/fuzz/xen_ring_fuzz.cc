// SPDX-License-Identifier: BSD-3-Clause
// The Xen ring engine on a ring and grants that an input describes, both directions. An input is
//   flags, where the ring stands (16 bits), number of operations, operations of 4 bytes, image
// where the image is what the ring's page begins with: indices, then slots. An operation is a poll
// or a transmit, a 16-bit store by the guest, or a change of one of its grants. What must not
// change in its pages, and in the ring, is compared.
#include "dataplane/offload.hh"
#include "dataplane/packet.hh"
#include "ports/xen-netback/fault.hh"
#include "ports/xen-netback/hash.hh"
#include "ports/xen-netback/sink.hh"
#include "ports/xen-netback/source.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/xen_grants.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

namespace {

using namespace strait;
using namespace strait::xen;
using fuzz::check;
using fuzz::guest_domain;
using fuzz::page_count;

struct machine {
    machine()
    {
        constexpr std::array<std::uint32_t, 8> lengths{14, 60, 128, 129, 1514, 4097, 9018, 65535};
        for (std::size_t i = 0; i < packets.size(); ++i) {
            dataplane::packet_slot& p = packets[i];
            p.data = p.head.data();
            p.length = lengths[i % lengths.size()];
            p.head_length =
                static_cast<std::uint16_t>(std::min<std::size_t>(p.length, dataplane::head_copy));
            const std::size_t rest = p.length - p.head_length;
            payloads[i].resize(rest);
            const std::size_t cut = i >= lengths.size() ? rest / 3 : rest;
            segments[i] = {dataplane::guest_span{payloads[i].data(), cut},
                           dataplane::guest_span{payloads[i].data() + cut, rest - cut}};
            p.segments = segments[i].data();
            p.segment_count = static_cast<std::uint16_t>(rest == 0 ? 0 : rest == cut ? 1 : 2);
            p.mbuf = nullptr;
            p.remote = nullptr;
            p.offload = {};
            if (i % 5 == 4 && p.length > 200) {
                p.offload.required = dataplane::offloads::segmentation_ipv4;
                p.offload.segment_size = 1000;
            }
            if (i % 4 == 3) { // to a multicast address
                p.data[0] = std::byte{1};
            }
        }
        for (std::size_t i = 0; i < list.size(); ++i) {
            list[i] = &packets[i % packets.size()];
        }
        std::array<std::byte, hash_config::max_key> key{};
        key.fill(std::byte{0x6d});
        (void)hash.set_types(netif::hash_type::all);
        (void)hash.set_key(key);
    }

    fuzz::grants memory;
    fuzz::page ring;
    hash_config hash;
    dataplane::burst burst;
    dataplane::port_counters counters;
    ports::notification_list notifications;
    std::array<dataplane::packet_slot, 16> packets{};
    std::array<std::vector<std::byte>, 16> payloads;
    std::array<std::array<dataplane::guest_span, 2>, 16> segments;
    std::array<dataplane::packet*, 64> list{};
    std::vector<std::byte> before_ring;
    std::vector<std::byte> before_pages;
    std::vector<std::byte> frame;
};

void remember(machine& m)
{
    m.before_ring.assign(m.ring.bytes.get(), m.ring.bytes.get() + page_size);
    m.before_pages.clear();
    for (std::size_t i = 0; i < page_count; ++i) {
        m.before_pages.insert(m.before_pages.end(), m.memory.bytes(i),
                              m.memory.bytes(i) + page_size);
    }
}

[[nodiscard]] bool pages_unchanged(const machine& m)
{
    for (std::size_t i = 0; i < page_count; ++i) {
        if (std::memcmp(m.memory.bytes(i), m.before_pages.data() + i * page_size, page_size) != 0) {
            return false;
        }
    }
    return true;
}

// Of the ring, only slots from `first` to `end`, and the producer of responses.
void check_ring(const machine& m, std::size_t slot_size, std::uint32_t first, std::uint32_t end,
                std::size_t written)
{
    check(end - first <= netif::ring_size);
    std::vector<bool> may(page_size, false);
    const auto producer = static_cast<std::size_t>(netif::ring_field::rsp_prod) * 4;
    std::fill_n(may.begin() + static_cast<std::ptrdiff_t>(producer), 4, true);
    for (std::uint32_t at = first; at != end; ++at) {
        const std::size_t slot = netif::slots_offset + at % netif::ring_size * slot_size;
        std::fill_n(may.begin() + static_cast<std::ptrdiff_t>(slot), written, true);
    }
    for (std::size_t i = 0; i < page_size; ++i) {
        check(may[i] || m.before_ring[i] == m.ring.bytes[i]);
    }
}

// Frames whose headers are longer than what is read at first: pages 8 to 11 begin with IPv4 and TCP
// with as many options as there can be, 12 to 15 with IPv6 and extension headers without end.
void put_headers(const machine& m)
{
    constexpr std::size_t first = 8;
    constexpr std::size_t first_ipv6 = 12;
    constexpr std::size_t ip = 14;
    const auto put = [](std::byte* at, std::initializer_list<unsigned> bytes) {
        for (const unsigned b : bytes) {
            *at++ = static_cast<std::byte>(b);
        }
    };
    for (std::size_t i = first; i < fuzz::page_count; ++i) {
        std::byte* const frame = m.memory.bytes(i);
        if (i < first_ipv6) {
            put(frame + ip - 2, {8, 0, 0x4f});
            put(frame + ip + 6, {0, 0, 64, 6}); // no fragment, TCP
            put(frame + ip + 60 + 12, {0xf0});
            continue;
        }
        put(frame + ip - 2, {0x86, 0xdd, 0x60});
        put(frame + ip + 6, {60});
        for (std::size_t at = ip + 40; at < 256; at += 8) {
            put(frame + at, {60, 0});
        }
    }
}

[[nodiscard]] std::uint32_t field(const machine& m, netif::ring_field f)
{
    std::uint32_t value = 0;
    std::memcpy(&value, m.ring.bytes.get() + static_cast<std::size_t>(f) * 4, sizeof value);
    return value;
}

void poll(machine& m, source& s, const ports::queue_context& context)
{
    m.burst.clear();
    remember(m);
    const bool broken = s.fault() != nullptr;
    const std::uint32_t before = s.position();
    const std::size_t pieces = m.memory.total;
    if (s.receive(m.burst, context) == ports::rx_queue::poll::empty) {
        check(m.burst.count == 0 && s.position() == before);
        check_ring(m, sizeof(netif::tx_request), 0, 0, 0);
        return;
    }
    check(!broken);
    // Of a slot a piece of the head, and one more where headers are longer than that.
    check(m.memory.total - pieces <= 2 * netif::ring_size);
    check(pages_unchanged(m));
    check_ring(m, sizeof(netif::tx_request), 0, 0, 0); // nothing is answered yet
    check(m.burst.count <= dataplane::burst::capacity);
    for (const dataplane::packet_slot& p : m.burst.packets()) {
        check(p.length >= 14 && p.length <= 65535);
        std::size_t sum = p.head_length;
        if (p.remote != nullptr) {
            for (const auto& span : p.remote->spans) {
                check(span.size > 0 && std::size_t{span.offset} + span.size <= page_size);
                sum += span.size;
            }
        }
        check(sum == p.length);
        check(p.offload.empty() || p.offload.header_length <= p.head_length);
        m.frame.resize(p.length);
        (void)dataplane::copy_frame(p, 0, m.frame.data(), p.length);
    }
    s.release(m.burst, context);
    m.notifications.flush();
    check(pages_unchanged(m));
    check_ring(m, sizeof(netif::tx_request), before, s.position(), sizeof(netif::tx_response));
    check(field(m, netif::ring_field::rsp_prod) == s.position());
}

void transmit(machine& m, sink& s, std::size_t count, const ports::queue_context& context)
{
    remember(m);
    const bool broken = s.fault() != nullptr;
    const std::uint32_t before = s.position();
    const std::size_t calls = m.memory.calls;
    const std::size_t pieces = m.memory.total;
    s.prefetch_ring(count);
    s.transmit(std::span{m.list}.first(count), context);
    m.notifications.flush();
    check(m.memory.total - pieces <= 2 * 512 + 128);
    check(m.memory.calls - calls <= 4);
    check_ring(m, sizeof(netif::rx_request), before, s.position(), sizeof(netif::rx_response));
    check(!broken || s.position() == before);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static machine& m = *new machine;
    constexpr std::size_t fixed = 4;
    if (size < fixed) {
        return 0;
    }
    const std::uint8_t flags = data[0];
    std::uint16_t start = 0;
    std::memcpy(&start, data + 1, sizeof start);
    const std::size_t operations = std::min<std::size_t>(data[3] & 31U, (size - fixed) / 4);
    const std::uint8_t* operation = data + fixed;
    const std::uint8_t* const image = operation + 4 * operations;

    m.memory.reset();
    put_headers(m);
    std::byte* const ring = m.ring.bytes.get();
    std::memset(ring, 0, page_size);
    std::memcpy(ring, image, std::min(page_size, static_cast<std::size_t>(data + size - image)));
    const std::uint32_t produced = start * 0x1'0001U;
    std::memcpy(ring + static_cast<std::size_t>(netif::ring_field::rsp_prod) * 4, &produced,
                sizeof produced);

    const bool to_guest = (flags & 1U) != 0;
    const bool left_behind = (flags & 8U) != 0;
    guest g{};
    g.hypervisor = &m.memory;
    g.domain = domain_id{guest_domain};
    g.features.scatter_gather = (flags & 2U) != 0;
    g.features.multicast_control = (flags & 4U) != 0;
    g.headroom = (flags & 16U) != 0 ? std::uint16_t{256} : std::uint16_t{0};
    g.hash = (flags & 32U) != 0 ? &m.hash : nullptr;
    g.features.offloads =
        (flags & 64U) != 0 ? dataplane::offloads::segmentation_ipv4 : dataplane::offloads::none;
    if ((flags & 128U) != 0) {
        g.rate = credit{3000, 1000, 1'000'000'000};
    }
    fuzz::quiet_channel channel;
    std::unique_ptr<source> out;
    std::unique_ptr<sink> in;
    remember(m);
    if (to_guest) {
        in = std::make_unique<sink>(netif::rx_ring{ring}, g, channel, left_behind);
        check_ring(m, sizeof(netif::rx_request), produced, in->position(),
                   sizeof(netif::rx_response));
    } else {
        out = std::make_unique<source>(netif::tx_ring{ring}, g, channel, left_behind);
        check_ring(m, sizeof(netif::tx_request), produced, out->position(),
                   sizeof(netif::tx_response));
    }
    check(pages_unchanged(m));
    std::uint64_t now = std::uint64_t{1} << 40U;
    for (std::size_t i = 0; i < operations; ++i, operation += 4) {
        std::uint16_t value = 0;
        std::memcpy(&value, operation + 2, sizeof value);
        switch (operation[0] & 3U) {
        case 1: {
            const std::size_t at = std::size_t{operation[1]} * 2 + (operation[0] >> 2U) % 8U * 512U;
            std::memcpy(ring + at, &value, sizeof value);
            break;
        }
        case 2:
            m.memory.toggle(operation[1]);
            break;
        default: {
            now += std::uint64_t{value} + 1;
            const ports::queue_context context{now, nullptr, &m.counters, &m.notifications};
            const std::size_t told = channel.told;
            if (to_guest) {
                transmit(m, *in, operation[1] % 64 + 1U, context);
            } else {
                poll(m, *out, context);
            }
            check(channel.told - told <= 1);
            break;
        }
        }
    }
    return 0;
}
