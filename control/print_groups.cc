// SPDX-License-Identifier: BSD-3-Clause
// Lists of groups and meters: each as its text, which can be read again, and below it what it
// carried.
#include "control/print_groups.hh"

#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

constexpr double millisecond = 1e-3;

std::string counted(const json::object& o)
{
    return grouped(as_count(member(o, "packets"))) + " packets, " +
           grouped(as_count(member(o, "bytes"))) + " bytes";
}

std::string age(const json::object& o)
{
    return fixed(as_number(member(o, "age_ms")) * millisecond, 3) + " s old";
}

std::string groups_text(const json::object& result)
{
    std::string out;
    for (const auto& element : as_array(member(result, "groups"))) {
        const auto& g = as_object(element);
        out += plain(member(g, "text")) + "\n    # " + counted(g) + ", " +
               plain(member(g, "references")) + " references, " + age(g) + "\n";
        for (const auto& one : as_array(member(g, "buckets"))) {
            const auto& b = as_object(one);
            const auto* const live = member(b, "live").if_bool();
            out += "    # bucket " + plain(member(b, "bucket_id")) + ": " + counted(b) +
                   (live != nullptr && *live ? "" : ", not live") + "\n";
        }
    }
    return out;
}

std::string meters_text(const json::object& result)
{
    std::string out;
    for (const auto& element : as_array(member(result, "meters"))) {
        const auto& m = as_object(element);
        out += plain(member(m, "text")) + "\n    # " + counted(m) + ", " +
               plain(member(m, "flows")) + " flows, " + age(m) + "\n";
        for (const auto& one : as_array(member(m, "bands"))) {
            const auto& b = as_object(one);
            out += "    # dropped beyond " + grouped(as_count(member(b, "rate"))) + " " +
                   plain(member(m, "unit")) + ": " + counted(b) + "\n";
        }
    }
    return out;
}

} // namespace

std::string group_text(const method& m, const json::object& result)
{
    if (m.name == "group.list") {
        return groups_text(result);
    }
    if (m.name == "meter.list") {
        return meters_text(result);
    }
    return {};
}

} // namespace strait::control
