// SPDX-License-Identifier: BSD-3-Clause
#include "control/connection_json.hh"

#include <array>
#include <cstdio>
#include <string_view>

#include <arpa/inet.h>

namespace strait::control {

namespace json = boost::json;
using conntrack::connection_record;

namespace {

std::string address_text(const flow::wide& address, bool ipv6)
{
    std::array<std::uint8_t, 16> bytes{};
    const std::size_t size = ipv6 ? 16 : 4;
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] =
            static_cast<std::uint8_t>((address >> (8U * static_cast<unsigned>(size - 1 - i))).low);
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(ipv6 ? AF_INET6 : AF_INET, bytes.data(), text.data(), text.size());
    return text.data();
}

json::object to_json(const conntrack::tuple& t)
{
    json::object out{{"source", address_text(t.source, t.ipv6)},
                     {"destination", address_text(t.destination, t.ipv6)}};
    if (conntrack::is_icmp(t.protocol)) {
        out["identifier"] = t.source_port;
        out["type"] = t.destination_port >> 8;
        out["code"] = t.destination_port & 0xff;
    } else if (t.source_port != 0 || t.destination_port != 0) {
        out["source_port"] = t.source_port;
        out["destination_port"] = t.destination_port;
    }
    return out;
}

json::value state_of(const connection_record& c)
{
    static constexpr std::array<std::string_view, conntrack::tcp::state_count> names{
        "none",     "syn_sent",   "syn_sent_by_both", "syn_received", "established",
        "fin_wait", "close_wait", "last_ack",         "time_wait",    "closed"};
    return c.tcp == conntrack::tcp::state::none
               ? json::value{}
               : json::value(names[static_cast<std::size_t>(c.tcp)]);
}

std::string label_text(const flow::wide& label)
{
    std::array<char, 40> text{};
    if (label.high != 0) {
        (void)std::snprintf(text.data(), text.size(), "0x%llx%016llx",
                            static_cast<unsigned long long>(label.high),
                            static_cast<unsigned long long>(label.low));
    } else {
        (void)std::snprintf(text.data(), text.size(), "0x%llx",
                            static_cast<unsigned long long>(label.low));
    }
    return text.data();
}

} // namespace

zone_owners owners_of_zones(const virtual_switch& sw)
{
    zone_owners out;
    for (const auto& [name, port] : sw.ports()) {
        out[static_cast<std::uint16_t>(to_index(port.config->index))] = name;
    }
    return out;
}

json::object to_json(const connection_record& c, const zone_owners& owners)
{
    const std::uint16_t number = conntrack::number_of(c.original.zone);
    const bool of_port = conntrack::is_of_port(c.original.zone);
    const auto owner = owners.find(number);
    const auto has = [&c](std::uint8_t bits) { return (c.notes & bits) != 0; };
    return {{"zone", of_port ? json::value{} : json::value(number)},
            {"port", of_port && owner != owners.end() ? json::value(owner->second) : json::value{}},
            {"protocol", c.original.protocol},
            {"original", to_json(c.original)},
            {"reply", to_json(c.reply)},
            {"state", state_of(c)},
            {"mark", c.mark},
            {"label", label_text(c.label)},
            {"seconds_left", c.seconds_left},
            {"replied", has(conntrack::note::seen_reply)},
            {"assured", has(conntrack::note::assured)},
            {"related", has(conntrack::note::related)}};
}

} // namespace strait::control
