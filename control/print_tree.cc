// SPDX-License-Identifier: BSD-3-Clause
// A few lines for each bridge, and a row for each of its ports.
#include "control/print_tree.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

std::string trees_text(const json::value& result)
{
    std::string out;
    for (const auto& element : as_array(result)) {
        const auto& b = as_object(element);
        const auto text = [&b](const char* name) { return plain(member(b, name)); };
        out += (out.empty() ? "" : "\n") + text("bridge") + ": bridge " + text("id") + ", root " +
               text("root") +
               (member(b, "is_root") == json::value(true)
                    ? " (this bridge)"
                    : " by port " + text("root_port") + ", cost " + text("root_cost")) +
               "\n" + "hello " + text("hello_time") + " s, max age " + text("max_age") +
               " s, forward delay " + text("forward_delay") +
               " s; topology changes: " + text("topology_changes") +
               (member(b, "since_change").is_number()
                    ? ", the last one " + text("since_change") + " s ago"
                    : "") +
               "\n";
        text_table t{{"PORT", "ID", "ROLE", "STATE", "COST", "LINK", "PEER", "DESIGNATED"}};
        t.align_right(4, 4);
        for (const auto& row : as_array(member(b, "ports"))) {
            const auto& p = as_object(row);
            const auto id = as_count(member(p, "id"));
            const bool edge = member(p, "edge") == json::value(true);
            const bool two = member(p, "point_to_point") == json::value(true);
            const auto* const designated = member(p, "designated").if_object();
            t.add({plain(member(p, "port")),
                   std::to_string(id >> 8 & 0xf0) + "." + plain(member(p, "number")),
                   plain(member(p, "role")), plain(member(p, "state")),
                   plain(member(p, "path_cost")),
                   edge  ? "edge"
                   : two ? "p2p"
                         : "shared",
                   plain(member(p, "version")),
                   designated != nullptr ? plain(member(*designated, "bridge")) : "-"});
        }
        out += t.text();
    }
    return out.empty() ? "spanning tree runs on no bridge: bridge set NAME --rstp on\n" : out;
}

} // namespace strait::control
