// SPDX-License-Identifier: BSD-3-Clause
// The table of options, and what they mean together.
#include "vmm/config.hh"

#include "control/accounts.hh"
#include "control/cli.hh"
#include "control/parameters.hh"
#include "ports/number.hh"
#include "ports/unix_socket.hh"
#include "vmm/devices/console.hh"
#include "vmm/platform.hh"

#include <boost/json/array.hpp>

#include <array>
#include <bit>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include <sched.h>

namespace strait::vmm {

namespace json = boost::json;
using control::is_set;
using control::number_as;
using control::text_of;
using ports::error;
using ports::result;
using kind = control::value_kind;

namespace {

constexpr std::int64_t longest_path = 4095;
constexpr std::int64_t longest_socket = ports::max_socket_path;
constexpr std::int64_t longest_command_line = 65535;
constexpr std::int64_t longest_serial = 20;
constexpr std::int64_t highest_node = 1023;
constexpr std::uint16_t largest_queue = 1024;

constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
constexpr std::uint64_t gib = mib << 10U;
constexpr std::uint64_t least_memory = 16 * mib;
constexpr std::uint64_t most_memory = gib << 10U;

// Nothing for one beyond most_memory, too.
std::optional<std::uint64_t> bytes_of(std::string_view size)
{
    constexpr std::string_view units = "MGT";
    const auto unit = size.empty() ? std::string_view::npos : units.find(size.back());
    if (unit == std::string_view::npos) {
        return std::nullopt;
    }
    const std::uint64_t one = mib << (10 * unit);
    const auto n = to_number<std::uint64_t>(size.substr(0, size.size() - 1));
    return n && *n <= most_memory / one ? std::optional{*n * one} : std::nullopt;
}

bool is_memory(std::string_view size)
{
    const auto bytes = bytes_of(size);
    return bytes && *bytes >= least_memory;
}

bool is_user(std::string_view text)
{
    return !text.starts_with(':') && !text.ends_with(':');
}

bool is_console(std::string_view text)
{
    const auto leads = [text](std::string_view kind) {
        const auto path = path_of(text, kind);
        return path && !path->empty();
    };
    return text == "none" || text == "stdio" || leads(console_file) || leads(console_socket);
}

control::parameter path(std::string_view name, std::string_view help)
{
    return {.name = name,
            .kind = kind::text,
            .help = help,
            .placeholder = "FILE",
            .maximum = longest_path};
}

control::parameter number(std::string_view name, std::string_view help,
                          std::string_view placeholder, std::int64_t minimum, std::int64_t maximum)
{
    return {.name = name,
            .kind = kind::integer,
            .help = help,
            .placeholder = placeholder,
            .minimum = minimum,
            .maximum = maximum};
}

control::parameter flag(std::string_view name, std::string_view help)
{
    return {.name = name, .kind = kind::truth, .help = help};
}

control::parameter choice(std::string_view name, std::string_view help,
                          std::vector<std::string_view> choices)
{
    return {.name = name, .kind = kind::choice, .help = help, .choices = std::move(choices)};
}

control::parameter net()
{
    return {
        .name = "net",
        .kind = kind::options,
        .help = "a network device, served over vhost-user",
        .placeholder = "KEY=VALUE,...",
        .repeats = max_devices,
        .members = {{.name = "socket",
                     .kind = kind::text,
                     .help = "of the back end; it may come later, and go and come again",
                     .placeholder = "PATH",
                     .required = true,
                     .maximum = longest_socket},
                    flag("server", "listen at the socket; off unless given"),
                    {.name = "mac",
                     .kind = kind::mac,
                     .help = "the guest's; made of --name and the device's number unless given",
                     .placeholder = "MAC"},
                    number("queues", "queue pairs; 1 unless given", "N", 1, virtio::max_pairs),
                    number("queue_size", "descriptors of a ring, a power of two; 256 unless given",
                           "N", 2, largest_queue),
                    number("mtu", "told to the guest", "BYTES", dataplane::min_mtu,
                           dataplane::max_mtu),
                    flag("packed", "packed rings, if the back end has them; off unless given"),
                    choice("offloads",
                           "checksums and segmentation; expected: even before there is a "
                           "back end; on unless given",
                           {"on", "off", "expected"})},
        .form = "keys with their values, like socket=PATH,queues=2"};
}

control::parameter disk()
{
    return {.name = "disk",
            .kind = kind::options,
            .help = "a block device, of a raw image or a device",
            .placeholder = "PATH,...",
            .repeats = max_disks,
            .members = {{.name = "path",
                         .kind = kind::text,
                         .help = "its file",
                         .placeholder = "PATH",
                         .required = true,
                         .positional = true,
                         .maximum = longest_path},
                        flag("read_only", "off unless given"),
                        {.name = "serial",
                         .kind = kind::text,
                         .help = "its serial number for the guest, at most 20 bytes",
                         .placeholder = "TEXT",
                         .maximum = longest_serial}},
            .form = "a path, and keys with their values, like PATH,read-only=on"};
}

control::parameter vcpu_pin()
{
    // Every vCPU is an option.
    static const auto names = [] {
        std::array<std::string, platform::max_cpus> all;
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] = std::to_string(i);
        }
        return all;
    }();
    static const std::string which = "vCPUs from " + names.front() + " to " + names.back();
    control::parameter p{.name = "vcpu_pin",
                         .kind = kind::options,
                         .help = "the host's CPU for each vCPU",
                         .placeholder = "VCPU=CPU,...",
                         .members_form = which,
                         .form = "vCPUs with the host's CPUs for them, like 0=2,1=3"};
    for (const auto& name : names) {
        p.members.push_back(number(name, {}, "CPU", 0, CPU_SETSIZE - 1));
    }
    return p;
}

