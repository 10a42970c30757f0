// SPDX-License-Identifier: BSD-3-Clause
// Tables of connections, of what trackers hold, of limits.
#include "control/print_connections.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

std::string protocol_name(std::uint64_t number)
{
    switch (number) {
    case 1:
        return "icmp";
    case 6:
        return "tcp";
    case 17:
        return "udp";
    case 58:
        return "icmp6";
    case 132:
        return "sctp";
    default:
        return std::to_string(number);
    }
}

// 10.0.0.1:80; [fd00::1]:80.
std::string end_text(const json::object& tuple, std::string_view address, std::string_view port)
{
    const std::string host = plain(member(tuple, address));
    const auto* const number = tuple.if_contains(port);
    if (number == nullptr) {
        return host;
    }
    return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + plain(*number);
}

// established, no answer
std::string state_text(const json::object& c)
{
    std::string out = member(c, "state").is_null() ? "" : plain(member(c, "state"));
    if (!member(c, "replied").is_bool() || !member(c, "replied").as_bool()) {
        out += out.empty() ? "no answer" : ", no answer";
    }
    if (member(c, "related").is_bool() && member(c, "related").as_bool()) {
        out += out.empty() ? "related" : ", related";
    }
    return out;
}

std::string list_text(const json::object& result)
{
    text_table t{{"ZONE", "PROTOCOL", "FROM", "TO", "ANSWERS FROM", "ANSWERS TO", "STATE", "MARK",
                  "SECONDS LEFT"}};
    t.align_right(8, 8);
    for (const auto& element : as_array(member(result, "connections"))) {
        const auto& c = as_object(element);
        const auto& original = as_object(member(c, "original"));
        const auto& reply = as_object(member(c, "reply"));
        t.add({zone_text(c), protocol_name(as_count(member(c, "protocol"))),
               end_text(original, "source", "source_port"),
               end_text(original, "destination", "destination_port"),
               end_text(reply, "source", "source_port"),
               end_text(reply, "destination", "destination_port"), state_text(c),
               plain(member(c, "mark")), plain(member(c, "seconds_left"))});
    }
    const bool more = member(result, "more").is_bool() && member(result, "more").as_bool();
    return t.text() + (more ? "There are more: --limit N shows them.\n" : "");
}

std::string stats_text(const json::object& result)
{
    text_table t{
        {"WORKER", "CREATED", "ENDED", "EVICTED", "FOUND", "NEW", "INVALID", "TRANSLATED"}};
    t.align_right(0, 7);
    constexpr std::uint64_t kib = 1024;
    for (const auto& element : as_array(member(result, "workers"))) {
        const auto& w = as_object(element);
        const auto count = [&w](std::string_view name) {
            return grouped(as_count(member(w, name)));
        };
        t.add({plain(member(w, "worker")), count("created"), count("ended"), count("evicted"),
               count("found"), count("new"), count("invalid"), count("translated")});
    }
    return grouped(as_count(member(result, "connections"))) + " connections of at most " +
           grouped(as_count(member(result, "capacity"))) + ", in " +
           grouped(as_count(member(result, "bytes")) / kib) + " KiB\n" + t.text();
}

std::string limits_text(const json::object& result)
{
    const auto limit = [](const json::value& v) {
        return as_count(v) == 0 ? std::string{"none"} : grouped(as_count(v));
    };
    text_table t{{"ZONE", "LIMIT", "CONNECTIONS"}};
    t.align_right(1, 2);
    t.add({"others", limit(member(result, "default")), ""});
    for (const auto& element : as_array(member(result, "zones"))) {
        const auto& z = as_object(element);
        t.add(
            {zone_text(z), limit(member(z, "limit")), grouped(as_count(member(z, "connections")))});
    }
    return t.text();
}

} // namespace

// Of a port's own one, the port's name: rule sets track there.
std::string zone_text(const json::object& of)
{
    return member(of, "zone").is_null() ? "acl:" + plain(member(of, "port"))
                                        : plain(member(of, "zone"));
}

std::string connection_text(const json::object& c)
{
    const auto& original = as_object(member(c, "original"));
    const auto& reply = as_object(member(c, "reply"));
    const std::string from = end_text(original, "source", "source_port");
    const std::string to = end_text(original, "destination", "destination_port");
    const std::string answers_from = end_text(reply, "source", "source_port");
    const std::string answers_to = end_text(reply, "destination", "destination_port");
    std::string out = protocol_name(as_count(member(c, "protocol"))) + " " + from + " to " + to;
    if (answers_from != to || answers_to != from) {
        out += ", answered from " + answers_from + " to " + answers_to;
    }
    const std::string state = state_text(c);
    return out + (state.empty() ? "" : ", " + state) + ", " +
           grouped(as_count(member(c, "seconds_left"))) + " s left";
}

std::string connections_text(const method& m, const json::object& result)
{
    if (m.name == "ct.list") {
        return list_text(result);
    }
    if (m.name == "ct.stats") {
        return stats_text(result);
    }
    if (m.name == "ct.limit") {
        return limits_text(result);
    }
    return grouped(as_count(member(result, "forgotten"))) + " forgotten\n";
}

} // namespace strait::control
