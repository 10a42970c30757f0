// SPDX-License-Identifier: BSD-3-Clause
// Records read from the switch, and those that others wrote in the same form.
#include "control/config_records.hh"

#include "control/acl_text.hh"
#include "control/connection_jobs.hh"
#include "control/endpoints.hh"
#include "control/flow_options.hh"
#include "control/ip_text.hh"
#include "control/method_table.hh"
#include "control/multicast_json.hh"
#include "control/parameters.hh"
#include "control/tree_json.hh"
#include "dataplane/conntrack/store.hh"
#include "dataplane/shaper.hh"

#include <algorithm>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

// What is as if it were not given goes.
object without(object record, const object& defaults)
{
    for (const auto& [name, value] : defaults) {
        const auto* const there = record.if_contains(name);
        if (there != nullptr && *there == value) {
            record.erase(name);
        }
    }
    return record;
}

// One behind the other.
object with(object record, const object& more)
{
    for (const auto& [name, value] : more) {
        record[name] = value;
    }
    return record;
}

const object& bridge_defaults()
{
    static const object all =
        with({{"forward_bpdu", false},
              {"mac_ageing", std::int64_t{bridge_request{}.mac_ageing}},
              {"mac_table_size", std::int64_t{65536}},
              {"flow_limit", std::int64_t{usual_flow_limit_of_bridges}},
              {"dhcp_snooping", false},
              {"neigh_suppress", false},
              {"mcast_snooping", false},
              {"mcast_drop_unregistered", false},
              {"mcast_ageing", std::int64_t{bridge_multicast{}.ageing}},
              {"mcast_table_size", static_cast<std::int64_t>(bridge_multicast{}.table_size)},
              {"loop_guard", name_of(bridge_request{}.loop_guard)},
              {"loop_hold", std::int64_t{bridge_request{}.loop_hold}}},
             settings_object(bridge_tree{}));
    return all;
}

object port_defaults()
{
    object all{{"mode", "server"},
               {"ring_size", 1024},
               {"handle", 0},
               {"bond_mode", "active-backup"},
               {"max_queues", 16},
               {"queues", 1},
               {"mtu", 1500},
               {"admin", "up"},
               {"port_security", false},
               {"dhcp_trust", false},
               {"isolated", false},
               {"shape_rate", 0},
               {"shape_burst", 0},
               {"mac_limit", 0},
               {"mcast_router", "auto"},
               {"mcast_flood", false},
               {"mcast_flood_reports", false},
               {"mcast_fast_leave", false},
               {"mcast_limit", std::int64_t{multicast::port_settings{}.limit}},
               {"tag_type", "802.1q"}};
    for (const std::string direction : {"ingress", "egress"}) {
        for (const std::string what : {"_rate", "_burst", "_packet_rate", "_packet_burst"}) {
            all[direction + what] = 0;
        }
    }
    for (const std::string_view what : storm_limit_names) {
        all[what] = 0;
    }
    return with(std::move(all), settings_object(port_tree{}));
}

object class_record(const std::string& port, std::size_t number, const dataplane::shaper_class& c)
{
    return {{"port", port},
            {"class", static_cast<std::int64_t>(number)},
            {"rate", std::int64_t{c.rate_kbps}},
            {"ceil", std::int64_t{c.ceil_kbps}},
            {"burst", std::int64_t{c.burst_kbit}},
            {"priority", std::int64_t{c.priority}},
            {"limit", std::int64_t{c.limit}},
            {"limit_bytes", std::int64_t{c.limit_bytes}},
            {"max_wait", std::int64_t{c.max_wait_ms}}};
}

void put_rate(object& to, const std::string& direction, const dataplane::port_rate& rate)
{
    to[direction + "_rate"] = std::int64_t{rate.kbps};
    to[direction + "_burst"] = std::int64_t{rate.burst_kbit};
    to[direction + "_packet_rate"] = std::int64_t{rate.packets};
    to[direction + "_packet_burst"] = std::int64_t{rate.burst_packets};
}

