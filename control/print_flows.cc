// SPDX-License-Identifier: BSD-3-Clause
// Lists of flows as ovs-ofctl has them, traces, caches.
#include "control/print_flows.hh"

#include "control/print_connections.hh"
#include "control/print_parts.hh"

namespace strait::control {

namespace json = boost::json;

namespace {

constexpr double millisecond = 1e-3;

std::string hexadecimal(std::uint64_t n)
{
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    do {
        out.insert(out.begin(), digits[n % digits.size()]);
        n /= digits.size();
    } while (n != 0);
    return "0x" + out;
}

std::string rule_text(const json::object& r)
{
    const std::string match = plain(member(r, "match"));
    std::string out = "cookie=" + hexadecimal(as_count(member(r, "cookie"))) +
                      ", duration=" + fixed(as_number(member(r, "age_ms")) * millisecond, 3) +
                      "s, table=" + plain(member(r, "table")) +
                      ", n_packets=" + plain(member(r, "packets")) +
                      ", n_bytes=" + plain(member(r, "bytes"));
    for (const std::string_view timeout : {"idle_timeout", "hard_timeout"}) {
        if (as_count(member(r, timeout)) != 0) {
            out += ", " + std::string{timeout} + "=" + plain(member(r, timeout));
        }
    }
    return out + ", priority=" + plain(member(r, "priority")) + (match.empty() ? "" : ",") + match +
           " actions=" + plain(member(r, "actions")) + "\n";
}

std::string list_text(const json::object& result)
{
    std::string out;
    const auto& flows = as_array(member(result, "flows"));
    for (const auto& r : flows) {
        out += rule_text(as_object(r));
    }
    const auto total = as_count(member(result, "total"));
    if (total > flows.size()) {
        out += grouped(total - flows.size()) + " more; a match or --limit chooses\n";
    }
    return out;
}

std::string top_text(const json::object& result)
{
    text_table t{{"PACKETS/S", "BYTES/S", "PACKETS", "TABLE", "PRIORITY", "FLOW"}};
    t.align_right(0, 4);
    const auto rate = [](const json::value& v) {
        return grouped(static_cast<std::uint64_t>(as_number(v) + 0.5));
    };
    const auto& flows = as_array(member(result, "flows"));
    for (const auto& element : flows) {
        const auto& r = as_object(element);
        const std::string match = plain(member(r, "match"));
        t.add({rate(member(r, "packets_per_second")), rate(member(r, "bytes_per_second")),
               grouped(as_count(member(r, "packets"))), plain(member(r, "table")),
               plain(member(r, "priority")),
               match + (match.empty() ? "" : " ") + "actions=" + plain(member(r, "actions"))});
    }
    const auto total = as_count(member(result, "total"));
    return t.text() + (total > flows.size() ? grouped(total - flows.size()) + " more\n" : "");
}

std::string difference_text(const json::object& result)
{
    std::string out;
    for (const auto& line : as_array(member(result, "only_here"))) {
        out += "-" + plain(line) + "\n";
    }
    for (const auto& line : as_array(member(result, "only_there"))) {
        out += "+" + plain(line) + "\n";
    }
    return out;
}

// Which workers know a pass's flow.
std::string cached_text(const json::object& step)
{
    const auto& workers = as_array(member(step, "workers"));
    std::string known = workers.empty() ? "; no worker knows it" : "";
    for (const auto& element : workers) {
        known += "; worker " + plain(member(as_object(element), "worker")) + " knows it";
    }
    return "(told by " + plain(member(step, "cached_by")) + known + ")";
}

// What connection tracking said.
std::string tracked_text(const json::object& step)
{
    std::string out = "(ct zone " + zone_text(step) + ": " + plain(member(step, "ct_state"));
    if (const auto* const c = member(step, "connection").if_object()) {
        out += ", of " + connection_text(*c);
    }
    return out + ")";
}

std::string step_text(const json::object& step)
{
    const std::string indent(4 * as_count(member(step, "depth")), ' ');
    if (step.contains("action")) {
        return indent + plain(member(step, "action")) + "\n";
    }
    if (step.contains("note")) {
        return indent + "(" + plain(member(step, "note")) + ")\n";
    }
    if (step.contains("goes_on")) {
        return indent + "goes on in table " + plain(member(step, "goes_on")) + ": " +
               plain(member(step, "flow")) + "\n";
    }
    if (step.contains("comes_from")) {
        return indent + "goes on from " + plain(member(step, "comes_from")) + ": " +
               plain(member(step, "flow")) + "\n";
    }
    if (step.contains("ct_state")) {
        return indent + tracked_text(step) + "\n";
    }
    if (step.contains("cached_by")) {
        return indent + cached_text(step) + "\n";
    }
    if (step.contains("stage")) {
        return indent + plain(member(step, "stage")) + ": " + plain(member(step, "rule")) + "\n";
    }
    if (step.contains("bucket")) {
        return indent + "group " + plain(member(step, "group")) + ", bucket " +
               plain(member(step, "bucket")) + ":\n";
    }
    return indent + "table " + plain(member(step, "table")) + ": " +
           (member(step, "rule").is_null() ? "no flow matches" : plain(member(step, "rule"))) +
           "\n";
}

std::string choice_text(const json::object& choice)
{
    const std::string why = ": " + plain(member(choice, "why")) + "\n";
    if (choice.contains("meter")) {
        const auto* const passes = member(choice, "passes").if_bool();
        return "meter " + plain(member(choice, "meter")) +
               (passes != nullptr && *passes ? " lets it through" : " drops it") + why;
    }
    return "group " + plain(member(choice, "group")) + ": it takes " +
           (member(choice, "bucket").is_null() ? "no bucket"
                                               : "bucket " + plain(member(choice, "bucket"))) +
           why;
}

std::string trace_text(const json::object& result)
{
    std::string out = "packet" +
                      (result.contains("number") ? " " + plain(member(result, "number")) : "") +
                      ": " + plain(member(result, "flow")) + "\n";
    if (const auto* const captured = result.if_contains("captured");
        captured != nullptr && as_count(*captured) < as_count(member(result, "length"))) {
        out += "(captured were " + plain(*captured) + " bytes of " +
               plain(member(result, "length")) + "; zeros stand for the others)\n";
    }
    for (const auto& step : as_array(member(result, "steps"))) {
        out += step_text(as_object(step));
    }
    for (const auto& c : as_array(member(result, "choices"))) {
        out += choice_text(as_object(c));
    }
    for (const auto& o : as_array(member(result, "outputs"))) {
        const auto& output = as_object(o);
        out +=
            "output to " + plain(member(output, "port")) + " (" + plain(member(output, "number")) +
            ")" +
            (as_count(member(output, "queue")) == 0 ? ""
                                                    : ", queue " + plain(member(output, "queue"))) +
            ": " + plain(member(output, "flow")) + "\n";
    }
    for (const auto& element : as_array(member(result, "mirrors"))) {
        const auto& m = as_object(element);
        out += "mirrored by " + plain(member(m, "mirror")) + ", as " + plain(member(m, "event")) +
               " at " + plain(member(m, "port")) + "\n";
    }
    for (const auto& d : as_array(member(result, "drops"))) {
        const auto& drop = as_object(d);
        out += "dropped at " + plain(member(drop, "port")) + ", " + plain(member(drop, "reason")) +
               ": " + plain(member(drop, "explanation")) + "\n";
    }
    return out;
}

std::string caches_text(const json::object& result)
{
    text_table t{{"WORKER", "ENTRIES", "MEMORY", "HITS", "MISSES", "OF THEM STALE", "EVICTIONS",
                  "UNCACHED", "WAITS"}};
    t.align_right(0, 8);
    constexpr std::uint64_t kib = 1024;
    for (const auto& element : as_array(member(result, "workers"))) {
        const auto& w = as_object(element);
        t.add({plain(member(w, "worker")), grouped(as_count(member(w, "entries"))),
               grouped(as_count(member(w, "bytes")) / kib) + " KiB",
               grouped(as_count(member(w, "hits"))), grouped(as_count(member(w, "misses"))),
               grouped(as_count(member(w, "stale"))), grouped(as_count(member(w, "evictions"))),
               grouped(as_count(member(w, "uncached"))), grouped(as_count(member(w, "waits")))});
    }
    return t.text();
}

} // namespace

std::string flow_text(const method& m, const json::object& result)
{
    if (m.name == "flow.list") {
        return list_text(result);
    }
    if (m.name == "flow.top") {
        return top_text(result);
    }
    if (m.name == "flow.diff") {
        return difference_text(result);
    }
    if (m.name == "trace") {
        return trace_text(result);
    }
    if (m.name == "cache.stats") {
        return caches_text(result);
    }
    return {};
}

} // namespace strait::control
