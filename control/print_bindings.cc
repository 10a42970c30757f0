// SPDX-License-Identifier: BSD-3-Clause
// A row for each address that is bound, and for a MAC that has none.
#include "control/print_bindings.hh"

#include "control/print_parts.hh"

namespace strait::control {

std::string bindings_text(const boost::json::array& list)
{
    text_table t{{"PORT", "BRIDGE", "VLAN", "MAC", "ADDRESS", "TYPE", "EXPIRES"}};
    t.align_right(2, 2).align_right(6, 6);
    for (const auto& element : list) {
        const auto& b = as_object(element);
        const auto& left = member(b, "expires");
        t.add({plain(member(b, "port")), plain(member(b, "bridge")), plain(member(b, "vlan")),
               plain(member(b, "mac")), plain(member(b, "address")), plain(member(b, "type")),
               left.is_null() ? "-" : grouped(as_count(left)) + " s"});
    }
    return t.text();
}

} // namespace strait::control
