// SPDX-License-Identifier: BSD-3-Clause
// Making frames.
#include "control/flow_frame.hh"

#include "control/flow_fields.hh"

#include <algorithm>
#include <span>

namespace strait::control {

using flow::field;
using flow::wide;

namespace {

namespace size {
constexpr std::size_t ethernet = 14;
constexpr std::size_t tag = 4;
constexpr std::size_t llc = 3;
constexpr std::size_t arp = 28;
constexpr std::size_t ipv4 = 20;
constexpr std::size_t ipv6 = 40;
constexpr std::size_t ipv6_fragment = 8;
constexpr std::size_t tcp = 20;
constexpr std::size_t udp = 8;
constexpr std::size_t sctp = 12;
constexpr std::size_t icmp = 8;
constexpr std::size_t neighbour = 24; // ICMPv6's header and the target
constexpr std::size_t option = 8;     // a link-layer address
} // namespace size

constexpr std::uint64_t fragment_header = 44; // its protocol number

bool is_fragment(const flow::key& k)
{
    return k.number(field::nw_frag) != 0;
}

bool is_later_fragment(const flow::key& k)
{
    return (k.number(field::nw_frag) & flow::frag_later) != 0;
}

// The field of a neighbour's link-layer address, if there is one.
std::optional<field> neighbour_address(const flow::key& k)
{
    const field f =
        holds(prerequisite::neighbour_solicitation, k) ? field::arp_sha : field::arp_tha;
    return k.get(f).is_zero() ? std::nullopt : std::optional{f};
}

std::size_t tag_bytes(const flow::key& k)
{
    return size::tag * ((k.number(field::vlan_tci) != 0 ? 1U : 0U) +
                        (k.number(field::inner_vlan_tci) != 0 ? 1U : 0U));
}

std::size_t transport_bytes(const flow::key& k)
{
    if (holds(prerequisite::tcp, k)) {
        return size::tcp;
    }
    if (holds(prerequisite::udp, k)) {
        return size::udp;
    }
    if (holds(prerequisite::sctp, k)) {
        return size::sctp;
    }
    if (holds(prerequisite::neighbour, k)) {
        return size::neighbour + (neighbour_address(k) ? size::option : 0);
    }
    return holds(prerequisite::icmp, k) ? size::icmp : 0;
}

std::size_t network_bytes(const flow::key& k)
{
    if (holds(prerequisite::arp, k)) {
        return size::arp;
    }
    if (holds(prerequisite::ipv4, k)) {
        return size::ipv4;
    }
    if (holds(prerequisite::ipv6, k)) {
        return size::ipv6 + (is_fragment(k) ? size::ipv6_fragment : 0);
    }
    return k.number(field::eth_type) == flow::no_ethertype ? size::llc : 0;
}

// Ones' complement sums, RFC 1071, of bytes whose first is at an even place.
class checksum {
public:
    void add(std::span<const std::byte> bytes)
    {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            const auto byte = std::to_integer<std::uint32_t>(bytes[i]);
            sum_ += i % 2 == 0 ? byte << 8 : byte;
            sum_ = (sum_ & 0xffff) + (sum_ >> 16);
        }
    }
    void add(std::uint32_t number)
    {
        sum_ += (number >> 16) + (number & 0xffff);
        sum_ = (sum_ & 0xffff) + (sum_ >> 16);
    }
    [[nodiscard]] std::uint16_t complement() const
    {
        const std::uint32_t folded = (sum_ & 0xffff) + (sum_ >> 16);
        return static_cast<std::uint16_t>(~folded);
    }

private:
    std::uint32_t sum_{0};
};

// CRC32c, RFC 9260 appendix A; little endian in the frame.
std::uint32_t crc32c(std::span<const std::byte> bytes)
{
    constexpr std::uint32_t polynomial = 0x82f6'3b78;
    std::uint32_t crc = ~std::uint32_t{0};
    for (const std::byte b : bytes) {
        crc ^= std::to_integer<std::uint32_t>(b);
        for (int bit = 0; bit < 8; ++bit) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? polynomial : 0);
        }
    }
    return ~crc;
}

