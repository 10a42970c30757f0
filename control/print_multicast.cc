// SPDX-License-Identifier: BSD-3-Clause
// A row for each listener, router and querier of multicast.
#include "control/print_multicast.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

std::string what_text(const json::object& e)
{
    if (member(e, "group").is_string()) {
        return plain(member(e, "group"));
    }
    const std::string type = plain(member(e, "type"));
    return type == "crowded"             ? "all: too many groups"
           : member(e, "ip").is_number() ? "IPv" + plain(member(e, "ip")) + " " + type
                                         : type;
}

} // namespace

std::string groups_of_multicast_text(const json::object& result)
{
    text_table t{{"BRIDGE", "VLAN", "GROUP", "PORT", "LEFT"}};
    t.align_right(1, 1).align_right(4, 4);
    const auto& entries = as_array(member(result, "entries"));
    for (const auto& element : entries) {
        const auto& e = as_object(element);
        const auto vlan = as_count(member(e, "vlan"));
        t.add({plain(member(e, "bridge")), vlan == 0 ? "-" : std::to_string(vlan), what_text(e),
               plain(member(e, "port")),
               member(e, "left").is_null() ? "static" : plain(member(e, "left")) + " s"});
    }
    const auto total = as_count(member(result, "total"));
    return t.text() + (total > entries.size()
                           ? grouped(total - entries.size()) + " more: --limit, --port or --vlan\n"
                           : "");
}

} // namespace strait::control
