// SPDX-License-Identifier: BSD-3-Clause
// strait-calibrate: what a hypervisor's own work for a network device costs on this host, as JSON
// for `strait-bench hypervisors`: KVM's where there is a /dev/kvm, Xen's in a Xen domain.
#include "bench/calibrate/calibrate.hh"
#include "bench/generator/clock.hh"
#include "bench/generator/cpu.hh"

#include <boost/json/serialize.hpp>
#include <boost/program_options.hpp>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <tuple>

#include <sched.h>
#include <sys/utsname.h>

namespace strait::bench {

namespace {

namespace json = boost::json;
namespace po = boost::program_options;

// Of the CPUs that this process may run on, the first that are not given: two different ones.
calibration_options cpus_of(std::optional<unsigned> cpu, std::optional<unsigned> other_cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    (void)::sched_getaffinity(0, sizeof set, &set);
    const auto first_but = [&set](std::optional<unsigned> other) {
        for (unsigned i = 0; i < CPU_SETSIZE; ++i) {
            if (CPU_ISSET(i, &set) && i != other) {
                return i;
            }
        }
        throw std::runtime_error{"it needs two CPUs that this process may run on"};
    };
    calibration_options o;
    o.other_cpu = other_cpu ? *other_cpu : first_but(cpu);
    o.cpu = cpu ? *cpu : first_but(o.other_cpu);
    return o;
}

// A CPU's number; boost::program_options takes -1 for a large one.
std::optional<unsigned> number_of(const po::variables_map& given, const char* name, unsigned most)
{
    if (!given.contains(name)) {
        return std::nullopt;
    }
    const auto& text = given[name].as<std::string>();
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number > most) {
        throw po::error{std::string{"--"} + name + " is a number up to " + std::to_string(most) +
                        ", not \"" + text + '"'};
    }
    return number;
}

json::object machine(const calibration_options& o)
{
    std::string model = "unknown";
    bool is_virtual = false;
    std::ifstream file{"/proc/cpuinfo"};
    for (std::string line; std::getline(file, line) && !line.empty();) {
        if (line.starts_with("model name") && line.find(": ") != line.npos) {
            model = line.substr(line.find(": ") + 2);
        } else if (line.starts_with("flags")) {
            is_virtual = (line + ' ').find(" hypervisor ") != line.npos;
        }
    }
    utsname system{};
    (void)::uname(&system);
    return {{"cpu", model},
            {"virtual", is_virtual}, // in each Xen domain, whatever Xen runs on
            {"kernel", std::string{system.sysname} + ' ' + system.release},
            {"tsc_hz", tsc_hz()},
            {"worker_cpu", o.cpu},
            {"other_cpu", o.other_cpu}};
}

// The exit status: 0 if what was printed has gone where it should.
int written()
{
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) {
        return 0;
    }
    std::fprintf(stderr, "strait-calibrate: standard output cannot be written: %s\n",
                 std::strerror(errno));
    return 1;
}

int run(const calibration_options& o)
{
    json::object all{{"format", "strait-calibrate 1"}, {"machine", machine(o)}};
    std::string missing;
    bool any = false;
    stay_on(o.cpu);
    for (const auto& [key, name, calibrate] :
         {std::tuple{"kvm", "KVM", &calibrate_kvm}, std::tuple{"xen", "Xen", &calibrate_xen}}) {
        try {
            all[key] = calibrate(o);
            any = true;
        } catch (const std::exception& e) {
            all[key] = json::object{{"missing", e.what()}};
            missing += std::string{missing.empty() ? "" : "; "} + name + ": " + e.what();
        }
    }
    if (!any) {
        std::fprintf(stderr, "strait-calibrate: nothing could be calibrated: %s\n",
                     missing.c_str());
        return 1;
    }
    if (!missing.empty()) {
        std::fprintf(stderr, "strait-calibrate: not calibrated: %s\n", missing.c_str());
    }
    std::puts(json::serialize(all).c_str());
    return written();
}

} // namespace

} // namespace strait::bench

int main(int argc, char** argv)
{
    using namespace strait::bench;
    try {
        po::options_description options{"strait-calibrate [OPTIONS]: what a hypervisor's own work "
                                        "costs on this host, as JSON"};
        options.add_options()("cpu", po::value<std::string>(),
                              "the worker's CPU; the second that it may run on")(
            "other-cpu", po::value<std::string>(),
            "the CPU of the guest, or of a channel's other end; the first")(
            "rounds", po::value<std::string>()->default_value("5"),
            "rounds, each of medians, 1 to 1000")("help", "print this");
        po::variables_map given;
        // No word without an option.
        po::store(po::command_line_parser(argc, argv)
                      .options(options)
                      .positional(po::positional_options_description{})
                      .run(),
                  given);
        if (given.contains("help")) {
            std::fputs((std::ostringstream{} << options).str().c_str(), stdout);
            return written();
        }
        constexpr unsigned most_cpu = CPU_SETSIZE - 1;
        const auto rounds = number_of(given, "rounds", 1000);
        auto o =
            cpus_of(number_of(given, "cpu", most_cpu), number_of(given, "other-cpu", most_cpu));
        o.rounds = *rounds;
        if (o.rounds < 1 || o.cpu == o.other_cpu) {
            std::fputs("strait-calibrate: rounds are 1 to 1000, and --cpu is not --other-cpu\n",
                       stderr);
            return 2;
        }
        return run(o);
    } catch (const po::error& e) {
        std::fprintf(stderr, "strait-calibrate: %s; --help lists the options\n", e.what());
        return 2;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "strait-calibrate: %s\n", e.what());
        return 1;
    }
}
