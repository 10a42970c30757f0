// SPDX-License-Identifier: BSD-3-Clause
// What is shown.
#include "control/top.hh"

#include "control/methods.hh"
#include "control/print.hh"
#include "control/print_parts.hh"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

namespace strait::control {

namespace json = boost::json;

namespace {

struct port_line {
    std::string name;
    std::string bridge;
    std::string link;
    std::string workers;
    double rx_pps;
    double tx_pps;
    double rx_bps;
    double tx_bps;
    double drop_pps;
    std::string reason; // of most of the drops
};

// The drop reason that has grown most, of one port.
std::string main_reason(const json::object& now, const json::object& before)
{
    std::string most;
    std::uint64_t count = 0;
    for (const auto& [reason, value] : as_object(member(now, "drops"))) {
        const std::uint64_t n = as_count(value);
        const std::uint64_t was = as_count(member(as_object(member(before, "drops")), reason));
        if (n > was && n - was > count) {
            count = n - was;
            most = reason;
        }
    }
    return most;
}

// By port: the workers that poll it, "0" or "0-1".
std::map<std::string, std::string> workers_of_ports(const json::object& workers)
{
    std::map<std::string, std::string> out;
    for (const json::value& w : as_array(member(workers, "workers"))) {
        const std::string number = std::to_string(as_count(member(as_object(w), "worker")));
        for (const json::value& queue : as_array(member(as_object(w), "queues"))) {
            std::string& list = out[plain(member(as_object(queue), "port"))];
            if (list.empty() || !("," + list).ends_with("," + number)) {
                list += (list.empty() ? "" : ",") + number;
            }
        }
    }
    return out;
}

std::vector<port_line> port_lines(const top_look& before, const json::object& stats,
                                  const json::object& workers)
{
    const auto& old = as_array(member(before.stats, "ports"));
    const auto polled_by = workers_of_ports(workers);
    std::vector<port_line> out;
    for (const json::value& value : as_array(member(stats, "ports"))) {
        const auto& p = as_object(value);
        const auto was = std::ranges::find_if(old, [&p](const json::value& o) {
            return member(as_object(o), "name") == member(p, "name");
        });
        const auto rate = [&p](std::string_view name) { return as_number(member(p, name)); };
        const std::string name = plain(member(p, "name"));
        const auto by = polled_by.find(name);
        const bool up = plain(member(p, "admin")) == "up";
        out.push_back({.name = name,
                       .bridge = plain(member(p, "bridge")),
                       .link = up ? plain(member(p, "link")) : "off",
                       .workers = by == polled_by.end() ? "-" : by->second,
                       .rx_pps = rate("rx_pps"),
                       .tx_pps = rate("tx_pps"),
                       .rx_bps = rate("rx_bps"),
                       .tx_bps = rate("tx_bps"),
                       .drop_pps = rate("rx_drop_pps") + rate("tx_drop_pps"),
                       .reason = was == old.end() ? "" : main_reason(p, as_object(*was))});
    }
    return out;
}

void sort(std::vector<port_line>& lines, const top_view& view)
{
    const auto key = [&view](const port_line& p) {
        switch (view.order) {
        case top_order::traffic:
            return p.rx_bps + p.tx_bps;
        case top_order::drops:
            return p.drop_pps;
        case top_order::received:
            return p.rx_pps;
        case top_order::sent:
            return p.tx_pps;
        case top_order::name:
            break;
        }
        return 0.0;
    };
    // As stats lists them, by name, where nothing else tells them apart.
    std::ranges::stable_sort(
        lines, [&key](const port_line& a, const port_line& b) { return key(a) > key(b); });
    if (view.reversed) {
        std::ranges::reverse(lines);
    }
}

std::string_view word_of(top_order o)
{
    switch (o) {
    case top_order::traffic:
        return "traffic";
    case top_order::drops:
        return "drops";
    case top_order::received:
        return "received";
    case top_order::sent:
        return "sent";
    case top_order::name:
        break;
    }
    return "name";
}

std::string uptime(std::uint64_t seconds)
{
    constexpr std::uint64_t minute = 60;
    constexpr std::uint64_t hour = 60 * minute;
    constexpr std::uint64_t day = 24 * hour;
    return seconds >= day
               ? std::to_string(seconds / day) + " d " + std::to_string(seconds % day / hour) + " h"
           : seconds >= hour ? std::to_string(seconds / hour) + " h " +
                                   std::to_string(seconds % hour / minute) + " min"
                             : std::to_string(seconds / minute) + " min " +
                                   std::to_string(seconds % minute) + " s";
}

std::string head_line(const top_look& now, const json::object& workers, std::size_t ports)
{
    constexpr double percent = 100;
    const auto& pool = as_object(member(workers, "pool"));
    const double size = std::max(1.0, as_number(member(pool, "size")));
    return "Strait " + plain(member(now.version, "version")) + ", up " +
           uptime(as_count(member(now.version, "uptime_s"))) + "; " + std::to_string(ports) +
           (ports == 1 ? " port" : " ports") + "; packet pool " +
           fixed(percent * as_number(member(pool, "in_use")) / size, 0) + " % in use\n";
}

std::string worker_table(const json::object& workers)
{
    text_table table{{"WORKER", "CPU", "BUSY", "ASLEEP", "CYCLES/PACKET", "QUEUES"}};
    table.align_right(0, 5);
    for (const json::value& value : as_array(member(workers, "workers"))) {
        const auto& w = as_object(value);
        const auto& cycles = member(w, "cycles_per_packet");
        table.add({plain(member(w, "worker")), plain(member(w, "cpu")),
                   fixed(as_number(member(w, "utilisation")), 1) + " %",
                   fixed(as_number(member(w, "asleep")), 1) + " %",
                   cycles.is_null() ? "-" : fixed(as_number(cycles), 0),
                   std::to_string(as_array(member(w, "queues")).size())});
    }
    return table.text();
}

std::string port_table(const std::vector<port_line>& lines)
{
    text_table table{{"PORT", "BRIDGE", "LINK", "WORKER", "RX", "TX", "RX RATE", "TX RATE", "DROPS",
                      "MOST OF THEM"}};
    table.align_right(4, 8);
    for (const port_line& p : lines) {
        table.add({p.name, p.bridge, p.link, p.workers, scaled(p.rx_pps, "pps"),
                   scaled(p.tx_pps, "pps"), scaled(p.rx_bps, "bit/s"), scaled(p.tx_bps, "bit/s"),
                   scaled(p.drop_pps, "pps"), p.reason});
    }
    return table.text();
}

std::vector<std::string> lines_of(std::string_view text)
{
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

} // namespace

bool press(top_view& view, char key)
{
    constexpr std::array<std::pair<char, top_order>, 5> orders{{{'t', top_order::traffic},
                                                                {'d', top_order::drops},
                                                                {'r', top_order::received},
                                                                {'s', top_order::sent},
                                                                {'n', top_order::name}}};
    for (const auto& [k, order] : orders) {
        if (k == key) {
            view.order = order;
            view.first = 0;
            return true;
        }
    }
    switch (key) {
    case 'R':
        view.reversed = !view.reversed;
        return true;
    case ' ':
        view.paused = !view.paused;
        return true;
    case 'j':
    case 'B':
        ++view.first;
        return true;
    case 'k':
    case 'A':
        view.first -= view.first > 0 ? 1U : 0U;
        return true;
    default:
        return false;
    }
}

std::string top_screen(const top_look& before, const top_look& now, const top_view& view,
                       std::size_t columns, std::size_t rows, bool colours)
{
    json::value stats(now.stats);
    json::value workers(now.workers);
    add_rates(*find_method(methods(), "stats"), stats, json::value(before.stats));
    add_rates(*find_method(methods(), "worker.list"), workers, json::value(before.workers));
    std::vector<port_line> ports = port_lines(before, stats.as_object(), workers.as_object());
    sort(ports, view);
    const std::size_t all = ports.size();

    std::vector<std::string> out;
    std::vector<std::size_t> headings;
    const auto add = [&out, &headings](const std::string& text, bool heading) {
        if (heading) {
            headings.push_back(out.size());
        }
        const auto lines = lines_of(text);
        out.insert(out.end(), lines.begin(), lines.end());
    };
    add(head_line(now, workers.as_object(), all), false);
    out.emplace_back();
    add(worker_table(workers.as_object()), true);
    out.emplace_back();
    const std::size_t first = std::min(view.first, all);
    ports.erase(ports.begin(), ports.begin() + static_cast<std::ptrdiff_t>(first));
    constexpr std::size_t heading_and_foot = 2;
    if (rows > 0) {
        const std::size_t taken = std::min(rows, out.size() + heading_and_foot);
        ports.resize(std::min(ports.size(), rows - taken));
    }
    add(port_table(ports), true);
    if (rows > 0) {
        out.resize(std::min(out.size(), rows - 1));
        const std::size_t last = first + ports.size();
        out.push_back((all == 0 ? std::string{"no ports"}
                                : "ports " + std::to_string(std::min(first + 1, all)) + "-" +
                                      std::to_string(last) + " of " + std::to_string(all)) +
                      " by " + std::string{word_of(view.order)} +
                      (view.reversed ? ", least first" : "") + (view.paused ? ", paused" : "") +
                      "; q ends, t d r s n sort, R turns round, space pauses, j k move");
    }
    std::string text;
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::string line = columns > 0 ? out[i].substr(0, columns) : out[i];
        const bool heading = std::ranges::find(headings, i) != headings.end();
        text += colours && heading ? "\033[7m" + line + "\033[0m" : line;
        text += rows > 0 && i + 1 == out.size() ? "" : "\n";
    }
    return text;
}

bool is_top(const method& m)
{
    return m.name == "top";
}

method top_method()
{
    return {.name = "top",
            .summary = "Ports and workers as they go, busiest first, until q is pressed",
            .changes = false,
            .parameters = {{.name = "interval",
                            .kind = value_kind::integer,
                            .help = "seconds between two looks; 1 unless given",
                            .placeholder = "SECONDS",
                            .minimum = 1,
                            .maximum = 3600},
                           {.name = "iterations",
                            .kind = value_kind::integer,
                            .help = "looks, and then it ends; without --batch no end unless given",
                            .placeholder = "N",
                            .minimum = 1,
                            .maximum = 1'000'000},
                           {.name = "sort",
                            .kind = value_kind::choice,
                            .help = "what is at the top; traffic unless given",
                            .choices = {"traffic", "drops", "received", "sent", "name"}},
                           {.name = "batch",
                            .kind = value_kind::truth,
                            .help = "as text for a file or a program, one look unless --iterations "
                                    "says more"}},
            .result = {{"stats", "object", "as stats --rates has it"},
                       {"workers", "object", "as worker list --rates has it"}}};
}

} // namespace strait::control
