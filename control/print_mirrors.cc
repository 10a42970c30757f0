// SPDX-License-Identifier: BSD-3-Clause
// A row for each mirror.
#include "control/print_mirrors.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

std::string selection_text(const json::object& select)
{
    std::string out = member(select, "all") == json::value(true) ? "all" : "";
    const auto add = [&](std::string_view what, std::string_view name) {
        const json::value& value = member(select, name);
        if (!value.is_null()) {
            out += (out.empty() ? "" : "; ") + std::string{what} + " " + plain(value);
        }
    };
    add("from", "src_ports");
    add("to", "dst_ports");
    add("VLAN", "vlans");
    add("flow", "flow");
    return out;
}

std::string output_text(const json::object& output)
{
    for (const std::string_view kind : {"port", "vlan", "file"}) {
        const json::value& value = member(output, kind);
        if (!value.is_null()) {
            return std::string{kind == "vlan" ? "VLAN" : kind} + " " + plain(value);
        }
    }
    return "-";
}

} // namespace

std::string mirrors_text(const json::value& result)
{
    text_table t{{"MIRROR", "BRIDGE", "PACKETS", "BYTES", "DROPS", "OUTPUT", "SELECTS"}};
    t.align_right(2, 4);
    std::string errors;
    for (const auto& element : as_array(result)) {
        const auto& m = as_object(element);
        t.add({plain(member(m, "name")), plain(member(m, "bridge")),
               grouped(as_count(member(m, "packets"))), grouped(as_count(member(m, "bytes"))),
               grouped(as_count(member(m, "drops"))), output_text(as_object(member(m, "output"))),
               selection_text(as_object(member(m, "select")))});
        if (!member(m, "error").is_null()) {
            errors += "mirror " + plain(member(m, "name")) +
                      " has ended: " + plain(member(m, "error")) + "\n";
        }
    }
    return t.text() + errors;
}

} // namespace strait::control
