// SPDX-License-Identifier: BSD-3-Clause
// Tables of addresses, routes and neighbours.
#include "control/print_endpoints.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

std::string endpoints_text(const method& m, const json::array& list)
{
    const bool addresses = m.name == "address.list";
    const bool routes = m.name == "route.list";
    text_table t{addresses ? std::vector<std::string>{"BRIDGE", "VLAN", "ADDRESS", "MAC"}
                 : routes  ? std::vector<std::string>{"TO", "VIA", "BRIDGE", "SOURCE"}
                           : std::vector<std::string>{"BRIDGE", "VLAN", "ADDRESS", "MAC", "AGE"}};
    for (const auto& element : list) {
        const auto& e = as_object(element);
        if (routes) {
            t.add({plain(member(e, "to")), plain(member(e, "via")), plain(member(e, "bridge")),
                   plain(member(e, "source"))});
            continue;
        }
        std::vector<std::string> row{plain(member(e, "bridge")), plain(member(e, "vlan")),
                                     plain(member(e, "address")), plain(member(e, "mac"))};
        if (!addresses) {
            row.push_back(member(e, "mac").is_null() ? "-" : plain(member(e, "age")) + " s");
        }
        t.add(std::move(row));
    }
    return t.text();
}

} // namespace strait::control
