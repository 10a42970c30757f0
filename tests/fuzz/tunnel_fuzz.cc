// SPDX-License-Identifier: BSD-3-Clause
// What reaches the switch's own addresses: outer headers, tunnels', ARP and neighbour discovery. An
// input is
//   what the frame is taken for, length of the head, frame
// The head lies in memory of exact size on the heap, with room in front, so that AddressSanitizer
// sees what leaves it. What is read lies within the frame, and is written again as it was.
#include "dataplane/endpoint/messages.hh"
#include "dataplane/ip.hh"
#include "dataplane/tunnel/headers.hh"
#include "dataplane/tunnel/options.hh"
#include "tests/fuzz/check.hh"

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
using fuzz::check;
using tunnel::fault;
using tunnel::kind;

class subject {
public:
    subject(std::span<const std::uint8_t> frame, std::size_t head)
        : rest_(frame.begin() + static_cast<std::ptrdiff_t>(head), frame.end())
    {
        memory_.reset(new std::byte[dataplane::head_room + head]);
        p_.data = memory_.get() + dataplane::head_room;
        p_.length = static_cast<std::uint32_t>(frame.size());
        p_.head_length = static_cast<std::uint16_t>(head);
        std::memcpy(p_.data, frame.data(), head);
        span_ = {rest_.data(), rest_.size()};
        p_.segments = &span_;
        p_.segment_count = rest_.empty() ? 0 : 1;
    }
    [[nodiscard]] dataplane::packet& get() { return p_; }
    [[nodiscard]] std::vector<std::byte> bytes(std::size_t from, std::size_t size) const
    {
        std::vector<std::byte> out(size);
        check(dataplane::copy_frame(p_, from, out.data(), out.size()));
        return out;
    }

private:
    std::unique_ptr<std::byte[]> memory_;
    std::vector<std::uint8_t> rest_;
    dataplane::guest_span span_;
    dataplane::packet p_{};
};

const flow::option_map& known_options()
{
    static const flow::option_map known = [] {
        flow::option_map out;
        check(out.add({.option_class = 0x102, .type = 1, .length = 4, .index = 0}) &&
              out.add({.option_class = 0x103, .type = 3, .length = 8, .index = 9}) &&
              out.add({.option_class = 0x102, .type = 0x81, .length = 4, .index = 63}) &&
              out.add({.option_class = 0xffff, .type = 0, .length = 20, .index = 5}));
        return out;
    }();
    return known;
}

// What flows are told of options is written as just that.
void read_known_options(const tunnel::contents& c)
{
    tunnel::notes::option_values values;
    const fault unknown = tunnel::read_options(c, nullptr, values);
    check(unknown == fault::none || unknown == fault::critical_option);
    check(values == tunnel::notes::option_values{});
    const fault f = tunnel::read_options(c, &known_options(), values);
    check(f == fault::none || f == fault::critical_option || f == fault::option_length);
    if (f != fault::none) {
        return;
    }
    std::array<std::byte, tunnel::most_set_options> written;
    tunnel::contents again;
    again.header.options =
        std::span{written}.first(tunnel::write_options(values, known_options(), written));
    check(again.header.options.size() <= c.header.options.size());
    tunnel::notes::option_values read;
    check(tunnel::read_options(again, &known_options(), read) == fault::none && read == values);
}

// Of headers that say no more than a description holds, the same come out again.
void write_again(subject& s, const tunnel::outer_ip& ip, tunnel::contents& c)
{
    dataplane::packet& p = s.get();
    tunnel::description& d = c.header;
    const std::size_t header = c.inner - ip.content;
    auto before = s.bytes(ip.content, header);
    const std::vector<std::byte> options(d.options.begin(), d.options.end());
    d.options = options;
    d.source = ip.source;
    d.destination = ip.destination;
    const bool kept = d.checksum; // is another one, of what the outer header says of itself
    d.checksum = false;
    tunnel::pop(p, c);
    check(p.head_length <= p.length);
    if (options.size() > tunnel::most_set_options || (d.what == kind::gre && kept) ||
        p.length > 0xff00) {
        return;
    }
    tunnel::push(p, d);
    const std::size_t start = d.ipv6() ? dataplane::ipv6_header : dataplane::min_ipv4_header;
    auto after = s.bytes(start, header);
    check(after.size() == before.size());
    if (over_udp(d.what)) {
        before[6] = before[7] = std::byte{0}; // the checksum
    }
    if (d.what == kind::geneve) { // what is reserved is not looked at, nor yet what is critical
        before[9] &= std::byte{0x80};
        after[9] &= std::byte{0x80};
        before[15] = std::byte{0};
    }
    check(after == before);
}

void read_tunnel(subject& s, const tunnel::outer_ip& ip, unsigned what)
{
    dataplane::packet& p = s.get();
    tunnel::contents c;
    const fault f =
        what < 2 ? tunnel::read_udp(p, ip, static_cast<kind>(what), c) : tunnel::read_gre(p, ip, c);
    check(!to_string(f).empty());
    if (f != fault::none) {
        return;
    }
    check(c.inner >= ip.content && c.inner <= c.end && c.end <= ip.end);
    check(c.inner <= p.head_length);
    const std::byte* const options = c.header.options.data();
    check(c.header.options.empty() ||
          (options >= p.data && options + c.header.options.size() <= p.data + p.head_length));
    read_known_options(c);
    write_again(s, ip, c);
}

void read_endpoint(subject& s)
{
    dataplane::packet& p = s.get();
    const auto said = std::make_unique<dataplane::packet_slot>();
    if (endpoint::make_too_big(*said, p, 1400)) {
        check(said->length <= dataplane::longest_head);
    }
    for (const auto& from : {endpoint::ip_address::v4(1), endpoint::ip_address{1, 1}}) {
        if (endpoint::make_time_exceeded(*said, p, from)) {
            check(said->length <= dataplane::longest_head);
        }
    }
    endpoint::arrival a;
    if (!endpoint::read_arrival(p, a)) {
        return;
    }
    endpoint::neighbour_message m;
    endpoint::interface own;
    own.at.address = endpoint::ip_address::v4(0x0a00'0001);
    if (endpoint::read_arp(p, a, m) && m.asks) {
        endpoint::make_answer(*said, own, m, a.source);
    }
    const bool ipv6 = a.type == dataplane::ethertype_ipv6;
    tunnel::outer_ip ip;
    if (tunnel::read_ip(p, a.network, ipv6, ip) != fault::none) {
        return;
    }
    check(ip.content <= ip.end && ip.end <= p.length);
    if (ipv6 && endpoint::read_discovery(p, a, ip.content, ip.end, m) && m.asks) {
        own.at.address = m.target;
        endpoint::make_answer(*said, own, m, a.source);
    }
    (void)endpoint::turn_echo(p, a, ip.content);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2) {
        return 0;
    }
    const unsigned what = data[0];
    const std::span frame{data + 2, size - 2};
    const std::size_t head = std::min<std::size_t>(data[1], frame.size());
    subject s{frame, head};
    constexpr unsigned endpoint_frames = 3;
    if (what % 4 == endpoint_frames) {
        read_endpoint(s);
        return 0;
    }
    (void)tunnel::entropy_port({s.get().data, s.get().head_length});
    tunnel::outer_ip ip;
    if (tunnel::read_ip(s.get(), 0, (what & 0x80) != 0, ip) == fault::none) {
        read_tunnel(s, ip, what % 4);
    }
    return 0;
}
