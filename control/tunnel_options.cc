// SPDX-License-Identifier: BSD-3-Clause
// From a tunnel port's options to its settings.
#include "control/tunnel_options.hh"

#include "control/flow_values.hh"
#include "control/ip_text.hh"
#include "control/parameters.hh"

#include <array>
#include <utility>

namespace strait::control {

using ports::error;
using ports::result;
using tunnel::kind;
using tunnel::settings;

namespace {

constexpr std::array<std::pair<std::string_view, kind>, 4> kinds{{
    {"vxlan", kind::vxlan},
    {"geneve", kind::geneve},
    {"gre", kind::gre},
    {"nvgre", kind::nvgre},
}};

std::optional<kind> kind_of(std::string_view type) noexcept
{
    for (const auto& [name, what] : kinds) {
        if (name == type) {
            return what;
        }
    }
    return std::nullopt;
}

result<void> set_addresses(settings& s, const port_request& r)
{
    const auto read = [&r](std::string_view name, endpoint::ip_address& to,
                           bool& by_flow) -> result<void> {
        const auto text = text_of(r.options, name);
        by_flow = text == "flow";
        if (!text || by_flow) {
            return {};
        }
        const auto address = parse_address(*text);
        if (!address || !address->is_unicast()) {
            return error{"--" + std::string{name} + " is " + *text +
                         "; it must be an address of a host, like 10.0.0.2 or fd00::2, or flow"};
        }
        to = *address;
        return {};
    };
    bool remote_by_flow = false;
    if (auto done = read("remote", s.remote, remote_by_flow); done.has_error()) {
        return done;
    }
    if (auto done = read("local", s.local, s.local_by_flow); done.has_error()) {
        return done;
    }
    if (s.local.is_set() && s.remote.is_set() && s.local.is_v4() != s.remote.is_v4()) {
        return error{"--local " + to_text(s.local) + " and --remote " + to_text(s.remote) +
                     " are not of one IP version"};
    }
    return {};
}

result<void> set_key(settings& s, const port_request& r)
{
    const auto text = text_of(r.options, "key");
    if (!text) {
        return {};
    }
    s.has_key = true;
    s.key_by_flow = *text == "flow";
    if (s.key_by_flow) {
        return {};
    }
    const auto value = parse_integer(*text);
    const unsigned bits = key_bits(s.what);
    if (!value || exceeds(*value, bits)) {
        return error{"--key is " + *text + "; for " + r.type + " it must be a number of " +
                     std::to_string(bits) + " bits, or flow"};
    }
    s.key = value->low;
    return {};
}

// A number, or inherit.
result<void> set_byte(const port_request& r, std::string_view name, std::uint8_t& to,
                      bool& inherits)
{
    const auto text = text_of(r.options, name);
    if (!text) {
        return {};
    }
    inherits = *text == "inherit";
    if (inherits) {
        return {};
    }
    const auto value = parse_integer(*text);
    constexpr unsigned bits = 8;
    if (!value || exceeds(*value, bits) || (name == "ttl" && value->is_zero())) {
        return error{"--" + std::string{name} + " is " + *text + "; it must be a number from " +
                     (name == "ttl" ? "1" : "0") + " to 255, or inherit"};
    }
    to = static_cast<std::uint8_t>(value->low);
    return {};
}

} // namespace

bool is_tunnel(std::string_view type) noexcept
{
    return kind_of(type).has_value();
}

result<settings> tunnel_settings(const port_request& r)
{
    settings s;
    s.what = *kind_of(r.type);
    if (over_udp(s.what)) {
        const auto usual = s.what == kind::vxlan ? tunnel::vxlan_port : tunnel::geneve_port;
        s.destination_port = number_as<std::uint16_t>(r.options, "dst_port").value_or(usual);
    }
    if (auto done = set_addresses(s, r); done.has_error()) {
        return done.error();
    }
    if (auto done = set_key(s, r); done.has_error()) {
        return done.error();
    }
    if (auto done = set_byte(r, "ttl", s.hop_limit, s.inherits_hop_limit); done.has_error()) {
        return done.error();
    }
    if (auto done = set_byte(r, "tos", s.traffic_class, s.inherits_traffic_class);
        done.has_error()) {
        return done.error();
    }
    constexpr std::uint8_t dscp = 0xfc;
    s.traffic_class &= dscp;
    s.dont_fragment = text_of(r.options, "df").value_or("on") == "on";
    if (r.options.contains("csum")) {
        s.checksum = is_set(r.options, "csum");
    }
    s.sequence = is_set(r.options, "seq");
    s.policy = is_set(r.options, "gbp");
    return s;
}

std::vector<std::string> claims_of_tunnel(const port_request& r)
{
    const auto s = tunnel_settings(r);
    if (s.has_error()) {
        return {}; // and none is made
    }
    const auto address = [](const endpoint::ip_address& a) {
        return a.is_set() ? to_text(a) : "any";
    };
    return {"the " + r.type + " tunnel from " + address(s->local) + " to " + address(s->remote) +
            " with key " + (s->key_by_flow ? "any" : std::to_string(s->key)) +
            (over_udp(s->what) ? " at UDP port " + std::to_string(s->destination_port) : "")};
}

} // namespace strait::control
