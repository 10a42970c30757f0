// SPDX-License-Identifier: BSD-3-Clause
// Readers that never look behind the bytes that there are, nor twice at the same.
#include "control/dhcp_message.hh"

#include "dataplane/flow/extract.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <algorithm>

namespace strait::control {

using dataplane::be16;
using dataplane::be32;
using dataplane::load;
using dataplane::mac_address;
using endpoint::ip_address;

namespace {

using bytes = std::span<const std::byte>;

// Of BOOTP's header (RFC 951), what is in front of the options.
namespace bootp {
constexpr std::size_t sname = 44;
constexpr std::size_t file = 108;
constexpr std::size_t cookie = 236;
constexpr std::size_t options = 240;
constexpr std::uint32_t magic = 0x6382'5363;
} // namespace bootp

constexpr std::uint8_t pad = 0;
constexpr std::uint8_t requested_address = 50;
constexpr std::uint8_t lease_time = 51;
constexpr std::uint8_t overload = 52;
constexpr std::uint8_t message_type = 53;
constexpr std::uint8_t end_of_options = 255;

ip_address address_or_none(const std::byte* at)
{
    const ip_address a = ip_address::load_v4(at);
    return a.v4() == 0 ? ip_address{} : a;
}

// What options say; each once, of just its length.
struct dhcp4_options {
    std::optional<std::uint8_t> type;
    std::optional<std::uint8_t> overloads;
    std::optional<ip_address> requested;
    std::optional<std::uint32_t> lease;

