// SPDX-License-Identifier: BSD-3-Clause
// strait-calibrate: what a hypervisor's own work for a network device costs on this host, as JSON
// for `strait-bench hypervisors`: KVM's where there is a /dev/kvm, Xen's in a Xen domain.
#include "bench/calibrate/calibrate.hh"
#include "bench/generator/clock.hh"
#include "bench/generator/cpu.hh"

#include <boost/json/serialize.hpp>
#include <boost/program_options.hpp>

#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <tuple>

#include <sched.h>
#include <sys/utsname.h>

namespace strait::bench {

namespace {

namespace json = boost::json;
namespace po = boost::program_options;

// The first two CPUs that this process may run on.
void choose_cpus(calibration_options& o)
{
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 2) {
        throw std::runtime_error{"it needs two CPUs that this process may run on"};
    }
    while (!CPU_ISSET(o.other_cpu, &set)) {
        ++o.other_cpu;
    }
    o.cpu = o.other_cpu + 1;
    while (!CPU_ISSET(o.cpu, &set)) {
        ++o.cpu;
    }
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
    return 0;
}

} // namespace

} // namespace strait::bench

int main(int argc, char** argv)
{
    using namespace strait::bench;
    calibration_options o;
    try {
        choose_cpus(o);
        po::options_description options{"strait-calibrate [OPTIONS]: what a hypervisor's own work "
                                        "costs on this host, as JSON"};
        options.add_options()("cpu", po::value(&o.cpu)->default_value(o.cpu), "the worker's CPU")(
            "other-cpu", po::value(&o.other_cpu)->default_value(o.other_cpu),
            "the CPU of the guest, or of a channel's other end")(
            "rounds", po::value(&o.rounds)->default_value(5),
            "rounds, each of medians, 1 to 1000")("help", "print this");
        po::variables_map given;
        po::store(po::parse_command_line(argc, argv, options), given);
        po::notify(given);
        if (given.contains("help")) {
            std::fputs((std::ostringstream{} << options).str().c_str(), stdout);
            return 0;
        }
        if (o.rounds < 1 || o.rounds > 1000 || o.cpu == o.other_cpu) {
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
