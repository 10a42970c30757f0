// SPDX-License-Identifier: BSD-3-Clause
// Frames by hand.
#include "tests/unit/dataplane/conntrack/packets.hh"

#include "dataplane/offload.hh"

#include <algorithm>

namespace strait::test {

namespace {

constexpr std::size_t network = 14;

void append32(frame& f, std::uint32_t value)
{
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        f.push_back(static_cast<std::uint8_t>(value >> shift));
    }
}
void append16(frame& f, unsigned value)
{
    f.push_back(static_cast<std::uint8_t>(value >> 8));
    f.push_back(static_cast<std::uint8_t>(value));
}

bool is_ipv6(const frame& f)
{
    return get16(f, 12) == 0x86dd;
}
std::size_t transport_of(const frame& f)
{
    return network + (is_ipv6(f) ? 40 : (f.at(network) & 0xfU) * 4);
}
std::uint8_t protocol_of(const frame& f)
{
    return f.at(network + (is_ipv6(f) ? 6 : 9));
}
std::size_t checksum_place(std::uint8_t protocol)
{
    return protocol == 6 ? 16 : protocol == 17 ? 6 : 2;
}

// With the pseudo-header, where the protocol has one.
unsigned transport_sum(const frame& f)
{
    const std::size_t at = transport_of(f);
    const std::uint8_t protocol = protocol_of(f);
    unsigned sum = plain_sum(f, at, f.size());
    if (protocol != 1) {
        sum += ip_frame::pseudo_sum(f, network, is_ipv6(f), at, protocol);
    }
    return (sum & 0xffff) + (sum >> 16);
}

// A frame of what a message has in it: as if it had come alone.
frame framed(const frame& packet)
{
    frame f(network);
    put16(f, 12, packet.at(0) >> 4 == 6 ? 0x86dd : 0x0800);
    f.insert(f.end(), packet.begin(), packet.end());
    return f;
}

} // namespace

