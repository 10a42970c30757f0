// SPDX-License-Identifier: BSD-3-Clause
// A row for each option, and how much room there is for more.
#include "control/print_options.hh"

#include "control/print_parts.hh"

#include <array>
#include <cstdio>

namespace strait::control {

namespace {

std::string hexadecimal(const boost::json::value& number, int digits)
{
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "0x%0*llx", digits,
                  static_cast<unsigned long long>(as_count(number)));
    return text.data();
}

} // namespace

std::string options_text(const boost::json::object& result)
{
    text_table t{{"FIELD", "CLASS", "TYPE", "LENGTH", "FLOWS"}};
    t.align_right(1, 4);
    for (const auto& element : as_array(member(result, "options"))) {
        const auto& o = as_object(element);
        t.add({plain(member(o, "field")), hexadecimal(member(o, "class"), 4),
               hexadecimal(member(o, "type"), 2), plain(member(o, "length")),
               grouped(as_count(member(o, "references")))});
    }
    return t.text() + "room for " + plain(member(result, "room")) + " bytes more\n";
}

} // namespace strait::control
