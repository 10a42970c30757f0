// SPDX-License-Identifier: BSD-3-Clause
// The ring engine on memory and a ring that an input describes: both kinds, both directions. An
// input is
//   flags, size, start (16 bits), number of operations, operations of 4 bytes, image
// where the image is what the guest's memory begins with: descriptors, driver area, device area,
// anything else. An operation is one poll, one transmit or one 16-bit store by the guest. What a
// frame's header leaves to the switch is done to it, as a worker would.
// AddressSanitizer sees what leaves the memory; what must not change in it is compared.
#include "dataplane/offload.hh"
#include "dataplane/packet.hh"
#include "dataplane/parse.hh"
#include "ports/vhost/ring.hh"
#include "ports/vhost/split_layout.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/ring_memory.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace {

using namespace strait;
using namespace strait::vhost;
using fuzz::check;

// Makes TCP or UDP of a frame and leaves it to be finished, or to be cut.
void leave_work(dataplane::packet& p, bool ipv6, bool udp, std::uint16_t segment_size)
{
    const std::size_t network = dataplane::ethernet_header;
    const std::size_t transport = network + (ipv6 ? 40U : 20U);
    std::memset(p.data + network, 0, transport + 20 - network);
    const dataplane::be16 type = ipv6 ? dataplane::ethertype_ipv6 : dataplane::ethertype_ipv4;
    std::memcpy(p.data + 12, &type, sizeof type);
    p.data[network] = std::byte{ipv6 ? std::uint8_t{0x60} : std::uint8_t{0x45}};
    p.data[network + (ipv6 ? 6U : 9U)] = std::byte{udp ? std::uint8_t{17} : std::uint8_t{6}};
    if (!udp) {
        p.data[transport + 12] = std::byte{0x50};
    }
    using dataplane::segmentation;
    const segmentation kind = segment_size == 0 ? segmentation::none
                              : udp             ? segmentation::udp
                              : ipv6            ? segmentation::tcp_ipv6
                                                : segmentation::tcp_ipv4;
    check(dataplane::infer_offload(p, true, kind, segment_size) == dataplane::offload_fault::none);
}

struct machine : fuzz::ring_memory {
    machine()
    {
        constexpr std::array<std::uint32_t, 8> lengths{14, 60, 128, 129, 1514, 4000, 9018, 65535};
        for (std::size_t i = 0; i < packets.size(); ++i) {
            dataplane::packet_slot& p = packets[i];
            p.data = p.head.data();
            p.length = lengths[i % lengths.size()];
            p.head_length =
                static_cast<std::uint16_t>(std::min<std::size_t>(p.length, dataplane::head_copy));
            const std::size_t rest = p.length - p.head_length;
            payloads[i].resize(rest);
            // One segment, or two.
            const std::size_t first_part = i >= lengths.size() ? rest / 3 : rest;
            segments[i] = {
                dataplane::guest_span{payloads[i].data(), first_part},
                dataplane::guest_span{payloads[i].data() + first_part, rest - first_part}};
            p.segments = segments[i].data();
            p.segment_count = static_cast<std::uint16_t>(rest == 0            ? 0
                                                         : rest == first_part ? 1
                                                                              : 2);
            p.mbuf = nullptr;
            p.remote = nullptr;
            p.offload = {};
        }
        for (std::size_t i = 0; i < complete.size(); ++i) {
            complete[i] = &packets[i % (2 * lengths.size())];
            all[i] = &packets[i % packets.size()];
        }
        for (std::size_t i = 2 * lengths.size(); i < packets.size(); ++i) {
            if (packets[i].length >= 128) {
                leave_work(packets[i], i % 2 == 0, i % 4 < 2,
                           i % 3 == 0 ? std::uint16_t{0} : std::uint16_t{700});
            }
        }
    }

