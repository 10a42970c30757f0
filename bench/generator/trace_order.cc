// SPDX-License-Identifier: BSD-3-Clause
#include "bench/generator/trace_order.hh"

#include "control/capture_file.hh"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

namespace strait::bench {

namespace {

using bytes = std::span<const std::byte>;

std::uint32_t number_at(bytes from, std::size_t at) noexcept
{
    return from.size() < at + 2 ? 0
                                : std::to_integer<std::uint32_t>(from[at]) << 8 |
                                      std::to_integer<std::uint32_t>(from[at + 1]);
}

// What tells a packet's flow from others, as bytes.
class tuple {
public:
    explicit tuple(bytes frame)
    {
        constexpr std::size_t macs = 12;
        std::size_t at = macs;
        while (is_tag(number_at(frame, at))) {
            at += 4;
        }
        const std::uint32_t type = number_at(frame, at);
        const bytes packet = frame.subspan(std::min(at + 2, frame.size()));
        if (type == 0x0800 && packet.size() >= 20) {
            take_ipv4(packet);
        } else if (type == 0x86dd && packet.size() >= 40) {
            take_ipv6(packet);
        } else {
            add(frame.first(std::min(macs, frame.size())));
            add(frame.first(std::min(at + 2, frame.size())).subspan(std::min(at, frame.size())));
        }
    }
    [[nodiscard]] std::string&& take() && noexcept { return std::move(key_); }

private:
    static bool is_tag(std::uint32_t type) noexcept
    {
        return type == 0x8100 || type == 0x88a8 || type == 0x9100;
    }
    void add(bytes part)
    {
        std::ranges::transform(part, std::back_inserter(key_),
                               [](std::byte b) { return static_cast<char>(b); });
    }
    void take_ipv4(bytes packet)
    {
        constexpr std::uint32_t offset_of_fragment = 0x1fff;
        add(packet.subspan(12, 8));
        add(packet.subspan(9, 1));
        const std::size_t header = std::to_integer<std::size_t>(packet[0] & std::byte{0xf}) * 4;
        if ((number_at(packet, 6) & offset_of_fragment) == 0) {
            add_ports(std::to_integer<unsigned>(packet[9]),
                      packet.subspan(std::min(header, packet.size())));
        }
    }
    // Extension headers count as a protocol of their own.
    void take_ipv6(bytes packet)
    {
        add(packet.subspan(8, 32));
        add(packet.subspan(6, 1));
        add_ports(std::to_integer<unsigned>(packet[6]), packet.subspan(40));
    }
    void add_ports(unsigned protocol, bytes segment)
    {
        constexpr unsigned tcp = 6;
        constexpr unsigned udp = 17;
        constexpr unsigned sctp = 132;
        if (protocol == tcp || protocol == udp || protocol == sctp) {
            add(segment.first(std::min<std::size_t>(4, segment.size())));
        }
    }

    std::string key_;
};

} // namespace

trace_order read_trace(const std::string& path, std::uint32_t most)
{
    auto file = control::capture_file::open(path);
    if (file.has_error()) {
        throw std::runtime_error{file.error().message};
    }
    trace_order out;
    std::unordered_map<std::string, std::uint32_t> known;
    for (;;) {
        auto frame = file->next();
        if (frame.has_error()) {
            throw std::runtime_error{frame.error().message};
        }
        if (!*frame) {
            break;
        }
        const auto [flow, is_new] = known.try_emplace(tuple{(*frame)->bytes}.take(), out.flows);
        if (is_new && ++out.flows > most) {
            throw std::runtime_error{path + " has more than the " + std::to_string(most) +
                                     " flows that a side can have"};
        }
        out.flow_of.push_back(flow->second);
    }
    if (out.flow_of.empty()) {
        throw std::runtime_error{path + " has no packet"};
    }
    return out;
}

} // namespace strait::bench
