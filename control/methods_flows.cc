// SPDX-License-Identifier: BSD-3-Clause
// Methods about flows, groups and meters.
#include "control/methods_flows.hh"

#include "control/methods_parts.hh"

#include <limits>

namespace strait::control {

namespace {

// What programs send in one request is limited by its length.
constexpr std::int64_t longest_flows = std::int64_t{1} << 30U;

parameter flow_lines(std::string_view help)
{
    return {.name = "flows",
            .kind = kind::lines,
            .help = help,
            .placeholder = "FLOW|FILE|-",
            .required = true,
            .positional = true,
            .maximum = longest_flows};
}

std::vector<result_member> flow_changes()
{
    return {{"added", "integer", "flows that were added"},
            {"modified", "integer", "flows whose actions were changed"},
            {"removed", "integer", "flows that were removed"}};
}

} // namespace

std::vector<method> flow_methods()
{
    const parameter strict =
        flag("strict", "only flows with just this match and priority, not those within it");
    const parameter names = flag("names", "ports by their names");
    parameter which = flow_lines("a match, or a file with one a line");
    which.required = false;
    return {
        {.name = "flow.add",
         .summary = "Add flows, in place of those with the same match and priority",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {flow_lines("a flow, or a file with one a line"), flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = flow_changes()},
        {.name = "flow.mod",
         .summary = "Change the actions of flows; add one where there is none",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {flow_lines("a match and actions, or a file with one a line"), flow_bridge(),
                        strict, file_name("what messages call the text that the flows are of")},
         .result = flow_changes()},
        {.name = "flow.del",
         .summary = "Remove flows within a match; all, if none is given",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {which, flow_bridge(), strict,
                        file_name("what messages call the text that the flows are of")},
         .result = flow_changes()},
        {.name = "flow.replace",
         .summary = "Have these flows and no others; those that stay keep their counters",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {flow_lines("a file with a flow a line"), flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = flow_changes()},
        {.name = "flow.diff",
         .summary = "Tell which flows a replace would remove and add",
         .changes = false,
         .parameters = {flow_lines("a file with a flow a line"), flow_bridge(), names,
                        file_name("what messages call the text that the flows are of")},
         .result = {{"only_here", "array", "flows that would go"},
                    {"only_there", "array", "flows that would come"}}},
        {.name = "flow.list",
         .summary = "List the flows of a bridge, with what each has carried",
         .changes = false,
         .parameters = {{.name = "filter",
                         .help = "a match; flows within it",
                         .placeholder = "MATCH",
                         .positional = true,
                         .maximum = longest_text},
                        flow_bridge(),
                        names,
                        {.name = "limit",
                         .kind = kind::integer,
                         .help = "flows to answer with at most; 65536 unless given",
                         .placeholder = "N",
                         .minimum = 0,
                         .maximum = usual_flow_limit}},
         .result = {{"bridge", "string", "the bridge"},
                    {"total", "integer", "flows within the match, also those beyond the limit"},
                    {"flows", "array",
                     "of each: table, priority, cookie, match, actions, idle_timeout, "
                     "hard_timeout, packets, bytes, age_ms and idle_ms (since its last packet)"}}},
        {.name = "flow.top",
         .summary = "The flows that carry most, again and again on a terminal",
         .changes = false,
         .parameters = {flow_bridge(),
                        {.name = "by",
                         .kind = kind::choice,
                         .help = "what they are ordered by; packets unless given",
                         .choices = {"packets", "bytes"}},
                        {.name = "count",
                         .kind = kind::integer,
                         .help = "flows to show at most; 20 unless given",
                         .placeholder = "N",
                         .minimum = 1,
                         .maximum = 1000},
                        {.name = "interval",
                         .kind = kind::integer,
                         .help = "seconds from look to look of straitctl; 1 unless given",
                         .placeholder = "SECONDS",
                         .minimum = 1,
                         .maximum = 3600},
                        names},
         .result = {{"bridge", "string", "the bridge"},
                    {"interval_us", "integer",
                     "microseconds since the same connection asked for this bridge last; 0, and no "
                     "flows: it did not"},
                    {"total", "integer", "flows that carried anything since then"},
                    {"flows", "array",
                     "as of flow.list, those that carried most first, each with "
                     "packets_per_second and bytes_per_second since then"}}},
        {.name = "flow.begin",
         .summary = "Begin a bundle: changes in several requests that become visible at once",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {flow_bridge(), flag("replace", "what is put into it replaces all flows")},
         .result = {{"bundle", "integer", "its number"}},
         .for_programs = true},
        {.name = "flow.put",
         .summary = "Put changes into a bundle",
         .changes = true,
         .keeps = kept::nothing,
         .parameters = {{.name = "bundle",
                         .kind = kind::integer,
                         .help = "its number",
                         .required = true,
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int64_t>::max()},
                        flow_lines("flows, one a line"),
                        {.name = "command",
                         .kind = kind::choice,
                         .help = "what is done with lines that do not say it; add unless given",
                         .choices = {"add", "modify", "modify_strict", "delete", "delete_strict"}},
                        {.name = "first_line",
                         .kind = kind::integer,
                         .help = "the number of the first line, for messages; 1 unless given",
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int32_t>::max()},
                        file_name("what messages call the text that the flows are of")},
         .result = {{"put", "boolean", "true"}},
         .for_programs = true},
        {.name = "flow.commit",
         .summary = "Carry out a bundle, all of it or nothing",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {{.name = "bundle",
                         .kind = kind::integer,
                         .help = "its number",
                         .required = true,
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int64_t>::max()}},
         .result = flow_changes(),
         .for_programs = true},
        {.name = "trace",
         .summary = "Tell what a port's flows do to a frame, without sending it",
         .changes = false,
         .parameters = {{.name = "port",
                         .kind = kind::name,
                         .help = "the port it comes from",
                         .placeholder = "PORT",
                         .required = true,
                         .positional = true},
                        {.name = "packet",
                         .help = "the frame in hexadecimal digits, or words like "
                                 "tcp,nw_src=10.0.0.1,tp_dst=80; of straitctl, a capture, too",
                         .placeholder = "PACKET|FILE.pcap",
                         .required = true,
                         .positional = true,
                         .maximum = 200'000},
                        {.name = "nth",
                         .kind = kind::integer,
                         .help = "of a capture, the packet of this number from 1; all unless given",
                         .placeholder = "N",
                         .minimum = 1,
                         .maximum = std::numeric_limits<std::int64_t>::max(),
                         .option = "packet"},
                        {.name = "ct_next",
                         .help =
                             "what each ct action is to find that packets go on behind, in turn, "
                             "like new,est|rpl; what is known of connections unless given",
                         .maximum = 1000}},
         .result =
             {{"flow", "string", "the packet as flows see it"},
              {"steps", "array",
               "of each: depth and either table, flow and rule (null: none matches), or "
               "action, or group and bucket (one of its ways), or note, or goes_on (the table "
               "behind a ct action) and flow, or ct_state, zone or port (whose own zone) and "
               "connection (null: none) of what a ct action finds, or cached_by (what a pass is "
               "told apart "
               "by in workers' caches) and workers (that know it: worker and idle, in "
               "seconds), or comes_from (a port without queues, which it goes on from) and flow"},
              {"choices", "array",
               "of each group that the packet takes one bucket of: group, bucket (null: none "
               "is live) and why; of each meter: meter, passes and why"},
              {"outputs", "array", "of each: port, number, queue, frame and flow"},
              {"mirrors", "array",
               "of each that has the packet: mirror, event (received or sent) and port"},
              {"drops", "array", "of each: port, reason and explanation"}}},
        {.name = "cache.stats",
         .summary = "What the workers' flow caches hold, and how often they answered",
         .changes = false,
         .result = {{"workers", "array",
                     "of each: worker, entries, bytes, hits, misses, stale (misses because flows "
                     "had changed), evictions, uncached, miss_cycles (TSC cycles that misses "
                     "took) and waits (turns that ports with many new flows waited, for others)"}}},
    };
}

namespace {

parameter object_lines(std::string_view name, std::string_view help, std::string_view placeholder)
{
    parameter p = flow_lines(help);
    p.name = name;
    p.placeholder = placeholder;
    return p;
}

std::vector<result_member> object_changes()
{
    return {
        {"added", "integer", "how many were added"},
        {"modified", "integer", "how many were changed"},
        {"removed", "integer", "how many were removed"},
        {"flows_removed", "integer", "flows that named one that was removed, and went with it"}};
}

parameter object_number(std::string_view name, std::string_view help)
{
    return {.name = name,
            .kind = kind::integer,
            .help = help,
            .placeholder = "ID",
            .positional = true,
            .minimum = 0,
            .maximum = std::numeric_limits<std::uint32_t>::max()};
}

} // namespace

std::vector<method> group_methods()
{
    const auto groups = [](std::string_view help) {
        return object_lines("groups", help, "GROUP|FILE|-");
    };
    parameter which = groups("group_id=N, or a file with one a line; all, if none is given");
    which.required = false;
    return {
        {.name = "group.add",
         .summary = "Add groups",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {groups("a group, or a file with one a line"), flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "group.mod",
         .summary = "Change groups; buckets that stay keep their counters",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {groups("a group, or a file with one a line"), flow_bridge(),
                        flag("may_create", "add those that there are not"),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "group.del",
         .summary = "Remove groups, and the flows that name them; all, if none is given",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {which, flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "group.insert-buckets",
         .summary = "Add buckets to a group",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {groups("group_id=N,command_bucket_id=first, last or a bucket_id, and the "
                               "buckets"),
                        flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "group.remove-buckets",
         .summary = "Remove buckets of a group",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {groups("group_id=N,command_bucket_id=first, last, all or a bucket_id"),
                        flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "group.list",
         .summary = "List the groups of a bridge, with what each and its buckets have carried",
         .changes = false,
         .parameters = {object_number("group", "this one only"), flow_bridge(),
                        flag("names", "ports by their names")},
         .result = {{"bridge", "string", "the bridge"},
                    {"groups", "array",
                     "of each: group_id, type, selection_method, selection_method_param, fields, "
                     "text, references (flows and buckets that name it), packets, bytes, age_ms "
                     "and buckets, of each: bucket_id, weight, watch_port, watch_group, actions, "
                     "live, packets and bytes"}}},
    };
}

std::vector<method> meter_methods()
{
    const auto meters = [](std::string_view help) {
        return object_lines("meters", help, "METER|FILE|-");
    };
    parameter which = meters("meter=N, or a file with one a line; all, if none is given");
    which.required = false;
    return {
        {.name = "meter.add",
         .summary = "Add meters",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {meters("a meter, or a file with one a line"), flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "meter.mod",
         .summary = "Change meters, which begin anew",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {meters("a meter, or a file with one a line"), flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "meter.del",
         .summary = "Remove meters, and the flows that name them; all, if none is given",
         .changes = true,
         .keeps = kept::configuration,
         .parameters = {which, flow_bridge(),
                        file_name("what messages call the text that the flows are of")},
         .result = object_changes()},
        {.name = "meter.list",
         .summary =
             "List the meters of a bridge, with what went through them and what they dropped",
         .changes = false,
         .parameters = {object_number("meter", "this one only"), flow_bridge()},
         .result =
             {{"bridge", "string", "the bridge"},
              {"meters", "array",
               "of each: meter, unit (kbps or pktps), text, flows (that name it), packets and "
               "bytes that came, age_ms and bands, of each: type, rate, burst_size (0: a "
               "second's), and packets and bytes that it dropped"}}},
    };
}

} // namespace strait::control