    // What a worker does of a packet for whom it takes nothing, or checksums only.
    void finish(dataplane::packet& p, dataplane::offloads taken)
    {
        const dataplane::offload_intent todo = p.offload;
        check(todo.network_start >= dataplane::ethernet_header);
        check(todo.checksum_start >= todo.network_start + 20);
        check(todo.checksum_start + todo.checksum_offset + 2 <= todo.header_length);
        check(todo.header_length <= p.head_length && p.head_length <= p.length);
        if (todo.segment_size == 0) {
            dataplane::finish_checksum(p);
            return;
        }
        check(!is_tcp(todo) || todo.segment_size >= dataplane::min_segment_size);
        std::size_t made = 0;
        std::size_t bytes = 0;
        for (dataplane::segmenter cutter{p, taken}; !cutter.done();) {
            cut.clear();
            made += cutter.cut(cut, dataplane::burst::capacity);
            for (const dataplane::packet_slot& s : cut.packets()) {
                bytes += s.length - todo.header_length;
                frame.resize(s.length);
                dataplane::copy_frame(s, 0, frame.data(), s.length);
            }
        }
        check(made >= 2 && made <= dataplane::max_segments_of_packet);
        check(bytes == p.length - todo.header_length);
    }

    dataplane::burst burst;
    dataplane::burst cut;
    dataplane::port_counters counters;
    ports::notification_list notifications;
    std::array<dataplane::packet_slot, 24> packets; // the last 8 may have work left
    std::array<std::vector<std::byte>, 24> payloads;
    std::array<std::array<dataplane::guest_span, 2>, 24> segments;
    std::array<dataplane::packet*, 64> complete; // nothing is left to do to them
    std::array<dataplane::packet*, 64> all;
    std::vector<std::byte> before;
    std::vector<std::byte> frame;
};

struct area {
    std::size_t offset;
    std::size_t size;
};

