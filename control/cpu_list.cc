// SPDX-License-Identifier: BSD-3-Clause
// CPU lists, parsed and written.
#include "control/cpu_list.hh"

#include "dataplane/types.hh"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>

#include <sched.h>

namespace strait::control {

namespace {

constexpr unsigned last_cpu = CPU_SETSIZE - 1;

// Takes a number off the front of `text`.
std::optional<unsigned> take_number(std::string_view& text)
{
    unsigned n = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (code != std::errc{} || n > last_cpu) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return n;
}

// Of the calling thread, ascending.
std::vector<unsigned> affinity()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    std::vector<unsigned> cpus;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        for (unsigned cpu = 0; cpu <= last_cpu; ++cpu) {
            if (CPU_ISSET(cpu, &set)) {
                cpus.push_back(cpu);
            }
        }
    }
    return cpus;
}

} // namespace

ports::result<std::vector<unsigned>> parse_cpu_list(std::string_view text)
{
    const ports::error wrong{"\"" + std::string{text} +
                             "\" is not a list of CPUs; it must be like 1 or 2-5 or 0,1,0,1"};
    std::vector<unsigned> cpus;
    for (;;) {
        const auto first = take_number(text);
        if (!first) {
            return wrong;
        }
        auto last = first;
        if (text.starts_with('-')) {
            text.remove_prefix(1);
            last = take_number(text);
            if (!last || *last < *first) {
                return wrong;
            }
        }
        for (unsigned cpu = *first; cpu <= *last; ++cpu) {
            cpus.push_back(cpu);
        }
        if (cpus.size() > dataplane::max_workers) {
            return ports::error{"a list of more than " + std::to_string(dataplane::max_workers) +
                                " CPUs; the switch has one worker for each, and at most that "
                                "many"};
        }
        if (text.empty()) {
            return cpus;
        }
        if (text.front() != ',') {
            return wrong;
        }
        text.remove_prefix(1);
    }
}

std::vector<unsigned> isolated_cpus()
{
    // As the kernel writes it: "2-3,6", and a line that is empty where there are none.
    std::ifstream in{"/sys/devices/system/cpu/isolated"};
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    unsigned first = 0;
    while (in >> first) {
        unsigned last = first;
        if (in.peek() == '-') {
            in.ignore();
            in >> last;
        }
        for (unsigned cpu = first; cpu <= std::min(last, last_cpu); ++cpu) {
            CPU_SET(cpu, &wanted);
        }
        in.ignore(); // the comma
    }
    cpu_set_t before;
    if (CPU_COUNT(&wanted) == 0 || ::sched_getaffinity(0, sizeof before, &before) != 0) {
        return {};
    }
    // The kernel leaves out of what is asked for those that a control group has not.
    std::vector<unsigned> cpus;
    if (::sched_setaffinity(0, sizeof wanted, &wanted) == 0) {
        cpus = affinity();
        (void)::sched_setaffinity(0, sizeof before, &before);
    }
    return cpus;
}

std::vector<unsigned> allowed_cpus()
{
    std::vector<unsigned> all;
    std::ranges::set_union(affinity(), isolated_cpus(), std::back_inserter(all));
    return all;
}

unsigned default_worker_cpu(const std::vector<unsigned>& isolated,
                            const std::vector<unsigned>& allowed)
{
    return isolated.empty() ? allowed.back() : isolated.back();
}

unsigned default_main_cpu(const std::vector<unsigned>& isolated,
                          const std::vector<unsigned>& allowed,
                          const std::vector<unsigned>& workers)
{
    const auto in = [](const std::vector<unsigned>& some) {
        return [&some](unsigned cpu) { return std::ranges::find(some, cpu) != some.end(); };
    };
    std::vector<unsigned> left;
    std::ranges::remove_copy_if(allowed, std::back_inserter(left), in(workers));
    const auto shared = std::ranges::find_if_not(left, in(isolated));
    return shared != left.end() ? *shared : left.empty() ? allowed.front() : left.front();
}

std::string to_cpu_list(const std::vector<unsigned>& cpus)
{
    std::string out;
    for (std::size_t i = 0; i < cpus.size();) {
        const unsigned first = cpus[i];
        unsigned last = first;
        for (++i; i < cpus.size() && cpus[i] == last + 1; ++i) {
            ++last;
        }
        out += out.empty() ? "" : ",";
        out += std::to_string(first);
        if (last > first) {
            out += "-" + std::to_string(last);
        }
    }
    return out;
}

} // namespace strait::control
