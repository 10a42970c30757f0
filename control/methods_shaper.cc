// SPDX-License-Identifier: BSD-3-Clause
// A NIC's rate on the way out, and its classes.
#include "control/methods_shaper.hh"

#include "control/methods_parts.hh"
#include "dataplane/shaping.hh"

#include <limits>

namespace strait::control {

namespace {

constexpr std::int64_t any_rate = std::numeric_limits<std::uint32_t>::max();

parameter number(std::string_view name, std::string_view help, std::string_view placeholder,
                 std::int64_t minimum, std::int64_t maximum)
{
    return {.name = name,
            .kind = kind::integer,
            .help = help,
            .placeholder = placeholder,
            .minimum = minimum,
            .maximum = maximum};
}

parameter class_number()
{
    parameter p = number("class", "the class, which flows choose by set_queue and enqueue", "CLASS",
                         0, dataplane::shaper_classes - 1);
    p.required = true;
    p.positional = true;
    return p;
}

std::vector<result_member> shaper_members()
{
    return {{"port", "string", "the port"},
            {"kbps", "integer", "its rate"},
            {"burst_kbit", "integer", "that may leave at once"},
            {"classes", "array",
             "of each: class, rate_kbps (that it has for itself), ceil_kbps, burst_kbit, priority, "
             "limit, limit_bytes, max_wait_ms, sent_packets, sent_bytes, waiting_packets, "
             "waiting_bytes and dropped (by shaper_full and shaper_timeout, and when the port or "
             "its link went down)"}};
}

} // namespace

std::vector<parameter> shape_settings()
{
    return {number("shape_rate",
                   "kbit a second that a NIC is given, for which packets wait, 0: no limit, and no "
                   "classes",
                   "KBPS", 0, any_rate),
            number("shape_burst",
                   "kbit that it may be given at once; two milliseconds' unless given", "KBIT", 0,
                   any_rate)};
}

std::vector<method> shaper_methods()
{
    constexpr std::int64_t most_packets = 65536;
    constexpr std::int64_t least_bytes = 65'625; // the longest frame
    constexpr std::int64_t most_bytes = 1U << 30;
    constexpr std::int64_t longest_wait = 60'000;
    return {
        {.name = "shaper.set",
         .summary = "Make a class of a shaped port, or change one",
         .changes = true,
         .keeps = kept::configuration,
         .parameters =
             {port(true, "a NIC's port that has a --shape-rate"), class_number(),
              number("rate", "kbit a second that it has for itself; 0 unless given", "KBPS", 0,
                     any_rate),
              number("ceil",
                     "kbit a second that it has at most, with what others leave; 0, the port's "
                     "rate, unless given",
                     "KBPS", 0, any_rate),
              number("burst",
                     "kbit that may leave at once; two milliseconds' of rate and ceil unless given",
                     "KBIT", 0, any_rate),
              number("priority", "who goes first, the lowest; 0 unless given", "N", 0, 7),
              number("limit", "packets that may wait; 1000 unless given", "PACKETS", 1,
                     most_packets),
              number("limit_bytes", "bytes that may wait; 2097152 unless given", "BYTES",
                     least_bytes, most_bytes),
              number("max_wait", "milliseconds that a packet may wait; 100 unless given", "MS", 1,
                     longest_wait)},
         .result = shaper_members()},
        {.name = "shaper.del",
         .summary = "Remove a class of a shaped port; what waits in it goes to class 0",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {port(true, "a NIC's port that has a --shape-rate"), class_number(),
                        flag("if_exists", "done, too, when there is no such class")},
         .result = {{"removed", "boolean", "whether there was one"}}},
        {.name = "shaper.list",
         .summary = "List the shaped ports with their classes, and what these have sent",
         .changes = false,
         .parameters = {port(false, "of this port only")},
         .result_is_list = true,
         .result = shaper_members()},
    };
}

} // namespace strait::control
