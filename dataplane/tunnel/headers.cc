// SPDX-License-Identifier: BSD-3-Clause
// Outer headers to bytes and back.
#include "dataplane/tunnel/headers.hh"

#include "dataplane/ip.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <algorithm>

namespace strait::tunnel {

using namespace dataplane;

namespace {

constexpr std::size_t vxlan_header = 8;
constexpr std::size_t geneve_header = 8; // without options
constexpr std::size_t gre_header = 4;    // without what its flags add

constexpr std::uint16_t ethertype_transparent = 0x6558; // Ethernet frames, bridged
constexpr std::uint16_t gre_checksum = 0x8000;
constexpr std::uint16_t gre_key = 0x2000;
constexpr std::uint16_t gre_sequence = 0x1000;
constexpr std::uint16_t gre_version = 0x0007;

constexpr std::uint32_t vxlan_has_vni = 0x0800'0000;
constexpr std::uint32_t vxlan_has_policy = 0x8000'0000;
constexpr std::uint32_t vxlan_policy_group = 0x0000'ffff;
// "Don't learn" and "policy applied", as the extension's draft places them.
constexpr std::uint32_t vxlan_policy_flags = 0x0048'0000;
constexpr unsigned policy_flags_shift = 16;

constexpr std::uint8_t geneve_oam = 0x80; // of the second byte
constexpr std::uint8_t geneve_critical = 0x40;

std::size_t tunnel_header(const description& d) noexcept
{
    switch (d.what) {
    case kind::vxlan:
        return vxlan_header;
    case kind::geneve:
        return geneve_header + d.options.size();
    case kind::nvgre:
        return gre_header + 4;
    case kind::gre:
        break;
    }
    return gre_header + (d.checksum ? 4U : 0U) + (d.has_key ? 4U : 0U) + (d.has_sequence ? 4U : 0U);
}

void write_vxlan(std::byte* at, const description& d) noexcept
{
    std::uint32_t flags = vxlan_has_vni;
    if (d.has_policy) {
        flags |=
            vxlan_has_policy | d.policy_group |
            (static_cast<std::uint32_t>(d.policy_flags) << policy_flags_shift & vxlan_policy_flags);
    }
    store(at, be32{flags});
    store(at + 4, be32{static_cast<std::uint32_t>(d.key << 8)});
}

// Whether one of them must be understood.
bool any_critical(std::span<const std::byte> options) noexcept
{
    while (options.size() >= option_header) {
        if ((load<std::uint8_t>(options.data() + 2) & flow::critical_option) != 0) {
            return true;
        }
        options = options.subspan(std::min(option_size(options), options.size()));
    }
    return false;
}

void write_geneve(std::byte* at, const description& d) noexcept
{
    store(at, static_cast<std::uint8_t>(d.options.size() / 4));
    store(at + 1, static_cast<std::uint8_t>((d.oam ? geneve_oam : 0) |
                                            (any_critical(d.options) ? geneve_critical : 0)));
    store(at + 2, be16{ethertype_transparent});
    store(at + 4, be32{static_cast<std::uint32_t>(d.key << 8)});
    std::copy(d.options.begin(), d.options.end(), at + geneve_header);
}

// The checksum is filled by who knows all that follows.
void write_gre(std::byte* at, const description& d) noexcept
{
    const bool nvgre = d.what == kind::nvgre;
    const bool summed = d.checksum && !nvgre;
    const bool keyed = d.has_key || nvgre;
    const bool counted = d.has_sequence && !nvgre;
    store(at, be16{static_cast<std::uint16_t>((summed ? gre_checksum : 0) | (keyed ? gre_key : 0) |
                                              (counted ? gre_sequence : 0))});
    store(at + 2, be16{ethertype_transparent});
    at += gre_header;
    if (summed) {
        store(at, std::uint32_t{0});
        at += 4;
    }
    if (keyed) {
        // NVGRE's flow number is what tells flows apart to who spreads them over links.
        const std::uint64_t key = nvgre ? d.key << 8 | (d.source_port & 0xffU) : d.key;
        store(at, be32{static_cast<std::uint32_t>(key)});
        at += 4;
    }
    if (counted) {
        store(at, be32{d.sequence});
    }
}

void write_ipv4(std::byte* at, const description& d, std::uint8_t protocol,
                std::uint16_t length) noexcept
{
    constexpr std::uint16_t dont_fragment = 0x4000;
    store(at, std::uint8_t{0x45});
    store(at + 1, d.traffic_class);
    store(at + 2, be16{length});
    store(at + 4, std::uint16_t{0}); // an atomic datagram's identifier means nothing (RFC 6864)
    store(at + 6, be16{d.dont_fragment ? dont_fragment : std::uint16_t{0}});
    store(at + 8, d.hop_limit);
    store(at + 9, protocol);
    d.source.store(at + 12);
    d.destination.store(at + 16);
    // Of the numbers: what was just written in parts is not to be read as a whole.
    const std::uint64_t sum = 0x4500U + d.traffic_class + length +
                              (d.dont_fragment ? dont_fragment : 0U) +
                              (std::uint32_t{d.hop_limit} << 8U) + protocol +
                              std::uint64_t{d.source.v4()} + d.destination.v4();
    store(at + ipv4_checksum, be16{static_cast<std::uint16_t>(~fold(sum))});
}

void write_ipv6(std::byte* at, const description& d, std::uint8_t protocol,
                std::uint16_t length) noexcept
{
    store(at, be32{0x6000'0000U | static_cast<std::uint32_t>(d.traffic_class) << 20});
    store(at + 4, be16{static_cast<std::uint16_t>(length - ipv6_header)});
    store(at + 6, protocol);
    store(at + 7, d.hop_limit);
    d.source.store(at + 8);
    d.destination.store(at + 24);
}

// The pseudo-header's sum, for `length` bytes of UDP.
std::uint16_t pseudo_sum(const endpoint::ip_address& source,
                         const endpoint::ip_address& destination, std::uint32_t length) noexcept
{
    std::byte addresses[32];
    const std::size_t size = source.is_v4() ? 4 : 16;
    source.store(addresses);
    destination.store(addresses + size);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 2 * size; i += 4) {
        sum += load<std::uint32_t>(addresses + i);
    }
    const auto word = [](std::uint32_t host) noexcept {
        return __builtin_bswap16(static_cast<std::uint16_t>(host));
    };
    return fold(sum + word(protocol_udp) + word(length));
}

void push_bytes(packet& p, std::size_t size) noexcept
{
    p.data -= size;
    p.length += static_cast<std::uint32_t>(size);
    p.head_length = static_cast<std::uint16_t>(p.head_length + size);
}

void leave_udp_checksum(packet& p, const description& d, std::size_t udp) noexcept
{
    offload_intent todo;
    todo.checksum_start = static_cast<std::uint16_t>(udp);
    todo.checksum_offset = udp_checksum;
    todo.header_length = static_cast<std::uint16_t>(udp + udp_header);
    todo.required = d.ipv6() ? offloads::checksum_ipv6 : offloads::checksum_ipv4;
    p.offload = todo;
    store(p.data + udp + udp_checksum,
          pseudo_sum(d.source, d.destination, p.length - static_cast<std::uint32_t>(udp)));
}

void fill_gre_checksum(packet& p, std::size_t gre) noexcept
{
    p.offload = {};
    p.offload.checksum_start = static_cast<std::uint16_t>(gre);
    p.offload.checksum_offset = gre_header;
    p.offload.required = offloads::checksum_ipv4;
    finish_checksum(p);
}

} // namespace

std::size_t option_size(std::span<const std::byte> options) noexcept
{
    return option_header + (load<std::uint8_t>(options.data() + 3) & 0x1fU) * 4;
}

std::size_t length_of(const description& d) noexcept
{
    return (d.ipv6() ? ipv6_header : min_ipv4_header) + (over_udp(d.what) ? udp_header : 0) +
           tunnel_header(d);
}

void push(packet& p, const description& d) noexcept
{
    push_bytes(p, tunnel_header(d));
    if (d.what == kind::vxlan) {
        write_vxlan(p.data, d);
    } else if (d.what == kind::geneve) {
        write_geneve(p.data, d);
    } else {
        write_gre(p.data, d);
    }
    if (over_udp(d.what)) {
        push_bytes(p, udp_header);
        store(p.data, be16{d.source_port});
        store(p.data + 2, be16{d.destination_port});
        store(p.data + 4, be16{static_cast<std::uint16_t>(p.length)});
        store(p.data + udp_checksum, std::uint16_t{0});
    }
    const std::size_t size = d.ipv6() ? ipv6_header : min_ipv4_header;
    push_bytes(p, size);
    const std::uint8_t protocol = over_udp(d.what) ? protocol_udp : protocol_gre;
    const auto length = static_cast<std::uint16_t>(p.length);
    if (d.ipv6()) {
        write_ipv6(p.data, d, protocol, length);
    } else {
        write_ipv4(p.data, d, protocol, length);
    }
    p.offload = {};
    if (d.checksum && over_udp(d.what)) {
        leave_udp_checksum(p, d, size);
        p.offload.network_start = 0;
    } else if (d.checksum && d.what == kind::gre) {
        fill_gre_checksum(p, size);
    }
}

namespace {

// What tells an inner flow, mixed into one number as it is read: each with a factor of its own, so
// that no multiplication waits for the one before.
class flow_hash {
public:
    void add(std::uint64_t value) noexcept
    {
        state_ += (value ^ value >> 32) * factor_;
        factor_ += 0x9e37'79b9'7f4a'7c16; // it stays odd
    }
    [[nodiscard]] std::uint64_t value() const noexcept
    {
        return (state_ ^ state_ >> 32) * 0xd6e8'feb8'6659'fd93;
    }

private:
    std::uint64_t state_{0};
    std::uint64_t factor_{0x2545'f491'4f6c'dd1d};
};

void add_ports(flow_hash& hash, std::span<const std::byte> head, std::size_t at,
               std::uint8_t protocol) noexcept
{
    hash.add(protocol);
    const bool ported =
        protocol == protocol_tcp || protocol == protocol_udp || protocol == protocol_sctp;
    if (ported && at + 4 <= head.size()) {
        hash.add(load<std::uint32_t>(head.data() + at));
    }
}

} // namespace

std::uint16_t entropy_port(std::span<const std::byte> head) noexcept
{
    constexpr std::uint16_t first = 0xc000;
    constexpr unsigned bits = 14;
    flow_hash hash;
    if (head.size() < ethernet_header) {
        return first;
    }
    std::size_t at = ethernet_header;
    std::uint16_t type = load<be16>(head.data() + 12);
    for (int tags = 0; tags < 2 && (type == ethertype_vlan || type == ethertype_qinq) &&
                       at + tag_length <= head.size();
         ++tags) {
        type = load<be16>(head.data() + at + 2);
        at += tag_length;
    }
    const std::byte* const ip = head.data() + at;
    if (type == ethertype_ipv4 && at + min_ipv4_header <= head.size()) {
        hash.add(load<std::uint64_t>(ip + 12));
        constexpr std::uint16_t more_or_offset = 0x3fff;
        const bool fragment = (load<be16>(ip + 6) & more_or_offset) != 0;
        const std::size_t size = (load<std::uint8_t>(ip) & 0x0fU) * 4U;
        add_ports(hash, head, fragment ? head.size() : at + size, load<std::uint8_t>(ip + 9));
    } else if (type == ethertype_ipv6 && at + ipv6_header <= head.size()) {
        for (std::size_t i = 8; i < ipv6_header; i += 8) {
            hash.add(load<std::uint64_t>(ip + i));
        }
        add_ports(hash, head, at + ipv6_header, load<std::uint8_t>(ip + 6));
    } else {
        hash.add(load<std::uint64_t>(head.data()));
        hash.add(load<std::uint32_t>(head.data() + 8));
    }
    return static_cast<std::uint16_t>(first | (hash.value() >> (64 - bits)));
}

std::string_view to_string(fault f) noexcept
{
    switch (f) {
    case fault::none:
        return "none";
    case fault::truncated:
        return "shorter than its headers say";
    case fault::beyond_head:
        return "the headers are longer than what the switch looks at";
    case fault::version:
        return "another version than is known";
    case fault::ip_checksum:
        return "the outer IPv4 header's checksum is wrong";
    case fault::fragment:
        return "a fragment of an outer datagram";
    case fault::flags:
        return "flags that must not be, or must, are set";
    case fault::protocol:
        return "carries no Ethernet frame";
    case fault::options:
        return "options that lie about their lengths";
    case fault::critical_option:
        return "a critical option that is not known";
    case fault::option_length:
        return "a known option of another length";
    case fault::checksum:
        return "a wrong checksum";
    case fault::trailing:
        return "more bytes behind it than padding";
    case fault::unsegmented:
        return "several datagrams that are still to be cut";
    }
    return "unknown";
}

bool sum_range(const packet& p, std::size_t from, std::size_t to, std::uint64_t& sum) noexcept
{
    alignas(8) std::array<std::byte, 1024> buffer;
    while (from < to) {
        const std::size_t size = std::min(buffer.size(), to - from);
        if (!copy_frame(p, from, buffer.data(), size)) {
            return false;
        }
        std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(size),
                  buffer.begin() + static_cast<std::ptrdiff_t>((size + 3) / 4 * 4), std::byte{0});
        for (std::size_t i = 0; i < size; i += 4) {
            sum += load<std::uint32_t>(buffer.data() + i);
        }
        from += size;
    }
    return true;
}

namespace {

// Padding of short frames lies in their heads; a payload in pieces is not cut.
fault check_end(const packet& p, std::uint32_t end) noexcept
{
    const bool in_pieces = p.segment_count > 0 || p.remote != nullptr;
    return in_pieces && end != p.length ? fault::trailing : fault::none;
}

// none: the frame has so many bytes, and all of them can be looked at.
fault reach(const packet& p, std::size_t end, std::size_t limit) noexcept
{
    if (end > limit) {
        return fault::truncated;
    }
    return end > p.head_length ? fault::beyond_head : fault::none;
}

fault read_ipv4(const packet& p, std::uint32_t network, outer_ip& out) noexcept
{
    if (const fault f = reach(p, network + min_ipv4_header, p.length); f != fault::none) {
        return f;
    }
    const std::byte* const ip = p.data + network;
    const unsigned first = load<std::uint8_t>(ip);
    const std::uint32_t size = (first & 0x0f) * 4;
    const std::uint32_t total = load<be16>(ip + 2);
    if (first >> 4 != 4) {
        return fault::version;
    }
    if (size < min_ipv4_header || total < size || network + total > p.length) {
        return fault::truncated;
    }
    if (const fault f = reach(p, network + size, p.length); f != fault::none) {
        return f;
    }
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < size; i += 4) {
        sum += load<std::uint32_t>(ip + i);
    }
    if (fold(sum) != 0xffff) {
        return fault::ip_checksum;
    }
    constexpr std::uint16_t more_or_offset = 0x3fff;
    constexpr std::uint16_t dont_fragment = 0x4000;
    const std::uint16_t place = load<be16>(ip + 6);
    if ((place & more_or_offset) != 0) {
        return fault::fragment;
    }
    out = {.source = endpoint::ip_address::load_v4(ip + 12),
           .destination = endpoint::ip_address::load_v4(ip + 16),
           .protocol = load<std::uint8_t>(ip + 9),
           .traffic_class = load<std::uint8_t>(ip + 1),
           .hop_limit = load<std::uint8_t>(ip + 8),
           .dont_fragment = (place & dont_fragment) != 0,
           .content = network + size,
           .end = network + total};
    return fault::none;
}

fault read_ipv6(const packet& p, std::uint32_t network, outer_ip& out) noexcept
{
    if (const fault f = reach(p, network + ipv6_header, p.length); f != fault::none) {
        return f;
    }
    const std::byte* const ip = p.data + network;
    const std::uint32_t first = load<be32>(ip);
    if (first >> 28 != 6) {
        return fault::version;
    }
    const auto start = static_cast<std::uint32_t>(network + ipv6_header);
    const std::uint32_t end = start + load<be16>(ip + 4);
    if (end > p.length) {
        return fault::truncated;
    }
    out = {.source = endpoint::ip_address::load_v6(ip + 8),
           .destination = endpoint::ip_address::load_v6(ip + 24),
           .protocol = load<std::uint8_t>(ip + 6),
           .traffic_class = static_cast<std::uint8_t>(first >> 20),
           .hop_limit = load<std::uint8_t>(ip + 7),
           .content = start,
           .end = end};
    if (out.protocol == ipv6_fragment) {
        return fault::fragment;
    }
    return fault::none;
}

fault read_vxlan(const std::byte* at, std::uint32_t start, contents& out) noexcept
{
    const std::uint32_t flags = load<be32>(at);
    const std::uint32_t vni = load<be32>(at + 4);
    constexpr std::uint32_t without_policy = vxlan_has_vni;
    constexpr std::uint32_t with_policy =
        vxlan_has_vni | vxlan_has_policy | vxlan_policy_flags | vxlan_policy_group;
    const std::uint32_t allowed = (flags & vxlan_has_policy) != 0 ? with_policy : without_policy;
    if ((flags & vxlan_has_vni) == 0 || (flags & ~allowed) != 0 || (vni & 0xff) != 0) {
        return fault::flags;
    }
    out.header.key = vni >> 8;
    out.header.has_policy = (flags & vxlan_has_policy) != 0;
    if (out.header.has_policy) {
        out.header.policy_group = static_cast<std::uint16_t>(flags & vxlan_policy_group);
        out.header.policy_flags =
            static_cast<std::uint8_t>((flags & vxlan_policy_flags) >> policy_flags_shift);
    }
    out.inner = static_cast<std::uint32_t>(start + vxlan_header);
    return fault::none;
}

// Every option ends within them.
fault check_options(std::span<const std::byte> options) noexcept
{
    while (!options.empty()) {
        if (options.size() < option_header) {
            return fault::options;
        }
        const std::size_t size = option_size(options);
        if (size > options.size()) {
            return fault::options;
        }
        options = options.subspan(size);
    }
    return fault::none;
}

fault read_geneve(const packet& p, std::uint32_t start, std::uint32_t end, contents& out) noexcept
{
    const std::byte* const at = p.data + start;
    const unsigned first = load<std::uint8_t>(at);
    const unsigned second = load<std::uint8_t>(at + 1);
    if (first >> 6 != 0) {
        return fault::version;
    }
    if (load<be16>(at + 2) != ethertype_transparent) {
        return fault::protocol;
    }
    const auto options = static_cast<std::uint32_t>((first & 0x3f) * 4);
    out.inner = static_cast<std::uint32_t>(start + geneve_header + options);
    if (const fault f = reach(p, out.inner, end); f != fault::none) {
        return f == fault::truncated ? fault::options : f;
    }
    out.header.options = {at + geneve_header, options};
    if (const fault f = check_options(out.header.options); f != fault::none) {
        return f;
    }
    out.critical = (second & geneve_critical) != 0;
    out.header.oam = (second & geneve_oam) != 0;
    out.header.key = load<be32>(at + 4) >> 8;
    return fault::none;
}

} // namespace

fault read_ip(const packet& p, std::uint32_t network, bool ipv6, outer_ip& out) noexcept
{
    return ipv6 ? read_ipv6(p, network, out) : read_ipv4(p, network, out);
}

fault read_udp(const packet& p, const outer_ip& ip, kind what, contents& out) noexcept
{
    static_assert(vxlan_header == geneve_header);
    out = {};
    if (p.offload.segment_size != 0) {
        return fault::unsegmented; // no host's tunnel leaves them so: each has an inner frame
    }
    const auto start = static_cast<std::uint32_t>(ip.content + udp_header);
    if (const fault f = reach(p, start + vxlan_header, ip.end); f != fault::none) {
        return f;
    }
    const std::byte* const udp = p.data + ip.content;
    const std::uint32_t length = load<be16>(udp + 4);
    if (length < udp_header + vxlan_header || length > ip.end - ip.content) {
        return fault::truncated;
    }
    out.header.what = what;
    out.header.source_port = load<be16>(udp);
    out.header.destination_port = load<be16>(udp + 2);
    const std::uint32_t end = ip.content + length;
    // A checksum that is still to be filled is right.
    out.header.checksum = load<std::uint16_t>(udp + udp_checksum) != 0;
    if (out.header.checksum && p.offload.checksum_start != ip.content) {
        std::uint64_t sum = pseudo_sum(ip.source, ip.destination, length);
        if (!sum_range(p, ip.content, end, sum) || fold(sum) != 0xffff) {
            return fault::checksum;
        }
    }
    out.end = end;
    const fault f = what == kind::vxlan ? read_vxlan(p.data + start, start, out)
                                        : read_geneve(p, start, end, out);
    return f != fault::none ? f : check_end(p, end);
}

fault read_gre(const packet& p, const outer_ip& ip, contents& out) noexcept
{
    out = {};
    if (const fault f = reach(p, ip.content + gre_header, ip.end); f != fault::none) {
        return f;
    }
    const std::byte* at = p.data + ip.content;
    const std::uint16_t flags = load<be16>(at);
    if ((flags & gre_version) != 0) {
        return fault::version;
    }
    constexpr std::uint16_t known = gre_checksum | gre_key | gre_sequence;
    if ((flags & ~known) != 0) {
        return fault::flags;
    }
    if (load<be16>(at + 2) != ethertype_transparent) {
        return fault::protocol;
    }
    const auto has = [flags](std::uint16_t flag) noexcept { return (flags & flag) != 0 ? 4U : 0U; };
    const auto size = static_cast<std::uint32_t>(gre_header + has(gre_checksum) + has(gre_key) +
                                                 has(gre_sequence));
    if (const fault f = reach(p, ip.content + size, ip.end); f != fault::none) {
        return f;
    }
    out.header.what = kind::gre;
    out.header.checksum = has(gre_checksum) != 0;
    if (out.header.checksum) {
        std::uint64_t sum = 0;
        if (!sum_range(p, ip.content, ip.end, sum) || fold(sum) != 0xffff) {
            return fault::checksum;
        }
    }
    at += gre_header + has(gre_checksum);
    out.header.has_key = has(gre_key) != 0;
    if (out.header.has_key) {
        out.header.key = load<be32>(at);
        at += 4;
    }
    out.header.has_sequence = has(gre_sequence) != 0;
    if (out.header.has_sequence) {
        out.header.sequence = load<be32>(at);
    }
    out.inner = ip.content + size;
    out.end = ip.end;
    return check_end(p, ip.end);
}

void pop(packet& p, const contents& c) noexcept
{
    p.data += c.inner;
    p.length = c.end - c.inner;
    p.head_length =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(p.head_length - c.inner, p.length));
    p.offload = {};
}

} // namespace strait::tunnel