class frame_maker {
public:
    explicit frame_maker(const flow::key& k)
        : key_{k}, length_{std::max<std::size_t>(k.number(field::packet_length), header_bytes(k))}
    {
        frame_.reserve(length_);
    }

    std::vector<std::byte> make() &&
    {
        put_ethernet();
        const std::size_t network = frame_.size();
        if (holds(prerequisite::arp, key_)) {
            put_arp();
        } else if (holds(prerequisite::ipv4, key_)) {
            put_ipv4();
        } else if (holds(prerequisite::ipv6, key_)) {
            put_ipv6();
        } else if (key_.number(field::eth_type) == flow::no_ethertype) {
            put_llc();
        }
        if (holds(prerequisite::ip, key_)) {
            const std::size_t transport = frame_.size();
            put_transport();
            frame_.resize(length_);
            fill_checksum(network, transport);
        }
        frame_.resize(length_);
        return std::move(frame_);
    }

private:
    // The lowest `bytes` of a number, the highest first.
    void put(wide number, unsigned bytes)
    {
        for (unsigned i = bytes; i-- > 0;) {
            frame_.push_back(static_cast<std::byte>((number >> (8 * i)).low & 0xff));
        }
    }
    void put_field(field f) { put(key_.get(f), (flow::width_of(f) + 7) / 8); }
    void set16(std::size_t at, std::uint16_t number)
    {
        frame_[at] = static_cast<std::byte>(number >> 8);
        frame_[at + 1] = static_cast<std::byte>(number & 0xff);
    }

    void put_ethernet()
    {
        constexpr std::uint64_t customer_tag = 0x8100;
        constexpr std::uint64_t service_tag = 0x88a8;
        put_field(field::eth_dst);
        put_field(field::eth_src);
        const bool is_double = key_.number(field::inner_vlan_tci) != 0;
        if (key_.number(field::vlan_tci) != 0) {
            put(wide{is_double ? service_tag : customer_tag}, 2);
            put_tag(field::vlan_tci);
        }
        if (is_double) {
            put(wide{customer_tag}, 2);
            put_tag(field::inner_vlan_tci);
        }
        if (key_.number(field::eth_type) == flow::no_ethertype) {
            put(wide{length_ - frame_.size() - 2}, 2);
        } else {
            put_field(field::eth_type);
        }
    }

    // Where a key says that there is a tag, a frame has its DEI.
    void put_tag(field f) { put(wide{key_.number(f) & ~std::uint64_t{flow::vlan_present}}, 2); }

    void put_llc()
    {
        constexpr std::uint64_t spanning_tree = 0x42'4203; // both access points, and unnumbered
        put(wide{spanning_tree}, size::llc);
    }

    void put_arp()
    {
        constexpr std::uint64_t ethernet_and_ipv4 = 0x0001'0800'0604;
        put(wide{ethernet_and_ipv4}, 6);
        put(key_.get(field::nw_proto), 2);
        put_field(field::arp_sha);
        put_field(field::nw_src);
        put_field(field::arp_tha);
        put_field(field::nw_dst);
    }

    void put_ipv4()
    {
        constexpr std::uint64_t version_and_length = 0x45;
        const std::size_t begin = frame_.size();
        put(wide{version_and_length}, 1);
        put_field(field::nw_tos);
        put(wide{length_ - begin}, 2);
        put(wide{}, 2);
        put(wide{fragment_word(0x2000, 0)}, 2);
        put_field(field::nw_ttl);
        put_field(field::nw_proto);
        put(wide{}, 2);
        put_field(field::nw_src);
        put_field(field::nw_dst);
        checksum sum;
        sum.add(std::span{frame_}.subspan(begin));
        set16(begin + 10, sum.complement());
    }

    // A first fragment has `more` set, a later one an offset, in units of 8 bytes.
    [[nodiscard]] std::uint64_t fragment_word(std::uint64_t more, unsigned shift) const
    {
        constexpr std::uint64_t some_offset = 185;
        return is_later_fragment(key_) ? some_offset << shift : is_fragment(key_) ? more : 0;
    }