control::method run_command()
{
    auto kernel = path("kernel", "a bzImage, or an ELF vmlinux");
    kernel.required = true;
    auto jail = path("jail_folder", "root's: the folder that is all the process then sees");
    jail.placeholder = "DIR";
    return {
        .name = "run",
        .summary = "Run a virtual machine until its guest ends",
        .changes = true,
        .parameters = {
            std::move(kernel),
            path("initrd", "initial RAM disk"),
            {.name = "command_line",
             .kind = kind::text,
             .help = "the kernel's command line",
             .placeholder = "TEXT",
             .maximum = longest_command_line},
            {.name = "memory",
             .kind = kind::text,
             .help = "the guest's memory, like 512M or 2G; 256M unless given",
             .placeholder = "SIZE",
             .maximum = 16,
             .fits = is_memory,
             .form = "a size from 16M to 1T, like 256M or 2G"},
            number("cpus", "vCPUs; 1 unless given", "N", 1, platform::max_cpus),
            vcpu_pin(),
            number("numa_node", "where all of its memory comes from", "N", 0, highest_node),
            choice("hugepages", "memory in huge pages of that size", {"2M", "1G"}),
            number("realtime", "SCHED_FIFO priority of the vCPUs", "PRIORITY", 1, 99),
            net(),
            disk(),
            {.name = "console",
             .kind = kind::text,
             .help = "the guest's serial port: stdio (unless given), none, file:PATH, socket:PATH",
             .placeholder = "WHERE",
             .maximum = longest_path,
             .fits = is_console,
             .form = "stdio, none, file:PATH or socket:PATH"},
            {.name = "control",
             .kind = kind::text,
             .help = "serve JSON-RPC at this socket",
             .placeholder = "SOCKET",
             .maximum = longest_socket},
            {.name = "name",
             .kind = kind::name,
             .help = "of the machine; guest unless given",
             .placeholder = "NAME"},
            flag("no_reboot", "end when the guest resets itself"),
            flag("bounded_log", "stderr, a file that is appended to, begins anew at 1 MiB"),
            flag("no_jail", "keep all the rights of the process"),
            std::move(jail),
            {.name = "user",
             .kind = kind::text,
             .help = "root's: whom the process becomes",
             .placeholder = "USER[:GROUP]",
             .maximum = 255,
             .fits = is_user,
             .form = "USER or USER:GROUP, by name or number"},
            {.name = "config",
             .kind = kind::file,
             .help = "options as a JSON object: no_reboot for --no-reboot, arrays of net and disk",
             .placeholder = "FILE",
             .maximum = longest_path},
        }};
}

// Locally administered, and the same each time.
dataplane::mac_address mac_of(std::string_view name, std::size_t number)
{
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325; // FNV-1a
    const auto add = [&hash](unsigned byte) { hash = (hash ^ byte) * 0x100'0000'01b3; };
    for (const char c : name) {
        add(static_cast<unsigned char>(c));
    }
    add(static_cast<unsigned>(number));
    constexpr std::uint64_t local = 0x02;
    return dataplane::mac_address{hash << 8U | local};
}

