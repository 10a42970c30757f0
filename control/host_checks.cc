// SPDX-License-Identifier: BSD-3-Clause
// What of the host concerns a switch.
#include "control/doctor.hh"

#include "control/cpu_list.hh"
#include "ports/nic/uio.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <system_error>

namespace strait::control {

namespace fs = std::filesystem;

namespace {

using enum finding::kind;

// Files of a host; what cannot be read is empty.
class host {
public:
    explicit host(fs::path root) : root_{std::move(root)} {}

    [[nodiscard]] std::string text(std::string_view path) const
    {
        std::ifstream in{root_ / path};
        std::string out{std::istreambuf_iterator<char>{in}, {}};
        while (!out.empty() && (out.back() == '\n' || out.back() == '\0')) {
            out.pop_back();
        }
        return out;
    }
    [[nodiscard]] std::uint64_t number(std::string_view path) const
    {
        const std::string t = text(path);
        std::uint64_t out = 0;
        std::from_chars(t.data(), t.data() + t.size(), out);
        return out;
    }
    [[nodiscard]] bool has(std::string_view path) const
    {
        std::error_code ignored;
        return fs::exists(root_ / path, ignored);
    }
    // Names in a folder, sorted.
    [[nodiscard]] std::vector<std::string> names(std::string_view path) const
    {
        std::vector<std::string> out;
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator{root_ / path, ignored}) {
            out.push_back(entry.path().filename());
        }
        std::ranges::sort(out);
        return out;
    }

private:
    fs::path root_;
};

bool has_word(std::string_view words, std::string_view word)
{
    std::istringstream in{std::string{words}};
    for (std::string one; in >> one;) {
        if (one == word) {
            return true;
        }
    }
    return false;
}

// Whether "0-3,6", as the kernel writes lists, has it.
bool lists(std::string_view list, unsigned cpu)
{
    const char* at = list.data();
    const char* const end = at + list.size();
    while (at != end) {
        unsigned first = 0;
        auto read = std::from_chars(at, end, first);
        if (read.ec != std::errc{}) {
            return false;
        }
        unsigned last = first;
        if (read.ptr != end && *read.ptr == '-') {
            read = std::from_chars(read.ptr + 1, end, last);
        }
        if (cpu >= first && cpu <= last) {
            return true;
        }
        at = std::find(read.ptr, end, ',');
        at += at != end ? 1 : 0;
    }
    return false;
}

void examine_cpu(const host& h, findings& out)
{
    const std::string info = h.text("proc/cpuinfo");
    const auto line = info.find("\nflags");
    const std::string flags =
        line == std::string::npos ? "" : info.substr(line, info.find('\n', line + 1) - line);
    if (flags.empty()) {
        return;
    }
    for (const std::string_view needed : {"sse4_2", "popcnt", "ssse3"}) {
        if (!has_word(flags, needed)) {
            out.push_back({fault, "CPU", "it lacks " + std::string{needed},
                           "a CPU of x86-64-v2 or newer; of a virtual machine, another CPU model"});
            return;
        }
    }
    if (!has_word(flags, "constant_tsc") || !has_word(flags, "nonstop_tsc")) {
        out.push_back({advice, "CPU",
                       "its time-stamp counter is not said to be constant, by which "
                       "rates and times are measured",
                       "of a virtual machine: a CPU model with invtsc"});
        return;
    }
    out.push_back({good, "CPU", "x86-64-v2 with a constant time-stamp counter", {}});
}

void examine_huge_pages(const host& h, const host_use& use, findings& out)
{
    std::uint64_t total = 0; // KiB
    std::uint64_t free = 0;
    for (const std::string& size : h.names("sys/kernel/mm/hugepages")) {
        constexpr std::string_view prefix = "hugepages-";
        if (!size.starts_with(prefix)) {
            continue;
        }
        std::uint64_t kib = 0;
        std::from_chars(size.data() + prefix.size(), size.data() + size.size(), kib);
        const std::string folder = "sys/kernel/mm/hugepages/" + size;
        total += kib * h.number(folder + "/nr_hugepages");
        free += kib * h.number(folder + "/free_hugepages");
    }
    constexpr std::uint64_t mib = 1024;
    const std::string reserve = "echo vm.nr_hugepages=512 > /etc/sysctl.d/strait.conf && "
                                "sysctl --system";
    if (total == 0) {
        out.push_back({advice, "huge pages",
                       "none are reserved, so the switch runs with small ones, which is slower; "
                       "QEMU's guests need shared memory in any case",
                       reserve + (use.pid ? ", then restart straitd" : "")});
        return;
    }
    if (h.text("proc/mounts").find(" hugetlbfs ") == std::string::npos) {
        out.push_back({fault, "huge pages", "they are reserved, but no hugetlbfs is mounted",
                       "mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages"});
        return;
    }
    const std::string found = std::to_string(total / mib) + " MiB are reserved, " +
                              std::to_string(free / mib) + " MiB free";
    if (use.pid && !use.hugepages) {
        out.push_back(
            {advice, "huge pages", found + ", and the switch runs without them",
             "restart straitd while enough are free for its --memory, without --no-huge"});
        return;
    }
    out.push_back({good, "huge pages", found, {}});
}

void examine_memory(const host& h, findings& out)
{
    const std::string info = h.text("proc/meminfo");
    constexpr std::string_view name = "MemAvailable:";
    const auto at = info.find(name);
    if (at == std::string::npos) {
        return;
    }
    std::uint64_t kib = 0;
    const auto digits = info.find_first_not_of(' ', at + name.size());
    std::from_chars(info.data() + std::min(digits, info.size()), info.data() + info.size(), kib);
    constexpr std::uint64_t mib = 1024;
    constexpr std::uint64_t least = 256 * mib;
    const std::string found = std::to_string(kib / mib) + " MiB are available";
    if (kib < least) {
        out.push_back({advice, "memory", found + ", which is little for tables that grow",
                       "fewer guests or huge pages on this host"});
    } else {
        out.push_back({good, "memory", found, {}});
    }
}

void examine_worker_cpus(const host& h, const host_use& use, findings& out)
{
    const std::string isolated = h.text("sys/devices/system/cpu/isolated");
    const std::string partitions = h.text("sys/fs/cgroup/cpuset.cpus.isolated");
    std::vector<unsigned> shared;
    std::vector<unsigned> slow;
    for (const unsigned cpu : use.worker_cpus) {
        if (!lists(isolated, cpu) && !lists(partitions, cpu)) {
            shared.push_back(cpu);
        }
        const std::string governor = h.text("sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                                            "/cpufreq/scaling_governor");
        if (!governor.empty() && governor != "performance") {
            slow.push_back(cpu);
        }
    }
    for (auto* const one : {&shared, &slow}) {
        std::ranges::sort(*one);
        one->erase(std::unique(one->begin(), one->end()), one->end());
    }
    if (!shared.empty()) {
        const std::string list = to_cpu_list(shared);
        const bool elsewhere =
            !isolated.empty() && std::ranges::none_of(use.worker_cpus, [&](unsigned cpu) {
                return lists(isolated, cpu);
            });
        out.push_back({advice, "worker CPUs",
                       "the kernel may run others on CPU " + list + ", which delays packets" +
                           (elsewhere ? "; isolated, and no worker's, is " + isolated : ""),
                       elsewhere
                           ? "straitd --workers with CPUs of " + isolated +
                                 " (STRAITD_OPTIONS in /etc/default/strait), then restart straitd"
                           : "kernel command line: isolcpus=managed_irq,domain," + list +
                                 " nohz_full=" + list + " rcu_nocbs=" + list});
    } else if (!use.worker_cpus.empty()) {
        out.push_back({good, "worker CPUs", "they are isolated", {}});
    }
    if (!slow.empty()) {
        out.push_back({advice, "worker CPUs", "CPU " + to_cpu_list(slow) + " saves power",
                       "cpupower -c " + to_cpu_list(slow) + " frequency-set -g performance"});
    }
}

// Time that a hypervisor gave to others.
void examine_stolen_time(const host& h, findings& out)
{
    std::istringstream in{h.text("proc/stat")};
    std::string name;
    in >> name;
    std::array<std::uint64_t, 8> times{}; // user to steal
    std::uint64_t all = 0;
    for (std::uint64_t& t : times) {
        in >> t;
        all += t;
    }
    constexpr std::uint64_t percent = 100;
    if (all > 0 && times.back() * percent / all >= 1) {
        out.push_back({advice, "stolen time",
                       "the hypervisor below has given " +
                           std::to_string(times.back() * percent / all) +
                           " % of the CPUs' time to others since the start",
                       "CPUs of its own for this virtual machine"});
    }
}

void examine_devices(const host& h, findings& out)
{
    if (h.text("sys/hypervisor/type") == "xen") {
        for (const std::string_view device : {"gntdev", "evtchn", "xenbus"}) {
            if (!h.has("dev/xen/" + std::string{device})) {
                out.push_back({fault, "Xen", "there is no /dev/xen/" + std::string{device},
                               "modprobe xen-" + std::string{device} +
                                   ", and xenstored must run: systemctl start xenstored"});
            }
        }
    }
    if (!h.has("dev/net/tun")) {
        out.push_back({advice, "taps",
                       "there is no /dev/net/tun, so ports of net_tap cannot be "
                       "made",
                       "modprobe tun"});
    }
    if (!h.has("dev/kvm")) {
        out.push_back({advice, "KVM", "there is no /dev/kvm, so guests of straitctl vm cannot run",
                       "modprobe kvm_intel or kvm_amd; in the firmware's set-up, virtualisation"});
    }
}

struct pci_nic {
    std::string address;
    std::string driver; // the kernel's; empty: none

    // By which it works at physical addresses.
    [[nodiscard]] bool is_under_uio() const { return nic::is_uio(driver); }
};

std::vector<pci_nic> pci_nics(const host& h)
{
    std::vector<pci_nic> out;
    for (const std::string& device : h.names("sys/bus/pci/devices")) {
        const std::string folder = "sys/bus/pci/devices/" + device;
        if (!h.text(folder + "/class").starts_with("0x0200")) {
            continue;
        }
        pci_nic& nic = out.emplace_back(pci_nic{device, {}});
        std::istringstream lines{h.text(folder + "/uevent")};
        for (std::string line; std::getline(lines, line);) {
            constexpr std::string_view key = "DRIVER=";
            if (line.starts_with(key)) {
                nic.driver = line.substr(key.size());
            }
        }
    }
    return out;
}

void examine_nic_under_uio(const host& h, const host_use& use, const pci_nic& nic, findings& out)
{
    const std::string found = "NIC " + nic.address + " is bound to " + nic.driver;
    if (nic::translates(h.text("sys/bus/pci/devices/" + nic.address + "/iommu_group/type"))) {
        out.push_back({advice, "uio",
                       found + ", and the IOMMU lets no physical address of it through",
                       "driverctl set-override " + nic.address + " vfio-pci"});
    } else if (use.pid && !use.physical_addresses) {
        out.push_back({advice, "uio",
                       found + ", by which it works at physical addresses, and the switch was "
                               "started for virtual ones",
                       "straitd --iova-mode pa (STRAITD_OPTIONS in /etc/default/strait), then "
                       "restart straitd"});
    }
}

// What NICs need that are to be taken from the kernel.
void examine_nics(const host& h, const host_use& use, findings& out)
{
    const std::vector<pci_nic> nics = pci_nics(h);
    if (nics.empty()) {
        return;
    }
    if (h.names("sys/kernel/iommu_groups").empty()) {
        out.push_back({advice, "IOMMU",
                       "there is none in use, so a NIC that the switch takes from the kernel may "
                       "write anywhere",
                       "kernel command line: intel_iommu=on iommu=pt (amd_iommu is on by itself); "
                       "of a host that has none: uio_pci_generic and straitd --iova-mode pa"});
    } else {
        out.push_back({good, "IOMMU", "it is in use", {}});
    }
    if (!h.has("sys/module/vfio_pci") && std::ranges::none_of(nics, &pci_nic::is_under_uio)) {
        out.push_back({advice, "vfio",
                       "vfio-pci is not loaded, by which a NIC is given to the "
                       "switch",
                       "modprobe vfio-pci, then driverctl set-override ADDRESS vfio-pci, which is "
                       "kept (Debian: driverctl)"});
    }
    for (const pci_nic& nic : nics) {
        if (nic.is_under_uio()) {
            examine_nic_under_uio(h, use, nic, out);
        } else if (nic.driver != "vfio-pci") {
            continue;
        }
        const std::string node = h.text("sys/bus/pci/devices/" + nic.address + "/numa_node");
        if (node.empty() || node == "-1") {
            continue;
        }
        const std::string near = h.text("sys/devices/system/node/node" + node + "/cpulist");
        for (const unsigned cpu : use.worker_cpus) {
            if (!near.empty() && !lists(near, cpu)) {
                out.push_back({advice, "NUMA",
                               "NIC " + nic.address + " is on node " + node +
                                   ", and a worker runs on "
                                   "CPU " +
                                   std::to_string(cpu) + ", which is not",
                               "straitd --workers with CPUs of " + near});
                break;
            }
        }
    }
}

void examine_limits(const host& h, const host_use& use, findings& out)
{
    if (!use.pid) {
        return;
    }
    std::istringstream in{h.text("proc/" + std::to_string(*use.pid) + "/limits")};
    for (std::string line; std::getline(in, line);) {
        constexpr std::string_view locked = "Max locked memory";
        constexpr std::string_view files = "Max open files";
        constexpr std::uint64_t least_files = 4096;
        const bool of_memory = line.starts_with(locked);
        if (!of_memory && !line.starts_with(files)) {
            continue;
        }
        std::istringstream rest{line.substr(of_memory ? locked.size() : files.size())};
        std::string soft;
        rest >> soft;
        std::uint64_t number = 0;
        std::from_chars(soft.data(), soft.data() + soft.size(), number);
        if (of_memory && soft != "unlimited") {
            out.push_back({advice, "limits",
                           "the switch may lock " + soft +
                               " bytes, which a NIC by vfio needs more "
                               "of",
                           "in straitd's unit: LimitMEMLOCK=infinity"});
        } else if (!of_memory && soft != "unlimited" && number < least_files) {
            out.push_back({advice, "limits",
                           "the switch may open " + soft + " files; each guest takes some ten",
                           "in straitd's unit: LimitNOFILE=65536"});
        }
    }
}

} // namespace

findings examine_host(const fs::path& root, const host_use& use)
{
    const host h{root};
    findings out;
    examine_cpu(h, out);
    examine_huge_pages(h, use, out);
    examine_memory(h, out);
    examine_worker_cpus(h, use, out);
    examine_stolen_time(h, out);
    examine_devices(h, out);
    examine_nics(h, use, out);
    examine_limits(h, use, out);
    return out;
}

} // namespace strait::control