    void put_ipv6()
    {
        const std::uint64_t version = std::uint64_t{6} << 28;
        const std::size_t begin = frame_.size();
        put(wide{version | key_.number(field::nw_tos) << 20 | key_.number(field::ipv6_label)}, 4);
        put(wide{length_ - begin - size::ipv6}, 2);
        put(is_fragment(key_) ? wide{fragment_header} : key_.get(field::nw_proto), 1);
        put_field(field::nw_ttl);
        put_field(field::ipv6_src);
        put_field(field::ipv6_dst);
        if (is_fragment(key_)) {
            put_field(field::nw_proto);
            put(wide{}, 1);
            put(wide{fragment_word(1, 3)}, 2);
            put(wide{}, 4);
        }
    }

    void put_transport()
    {
        const std::size_t rest = length_ - frame_.size();
        if (holds(prerequisite::tcp, key_)) {
            constexpr std::uint64_t words = 5;
            put_ports();
            put(wide{}, 8);
            put(wide{words << 12 | (key_.number(field::tcp_flags) & 0xfff)}, 2);
            put(wide{}, 6);
        } else if (holds(prerequisite::udp, key_)) {
            put_ports();
            put(wide{rest}, 2);
            put(wide{}, 2);
        } else if (holds(prerequisite::sctp, key_)) {
            put_ports();
            put(wide{}, 8);
        } else if (holds(prerequisite::icmp, key_)) {
            put(key_.get(field::tp_src), 1);
            put(key_.get(field::tp_dst), 1);
            put(wide{}, 6);
            if (holds(prerequisite::neighbour, key_)) {
                put_neighbour();
            }
        }
    }

    void put_ports()
    {
        put_field(field::tp_src);
        put_field(field::tp_dst);
    }

    void put_neighbour()
    {
        put_field(field::nd_target);
        if (const auto address = neighbour_address(key_)) {
            const std::uint64_t kind = *address == field::arp_sha ? 1 : 2;
            put(wide{kind}, 1);
            put(wide{1}, 1); // in units of 8 bytes
            put_field(*address);
        }
    }

    void fill_checksum(std::size_t network, std::size_t transport)
    {
        const auto bytes = std::span{frame_}.subspan(transport);
        if (holds(prerequisite::sctp, key_)) {
            const std::uint32_t crc = __builtin_bswap32(crc32c(bytes));
            set16(transport + 8, static_cast<std::uint16_t>(crc >> 16));
            set16(transport + 10, static_cast<std::uint16_t>(crc));
            return;
        }
        checksum sum;
        const bool has_pseudo_header = !holds(prerequisite::icmp4, key_);
        if (has_pseudo_header) {
            const bool is_ipv4 = holds(prerequisite::ipv4, key_);
            sum.add(std::span{frame_}.subspan(network + (is_ipv4 ? 12 : 8), is_ipv4 ? 8 : 32));
            sum.add(static_cast<std::uint32_t>(bytes.size()));
            sum.add(static_cast<std::uint32_t>(key_.number(field::nw_proto)));
        }
        sum.add(bytes);
        if (holds(prerequisite::tcp, key_)) {
            set16(transport + 16, sum.complement());
        } else if (holds(prerequisite::udp, key_)) {
            const std::uint16_t value = sum.complement();
            set16(transport + 6, value == 0 ? 0xffff : value);
        } else if (holds(prerequisite::icmp, key_)) {
            set16(transport + 2, sum.complement());
        }
    }

    const flow::key& key_;
    const std::size_t length_;
    std::vector<std::byte> frame_;
};

} // namespace

std::size_t header_bytes(const flow::key& k)
{
    return size::ethernet + tag_bytes(k) + network_bytes(k) +
           (holds(prerequisite::ip, k) ? transport_bytes(k) : 0);
}

std::size_t longest_frame(const flow::key& k)
{
    constexpr std::size_t longest_length_field = 1500;
    return k.number(field::eth_type) == flow::no_ethertype
               ? size::ethernet + tag_bytes(k) + longest_length_field
               : longest_packet_length;
}

std::vector<std::byte> frame_of(const flow::key& k)
{
    return frame_maker{k}.make();
}

} // namespace strait::control