// What port.set can say of a port.
void put_settings(object& to, const virtual_switch::port& p)
{
    if (p.vlan.access) {
        to["vlan"] = std::int64_t{*p.vlan.access};
    }
    if (p.vlan.customer) {
        to["qinq"] = std::int64_t{*p.vlan.customer};
    }
    if (p.vlan.service_tags) {
        to["tag_type"] = "802.1ad";
    }
    if (p.vlan.trunk) {
        to["trunk"] = to_ranges(*p.vlan.trunk);
    }
    if (p.vlan.native) {
        to["native"] = std::int64_t{*p.vlan.native};
    }
    to["mtu"] = std::int64_t{p.config->mtu};
    to["admin"] = p.config->admin_up ? "up" : "down";
    put_rate(to, "ingress", p.ingress);
    put_rate(to, "egress", p.egress);
    to["storm_broadcast"] = std::int64_t{p.storm.broadcast};
    to["storm_multicast"] = std::int64_t{p.storm.multicast};
    to["storm_unknown_unicast"] = std::int64_t{p.storm.unknown_unicast};
    if (p.shaper) {
        const auto s = p.shaper->settings();
        to["shape_rate"] = std::int64_t{s.kbps};
        to["shape_burst"] = std::int64_t{s.burst_kbit};
    }
    to["isolated"] = p.config->isolated;
    to["mac_limit"] = std::int64_t{p.mac_limit};
    const multicast::port_settings& groups = p.config->multicast;
    to["mcast_router"] = to_text(groups.is_router);
    to["mcast_flood"] = groups.flood;
    to["mcast_flood_reports"] = groups.flood_reports;
    to["mcast_fast_leave"] = groups.fast_leave;
    to["mcast_limit"] = std::int64_t{groups.limit};
    to["port_security"] = p.config->port_security;
    to["dhcp_trust"] = p.config->dhcp_trusted;
    to = with(std::move(to), settings_object(p.tree));
}

std::string joined(const std::vector<std::string>& words, char between)
{
    std::string out;
    for (const std::string& w : words) {
        out += (out.empty() ? "" : std::string{between}) + w;
    }
    return out;
}

bool is_shaped(const virtual_switch::port& p)
{
    return p.shaper && p.shaper->settings().kbps != 0;
}

// As a number of a request is.
template <typename Unsigned>
std::optional<std::int64_t> whole(const std::optional<Unsigned>& n)
{
    return n ? std::optional{std::int64_t{*n}} : std::nullopt;
}

void normalise_mac(object& record)
{
    auto* const mac = record.if_contains("mac");
    if (mac == nullptr || !mac->is_string()) {
        return;
    }
    if (const auto read = dataplane::mac_address::parse(std::string_view{mac->get_string()})) {
        *mac = read->to_string();
    }
}

void normalise_vlans(object& record, std::string_view name)
{
    if (auto* const vlans = record.if_contains(name)) {
        *vlans = to_ranges(expand_vlans(*vlans));
    }
}

void normalise_prefix(object& record, std::string_view name)
{
    if (const auto text = text_of(record, name)) {
        if (const auto prefix = parse_prefix(*text)) {
            record[name] = to_text(*prefix);
        }
    }
}

} // namespace

void list_bridges(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, b] : from.sw.bridges()) {
        object r{{"name", name},
                 {"forward_bpdu", b.config->forward_bpdu},
                 {"mac_ageing", std::int64_t{b.config->macs->ageing()}},
                 {"mac_table_size", static_cast<std::int64_t>(b.mac_table_size)},
                 {"flow_limit", static_cast<std::int64_t>(b.flows->limit())},
                 {"dhcp_snooping", b.config->dhcp_snooping},
                 {"neigh_suppress", b.config->neigh_suppress},
                 {"mcast_snooping", b.multicast.snooping},
                 {"mcast_drop_unregistered", b.multicast.drop_unregistered},
                 {"mcast_ageing", std::int64_t{b.multicast.ageing}},
                 {"mcast_table_size", static_cast<std::int64_t>(b.multicast.table_size)},
                 {"loop_guard", name_of(b.loop_guard)},
                 {"loop_hold", std::int64_t{b.loop_hold}},
                 {"mac", b.mac.to_string()}};
        take(normal_bridge(with(std::move(r), settings_object(b.tree_settings))));
    }
}

object normal_bridge(const object& given)
{
    object r = without(given, bridge_defaults());
    r.erase("may_exist");
    normalise_mac(r);
    const auto mac = text_of(r, "mac");
    if (mac && *mac == mac_of_bridge(text_of(r, "name").value_or("")).to_string()) {
        r.erase("mac");
    }
    return r;
}

void list_ports(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, p] : from.sw.ports()) {
        if (p.request.type == local_type || from.adoption.has_adopted(name)) {
            continue;
        }
        object r{{"name", name},
                 {"bridge", p.request.bridge},
                 {"type", p.request.type},
                 {"number", std::int64_t{p.number}}};
        for (const auto& option : p.request.options) {
            r[option.key()] = option.value();
        }
        put_settings(r, p);
        take(normal_port(r));
    }
}

