// SPDX-License-Identifier: BSD-3-Clause
#include "control/support.hh"

#include "control/client.hh"
#include "control/doctor.hh"
#include "control/methods.hh"
#include "control/parameters.hh"
#include "control/print_parts.hh"
#include "control/version.hh"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::control {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t most_of_file = 4U << 20U; // bytes of one file that are taken: its end

struct command_line {
    std::string_view file; // in the bundle
    std::string_view words;
};
// What is not installed is among the missing. Each has ten seconds.
constexpr std::array<command_line, 18> commands{{
    {"host/uname", "uname -a"},
    {"host/lscpu", "lscpu"},
    {"host/lspci", "lspci -nnk"},
    {"host/ip-link", "ip -s -d link show"},
    {"host/ip-address", "ip address show"},
    {"host/ip-route", "ip route show table all"},
    {"host/dmesg", "dmesg --time-format iso | tail -n 1000"},
    {"host/packages", "dpkg-query -W 'strait*' 'libdpdk*' 'dpdk*' 'qemu-system-x86' 'libvirt*' "
                      "'xen-*' 'linux-image-*' 'systemd'"},
    {"host/hugepages", "grep -rH . /sys/kernel/mm/hugepages /sys/kernel/mm/transparent_hugepage "
                       "/sys/devices/system/node/node*/hugepages"},
    {"host/numa", "grep -H . /sys/devices/system/node/node*/cpulist "
                  "/sys/devices/system/node/node*/meminfo /sys/devices/system/node/node*/distance"},
    {"host/cpu", "grep -H . /sys/devices/system/cpu/online /sys/devices/system/cpu/isolated "
                 "/sys/devices/system/cpu/nohz_full /sys/devices/system/cpu/smt/active "
                 "/sys/devices/system/cpu/vulnerabilities/* "
                 "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"},
    {"host/iommu", "ls -l /sys/kernel/iommu_groups"},
    {"host/devices", "ls -l /dev/kvm /dev/net /dev/vfio /dev/vhost-net /dev/xen"},
    {"host/apparmor", "cat /sys/kernel/security/apparmor/profiles"},
    {"daemon/log", "journalctl --no-pager -o short-iso-precise -u straitd -n 5000"},
    {"daemon/unit", "systemctl cat straitd; systemctl show straitd | grep -v ^Environment="},
    {"daemon/processes", "ps -eLo pid,tid,psr,cls,rtprio,ni,stat,pcpu,etime,comm | grep -E "
                         "'PID|strait|qemu|dpdk|ovs'"},
    {"daemon/sockets", "ss -xpn | grep -E 'strait|State'"},
}};

constexpr std::array<std::string_view, 15> host_files{
    "/etc/os-release", "/proc/cpuinfo",    "/proc/meminfo",      "/proc/mounts",
    "/proc/modules",   "/proc/interrupts", "/proc/softirqs",     "/proc/stat",
    "/proc/loadavg",   "/proc/uptime",     "/proc/pressure/cpu", "/proc/pressure/memory",
    "/proc/buddyinfo", "/proc/net/dev",    "/etc/default/strait"};

constexpr std::array<std::string_view, 6> process_files{"status",    "limits", "cgroup",
                                                        "numa_maps", "sched",  "mountinfo"};

[[noreturn]] void refuse(const std::string& why)
{
    throw call_error{true, why};
}

std::string why(int code)
{
    return std::generic_category().message(code);
}

// The end of a file, as files of /proc do not tell their size.
std::optional<std::string> read_end(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    if (!in) {
        return std::nullopt;
    }
    std::string text;
    std::array<char, 65536> part{};
    while (in.read(part.data(), part.size()), in.gcount() > 0) {
        text.append(part.data(), static_cast<std::size_t>(in.gcount()));
        if (text.size() > 2 * most_of_file) {
            text.erase(0, text.size() - most_of_file);
        }
    }
    if (text.size() > most_of_file) {
        text.erase(0, text.size() - most_of_file);
    }
    return text;
}

