// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/tunnel/templates.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <bit>
#include <cstring>

namespace strait::tunnel {

using namespace dataplane;

namespace {

constexpr std::size_t ip_at = ethernet_header;
constexpr std::size_t udp_at = ip_at + min_ipv4_header;
constexpr std::size_t tunnel_at = udp_at + udp_header;
constexpr std::size_t inner_at = tunnel_at + 8; // VXLAN's, and Geneve's without options

constexpr std::uint8_t ecn_bits = 3;

bool are_templates_for(const description& d) noexcept
{
    return over_udp(d.what) && !d.checksum && d.options.empty() && !d.has_policy && !d.oam;
}

struct inner_class {
    bool found;
    std::uint8_t value;
};
inner_class traffic_class_of(const packet& p) noexcept
{
    if (p.head_length < ip_at + min_ipv4_header) {
        return {false, 0};
    }
    const std::uint16_t type = load<be16>(p.data + ip_at - 2);
    if (type == ethertype_ipv4) {
        return {true, load<std::uint8_t>(p.data + ip_at + 1)};
    }
    if (type == ethertype_ipv6 && p.head_length >= ip_at + ipv6_header) {
        return {true, static_cast<std::uint8_t>(load<be16>(p.data + ip_at) >> 4)};
    }
    return {false, 0};
}

} // namespace

void transmit_template::set(const packet& p, const description& d, std::size_t longest,
                            port_index out) noexcept
{
    static_assert(size == inner_at);
    out_ = no_port;
    if (!are_templates_for(d) || load<be16>(p.data + ip_at - 2) != ethertype_ipv4) {
        return;
    }
    std::copy_n(p.data, size, headers_.begin());
    longest_ = longest;
    out_ = out;
}

bool transmit_template::push(packet_slot& p) const noexcept
{
    if (out_ == no_port || p.length > longest_ || (p.note & packet_note::tunnel) != notes::none ||
        !p.offload.empty() || p.destinations > 1 || room_before(p) < size + room_for_tags) {
        return false;
    }
    const inner_class inner = traffic_class_of(p);
    if (!inner.found) {
        return false;
    }
    const std::uint16_t port = entropy_port({p.data, p.head_length});
    const auto length = static_cast<std::uint16_t>(p.length + size - ip_at);
    const std::byte* const ip = headers_.data() + ip_at;
    const std::uint8_t traffic_class = ecn_out(load<std::uint8_t>(ip + 1), inner.value);
    const be16 first{static_cast<std::uint16_t>(0x4500U | traffic_class)};
    sum_change change;
    change.replace(load<std::uint16_t>(ip), std::bit_cast<std::uint16_t>(first));
    change.replace(load<std::uint16_t>(ip + 2), std::bit_cast<std::uint16_t>(be16{length}));
    p.data -= size;
    p.length += static_cast<std::uint32_t>(size);
    p.head_length = static_cast<std::uint16_t>(p.head_length + size);
    std::memcpy(p.data, headers_.data(), size);
    store(p.data + ip_at, first);
    store(p.data + ip_at + 2, be16{length});
    store(p.data + ip_at + ipv4_checksum, change.checksum(load<std::uint16_t>(ip + ipv4_checksum)));
    store(p.data + udp_at, be16{port});
    store(p.data + udp_at + 4, be16{static_cast<std::uint16_t>(length - min_ipv4_header)});
    return true;
}

namespace {

// Of each eight bytes, those that packets of one tunnel have in common: not the IPv4 header's
// length, identification and checksum, nor UDP's source port and length.
static_assert(std::endian::native == std::endian::little);
constexpr std::array<std::uint64_t, 6> in_common{
    ~std::uint64_t{0},     ~std::uint64_t{0},     0xffff'ffff'0000'0000,
    0xffff'ffff'ffff'0000, 0x0000'ffff'0000'ffff, ~std::uint64_t{0},
};

} // namespace

void receive_template::set(const packet& p, const outer_ip& ip, const contents& c, port_index from,
                           const notes::words& words) noexcept
{
    from_ = no_port;
    if (!are_templates_for(c.header) || !ip.source.is_v4() || ip.content != udp_at ||
        (ip.traffic_class & ecn_bits) != 0 || c.inner != inner_at || c.critical) {
        return;
    }
    for (std::size_t i = 0; i < front_.size(); ++i) {
        front_[i] = load<std::uint64_t>(p.data + i * 8) & in_common[i];
    }
    back_ = load<std::uint16_t>(p.data + front_.size() * 8);
    from_ = from;
    words_ = words;
}

bool receive_template::pop(packet_slot& p) const noexcept
{
    static_assert(inner_at == 6 * 8 + 2);
    if (from_ == no_port || p.head_length < inner_at + ethernet_header || p.destinations > 1 ||
        !p.offload.empty()) {
        return false;
    }
    std::uint64_t different = load<std::uint16_t>(p.data + front_.size() * 8) ^ back_;
    for (std::size_t i = 0; i < front_.size(); ++i) {
        different |= (load<std::uint64_t>(p.data + i * 8) & in_common[i]) ^ front_[i];
    }
    if (different != 0) {
        return false;
    }
    const std::byte* const ip = p.data + ip_at;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < min_ipv4_header; i += 4) {
        sum += load<std::uint32_t>(ip + i);
    }
    const std::uint32_t length = load<be16>(ip + 2);
    const std::size_t end = ip_at + length;
    const bool in_pieces = p.segment_count > 0 || p.remote != nullptr;
    if (fold(sum) != 0xffff || end < inner_at + ethernet_header || end > p.length ||
        load<be16>(p.data + udp_at + 4) + min_ipv4_header != length ||
        (in_pieces && end != p.length)) {
        return false;
    }
    p.data += inner_at;
    p.length = static_cast<std::uint32_t>(end - inner_at);
    p.head_length =
        static_cast<std::uint16_t>(std::min<std::size_t>(p.head_length - inner_at, p.length));
    return true;
}

} // namespace strait::tunnel