// A socket's path as it holds in the jail, where there is no folder to be in and links lead
// nowhere.
result<std::string> socket_path(const std::string& option, std::string_view given)
{
    std::filesystem::path path{control::absolute_path(given)};
    std::error_code missing;
    if (const auto folder = std::filesystem::canonical(path.parent_path(), missing); !missing) {
        path = folder / path.filename();
    }
    std::string whole = path.string();
    if (whole.size() > ports::max_socket_path) {
        return error{option + " is " + whole + ", " + std::to_string(whole.size()) +
                     " bytes; a socket's path has at most " +
                     std::to_string(ports::max_socket_path)};
    }
    return {boost::system::in_place_value, std::move(whole)};
}

result<void> set_console(config& c, const json::object& p)
{
    c.console = text_of(p, "console").value_or(c.console);
    if (const auto path = path_of(c.console, console_file)) {
        c.console = std::string{console_file} + control::absolute_path(*path);
    } else if (const auto socket = path_of(c.console, console_socket)) {
        auto real = socket_path("--console", *socket);
        if (real.has_error()) {
            return real.error();
        }
        c.console = std::string{console_socket} + *real;
    }
    return {};
}

result<void> set_control(config& c, const json::object& p)
{
    if (const auto given = text_of(p, "control")) {
        auto real = socket_path("--control", *given);
        if (real.has_error()) {
            return real.error();
        }
        c.control = std::move(real).value();
    }
    return {};
}

result<virtio::net_options> to_net(const json::object& p, const std::string& machine,
                                   std::size_t number)
{
    virtio::net_options o;
    o.name = "net" + std::to_string(number);
    auto socket = socket_path("--net socket", text_of(p, "socket").value());
    if (socket.has_error()) {
        return socket.error();
    }
    o.socket = std::move(socket).value();
    o.server = is_set(p, "server");
    const auto mac = text_of(p, "mac");
    o.mac = mac ? dataplane::mac_address::parse(*mac).value() : mac_of(machine, number);
    if (o.mac.is_multicast() || o.mac.is_zero()) {
        return error{"--net mac is " + *mac +
                     "; it must be a single station's address, like 52:54:00:12:34:56"};
    }
    o.pairs = number_as<std::uint16_t>(p, "queues").value_or(o.pairs);
    o.queue_size = number_as<std::uint16_t>(p, "queue_size").value_or(o.queue_size);
    if (!std::has_single_bit(o.queue_size)) {
        return error{"--net queue-size is " + std::to_string(o.queue_size) +
                     "; it must be a power of two from 2 to " + std::to_string(largest_queue)};
    }
    o.mtu = number_as<std::uint16_t>(p, "mtu");
    o.packed = is_set(p, "packed");
    const auto offloads = text_of(p, "offloads").value_or("on");
    o.offloads = offloads != "off";
    o.offloads_expected = offloads == "expected";
    return o;
}

result<void> add_nets(config& c, const json::object& p)
{
    const auto* list = p.if_contains("net");
    if (list == nullptr) {
        return {};
    }
    for (const auto& element : list->as_array()) {
        auto made = to_net(element.as_object(), c.name, c.nets.size());
        if (made.has_error()) {
            return made.error();
        }
        for (const auto& other : c.nets) {
            if (other.socket == made->socket) {
                return error{"two --net have the socket " + made->socket +
                             "; each needs one of its own"};
            }
            if (other.mac == made->mac) {
                return error{"two --net have the mac " + made->mac.to_string() +
                             "; each needs one of its own"};
            }
        }
        c.nets.push_back(std::move(made).value());
    }
    return {};
}

// With links followed.
bool is_named_alike(const std::string& one, const std::string& other)
{
    const auto real = [](const std::string& given) {
        std::error_code missing;
        const auto path = std::filesystem::canonical(given, missing);
        return missing ? control::absolute_path(given) : path.string();
    };
    return real(one) == real(other);
}

bool is_same_file(const std::string& one, const std::string& other)
{
    std::error_code missing;
    return is_named_alike(one, other) || std::filesystem::equivalent(one, other, missing);
}

result<void> add_disks(config& c, const json::object& p)
{
    const auto* list = p.if_contains("disk");
    if (list == nullptr) {
        return {};
    }
    for (const auto& element : list->as_array()) {
        const auto& d = element.as_object();
        disk_config made{text_of(d, "path").value(), is_set(d, "read_only"),
                         text_of(d, "serial").value_or("")};
        for (const auto& other : c.disks) {
            if (is_same_file(other.path, made.path) && !(other.read_only && made.read_only)) {
                return error{"two --disk have the file " + made.path +
                             (is_named_alike(other.path, made.path)
                                  ? ""
                                  : ", of which " + other.path + " is another name") +
                             "; each needs one of its own, or read-only=on for both"};
            }
        }
        c.disks.push_back(std::move(made));
    }
    return {};
}