struct printed {
    std::string text;
    int status;
};

// By a shell, with its words as they are: they are ours.
printed run(std::string_view words)
{
    const std::string line = "LC_ALL=C timeout 10 sh -c '" + [words] {
        std::string quoted;
        for (const char c : words) {
            quoted += c == '\'' ? std::string{"'\\''"} : std::string{c};
        }
        return quoted;
    }() + "' 2>&1 < /dev/null";
    printed out{{}, -1};
    FILE* const pipe = ::popen(line.c_str(), "re");
    if (pipe == nullptr) {
        return out;
    }
    std::array<char, 4096> part{};
    while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) {
        out.text.append(part.data(), n);
    }
    const int status = ::pclose(pipe);
    out.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return out;
}

// A folder that is gone with this object, with what is to be packed.
class bundle {
public:
    bundle()
    {
        std::string pattern = (fs::temp_directory_path() / "strait-support-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) {
            refuse("support: no folder can be made in " + fs::temp_directory_path().string() +
                   ": " + why(errno));
        }
        folder_ = pattern;
    }
    ~bundle()
    {
        std::error_code code;
        fs::remove_all(folder_, code);
    }
    bundle(const bundle&) = delete;
    bundle& operator=(const bundle&) = delete;

    void put(std::string_view file, std::string_view text)
    {
        const fs::path path = folder_ / file;
        std::error_code code;
        fs::create_directories(path.parent_path(), code);
        std::ofstream out{path, std::ios::binary};
        if (!(out.write(text.data(), static_cast<std::streamsize>(text.size())) && out.flush())) {
            refuse("support: " + path.string() + " cannot be written: " + why(errno));
        }
        ++entries_;
    }
    void miss(std::string_view file, std::string_view reason)
    {
        missing_.push_back({{"entry", file}, {"why", reason}});
    }
    [[nodiscard]] const fs::path& folder() const { return folder_; }
    [[nodiscard]] std::size_t entries() const { return entries_; }
    [[nodiscard]] const json::array& missing() const { return missing_; }

private:
    fs::path folder_;
    std::size_t entries_{0};
    json::array missing_;
};

// A question that needs no parameter, changes nothing, and has one answer that ends.
bool can_be_asked(const method& m)
{
    constexpr std::array<std::string_view, 6> others{"capture",  "trace", "schema",
                                                     "flow.top", "stats", "config.diff"};
    return !m.changes && !m.for_programs && std::ranges::find(others, m.name) == others.end() &&
           std::ranges::none_of(m.parameters, &parameter::required);
}

client client_of(const std::string& run_dir, std::chrono::seconds patience)
{
    service_address address = daemon_in(run_dir);
    address.patience = patience;
    return client{std::move(address)};
}

// The daemon's process, if it answers. One that does not within three seconds hangs: it is asked
// nothing more. What takes longer than that when it does not has half a minute.
std::optional<std::uint64_t> ask_daemon(const std::string& run_dir, bundle& out)
{
    std::optional<std::uint64_t> pid;
    try {
        const json::value answer = client_of(run_dir, std::chrono::seconds{3}).call("version", {});
        pid = as_count(member(as_object(answer), "pid"));
    } catch (const call_error& e) {
        out.miss("daemon/*.json", e.message);
        return std::nullopt;
    }
    const auto ask = [&](std::string_view name, const std::string& file) {
        try {
            const json::value answer = client_of(run_dir, std::chrono::seconds{30}).call(name, {});
            out.put("daemon/" + file + ".json", json::serialize(answer) + "\n");
        } catch (const call_error& e) {
            out.miss("daemon/" + file + ".json", e.message);
        }
    };
    ask("stats", "stats-1");
    for (const method& m : methods()) {
        if (can_be_asked(m)) {
            ask(m.name, std::string{m.name});
        }
    }
    std::this_thread::sleep_for(std::chrono::seconds{1});
    ask("stats", "stats-2"); // rates are told by two
    ask("worker.list", "worker.list-2");
    return pid;
}

