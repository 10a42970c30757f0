// SPDX-License-Identifier: BSD-3-Clause
// strait-generator: offers frames to any switch through two of its ports, or more, and counts what
// arrives, all ends in one poll loop on one CPU. What a frame is and how it is sent is in frames.cc
// and endpoint.cc, the phases of a run and its report in run.cc.

#include "bench/generator/cpu.hh"
#include "bench/generator/endpoint.hh"
#include "bench/generator/options.hh"
#include "bench/generator/run.hh"
#include "bench/generator/trace_order.hh"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace strait::bench {

namespace {

extern "C" void on_signal(int)
{
    stop_all();
}

void list_flows(const options& settings)
{
    const auto address = [&](std::uint32_t one) {
        return (settings.ipv6 ? "fd53::" : "") + std::to_string(one >> 24) + '.' +
               std::to_string(one >> 16 & 0xff) + '.' + std::to_string(one >> 8 & 0xff) + '.' +
               std::to_string(one & 0xff);
    };
    for (const side from : {side::a, side::b}) {
        for (std::uint32_t flow = 0; flow < settings.flows_of_a_side(); ++flow) {
            const flow_fields f = fields_of(settings.kind, from, flow);
            std::printf("%c %s %s %u %u\n", from == side::a ? 'a' : 'b', address(f.source).c_str(),
                        address(f.destination).c_str(), f.source_port, f.destination_port);
        }
    }
}

int generate(options settings)
{
    std::vector<std::uint32_t> order;
    if (!settings.trace.empty()) {
        trace_order trace = read_trace(settings.trace, most_flows_of_a_side);
        // Each path has as many; the last of some may never be sent.
        const std::uint32_t paths = std::max(settings.paths(), 1U);
        settings.flows = 2 * paths * ((trace.flows + paths - 1) / paths);
        order = std::move(trace.flow_of);
    }
    if (settings.list_flows) {
        list_flows(settings);
        return 0;
    }
    if (settings.trace.empty()) {
        order = make_order(settings.order, settings.flows_of_a_side());
        gather_by_queue(order, settings.queues, endpoint::burst);
    }
    stay_on(settings.cpu);
    auto ends = make_endpoints(settings);
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::duration<double>(settings.ready_timeout));
    for (const auto& end : ends) {
        end->attach(patience);
    }
    run traffic(std::move(ends), settings, std::move(order));
    if (!traffic.wait_until_ready()) {
        const std::string where =
            settings.paths() == 0 ? "in both directions" : "to end " + traffic.ends_not_ready();
        std::fprintf(stderr,
                     "strait-generator: no frame came through the switch %s within %.1f s\n",
                     where.c_str(), settings.ready_timeout);
        return 1;
    }
    if (settings.prime && !traffic.prime()) {
        std::fprintf(stderr,
                     "strait-generator: the switch did not take a frame from each of %u %s within "
                     "%.1f s\n",
                     settings.flows_of_a_side() * 2, settings.flows == 0 ? "addresses" : "flows",
                     traffic.prime_patience());
        return 1;
    }
    std::printf("{\"event\":\"ready\",\"after_s\":%.4f}\n", traffic.ready_after());
    std::fflush(stdout);
    do {
        if (settings.steps) {
            const auto line = take_line();
            if (!line) {
                break;
            }
            traffic.take_step(*line);
        }
        traffic.step();
        traffic.report();
    } while (settings.steps && !stopping());
    return 0;
}

} // namespace

} // namespace strait::bench

int main(int argc, char** argv)
{
    using namespace strait::bench;
    const auto parsed = parse_options(argc, argv);
    if (std::holds_alternative<help_wanted>(parsed)) {
        std::fputs(usage(), stdout);
        return 0;
    }
    if (const auto* const bad = std::get_if<bad_usage>(&parsed)) {
        std::fprintf(stderr, "strait-generator: %s\n", bad->message.c_str());
        return 2;
    }
    const options& settings = std::get<options>(parsed);
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN); // sockets that it made go with it, whoever reads the report
    try {
        return generate(settings);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "strait-generator: %s\n", error.what());
        return 1;
    }
}