object normal_port(const object& given)
{
    static const object defaults = port_defaults();
    object r = without(given, defaults);
    for (const std::string_view verb : {"may_exist", "no_vlan"}) {
        r.erase(verb);
    }
    if (text_of(r, "interface") == text_of(r, "name")) {
        r.erase("interface");
    }
    normalise_vlans(r, "trunk");
    return r;
}

void list_local_ports(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, p] : from.sw.ports()) {
        if (p.request.type == local_type) {
            object r{{"name", name}};
            put_settings(r, p);
            r = normal_port(r);
            if (r.size() > 1) {
                take(std::move(r));
            }
        }
    }
}

void list_adopted_ports(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, p] : from.sw.ports()) {
        if (from.adoption.has_adopted(name)) {
            object r{{"name", name}};
            put_settings(r, p);
            r = normal_port(r);
            // Not parameters: what it must have to be the same port again.
            r["number"] = std::int64_t{p.number};
            r["on"] = p.request.bridge;
            take(std::move(r));
        }
    }
}

void list_classes(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, p] : from.sw.ports()) {
        if (!is_shaped(p)) {
            continue;
        }
        const auto s = p.shaper->settings();
        for (std::size_t i = 0; i < s.classes.size(); ++i) {
            if (s.classes[i] && (i != 0 || *s.classes[i] != dataplane::shaper_class{})) {
                take(normal_class(class_record(name, i, *s.classes[i])));
            }
        }
    }
}

object normal_class(const object& given)
{
    object defaults = class_record("", 0, {});
    defaults.erase("port");
    defaults.erase("class");
    return without(given, defaults);
}

void list_pins(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, p] : from.sw.ports()) {
        for (const auto& [queue, worker] : p.pins) {
            take({{"port", name},
                  {"queue", static_cast<std::int64_t>(queue)},
                  {"worker", static_cast<std::int64_t>(dataplane::to_index(worker))}});
        }
    }
}

object normal_pin(const object& given)
{
    return given;
}

void list_addresses(const config_sources& from, const config_sink& take)
{
    for (const endpoints::address& a : from.sw.own_endpoints().addresses()) {
        object r{{"bridge", a.bridge}, {"address", to_text(a.at)}};
        if (a.vlan != 0) {
            r["vlan"] = std::int64_t{a.vlan};
        }
        take(std::move(r));
    }
}

object normal_address(const object& given)
{
    object r = given;
    normalise_prefix(r, "address");
    return r;
}

void list_routes(const config_sources& from, const config_sink& take)
{
    for (const endpoints::route& r : from.sw.own_endpoints().routes()) {
        take({{"to", to_text(r.to)}, {"via", to_text(r.via)}});
    }
}

object normal_route(const object& given)
{
    object r = given;
    normalise_prefix(r, "to");
    if (const auto via = parse_address(text_of(r, "via").value_or(""))) {
        r["via"] = to_text(*via);
    }
    return r;
}

void list_macs(const config_sources& from, const config_sink& take)
{
    for (const auto& item : from.sw.static_macs()) {
        object r{{"port", item.port}, {"mac", item.mac.to_string()}};
        if (item.vlan != 0) {
            r["vlan"] = std::int64_t{item.vlan};
        }
        take(std::move(r));
    }
}

object normal_mac(const object& given)
{
    object r = given;
    normalise_mac(r);
    return r;
}

void list_acls(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, set] : from.acls.all()) {
        std::string rules;
        for (const acl_rule& r : set->rules) {
            rules += r.text + '\n';
        }
        object r{{"name", name}};
        if (!set->stateful) {
            r["stateless"] = true;
        }
        r["rules"] = std::move(rules);
        take(std::move(r));
    }
}

object normal_acl(const object& given)
{
    object r = without(given, {{"stateless", false}});
    r.erase("file");
    std::string rules;
    const std::string text = text_of(given, "rules").value_or("");
    if (const auto read = read_acl({.text = text, .file = "rules"}); read.has_value()) {
        for (const acl_rule& rule : *read) {
            rules += rule.text + '\n';
        }
        r["rules"] = std::move(rules);
    }
    return r;
}