    // False: malformed.
    bool read(bytes from)
    {
        while (!from.empty()) {
            const auto code = load<std::uint8_t>(from.data());
            if (code == end_of_options) {
                return true;
            }
            if (code == pad) {
                from = from.subspan(1);
                continue;
            }
            if (from.size() < 2) {
                return false;
            }
            const std::size_t size = load<std::uint8_t>(from.data() + 1);
            if (from.size() < 2 + size || !take(code, from.subspan(2, size))) {
                return false;
            }
            from = from.subspan(2 + size);
        }
        return true;
    }

private:
    template <typename T, typename Load>
    static bool put(std::optional<T>& to, bytes value, std::size_t size, const Load& load_value)
    {
        if (to || value.size() != size) {
            return false;
        }
        to = load_value(value.data());
        return true;
    }
    bool take(std::uint8_t code, bytes value)
    {
        const auto byte = [](const std::byte* at) { return load<std::uint8_t>(at); };
        switch (code) {
        case message_type:
            return put(type, value, 1, byte);
        case overload:
            return put(overloads, value, 1, byte);
        case requested_address:
            return put(requested, value, 4, address_or_none);
        case lease_time:
            return put(lease, value, 4,
                       [](const std::byte* at) -> std::uint32_t { return load<be32>(at); });
        default:
            return true;
        }
    }
};

constexpr std::uint16_t ia_na = 3;
constexpr std::uint16_t ia_ta = 4;
constexpr std::uint16_t ia_address = 5;
constexpr std::uint16_t status_code = 13;

// Calls `visit` for each option of DHCPv6; false: malformed, or `visit` says so.
template <typename Visit>
bool for_each_option(bytes from, const Visit& visit)
{
    constexpr std::size_t front = 4;
    while (!from.empty()) {
        if (from.size() < front) {
            return false;
        }
        const std::uint16_t code = load<be16>(from.data());
        const std::size_t size = load<be16>(from.data() + 2);
        if (from.size() < front + size || !visit(code, from.subspan(front, size))) {
            return false;
        }
        from = from.subspan(front + size);
    }
    return true;
}

// Whether a status says that it went well.
bool is_success(bytes status)
{
    return status.size() >= 2 && load<be16>(status.data()) == 0;
}

bool read_address(bytes value, std::vector<dhcp6_message::address>& out)
{
    constexpr std::size_t fixed = 24;
    if (value.size() < fixed) {
        return false;
    }
    bool succeeded = true;
    const bool right = for_each_option(value.subspan(fixed), [&](std::uint16_t code, bytes v) {
        succeeded = succeeded && (code != status_code || is_success(v));
        return true;
    });
    if (right && succeeded && out.size() < dhcp6_message::most_addresses) {
        out.push_back({ip_address::load_v6(value.data()), load<be32>(value.data() + 20)});
    }
    return right;
}

bool read_association(bytes value, std::size_t fixed, std::vector<dhcp6_message::address>& out)
{
    if (value.size() < fixed) {
        return false;
    }
    bool succeeded = true;
    std::vector<dhcp6_message::address> found;
    const bool right = for_each_option(value.subspan(fixed), [&](std::uint16_t code, bytes v) {
        if (code == status_code) {
            succeeded = succeeded && is_success(v);
        }
        return code != ia_address || read_address(v, found);
    });
    if (succeeded) {
        const std::size_t room = dhcp6_message::most_addresses - out.size();
        found.resize(std::min(found.size(), room));
        out.insert(out.end(), found.begin(), found.end());
    }
    return right;
}

} // namespace

std::optional<dhcp4_message> read_dhcp4(bytes content)
{
    constexpr std::uint16_t ethernet = 0x0106; // hardware, and the length of its addresses
    constexpr std::uint8_t request = 1;
    constexpr std::uint8_t reply = 2;
    const std::byte* const at = content.data();
    if (content.size() < bootp::options || load<be32>(at + bootp::cookie) != bootp::magic ||
        load<be16>(at + 1) != ethernet) {
        return std::nullopt;
    }
    dhcp4_options options;
    if (!options.read(content.subspan(bootp::options))) {
        return std::nullopt;
    }
    const std::uint8_t overloads = options.overloads.value_or(0);
    if ((overloads & 1) != 0 &&
        !options.read(content.subspan(bootp::file, bootp::cookie - bootp::file))) {
        return std::nullopt;
    }
    if ((overloads & 2) != 0 &&
        !options.read(content.subspan(bootp::sname, bootp::file - bootp::sname))) {
        return std::nullopt;
    }
    dhcp4_message m;
    using kind = dhcp4_message::kind;
    if (!options.type || *options.type < static_cast<std::uint8_t>(kind::discover) ||
        *options.type > static_cast<std::uint8_t>(kind::inform)) {
        return std::nullopt;
    }
    m.type = static_cast<kind>(*options.type);
    const bool answers =
        m.type == kind::offer || m.type == kind::acknowledge || m.type == kind::refuse;
    if (load<std::uint8_t>(at) != (answers ? reply : request)) {
        return std::nullopt;
    }
    m.transaction = load<be32>(at + 4);
    m.current = address_or_none(at + 12);
    m.yours = address_or_none(at + 16);
    m.client = mac_address{load<std::uint64_t>(at + 28)};
    m.requested = options.requested;
    m.lease = options.lease;
    return m;
}

std::optional<dhcp6_message> read_dhcp6(bytes content)
{
    constexpr std::size_t front = 4;
    constexpr std::size_t before_options = 12; // of IA_NA: identity and two times
    using kind = dhcp6_message::kind;
    if (content.size() < front) {
        return std::nullopt;
    }
    const std::uint32_t first = load<be32>(content.data());
    const std::uint32_t type = first >> 24;
    constexpr std::uint32_t transaction_bits = 0xff'ffff;
    if (type < static_cast<std::uint32_t>(kind::solicit) ||
        type > static_cast<std::uint32_t>(kind::inform)) {
        return std::nullopt;
    }
    dhcp6_message m;
    m.type = static_cast<kind>(type);
    m.transaction = first & transaction_bits;
    const bool right = for_each_option(content.subspan(front), [&](std::uint16_t code, bytes v) {
        if (code == ia_na) {
            return read_association(v, before_options, m.addresses);
        }
        return code != ia_ta || read_association(v, 4, m.addresses);
    });
    return right ? std::optional{std::move(m)} : std::nullopt;
}

std::optional<dhcp_frame> read_dhcp_frame(bytes frame)
{
    if (frame.size() < dataplane::ethernet_header) {
        return std::nullopt;
    }
    dataplane::packet p{};
    p.data = const_cast<std::byte*>(frame.data()); // is only read
    p.length = static_cast<std::uint32_t>(frame.size());
    p.head_length = static_cast<std::uint16_t>(std::min<std::size_t>(frame.size(), 0xffff));
    flow::key k;
    flow::header_layout at;
    if (!flow::extract(p, k, at) || at.fragment || at.transport_is != flow::transport_header::udp) {
        return std::nullopt;
    }
    const std::byte* const ip = frame.data() + at.network;
    const std::size_t size = load<be16>(frame.data() + at.transport + 4); // with its header
    if (size < dataplane::udp_header || at.transport + size > frame.size()) {
        return std::nullopt;
    }
    const bytes content =
        frame.subspan(at.transport + dataplane::udp_header, size - dataplane::udp_header);
    dhcp_frame out;
    out.source = dataplane::parse_ethernet(frame.data()).source;
    if (at.network_is == flow::network_header::ipv4) {
        auto message = read_dhcp4(content);
        if (!message) {
            return std::nullopt;
        }
        out.from = ip_address::load_v4(ip + 12);
        out.to = ip_address::load_v4(ip + 16);
        out.message = *message;
        return out;
    }
    auto message = read_dhcp6(content);
    if (!message) {
        return std::nullopt;
    }
    out.from = ip_address::load_v6(ip + 8);
    out.to = ip_address::load_v6(ip + 24);
    out.message = std::move(*message);
    return out;
}

} // namespace strait::control