frame datagram::build() const
{
    frame f = make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", network);
    put16(f, 12, ipv6 ? 0x86dd : 0x0800);
    if (ipv6) {
        append32(f, 0x6000'0000);
        append16(f, static_cast<unsigned>(content.size()));
        f.push_back(protocol);
        f.push_back(64);
        for (const std::uint32_t address : {from.address, to.address}) {
            append32(f, 0xfd00'0000);
            append32(f, 0);
            append32(f, 0);
            append32(f, address);
        }
    } else {
        append16(f, 0x4500);
        append16(f, static_cast<unsigned>(20 + content.size()));
        append16(f, identifier);
        append16(f, place);
        f.push_back(64);
        f.push_back(protocol);
        append16(f, 0);
        append32(f, from.address);
        append32(f, to.address);
        put16(f, network + 10, 0xffff ^ plain_sum(f, network, network + 20));
    }
    const std::size_t at = f.size();
    f.insert(f.end(), content.begin(), content.end());
    if ((place & 0x1fff) != 0) {
        return f;
    }
    if (protocol == 6 || protocol == 17) {
        put16(f, at, from.port);
        put16(f, at + 2, to.port);
    }
    if (protocol == 6 || protocol == 17 || protocol == 1 || protocol == 58) {
        const std::size_t field = at + checksum_place(protocol);
        put16(f, field, 0);
        put16(f, field, 0xffff ^ transport_sum(f));
    }
    return f;
}

frame tcp_packet::build() const
{
    datagram d{.ipv6 = ipv6, .from = from, .to = to, .protocol = 6};
    append32(d.content, 0);
    append32(d.content, sequence);
    append32(d.content, acknowledged);
    d.content.push_back(static_cast<std::uint8_t>((20 + options.size()) / 4 << 4));
    d.content.push_back(flags);
    append16(d.content, window);
    append32(d.content, 0);
    d.content.insert(d.content.end(), options.begin(), options.end());
    d.content.insert(d.content.end(), data.begin(), data.end());
    return d.build();
}

frame udp_frame(end from, end to, const std::string& data, bool ipv6)
{
    datagram d{.ipv6 = ipv6, .from = from, .to = to, .protocol = 17};
    append32(d.content, 0);
    append16(d.content, static_cast<unsigned>(8 + data.size()));
    append16(d.content, 0);
    d.content.insert(d.content.end(), data.begin(), data.end());
    return d.build();
}

frame echo_frame(end from, end to, bool answer, bool ipv6)
{
    datagram d{.ipv6 = ipv6, .from = from, .to = to};
    d.protocol = ipv6 ? 58 : 1;
    const unsigned type = ipv6 ? (answer ? 129 : 128) : (answer ? 0 : 8);
    append16(d.content, type << 8);
    append16(d.content, 0);
    append16(d.content, answer ? to.port : from.port);
    append16(d.content, 7);
    append32(d.content, 0x6162'6364);
    return d.build();
}

frame error_frame(std::uint32_t from, std::uint32_t to, const frame& about, std::uint8_t type,
                  bool ipv6)
{
    datagram d{.ipv6 = ipv6, .from = {from, 0}, .to = {to, 0}};
    d.protocol = ipv6 ? 58 : 1;
    append16(d.content, unsigned{type} << 8 | 1);
    append16(d.content, 0);
    append32(d.content, 0);
    d.content.insert(d.content.end(), about.begin() + network, about.end());
    return d.build();
}

bool checksums_fit(const frame& f)
{
    if (!is_ipv6(f) && plain_sum(f, network, transport_of(f)) != 0xffff) {
        return false;
    }
    const std::uint8_t protocol = protocol_of(f);
    if (protocol != 6 && protocol != 17 && protocol != 1 && protocol != 58) {
        return true;
    }
    const std::size_t size = is_ipv6(f) ? 40 + get16(f, network + 4) : get16(f, network + 2);
    if (network + size > f.size()) {
        return true; // cut short, as errors may have it
    }
    if (transport_sum(f) != 0xffff) {
        return false;
    }
    const std::uint8_t type = f.at(transport_of(f));
    const bool error =
        is_ipv6(f) ? protocol == 58 && type < 128 : protocol == 1 && type != 0 && type != 8;
    return !error || checksums_fit(framed(embedded_in(f)));
}

end source_of(const frame& f)
{
    const std::size_t at = transport_of(f);
    const std::uint8_t protocol = protocol_of(f);
    const bool icmp = protocol == 1 || protocol == 58;
    return {get32(f, network + (is_ipv6(f) ? 20 : 12)),
            static_cast<std::uint16_t>(get16(f, icmp ? at + 4 : at))};
}

end destination_of(const frame& f)
{
    const std::size_t at = transport_of(f);
    const std::uint8_t protocol = protocol_of(f);
    const bool icmp = protocol == 1 || protocol == 58;
    return {get32(f, network + (is_ipv6(f) ? 36 : 16)),
            static_cast<std::uint16_t>(get16(f, icmp ? at + 4 : at + 2))};
}

std::uint32_t sequence_of(const frame& f)
{
    return get32(f, transport_of(f) + 4);
}

std::uint32_t acknowledged_by(const frame& f)
{
    return get32(f, transport_of(f) + 8);
}

std::string data_of(const frame& f)
{
    const std::size_t at = transport_of(f);
    const std::size_t end =
        network + (is_ipv6(f) ? 40 + get16(f, network + 4) : get16(f, network + 2));
    return {f.begin() + static_cast<std::ptrdiff_t>(at + (f.at(at + 12) >> 4) * 4U),
            f.begin() + static_cast<std::ptrdiff_t>(end)};
}

frame embedded_in(const frame& error)
{
    return {error.begin() + static_cast<std::ptrdiff_t>(transport_of(error) + 8), error.end()};
}

asking::asking(const frame& f, const conntrack::parameters& asked) : rest_{f}
{
    dataplane::packet_slot& p = *slot_;
    const std::size_t head = std::min(f.size(), dataplane::longest_head);
    p.data = p.head.data();
    p.length = static_cast<std::uint32_t>(f.size());
    p.head_length = static_cast<std::uint16_t>(head);
    std::copy_n(f.data(), head, reinterpret_cast<std::uint8_t*>(p.data));
    payload_ = {rest_.data() + head, f.size() - head};
    p.segments = &payload_;
    p.segment_count = f.size() > head ? 1 : 0;
    p.destinations = 1;
    request_.p = &p;
    request_.payload = burst_.get();
    request_.headers = key_.get();
    ask(asked);
}

std::vector<frame> asking::sent()
{
    std::vector<frame> out;
    dataplane::packet_slot& p = *slot_;
    if (p.offload.segment_size == 0) {
        if (!p.offload.empty()) {
            dataplane::finish_checksum(p);
        }
        out.push_back(bytes_of(p));
        return out;
    }
    const auto room = std::make_unique<dataplane::burst>();
    for (dataplane::segmenter s{p, {}}; !s.done();) {
        room->clear();
        (void)s.cut(*room, room->slots.size());
        for (dataplane::packet_slot& segment : room->packets()) {
            if (!segment.offload.empty()) {
                dataplane::finish_checksum(segment);
            }
            out.push_back(bytes_of(segment));
        }
    }
    return out;
}

void asking::ask(const conntrack::parameters& asked)
{
    flow::extract(*slot_, *key_, request_.at);
    request_.asked = asked;
    request_.translated = false;
    request_.dropped = false;
}

} // namespace strait::test
