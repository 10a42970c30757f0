// SPDX-License-Identifier: BSD-3-Clause
// A row for each shaped port, and one for each of its classes.
#include "control/print_shaper.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

std::string rate(const json::value& kbps)
{
    constexpr double bits = 1000;
    return as_count(kbps) == 0 ? "-" : scaled(as_number(kbps) * bits, "bit/s");
}

} // namespace

std::string shapers_text(const json::value& result)
{
    text_table t{{"PORT", "CLASS", "RATE", "CEIL", "PRIORITY", "SENT", "BYTES", "WAITING", "LIMIT",
                  "DROPPED"}};
    t.align_right(2, 9);
    for (const auto& element : as_array(result)) {
        const auto& p = as_object(element);
        t.add(
            {plain(member(p, "port")), "all", rate(member(p, "kbps")), "", "", "", "", "", "", ""});
        for (const auto& one : as_array(member(p, "classes"))) {
            const auto& c = as_object(one);
            t.add({"", plain(member(c, "class")), rate(member(c, "rate_kbps")),
                   rate(member(c, "ceil_kbps")), plain(member(c, "priority")),
                   grouped(as_count(member(c, "sent_packets"))),
                   grouped(as_count(member(c, "sent_bytes"))),
                   grouped(as_count(member(c, "waiting_packets"))),
                   grouped(as_count(member(c, "limit"))), grouped(as_count(member(c, "dropped")))});
        }
    }
    return t.text();
}

} // namespace strait::control
