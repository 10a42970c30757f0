// SPDX-License-Identifier: BSD-3-Clause
#include "control/doctor.hh"

#include "control/client.hh"
#include "control/print_parts.hh"
#include "control/version.hh"

#include <algorithm>
#include <iterator>

namespace strait::control {

namespace json = boost::json;

namespace {

std::string_view word_of(finding::kind k)
{
    switch (k) {
    case finding::kind::good:
        return "good";
    case finding::kind::advice:
        return "advice";
    case finding::kind::fault:
        break;
    }
    return "fault";
}

json::array to_json(const findings& all)
{
    json::array out;
    for (const finding& f : all) {
        out.push_back({{"is", word_of(f.is)},
                       {"about", f.about},
                       {"found", f.found},
                       {"mend", f.mend.empty() ? json::value{} : json::value(f.mend)}});
    }
    return out;
}

// Nothing: nobody answers, which is a finding.
std::optional<switch_report> ask(const std::string& run_dir, std::chrono::seconds patience,
                                 findings& out)
{
    service_address daemon = daemon_in(run_dir);
    daemon.patience = patience;
    client connection{std::move(daemon)};
    try {
        switch_report r;
        r.version = connection.call("version", {}).as_object();
        r.ports = connection.call("port.list", {}).as_array();
        r.mirrors = connection.call("mirror.list", {}).as_array();
        r.workers = connection.call("worker.list", {}).as_object();
        r.drops = connection.call("drops", {}).as_object();
        return r;
    } catch (const call_error& e) {
        out.push_back({finding::kind::fault, "daemon", e.message,
                       e.denied   ? "run straitctl as root, or as one of the run folder's group"
                       : e.absent ? "straitd --run-dir " + run_dir + " --workers CPUS"
                                  : ""});
        return std::nullopt;
    }
}

} // namespace

bool is_doctor(const method& m)
{
    return m.name == "doctor";
}

method doctor_method()
{
    return {.name = "doctor",
            .summary = "Look for what is wrong on the host and in the switch, with what mends it",
            .changes = false,
            .result = {{"findings", "array",
                        "of each: is (good, advice or fault), about, found, and mend (null: "
                        "nothing to be done)"}}};
}

json::object examine(const std::string& run_dir, std::chrono::seconds patience)
{
    findings all;
    const auto report = ask(run_dir, patience, all);
    if (report) {
        all = examine_switch(*report);
        const std::string daemons = plain(member(report->version, "version"));
        if (daemons != version()) {
            all.push_back({finding::kind::advice, "versions",
                           "straitctl is " + std::string{version()} + " and the daemon " + daemons,
                           "restart straitd: it runs what was installed before"});
        }
    }
    std::ranges::move(examine_host("/", report ? use_of(*report) : host_use{}),
                      std::back_inserter(all));
    std::ranges::stable_sort(all, [](const finding& a, const finding& b) { return a.is > b.is; });
    return {{"findings", to_json(all)}};
}

bool has_fault(const json::object& examined)
{
    return std::ranges::any_of(as_array(member(examined, "findings")), [](const json::value& f) {
        return plain(member(as_object(f), "is")) == "fault";
    });
}

std::string doctor_text(const json::object& examined)
{
    std::string out;
    std::size_t faults = 0;
    std::size_t advice = 0;
    for (const auto& element : as_array(member(examined, "findings"))) {
        const auto& f = as_object(element);
        const std::string is = plain(member(f, "is"));
        faults += is == "fault" ? 1U : 0U;
        advice += is == "advice" ? 1U : 0U;
        out += is + std::string(8 - std::min<std::size_t>(is.size(), 7), ' ') +
               plain(member(f, "about")) + ": " + plain(member(f, "found")) + "\n";
        if (!member(f, "mend").is_null()) {
            out += "          " + plain(member(f, "mend")) + "\n";
        }
    }
    return out + grouped(faults) + (faults == 1 ? " fault, " : " faults, ") + grouped(advice) +
           (advice == 1 ? " piece" : " pieces") + " of advice\n";
}

} // namespace strait::control
