// SPDX-License-Identifier: BSD-3-Clause
#include "control/stp/bpdu.hh"

#include "dataplane/bpdu.hh"

#include <algorithm>
#include <bit>
#include <limits>

namespace strait::stp {

namespace {

using dataplane::be16;
using dataplane::be32;
using dataplane::big_endian;
using be64 = big_endian<std::uint64_t>;

constexpr std::size_t ethernet_header = 14;
constexpr std::size_t llc_header = 3;
constexpr std::size_t start = ethernet_header + llc_header;
// In bytes behind LLC.
constexpr std::size_t notification_length = 4;
constexpr std::size_t configuration_length = 35;
constexpr std::size_t rapid_length = 36;

constexpr std::uint8_t type_configuration = 0;
constexpr std::uint8_t type_rapid = 2;
constexpr std::uint8_t type_notification = 0x80;
constexpr std::uint8_t rapid_version = 2;

// Bits of the flags (9.3.1, 9.3.3).
constexpr unsigned flag_topology_change = 0x01;
constexpr unsigned flag_proposal = 0x02;
constexpr unsigned role_shift = 2;
constexpr unsigned flag_learning = 0x10;
constexpr unsigned flag_forwarding = 0x20;
constexpr unsigned flag_agreement = 0x40;
constexpr unsigned flag_acknowledgment = 0x80;

template <typename T>
[[nodiscard]] T get(std::span<const std::byte> b, std::size_t at) noexcept
{
    T out;
    std::memcpy(&out, b.data() + at, sizeof out);
    return out;
}

template <typename T>
void put(frame& f, std::size_t at, T value) noexcept
{
    std::memcpy(f.data() + at, &value, sizeof value);
}

[[nodiscard]] std::uint16_t seconds(std::uint16_t of_256) noexcept
{
    return static_cast<std::uint16_t>((of_256 + 128U) / 256U);
}

[[nodiscard]] be16 of_256(std::uint16_t seconds_in) noexcept
{
    constexpr unsigned most = std::numeric_limits<std::uint16_t>::max();
    return static_cast<std::uint16_t>(std::min(seconds_in * 256U, most));
}

[[nodiscard]] role role_of(unsigned flags) noexcept
{
    constexpr std::array<role, 4> all{role::disabled, role::alternate, role::root,
                                      role::designated};
    return all[flags >> role_shift & 3U];
}

[[nodiscard]] unsigned bits_of(role r) noexcept
{
    switch (r) {
    case role::alternate:
    case role::backup:
        return 1U << role_shift;
    case role::root:
        return 2U << role_shift;
    case role::designated:
        return 3U << role_shift;
    case role::disabled:
        break;
    }
    return 0;
}

[[nodiscard]] unsigned bit(bool is, unsigned flag) noexcept
{
    return is ? flag : 0;
}

} // namespace

std::optional<bpdu> read(std::span<const std::byte> f, std::size_t cut_off) noexcept
{
    if (!dataplane::may_be_bpdu(f)) {
        return std::nullopt;
    }
    // Behind it there may be padding.
    const std::size_t length = get<be16>(f, ethernet_header - 2);
    const std::size_t there = f.size() - ethernet_header;
    const std::size_t readable = std::min(length, there);
    if (readable < llc_header + notification_length || length > there + cut_off) {
        return std::nullopt;
    }
    const auto b = f.subspan(start, readable - llc_header);
    const auto version = get<std::uint8_t>(b, 2);
    const auto type = get<std::uint8_t>(b, 3);
    if (get<be16>(b, 0) != 0) {
        return std::nullopt;
    }
    bpdu out;
    if (type == type_notification) {
        out.is = bpdu::kind::topology_change;
        return out;
    }
    const bool rapid = type == type_rapid && version >= rapid_version;
    if (!rapid && type != type_configuration) {
        return std::nullopt;
    }
    if (b.size() < (rapid ? rapid_length : configuration_length)) {
        return std::nullopt;
    }
    const unsigned flags = get<std::uint8_t>(b, 4);
    out.is = rapid ? bpdu::kind::rapid : bpdu::kind::configuration;
    out.topology_changes = (flags & flag_topology_change) != 0;
    if (rapid) {
        out.proposes = (flags & flag_proposal) != 0;
        out.agrees = (flags & flag_agreement) != 0;
        out.learns = (flags & flag_learning) != 0;
        out.forwards = (flags & flag_forwarding) != 0;
        out.sent_by = role_of(flags);
    } else {
        out.acknowledges = (flags & flag_acknowledgment) != 0;
    }
    out.priority = {bridge_id{get<be64>(b, 5)}, get<be32>(b, 13), bridge_id{get<be64>(b, 17)},
                    get<be16>(b, 25)};
    const std::uint16_t age = get<be16>(b, 27);
    const std::uint16_t max_age = get<be16>(b, 29);
    if (!rapid && age >= max_age) {
        return std::nullopt; // 9.3.4 a
    }
    // No shorter than a tick: of nothing no timer can run.
    const auto at_least_one = [](std::uint16_t s) { return std::max<std::uint16_t>(s, 1); };
    out.timers = {.message_age = seconds(age),
                  .max_age = seconds(max_age),
                  .hello = at_least_one(seconds(get<be16>(b, 31))),
                  .forward_delay = at_least_one(seconds(get<be16>(b, 33)))};
    return out;
}

frame write(const bpdu& b, dataplane::mac_address source) noexcept
{
    frame f{};
    const auto destination = dataplane::bridge_group_address.bytes();
    const auto from = source.bytes();
    std::memcpy(f.data(), destination.data(), destination.size());
    std::memcpy(f.data() + destination.size(), from.data(), from.size());
    const std::size_t length = b.is == bpdu::kind::topology_change ? notification_length
                               : b.is == bpdu::kind::configuration ? configuration_length
                                                                   : rapid_length;
    put(f, ethernet_header - 2, be16{static_cast<std::uint16_t>(llc_header + length)});
    put(f, ethernet_header, be16{0x4242});
    put(f, ethernet_header + 2, std::uint8_t{0x03});
    const bool rapid = b.is == bpdu::kind::rapid;
    if (b.is == bpdu::kind::topology_change) {
        put(f, start + 3, type_notification);
        return f;
    }
    put(f, start + 2, rapid ? rapid_version : std::uint8_t{0});
    put(f, start + 3, rapid ? type_rapid : type_configuration);
    unsigned flags = bit(b.topology_changes, flag_topology_change);
    if (rapid) {
        flags |= bit(b.proposes, flag_proposal) | bit(b.agrees, flag_agreement) |
                 bit(b.learns, flag_learning) | bit(b.forwards, flag_forwarding) |
                 bits_of(b.sent_by);
    } else {
        flags |= bit(b.acknowledges, flag_acknowledgment);
    }
    put(f, start + 4, static_cast<std::uint8_t>(flags));
    put(f, start + 5, be64{b.priority.root.value()});
    put(f, start + 13, be32{b.priority.cost});
    put(f, start + 17, be64{b.priority.bridge.value()});
    put(f, start + 25, be16{b.priority.port});
    put(f, start + 27, of_256(b.timers.message_age));
    put(f, start + 29, of_256(b.timers.max_age));
    put(f, start + 31, of_256(b.timers.hello));
    put(f, start + 33, of_256(b.timers.forward_delay));
    return f;
}

} // namespace strait::stp