// Everything of the first region but `a` and `b`, and all of the second, is as it was.
void check_unchanged(const machine& m, area a, area b)
{
    const auto inside = [](std::size_t i, area x) {
        return i >= x.offset && i - x.offset < x.size;
    };
    if (std::memcmp(m.before.data(), m.first.get(), machine::first_size) != 0) {
        for (std::size_t i = 0; i < machine::first_size; ++i) {
            check(m.before[i] == m.first[i] || inside(i, a) || inside(i, b));
        }
    }
    check(std::memcmp(m.before.data() + machine::first_size, m.second.get(),
                      machine::second_size) == 0);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static machine& m = *new machine;
    constexpr std::size_t fixed = 5;
    if (size < fixed) {
        return 0;
    }
    const std::uint8_t flags = data[0];
    const bool packed = (flags & 1) != 0;
    const bool to_guest = (flags & 2) != 0;
    std::uint16_t start = 0;
    std::memcpy(&start, data + 2, sizeof start);
    const std::size_t operations = std::min<std::size_t>(data[4] & 31, (size - fixed) / 4);
    const std::uint8_t* operation = data + fixed;
    const std::uint8_t* image = operation + 4 * operations;

    m.fill({image, data + size});

    ring_setup s;
    s.size = static_cast<std::uint16_t>(packed ? data[1] + 1 : 1 << (data[1] % 9));
    s.memory = m.memory.get();
    const auto bit = [&](unsigned flag, unsigned feature_bit) {
        s.features |= (flags & flag) != 0 ? std::uint64_t{1} << feature_bit : 0;
    };
    bit(1, feature::ring_packed);
    bit(4, feature::mergeable_buffers);
    bit(8, feature::event_index);
    bit(16, feature::version_1);
    bit(32, feature::in_order);
    for (const unsigned offered :
         {feature::checksum, feature::host_tso4, feature::host_ecn, feature::host_uso,
          feature::guest_checksum, feature::guest_tso4, feature::guest_ecn, feature::guest_uso4}) {
        bit(64, offered);
    }
    bit(128, feature::host_tso6);
    bit(128, feature::guest_tso6);
    bit(128, feature::guest_uso6);
    const std::size_t n = s.size;
    const area descriptors{0, 16 * n};
    const area driver{descriptors.size, packed ? 4 : 6 + 2 * n};
    const area device{(driver.offset + driver.size + 3) / 4 * 4, packed ? 4 : 6 + 8 * n};
    std::byte* const base = m.first.get();
    if (packed) {
        s.packed_descriptors = dataplane::guest_array<packed_descriptor>{base};
        s.driver_event = dataplane::guest_array<std::uint16_t>{base + driver.offset};
        s.device_event = dataplane::guest_array<std::uint16_t>{base + device.offset};
        s.start = {static_cast<std::uint16_t>((start & 0x7fff) % n), (start & 0x8000) != 0};
    } else {
        s.split_descriptors = dataplane::guest_array<split_descriptor>{base};
        s.available = dataplane::guest_array<std::uint16_t>{base + driver.offset};
        s.used = dataplane::guest_array<std::uint16_t>{base + device.offset};
        s.used_ring = dataplane::guest_array<used_element>{base + device.offset + 4};
        s.available_event = dataplane::guest_array<std::uint16_t>{base + device.offset + 4 + 8 * n};
        s.start = {start, true};
    }

    std::unique_ptr<source> out;
    std::unique_ptr<sink> in;
    if (to_guest) {
        in = make_sink(s);
    } else {
        out = make_source(s);
    }
    const ring& engine = to_guest ? static_cast<const ring&>(*in) : *out;
    std::uint64_t now = std::uint64_t{1} << 40;
    bool asked = false; // for a kick, and not yet declined again
    for (std::size_t i = 0; i < operations; ++i, operation += 4) {
        std::uint16_t value = 0;
        std::memcpy(&value, operation + 2, sizeof value);
        if ((operation[0] & 3) == 1) {
            const std::size_t at = std::size_t{operation[1]} * 2 + (operation[0] >> 2) * 512U;
            std::memcpy(base + at, &value, sizeof value);
            continue;
        }
        now += std::uint64_t{value} + 1;
        const ports::queue_context context{now, nullptr, &m.counters, &m.notifications};
        const bool broken = engine.fault() != nullptr;
        const ring_index position = engine.position();
        m.before.assign(base, base + machine::first_size);
        m.before.insert(m.before.end(), m.second.get(), m.second.get() + machine::second_size);
        if (to_guest) {
            const std::size_t count = operation[1] % 64 + 1U;
            in->prefetch_ring(count);
            if ((operation[1] & 64) != 0) {
                in->prefetch_buffers(count);
            }
            const auto& list = (flags & 64) != 0 ? m.all : m.complete;
            in->transmit(std::span{list}.subspan(64 - count), context);
            m.notifications.flush();
        } else {
            m.burst.clear();
            const auto result = out->receive(m.burst, context);
            check(!broken || result == ports::rx_queue::poll::empty);
            // Nothing is written before the release, but that no kick is wanted any more.
            check_unchanged(m, {0, 0}, asked ? device : area{0, 0});
            asked = asked && std::memcmp(m.before.data() + device.offset, base + device.offset,
                                         device.size) == 0;
            if (result == ports::rx_queue::poll::taken) {
                check(m.burst.count <= dataplane::burst::capacity);
                check(m.burst.segments_used <= dataplane::burst::segment_capacity);
                for (dataplane::packet_slot& p : m.burst.packets()) {
                    check(p.length > 0 && p.length <= 65557);
                    std::size_t sum = p.head_length;
                    for (std::size_t j = 0; j < p.segment_count; ++j) {
                        sum += p.segments[j].size();
                    }
                    check(sum == p.length);
                    m.frame.resize(p.length);
                    dataplane::copy_frame(p, 0, m.frame.data(), p.length);
                    check((flags & 64) != 0 || p.offload.empty());
                    if (!p.offload.empty()) {
                        m.finish(p, i % 2 == 0 ? dataplane::offloads::none
                                               : dataplane::offloads::checksum_ipv4);
                    }
                }
                out->release(context);
                m.notifications.flush();
                check_unchanged(m, packed ? descriptors : device, device);
            }
            if ((operation[1] & 64) != 0) { // its worker is about to sleep
                if (!out->waits()) {
                    asked = true;
                    static_cast<void>(out->ask_to_wake((operation[1] & 128) != 0));
                }
                check_unchanged(m, packed ? descriptors : device, device);
            }
        }
        if (broken) {
            check(engine.position() == position);
            check_unchanged(m, {0, 0}, {0, 0});
        }
        check(!packed || engine.position().next < s.size);
    }
    return 0;
}