result<void> set_memory(config& c, const json::object& p)
{
    const auto size = text_of(p, "memory");
    if (size) {
        c.memory.bytes = bytes_of(*size).value();
    }
    c.memory.node = number_as<unsigned>(p, "numa_node");
    if (const auto pages = text_of(p, "hugepages")) {
        c.memory.huge_page = bytes_of(*pages).value();
        if (c.memory.bytes % c.memory.huge_page != 0) {
            return error{"--memory is " + size.value_or("256M") +
                         "; it must be whole huge pages of " + *pages};
        }
    }
    return {};
}

result<void> set_cpus(config& c, const json::object& p)
{
    c.cpus = number_as<unsigned>(p, "cpus").value_or(c.cpus);
    c.realtime = number_as<unsigned>(p, "realtime");
    if (const auto* pins = p.if_contains("vcpu_pin")) {
        for (const auto& [key, cpu] : pins->as_object()) {
            const auto vcpu = to_number<unsigned>(std::string_view{key}).value();
            if (vcpu >= c.cpus) {
                return error{"--vcpu-pin has vCPU " + std::to_string(vcpu) + ", but --cpus is " +
                             std::to_string(c.cpus) + ": they are numbered from 0"};
            }
            c.cpu_pins[vcpu] = static_cast<unsigned>(cpu.as_int64());
        }
    }
    return {};
}

result<void> set_jail(config& c, const json::object& p)
{
    c.jail.enabled = !is_set(p, "no_jail");
    if (const auto folder = text_of(p, "jail_folder")) {
        c.jail.folder = control::absolute_path(*folder);
    }
    const auto user = text_of(p, "user");
    if (!c.jail.enabled && (user || !c.jail.folder.empty())) {
        return error{std::string{"--no-jail keeps all rights, and --"} +
                     (user ? "user" : "jail-folder") + " takes some; give one of them"};
    }
    if (user) {
        const auto found = control::find_account(*user);
        if (found.has_error()) {
            return error{"--user: " + found.error().message};
        }
        c.jail.user = found->user;
        c.jail.group = found->group ? found->group : control::group_of(found->user.value());
        if (!c.jail.group) {
            return error{"--user is " + *user +
                         ", a user whose group is not known; give it, too: " + *user + ":GROUP"};
        }
    }
    return {};
}

control::cli::program this_program()
{
    return {.name = "strait-vmm",
            .commands = &commands(),
            .purpose = "A virtual machine on KVM, with its network served over vhost-user.",
            .ending = "Exit status: 0 the guest switched itself off, 1 it never ran, 2 it reset "
                      "itself (--no-reboot),\n3 it could not go on, 4 it was ended."};
}

} // namespace

const control::method_table& commands()
{
    static const control::method_table all = {run_command()};
    return all;
}

result<config> to_config(const json::object& p)
{
    config c;
    c.name = text_of(p, "name").value_or(c.name);
    c.kernel = text_of(p, "kernel").value();
    c.initrd = text_of(p, "initrd").value_or("");
    c.command_line = text_of(p, "command_line").value_or("");
    c.reboot = !is_set(p, "no_reboot");
    c.bounded_log = is_set(p, "bounded_log");
    for (auto* set :
         {set_memory, set_cpus, set_console, set_control, add_nets, add_disks, set_jail}) {
        if (auto done = set(c, p); done.has_error()) {
            return done.error();
        }
    }
    if (const auto all = c.nets.size() + c.disks.size(); all > max_devices) {
        return error{std::to_string(c.nets.size()) + " --net and " +
                     std::to_string(c.disks.size()) + " --disk are " + std::to_string(all) +
                     " devices; the machine's PCI bus has room for " + std::to_string(max_devices)};
    }
    return c;
}

result<run_options> parse_command_line(std::span<const std::string> words)
{
    const auto parsed = control::cli::parse(this_program(), words);
    if (parsed.has_error()) {
        return parsed.error();
    }
    run_options o;
    if (parsed->method == nullptr) {
        o.help = !parsed->help.empty();
        o.version = !o.help;
        return o;
    }
    auto made = to_config(parsed->parameters);
    if (made.has_error()) {
        return made.error();
    }
    o.machine = std::move(made).value();
    return o;
}

std::string help()
{
    const auto text = [](const std::string& word) {
        return control::cli::parse(this_program(), std::array<std::string, 2>{"help", word})
            .value()
            .help;
    };
    return text("help") + "\n" + text("run");
}

} // namespace strait::vmm
