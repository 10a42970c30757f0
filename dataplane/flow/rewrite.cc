// SPDX-License-Identifier: BSD-3-Clause
// Fields changed where they lie, and what that comes to for checksums. A word of the frame is read,
// changed under a mask and written back as a whole: sums are of 16-bit words.
#include "dataplane/flow/rewrite.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

namespace strait::flow {

namespace {

using namespace dataplane;

constexpr std::uint64_t low_48 = 0xffff'ffff'ffff;
constexpr std::uint64_t low_32 = 0xffff'ffff;

// A big-endian integer of a frame: the bits of `mask` become those of `value`.
template <typename T>
void change(std::byte* at, std::type_identity_t<T> value, std::type_identity_t<T> mask,
            sum_change& sum) noexcept
{
    const auto old = load<big_endian<T>>(at);
    const big_endian<T> now{static_cast<T>((old & ~mask) | (value & mask))};
    store(at, now);
    sum.replace(std::bit_cast<T>(old), std::bit_cast<T>(now));
}

// One that no sum covers.
template <typename T>
void change(std::byte* at, std::type_identity_t<T> value, std::type_identity_t<T> mask) noexcept
{
    sum_change nobodys;
    change<T>(at, value, mask, nobodys);
}

// A link-layer address.
void change_address(std::byte* at, std::uint64_t value, std::uint64_t mask,
                    sum_change& sum) noexcept
{
    change<std::uint32_t>(at, static_cast<std::uint32_t>(value >> 16),
                          static_cast<std::uint32_t>(mask >> 16), sum);
    change<std::uint16_t>(at + 4, static_cast<std::uint16_t>(value),
                          static_cast<std::uint16_t>(mask), sum);
}

void change_address(std::byte* at, std::uint64_t value, std::uint64_t mask) noexcept
{
    sum_change nobodys;
    change_address(at, value, mask, nobodys);
}

// What a change of the first four bytes of `size` makes different in their CRC32c, given that of
// the bytes, both as they lie in memory. For CRCs are linear: it is the difference, as a polynomial
// over GF(2), times x to the number of bits.
[[nodiscard]] std::uint32_t crc_difference(std::uint32_t bytes, std::uint32_t size) noexcept
{
    constexpr std::uint32_t polynomial = 0x82f6'3b78; // Castagnoli's; the highest bit is x^0
    constexpr auto multiply = [](std::uint32_t a, std::uint32_t b) noexcept {
        std::uint32_t product = 0;
        for (; a != 0; a <<= 1) {
            product ^= (a >> 31) != 0 ? b : 0;
            b = (b >> 1) ^ ((b & 1) != 0 ? polynomial : 0);
        }
        return product;
    };
    constexpr std::array powers = [multiply] { // x^8, x^16, x^32, ...
        std::array<std::uint32_t, 17> out{0x0080'0000};
        for (std::size_t i = 1; i < out.size(); ++i) {
            out[i] = multiply(out[i - 1], out[i - 1]);
        }
        return out;
    }();
    for (std::size_t i = 0; size != 0; ++i, size >>= 1) {
        if ((size & 1) != 0) {
            bytes = multiply(bytes, powers[i]);
        }
    }
    return bytes;
}

// The fields of one packet on their way into its headers.
class writer {
public:
    writer(packet& p, const header_layout& at, const key& value, const key& mask) noexcept
        : p_{p}, at_{at}, value_{value}, mask_{mask}
    {}

    [[nodiscard]] bool is_possible() const noexcept
    {
        if (!at_.complete || at_.looked_at != depth::transport) [[unlikely]] {
            return depth_to_set(mask_) <= (at_.complete ? at_.looked_at : depth::link);
        }
        return at_.transport_is != transport_header::sctp || !at_.fragment ||
               (mask_.words[9] & low_32) == 0;
    }
    void write() noexcept
    {
        write_link();
        switch (at_.network_is) {
        case network_header::none:
            return;
        case network_header::arp:
            write_arp();
            return;
        case network_header::ipv4:
            write_ipv4();
            break;
        case network_header::ipv6:
            write_ipv6_first();
            write_ipv6_addresses();
            break;
        case network_header::ipv6_cut:
            write_ipv6_addresses();
            break;
        }
        write_transport();
        write_checksum();
    }

private:
    [[nodiscard]] std::byte* network() const noexcept { return p_.data + at_.network; }
    [[nodiscard]] std::byte* transport() const noexcept { return p_.data + at_.transport; }
    template <typename T>
    [[nodiscard]] T value(field f) const noexcept
    {
        return static_cast<T>(value_.number(f));
    }
    template <typename T>
    [[nodiscard]] T mask(field f) const noexcept
    {
        return static_cast<T>(mask_.number(f));
    }

    void write_link() noexcept
    {
        if (((mask_.words[1] | mask_.words[2]) & low_48) != 0) {
            // Both addresses, in eight bytes and four.
            const auto first = [](const key& k) noexcept {
                return k.words[1] << 16 | (k.words[2] & low_48) >> 32;
            };
            change<std::uint64_t>(p_.data, first(value_), first(mask_));
            change<std::uint32_t>(p_.data + 8, static_cast<std::uint32_t>(value_.words[2]),
                                  static_cast<std::uint32_t>(mask_.words[2]));
        }
        constexpr auto writable = static_cast<std::uint16_t>(~vlan_present); // its place is DEI's
        if (at_.tags > 0) [[unlikely]] {
            change<std::uint16_t>(p_.data + ethernet_header, value<std::uint16_t>(field::vlan_tci),
                                  mask<std::uint16_t>(field::vlan_tci) & writable);
        }
        if (at_.tags > 1) [[unlikely]] {
            change<std::uint16_t>(p_.data + ethernet_header + tag_length,
                                  value<std::uint16_t>(field::inner_vlan_tci),
                                  mask<std::uint16_t>(field::inner_vlan_tci) & writable);
        }
    }

    void write_arp() noexcept
    {
        if (const auto m = mask<std::uint8_t>(field::nw_proto); m != 0) {
            // An operation that the key cannot hold is 0 there.
            const std::uint16_t old = load<be16>(network() + 6);
            const unsigned kept = old > 0xff ? 0U : old & ~unsigned{m};
            const unsigned now = kept | (value<std::uint8_t>(field::nw_proto) & m);
            store(network() + 6, be16{static_cast<std::uint16_t>(now)});
        }
        change<std::uint32_t>(network() + 14, value<std::uint32_t>(field::nw_src),
                              mask<std::uint32_t>(field::nw_src));
        change<std::uint32_t>(network() + 24, value<std::uint32_t>(field::nw_dst),
                              mask<std::uint32_t>(field::nw_dst));
        change_address(network() + 8, value_.words[10], mask_.words[10]);
        change_address(network() + 18, value_.words[11], mask_.words[11]);
    }

    void write_ipv4() noexcept
    {
        sum_change header;
        if (mask_.words[4] != 0) { // both addresses
            change<std::uint64_t>(network() + 12, value_.words[4], mask_.words[4], pseudo_);
            header += pseudo_;
        }
        if (const auto m = mask<std::uint8_t>(field::nw_tos); m != 0) {
            change<std::uint16_t>(network(), value<std::uint8_t>(field::nw_tos), m, header);
        }
        if (const auto m = mask<std::uint8_t>(field::nw_ttl); m != 0) {
            change<std::uint16_t>(network() + 8,
                                  static_cast<std::uint16_t>(value<unsigned>(field::nw_ttl) << 8),
                                  static_cast<std::uint16_t>(m << 8), header);
        }
        if (!header.empty()) {
            std::byte* const checksum = network() + ipv4_checksum;
            store(checksum, header.checksum(load<std::uint16_t>(checksum)));
        }
    }

    void write_ipv6_first() noexcept
    {
        const auto first = [](const key& k) noexcept {
            return static_cast<std::uint32_t>(k.number(field::nw_tos) << 20 |
                                              k.number(field::ipv6_label));
        };
        change<std::uint32_t>(network(), first(value_), first(mask_));
        const auto m = mask<std::uint8_t>(field::nw_ttl);
        const auto old = load<std::uint8_t>(network() + 7);
        store(network() + 7,
              static_cast<std::uint8_t>((old & ~m) | (value<std::uint8_t>(field::nw_ttl) & m)));
    }

    void write_ipv6_addresses() noexcept
    {
        sum_change nobodys;
        for (std::size_t i = 0; i < 4; ++i) {
            if (mask_.words[5 + i] != 0) {
                // The destination of a packet on its way to others is in no pseudo-header.
                change<std::uint64_t>(network() + 8 + i * 8, value_.words[5 + i],
                                      mask_.words[5 + i], i >= 2 && at_.routed ? nobodys : pseudo_);
            }
        }
    }

    void write_transport() noexcept
    {
        const auto ports = static_cast<std::uint32_t>(mask_.words[9]);
        switch (at_.transport_is) {
        case transport_header::none:
        case transport_header::igmp:
            return;
        case transport_header::tcp:
        case transport_header::udp:
            if (ports != 0) {
                write_ports(header_);
            }
            return;
        case transport_header::sctp:
            if (ports != 0) {
                write_sctp();
            }
            return;
        case transport_header::icmp:
        case transport_header::icmpv6:
            break;
        }
        if (ports != 0) {
            const auto both = [](const key& k) noexcept {
                return static_cast<std::uint16_t>((k.number(field::tp_src) & 0xff) << 8 |
                                                  (k.number(field::tp_dst) & 0xff));
            };
            change<std::uint16_t>(transport(), both(value_), both(mask_), header_);
        }
        if (at_.transport_is == transport_header::icmpv6) {
            write_neighbour();
        }
    }

    void write_ports(sum_change& sum) noexcept
    {
        change<std::uint16_t>(transport(), value<std::uint16_t>(field::tp_src),
                              mask<std::uint16_t>(field::tp_src), sum);
        change<std::uint16_t>(transport() + 2, value<std::uint16_t>(field::tp_dst),
                              mask<std::uint16_t>(field::tp_dst), sum);
    }

    void write_sctp() noexcept
    {
        const auto old = load<std::uint32_t>(transport());
        sum_change nobodys;
        write_ports(nobodys);
        const std::uint32_t difference = old ^ load<std::uint32_t>(transport());
        const std::size_t size = at_.network_is == network_header::ipv4
                                     ? std::size_t{load<be16>(network() + 2)}
                                     : load<be16>(network() + 4) + ipv6_header;
        const auto left = static_cast<std::uint32_t>(at_.network + size - at_.transport);
        std::byte* const field = transport() + sctp_checksum;
        store(field, load<std::uint32_t>(field) ^ crc_difference(difference, left));
    }

    void write_neighbour() noexcept
    {
        if (at_.nd_target != 0) {
            for (std::size_t i = 0; i < 2; ++i) {
                change<std::uint64_t>(p_.data + at_.nd_target + i * 8, value_.words[12 + i],
                                      mask_.words[12 + i], header_);
            }
        }
        if (at_.nd_source_link != 0) {
            change_address(p_.data + at_.nd_source_link, value_.words[10], mask_.words[10],
                           header_);
        }
        if (at_.nd_target_link != 0) {
            change_address(p_.data + at_.nd_target_link, value_.words[11], mask_.words[11],
                           header_);
        }
    }

    // TCP's, UDP's, or ICMP's.
    void write_checksum() noexcept
    {
        const offload_intent& todo = p_.offload;
        if (todo.network_start == at_.network) {
            // The field has nothing in it yet but the pseudo-header's sum.
            std::byte* const field = p_.data + todo.checksum_start + todo.checksum_offset;
            store(field, pseudo_.sum(load<std::uint16_t>(field)));
            return;
        }
        const bool ipv4 = at_.network_is == network_header::ipv4;
        const bool covers_addresses = ipv4 ? at_.transport_is != transport_header::icmp &&
                                                 at_.transport_is != transport_header::icmpv6
                                           : at_.transport_is != transport_header::icmp;
        if (covers_addresses) {
            header_ += pseudo_;
        }
        if (at_.checksum == 0 || header_.empty()) {
            return;
        }
        std::byte* const field = p_.data + at_.checksum;
        const auto old = load<std::uint16_t>(field);
        const bool udp = at_.transport_is == transport_header::udp;
        if (udp && old == 0) {
            return; // RFC 768: there is none
        }
        const std::uint16_t now = header_.checksum(old);
        store(field, static_cast<std::uint16_t>(udp && now == 0 ? 0xffff : now));
    }

    packet& p_;
    const header_layout& at_;
    const key& value_;
    const key& mask_;
    sum_change pseudo_; // what changed of the pseudo-header
    sum_change header_; // and of the header that has the checksum
};

// Moves a layout when the frame's first byte has moved.
void move_layout(header_layout& at, int bytes) noexcept
{
    for (std::uint16_t* const offset : {&at.network, &at.transport, &at.checksum, &at.nd_target,
                                        &at.nd_source_link, &at.nd_target_link}) {
        if (*offset != 0) {
            *offset = static_cast<std::uint16_t>(*offset + bytes);
        }
    }
}

// The length that a key has of a frame grows or shrinks by a tag's. Frames too long for it do not
// get so much shorter that it mattered.
void add_length(key& k, int bytes) noexcept
{
    const auto old = static_cast<int>(k.number(field::packet_length));
    if (old < 0xffff) {
        k.set(field::packet_length, static_cast<std::uint64_t>(std::min(old + bytes, 0xffff)));
    }
}

} // namespace

bool set_headers(packet& p, const header_layout& at, const key& value, const key& mask) noexcept
{
    writer w{p, at, value, mask};
    if (!w.is_possible()) [[unlikely]] {
        return false;
    }
    w.write();
    return true;
}

bool insert_tag(packet& p, header_layout& at, std::uint16_t type,
                std::uint16_t control_information) noexcept
{
    if (at.tags >= most_tags) {
        return false;
    }
    push_tag(p, static_cast<std::uint16_t>(control_information & ~vlan_present), type);
    ++at.tags;
    at.outer_qinq = type == ethertype_qinq;
    move_layout(at, tag_length);
    return true;
}

bool remove_tag(packet& p, header_layout& at) noexcept
{
    if (at.tags == 0) {
        return false;
    }
    pop_tag(p);
    --at.tags;
    const std::uint16_t type = load<be16>(p.data + 12);
    p.tagged = type == ethertype_vlan ? 1 : 0;
    if (p.tags == 0 && (type == ethertype_vlan || type == ethertype_qinq)) {
        p.tags = 1; // a third one, which nobody had counted
    }
    at.outer_qinq = at.tags > 0 && type == ethertype_qinq;
    move_layout(at, -static_cast<int>(tag_length));
    return true;
}

void insert_tag(key& k, std::uint16_t control_information) noexcept
{
    k.set(field::inner_vlan_tci, k.get(field::vlan_tci));
    k.set(field::vlan_tci, static_cast<std::uint64_t>(control_information | vlan_present));
    add_length(k, tag_length);
}

void remove_tag(key& k) noexcept
{
    k.set(field::vlan_tci, k.get(field::inner_vlan_tci));
    k.set(field::inner_vlan_tci, 0);
    add_length(k, -static_cast<int>(tag_length));
}

bool decrement_ttl(packet& p, const header_layout& at) noexcept
{
    std::byte* const network = p.data + at.network;
    switch (at.network_is) {
    case network_header::none:
        return at.complete && at.looked_at != depth::link;
    case network_header::arp:
        return true;
    case network_header::ipv6_cut:
        return false;
    case network_header::ipv4: {
        if (load<std::uint8_t>(network + 8) <= 1) {
            return false;
        }
        const auto old = load<be16>(network + 8); // with the protocol
        const be16 now{static_cast<std::uint16_t>(old - 0x100)};
        store(network + 8, now);
        sum_change header;
        header.replace(std::bit_cast<std::uint16_t>(old), std::bit_cast<std::uint16_t>(now));
        store(network + ipv4_checksum,
              header.checksum(load<std::uint16_t>(network + ipv4_checksum)));
        return true;
    }
    case network_header::ipv6: {
        const auto ttl = load<std::uint8_t>(network + 7);
        if (ttl <= 1) {
            return false;
        }
        store(network + 7, static_cast<std::uint8_t>(ttl - 1));
        return true;
    }
    }
    return true;
}

} // namespace strait::flow