void list_attachments(const config_sources& from, const config_sink& take)
{
    for (const auto& [port, names] : from.acls.attached()) {
        take({{"port", port}, {"names", joined(names, ',')}});
    }
}

object normal_attachment(const object& given)
{
    return given;
}

void list_bindings(const config_sources& from, const config_sink& take)
{
    for (const auto& [port, stations] : from.sw.all_bindings().all()) {
        for (const bindings::station& s : stations) {
            if (s.leased) {
                continue;
            }
            object r{{"port", port}, {"mac", s.mac.to_string()}};
            if (s.vlan) {
                r["vlan"] = std::int64_t{*s.vlan};
            }
            std::vector<std::string> addresses;
            for (const bindings::address& a : s.addresses) {
                if (!a.leased) {
                    addresses.push_back(a.is.length == 128 ? to_text(a.is.address) : to_text(a.is));
                }
            }
            if (!addresses.empty()) {
                r["addresses"] = joined(addresses, ',');
            }
            take(std::move(r));
        }
    }
}

object normal_binding(const object& given)
{
    object r = given;
    normalise_mac(r);
    const auto text = text_of(r, "addresses");
    if (!text) {
        return r;
    }
    std::vector<std::string> addresses;
    for (const std::string& one : split_list(*text)) {
        const auto address = parse_address(one);
        const auto prefix = parse_prefix(one);
        addresses.push_back(address                           ? to_text(*address)
                            : prefix && prefix->length == 128 ? to_text(prefix->address)
                            : prefix                          ? to_text(*prefix)
                                                              : one);
    }
    r["addresses"] = joined(addresses, ',');
    return r;
}

void list_ct_limits(const config_sources& from, const config_sink& take)
{
    const auto& zones = from.sw.engine().connections().limits();
    if (const auto limit = zones.default_limit(); limit != 0) {
        take({{"set", std::int64_t{limit}}});
    }
    for (conntrack::zone_id z = 0; z < conntrack::first_port_zone; ++z) {
        if (const auto own = zones.own_limit(z)) {
            take({{"zone", std::int64_t{z}}, {"set", std::int64_t{*own}}});
        }
    }
    for (const auto& [name, port] : from.sw.ports()) {
        if (const auto own = zones.own_limit(own_zone(port))) {
            take({{"port", name}, {"set", std::int64_t{*own}}});
        }
    }
}

object normal_ct_limit(const object& given)
{
    return without(given, {{"reset", false}});
}

// Each by itself, so that one may go while others stay.
void list_options(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, b] : from.sw.bridges()) {
        if (b.config->options) {
            for (const flow::option& o : b.config->options->all()) {
                take({{"bridge", name}, {"options", format_option(o)}});
            }
        }
    }
}

object normal_option(const object& given)
{
    object r = given;
    const auto read = parse_options(text_of(r, "options").value_or(""), false);
    if (read.has_value() && read->size() == 1) {
        r["options"] = format_option(read->front());
    }
    return r;
}

void list_adoptions(const config_sources& from, const config_sink& take)
{
    for (const auto& [bridge, rule] : from.adoption.rules()) {
        object r{{"bridge", bridge}};
        if (rule.others) {
            r["others"] = true;
        }
        take(std::move(r));
    }
}

object normal_adoption(const object& given)
{
    return without(given, {{"others", false}});
}

void list_mirrors(const config_sources& from, const config_sink& take)
{
    for (const auto& [name, m] : from.mirrors.all()) {
        const mirror_request& q = m.request;
        object r{{"name", name}, {"bridge", q.bridge}};
        const auto put = [&r](std::string_view what, const auto& value) {
            if (value) {
                r[what] = *value;
            }
        };
        if (q.all) {
            r["select_all"] = true;
        }
        if (!q.source_ports.empty()) {
            r["select_src_port"] = joined(q.source_ports, ',');
        }
        if (!q.destination_ports.empty()) {
            r["select_dst_port"] = joined(q.destination_ports, ',');
        }
        if (q.vlans) {
            r["select_vlan"] = to_ranges(*q.vlans);
        }
        if (!q.flow.empty()) {
            r["select_flow"] = q.flow;
        }
        put("output_port", q.output_port);
        put("output_vlan", whole(q.output_vlan));
        put("output_file", q.output_file);
        put("snaplen", whole(q.snaplen));
        take(std::move(r));
    }
}

object normal_mirror(const object& given)
{
    object r = without(given, {{"select_all", false}});
    normalise_vlans(r, "select_vlan");
    return r;
}

} // namespace strait::control