// Where it is no service its log is wherever its stderr goes: a file can be read.
void take_process(const std::string& pid, bundle& out)
{
    const std::string folder = "/proc/" + pid;
    for (const std::string_view name : process_files) {
        if (const auto text = read_end(folder + "/" + std::string{name})) {
            out.put("daemon/process-" + std::string{name}, *text);
        }
    }
    if (const auto line = read_end(folder + "/cmdline")) {
        std::string words = *line;
        std::ranges::replace(words, '\0', ' ');
        out.put("daemon/process-cmdline", without_secrets(words) + "\n");
    }
    std::string threads;
    std::error_code code;
    for (const auto& task : fs::directory_iterator{folder + "/task", code}) {
        threads += read_end(task.path() / "stat").value_or("");
    }
    out.put("daemon/process-threads", threads);
    const fs::path log = fs::read_symlink(folder + "/fd/2", code);
    if (!code && fs::is_regular_file(log, code)) {
        if (const auto text = read_end(log)) {
            out.put("daemon/stderr", *text);
        }
    }
}

// Of the daemon that runs there, or ran there last.
std::optional<std::string> pid_in(const std::string& run_dir)
{
    std::ifstream in{run_dir + "/straitd.lock"};
    std::string pid;
    in >> pid;
    const bool number = !pid.empty() && std::ranges::all_of(pid, [](unsigned char c) {
        return std::isdigit(c) != 0;
    });
    std::error_code code;
    const auto name = number ? read_end("/proc/" + pid + "/comm") : std::nullopt;
    return name && name->starts_with("straitd") ? std::optional{pid} : std::nullopt;
}

void take_host(bundle& out)
{
    for (const std::string_view path : host_files) {
        const std::string file = "host/" + std::string{path.substr(1)};
        if (const auto text = read_end(std::string{path})) {
            out.put(file, *text);
        } else {
            out.miss(file, why(errno));
        }
    }
    out.put("host/proc/cmdline", without_secrets(read_end("/proc/cmdline").value_or("")));
    for (const command_line& c : commands) {
        const printed p = run(c.words);
        if (p.text.empty() || p.status == 127) {
            out.miss(c.file, p.text.empty() ? "it printed nothing" : "it is not installed");
        } else {
            out.put(c.file, "$ " + std::string{c.words} + "\n" + p.text);
        }
    }
}

std::string usual_name()
{
    std::array<char, 256> host{};
    (void)::gethostname(host.data(), host.size() - 1);
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::array<char, 32> time{};
    (void)std::strftime(time.data(), time.size(), "%Y%m%dT%H%M%SZ", &parts);
    return "strait-support-" + std::string{host.data()} + "-" + time.data() + ".tar.gz";
}

// Its owner's alone, and no file that was there is lost.
void pack(const bundle& from, const std::string& path, const std::string& inside)
{
    constexpr mode_t owner_alone = 0600;
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, owner_alone);
    if (fd < 0) {
        refuse("support: " + path + " cannot be made: " +
               (errno == EEXIST ? "it exists; give another FILE" : why(errno)));
    }
    ::close(fd);
    const auto quoted = [](const std::string& text) {
        std::string out{"'"};
        for (const char c : text) {
            out += c == '\'' ? std::string{"'\\''"} : std::string{c};
        }
        return out + "'";
    };
    const std::string line = "tar -czf - --owner=0 --group=0 --transform " +
                             quoted("s,^\\.," + inside + ",") + " -C " +
                             quoted(from.folder().string()) + " . 2>&1 > " + quoted(path);
    FILE* const pipe = ::popen(line.c_str(), "re");
    std::string said;
    std::array<char, 512> part{};
    while (pipe != nullptr) {
        const std::size_t n = std::fread(part.data(), 1, part.size(), pipe);
        if (n == 0) {
            break;
        }
        said.append(part.data(), n);
    }
    if (pipe == nullptr || ::pclose(pipe) != 0) {
        ::unlink(path.c_str());
        std::ranges::replace(said, '\n', ' ');
        refuse("support: " + path + " cannot be written: " + (said.empty() ? "no tar" : said));
    }
}

} // namespace

