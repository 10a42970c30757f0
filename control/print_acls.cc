// SPDX-License-Identifier: BSD-3-Clause
// A row for each rule set, or for each rule of one.
#include "control/print_acls.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

std::string kind_of(const json::object& set)
{
    return member(set, "stateful") == json::value(true) ? "stateful" : "stateless";
}

std::string ports_of(const json::object& set)
{
    const auto& ports = member(set, "ports");
    return as_array(ports).empty() ? "-" : plain(ports);
}

std::string list_text(const json::array& sets)
{
    text_table t{{"NAME", "KIND", "FROM", "TO", "PORTS"}};
    t.align_right(2, 3);
    for (const auto& element : sets) {
        const auto& set = as_object(element);
        t.add({plain(member(set, "name")), kind_of(set), plain(member(set, "rules_from")),
               plain(member(set, "rules_to")), ports_of(set)});
    }
    return t.text();
}

std::string set_text(const json::object& set)
{
    text_table t{{"PACKETS", "BYTES", "RULE"}};
    t.align_right(0, 1);
    for (const auto& element : as_array(member(set, "rules"))) {
        const auto& r = as_object(element);
        t.add({grouped(as_count(member(r, "packets"))), grouped(as_count(member(r, "bytes"))),
               plain(member(r, "rule"))});
    }
    return plain(member(set, "name")) + ", " + kind_of(set) + ", ports: " + ports_of(set) + "\n" +
           t.text();
}

} // namespace

std::string acl_text(const method& m, const json::value& result)
{
    if (m.name == "acl.list") {
        return list_text(as_array(result));
    }
    if (m.name == "acl.show") {
        return set_text(as_object(result));
    }
    return {};
}

} // namespace strait::control