std::string without_secrets(std::string_view line)
{
    constexpr std::array<std::string_view, 6> secret{"pass",  "secret", "key",
                                                     "token", "cred",   "auth"};
    std::string out;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find(' '), line.size());
        std::string word{line.substr(0, end)};
        const std::size_t equals = word.find('=');
        std::string name = word.substr(0, equals);
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
        if (equals != std::string::npos && std::ranges::any_of(secret, [&name](auto part) {
                return name.find(part) != std::string::npos;
            })) {
            word.replace(equals + 1, word.size(), "***");
        }
        out += word;
        line.remove_prefix(end);
        if (!line.empty()) {
            out += ' ';
            line.remove_prefix(1);
        }
    }
    return out;
}

bool is_support(const method& m)
{
    return m.name == "support";
}

method support_method()
{
    return {.name = "support",
            .summary = "Write a file with all that a report of a fault needs",
            .changes = false,
            .parameters = {{.name = "file",
                            .help = "a name for it; strait-support-HOST-TIME.tar.gz unless given",
                            .placeholder = "FILE",
                            .positional = true,
                            .maximum = 4095,
                            .form = "a path"}},
            .result = {{"file", "string", "the file"},
                       {"bytes", "integer", "that it has"},
                       {"entries", "integer", "files in it"},
                       {"missing", "array", "of each that is not in it: entry and why"}}};
}

json::object make_support_file(const std::string& run_dir, const json::object& parameters)
{
    const std::string path = text_of(parameters, "file").value_or(usual_name());
    std::error_code code;
    if (fs::exists(fs::symlink_status(path, code))) {
        refuse("support: " + path + " cannot be made: it exists; give another FILE");
    }
    bundle all;
    all.put("straitctl-version", std::string{version()} + "\n");
    const auto answered = ask_daemon(run_dir, all);
    all.put("doctor", doctor_text(examine(run_dir, std::chrono::seconds{answered ? 30 : 1})));
    // One that runs and does not answer is of the most interest.
    const auto pid = answered ? std::optional{std::to_string(*answered)} : pid_in(run_dir);
    if (pid) {
        take_process(*pid, all);
    } else {
        all.miss("daemon/process", "no straitd runs in " + run_dir);
    }
    std::string listed;
    for (auto it = fs::recursive_directory_iterator{run_dir, code};
         !code && it != fs::recursive_directory_iterator{}; it.increment(code)) {
        listed += it->path().string() + "\n";
    }
    all.put("daemon/run-dir", listed);
    take_host(all);
    all.put("missing.json", json::serialize(all.missing()) + "\n");
    std::string inside = fs::path{path}.filename().string();
    inside.resize(std::min(inside.size(), inside.find(".tar")));
    std::ranges::replace_if(
        inside, [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '_'; }, '_');
    pack(all, path, inside);
    return {{"file", path},
            {"bytes", fs::file_size(path, code)},
            {"entries", all.entries()},
            {"missing", all.missing()}};
}

std::string support_text(const json::object& made)
{
    std::string out = plain(member(made, "file")) + ": " +
                      grouped(as_count(member(made, "entries"))) + " entries, " +
                      grouped(as_count(member(made, "bytes"))) + " bytes\n";
    for (const json::value& m : as_array(member(made, "missing"))) {
        out += "  without " + plain(member(as_object(m), "entry")) + ": " +
               plain(member(as_object(m), "why")) + "\n";
    }
    return out + "Look through it before you give it away: it has names, addresses and MACs of "
                 "this host and its guests.\n";
}

} // namespace strait::control
