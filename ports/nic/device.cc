// SPDX-License-Identifier: BSD-3-Clause
// Hot-plug and removal of DPDK devices.
#include "ports/nic/device.hh"

#include "dataplane/types.hh"
#include "ports/nic/uio.hh"
#include "ports/unix_socket.hh"

#include <rte_bus.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_vfio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <span>
#include <system_error>
#include <thread>

namespace strait::nic {

namespace {

using ports::error;

constexpr std::string_view known_devices =
    "give a DPDK device with its arguments (net_tap0,iface=NAME, net_af_packet0,iface=NAME, "
    "net_pcap0,iface=NAME, net_null0) or a PCI address (0000:03:00.0)";

struct log_sink {
    std::mutex mutex;
    std::FILE* previous{nullptr};
    bool active{false};
    std::string complaint;
    std::thread::id holding; // whose lines are held; none: nobody's
    std::string held;
};

// Never destroyed: a thread of DPDK's may log at any time.
log_sink& sink()
{
    static auto* const s = new log_sink;
    return *s;
}

std::string without_prefix(std::string_view line)
{
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ' || line.back() == '.')) {
        line.remove_suffix(1);
    }
    // "tun_alloc(): Unable to …", "EAL: …", "ETHDEV: …"
    for (const std::string_view mark : {"(): ", "EAL: ", "ETHDEV: "}) {
        if (const auto at = line.find(mark); at != std::string_view::npos && at < 40) {
            line.remove_prefix(at + mark.size());
        }
    }
    while (!line.empty() && line.front() == ' ') {
        line.remove_prefix(1);
    }
    return std::string{line};
}

void write_to(std::FILE* stream, std::string_view text)
{
    std::FILE* const out = stream != nullptr ? stream : stderr;
    std::fwrite(text.data(), 1, text.size(), out);
    std::fflush(out);
}

ssize_t sink_write(void* /*cookie*/, const char* text, std::size_t size)
{
    log_sink& s = sink();
    const std::lock_guard lock{s.mutex};
    if (s.active && s.complaint.empty() &&
        rte_log_cur_msg_loglevel() <= static_cast<int>(RTE_LOG_WARNING)) {
        s.complaint = without_prefix({text, size});
    }
    if (s.holding == std::this_thread::get_id()) {
        s.held.append(text, size);
    } else {
        write_to(s.previous, {text, size});
    }
    return static_cast<ssize_t>(size);
}

std::FILE* sink_stream()
{
    static std::FILE* const stream = [] {
        std::FILE* const f = fopencookie(nullptr, "w", {nullptr, sink_write, nullptr, nullptr});
        if (f != nullptr) {
            std::setvbuf(f, nullptr, _IOLBF, 4096);
        }
        return f;
    }();
    return stream;
}

driver driver_of(std::string_view name)
{
    if (name.starts_with("net_tap") || name.starts_with("eth_tap")) {
        return driver::tap;
    }
    if (name.starts_with("net_af_packet") || name.starts_with("eth_af_packet")) {
        return driver::af_packet;
    }
    if (name.starts_with("net_pcap") || name.starts_with("eth_pcap")) {
        return driver::pcap;
    }
    if (name.starts_with("net_null") || name.starts_with("eth_null")) {
        return driver::null_device;
    }
    return driver::other;
}

// What the driver takes; empty: not known.
std::span<const std::string_view> arguments_of(driver kind)
{
    static constexpr std::array<std::string_view, 4> tap = {"iface", "mac", "remote", "persist"};
    static constexpr std::array<std::string_view, 6> af_packet = {
        "iface", "qpairs", "blocksz", "framesz", "framecnt", "qdisc_bypass"};
    static constexpr std::array<std::string_view, 8> pcap = {
        "iface",   "rx_iface", "rx_iface_in", "tx_iface",
        "rx_pcap", "tx_pcap",  "phy_mac",     "infinite_rx"};
    static constexpr std::array<std::string_view, 3> null_device = {"size", "copy", "no-rx"};
    switch (kind) {
    case driver::tap:
        return tap;
    case driver::af_packet:
        return af_packet;
    case driver::pcap:
        return pcap;
    case driver::null_device:
        return null_device;
    case driver::bond:
    case driver::other:
        break;
    }
    return {};
}

error given_twice(const device_request& request, std::string_view key)
{
    return error{"device " + request.name + ": the argument " + std::string{key} +
                 " is given twice; once would be right"};
}

// Drivers refuse an argument they do not know without a word; the tap driver then ignores all of
// them, and one that is given twice in any case.
ports::result<void> check_arguments(const device_request& request)
{
    const auto known = arguments_of(request.kind);
    if (known.empty()) {
        return {};
    }
    std::set<std::string_view> seen;
    for (const auto& [key, value] : request.arguments) {
        if (std::find(known.begin(), known.end(), key) == known.end()) {
            std::string all;
            for (const auto name : known) {
                all += (all.empty() ? "" : ", ") + std::string{name};
            }
            return error{"device " + request.name + " has no argument \"" + key + "\": it takes " +
                         all};
        }
        // A pcap device has several files and interfaces by naming each.
        if (!seen.insert(key).second && request.kind != driver::pcap) {
            return given_twice(request, key);
        }
    }
    return {};
}

bool is_memif(const device_request& request)
{
    return request.is_virtual && request.name.starts_with("net_memif");
}

bool serves_memif(const device_request& request)
{
    return is_memif(request) && request.argument("role") == "server";
}

// A server's listening socket stays open when the device goes, with a handler whose memory the
// driver (22.11) has freed, and who connects has it called. A file goes with the device, so that
// nobody can; it is also what VPP has.
ports::result<void> choose_memif_socket(device_request& request)
{
    // Of what is given twice the driver takes the last.
    for (const std::string_view one : {"role", "socket", "socket-abstract"}) {
        if (std::ranges::count(request.arguments, one,
                               [](const auto& a) { return std::string_view{a.first}; }) > 1) {
            return given_twice(request, one);
        }
    }
    // Others that it takes are former names of these.
    if (const auto role = request.argument("role"); role && role != "server" && role != "client") {
        return error{"device " + request.name + ": its role is server or client, not " +
                     std::string{*role}};
    }
    constexpr std::string_view key = "socket-abstract";
    if (!request.argument(key)) {
        request.set_argument(key, "no");
    }
    if (serves_memif(request) && request.argument(key) != "no") {
        return error{"device " + request.name +
                     ": a server's socket is a file here, as DPDK 22.11 cannot take an abstract "
                     "one back; leave socket-abstract out, or say no"};
    }
    return {};
}

ports::result<std::vector<std::pair<std::string, std::string>>>
parse_arguments(std::string_view text, const std::string& device)
{
    std::vector<std::pair<std::string, std::string>> out;
    while (!text.empty()) {
        const auto comma = text.find(',');
        const std::string_view one = text.substr(0, comma);
        text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
        const auto equals = one.find('=');
        if (equals == 0 || equals == std::string_view::npos || equals + 1 == one.size()) {
            return error{"device " + device + ": the argument \"" + std::string{one} +
                         "\" is not of the form name=value"};
        }
        out.emplace_back(one.substr(0, equals), one.substr(equals + 1));
    }
    return out;
}

void remove_device(const std::string& name, bool is_virtual, rte_device* handle)
{
    if (is_virtual) {
        rte_vdev_uninit(name.c_str());
    } else if (handle != nullptr) {
        rte_dev_remove(handle);
    }
}

// Called by a thread of DPDK's, when vfio says that the kernel wants the device back.
void note_removal(const char* /*name*/, rte_dev_event_type event, void* is_asked_for)
{
    if (event == RTE_DEV_EVENT_REMOVE) {
        static_cast<std::atomic<bool>*>(is_asked_for)->store(true);
    }
}

std::filesystem::path folder_of(const std::string& address)
{
    return std::filesystem::path{"/sys/bus/pci/devices"} / address;
}

// The kernel's; empty: none.
std::string driver_bound_to(const std::string& address)
{
    std::error_code none;
    return std::filesystem::read_symlink(folder_of(address) / "driver", none).filename();
}

// Of a device under uio.
ports::result<void> check_uio(const std::string& address, const std::string& bound)
{
    const std::string device = "PCI device " + address + " is bound to " + bound;
    const std::string mend = " (driverctl set-override " + address + " vfio-pci)";
    if (rte_eal_iova_mode() != RTE_IOVA_PA) {
        return error{device +
                     ", by which it works at physical addresses: start the switch with "
                     "--iova-mode pa, or bind it to vfio-pci, which wants an IOMMU" +
                     mend};
    }
    std::string type;
    std::ifstream{folder_of(address) / "iommu_group/type"} >> type;
    if (translates(type)) {
        return error{device +
                     ", and the IOMMU before it lets no physical address through: bind it "
                     "to vfio-pci" +
                     mend};
    }
    return {};
}

// Of one under vfio-pci. Where that may do without an IOMMU, DPDK takes all of its devices to do
// so.
ports::result<void> check_vfio(const std::string& address)
{
    if (rte_vfio_noiommu_is_enabled() == 1 && rte_eal_iova_mode() != RTE_IOVA_PA) {
        return error{"PCI device " + address +
                     " is bound to vfio-pci, whose enable_unsafe_noiommu_mode is on, by which it "
                     "works at physical addresses: start the switch with --iova-mode pa"};
    }
    return {};
}

std::vector<std::uint16_t> ethdevs_of(const std::string& name)
{
    std::vector<std::uint16_t> found;
    for (std::uint16_t id = 0; id < RTE_MAX_ETHPORTS; ++id) {
        if (rte_eth_dev_is_valid_port(id) == 0) {
            continue;
        }
        rte_eth_dev_info info{};
        if (rte_eth_dev_info_get(id, &info) == 0 && rte_dev_name(info.device) == name) {
            found.push_back(id);
        }
    }
    return found;
}

} // namespace

std::optional<std::string_view> device_request::argument(std::string_view key) const
{
    for (const auto& [k, v] : arguments) {
        if (k == key) {
            return v;
        }
    }
    return std::nullopt;
}

void device_request::set_argument(std::string_view key, std::string value)
{
    for (auto& [k, v] : arguments) {
        if (k == key) {
            v = std::move(value);
            return;
        }
    }
    arguments.emplace_back(key, std::move(value));
}

std::string device_request::arguments_text() const
{
    std::string out;
    for (const auto& [k, v] : arguments) {
        out += out.empty() ? "" : ",";
        out += k + "=" + v;
    }
    return out;
}

ports::result<void> check_pci(const std::string& address)
{
    std::error_code failed;
    if (!std::filesystem::exists(folder_of(address), failed)) {
        return error{"there is no PCI device " + address + " (lspci -D lists what there is)"};
    }
    const std::string bound = driver_bound_to(address);
    if (is_uio(bound)) {
        return check_uio(address, bound);
    }
    if (bound == "vfio-pci") {
        return check_vfio(address);
    }
    // mlx5 works beside the kernel's driver.
    if (bound != "mlx5_core") {
        const std::string state =
            bound.empty() ? "bound to no driver" : "held by the kernel's driver " + bound;
        return error{"PCI device " + address + " is " + state +
                     ": bind it to vfio-pci first (driverctl set-override " + address +
                     " vfio-pci)"};
    }
    return {};
}

bool is_under_uio(const std::string& address)
{
    return is_uio(driver_bound_to(address));
}

ports::result<device_request> parse_device(const std::string& devargs)
{
    if (devargs.empty()) {
        return error{"no device was named: " + std::string{known_devices}};
    }
    // Room for what this folder adds.
    constexpr std::size_t longest_name = 63;
    constexpr std::size_t longest_arguments = 1024;
    if (devargs.substr(0, devargs.find(',')).size() > longest_name) {
        return error{"the device's name is longer than DPDK takes (" +
                     std::to_string(longest_name) + " bytes)"};
    }
    if (devargs.size() > longest_arguments) {
        return error{"the device with its arguments is " + std::to_string(devargs.size()) +
                     " bytes long; at most " + std::to_string(longest_arguments) + " can be taken"};
    }
    rte_devargs parsed{};
    if (rte_devargs_parse(&parsed, devargs.c_str()) != 0) {
        return error{"unknown device \"" + devargs.substr(0, devargs.find(',')) +
                     "\": " + std::string{known_devices}};
    }
    // DPDK also takes a description in layers, "bus=…/class=…/driver=…": it may fit several devices
    // or name none, and need not say on which bus one is.
    const bool layered = parsed.bus_str != nullptr || parsed.cls_str != nullptr;
    device_request request{};
    request.name = parsed.name;
    const std::string arguments = parsed.args != nullptr ? parsed.args : "";
    const rte_bus* const bus = parsed.bus;
    rte_devargs_reset(&parsed);
    if (layered || bus == nullptr || request.name.empty()) {
        return error{"device \"" + devargs +
                     "\" is not named but described by bus, class or "
                     "driver: " +
                     std::string{known_devices}};
    }
    request.is_virtual = std::string_view{rte_bus_name(bus)} == "vdev";
    if (request.is_virtual && request.name.starts_with("net_tun")) {
        return error{"device " + request.name +
                     " carries IP packets, not Ethernet frames: use net_tap instead"};
    }
    auto list = parse_arguments(arguments, request.name);
    if (!list) {
        return std::move(list).error();
    }
    request.arguments = std::move(list).value();
    request.kind = request.is_virtual ? driver_of(request.name) : driver::other;
    if (auto ok = check_arguments(request); !ok) {
        return std::move(ok).error();
    }
    if (is_memif(request)) {
        if (auto ok = choose_memif_socket(request); !ok) {
            return std::move(ok).error();
        }
    }
    if (!request.is_virtual) {
        if (auto ok = check_pci(request.name); !ok) {
            return std::move(ok).error();
        }
    }
    return request;
}

mtu_range mtus_of(std::uint16_t port_id) noexcept
{
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(port_id, &info) != 0) {
        return {dataplane::min_mtu, dataplane::max_mtu}; // it is gone, and refuses all by itself
    }
    // A driver that says nothing of MTUs, or more than its frames have room for.
    const bool by_frames = info.max_mtu == UINT16_MAX || info.max_mtu >= info.max_rx_pktlen;
    constexpr std::uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
    const std::uint32_t in_frames = std::max(info.max_rx_pktlen, overhead) - overhead;
    const std::uint32_t most = by_frames ? in_frames : info.max_mtu;
    // No port has one that is out of the switch's own range, whatever its driver says.
    return {std::max<std::uint32_t>(info.min_mtu, dataplane::min_mtu),
            std::min<std::uint32_t>(most, dataplane::max_mtu)};
}

ports::result<void> check_mtu(const std::string& whose, std::uint16_t port_id, std::uint32_t mtu)
{
    const mtu_range can = mtus_of(port_id);
    if (mtu < can.least || mtu > can.most) {
        return error{"device " + whose + " cannot do an MTU of " + std::to_string(mtu) +
                     ": it does " + std::to_string(can.least) + " to " + std::to_string(can.most)};
    }
    return {};
}

dataplane::mac_address to_mac(const rte_ether_addr& address) noexcept
{
    std::uint64_t value = 0;
    std::copy_n(address.addr_bytes, 6, reinterpret_cast<std::uint8_t*>(&value));
    return dataplane::mac_address{value};
}

std::string to_text(const rte_ether_addr& address)
{
    return to_mac(address).to_string();
}

device::device(std::string name, bool is_virtual, std::uint16_t port_id)
    : name_{std::move(name)}, is_virtual_{is_virtual}, port_id_{port_id}
{
    if (!is_virtual_) {
        rte_dev_event_callback_register(name_.c_str(), note_removal, is_asked_for_.get());
    }
}

device::device(device&& other) noexcept
    : name_{std::move(other.name_)},
      is_virtual_{other.is_virtual_},
      port_id_{std::exchange(other.port_id_, std::uint16_t{RTE_MAX_ETHPORTS})},
      is_asked_for_{std::move(other.is_asked_for_)}
{}

device::~device()
{
    if (port_id_ >= RTE_MAX_ETHPORTS) {
        return;
    }
    // Refused while it is being called.
    while (!is_virtual_ && rte_dev_event_callback_unregister(name_.c_str(), note_removal,
                                                             is_asked_for_.get()) == -EAGAIN) {
        std::this_thread::yield();
    }
    rte_eth_dev_info info{};
    rte_device* handle = nullptr;
    if (rte_eth_dev_info_get(port_id_, &info) == 0) {
        handle = info.device;
    }
    rte_eth_dev_stop(port_id_);
    rte_eth_dev_close(port_id_);
    remove_device(name_, is_virtual_, handle);
}

ports::result<device> device::plug(const device_request& request)
{
    // The tap driver complains of flow rules and secondary processes that nobody asked for.
    log_capture log{request.kind == driver::tap};
    int failed = 0;
    if (serves_memif(request)) {
        // A killed process's; others of the driver's devices may serve there, too.
        (void)ports::make_way_for_socket(
            std::string{request.argument("socket").value_or("/run/memif.sock")});
    }
    // A virtual device is initialised by itself: when its driver refuses it, nothing of it stays
    // in the bus's list.
    if (request.is_virtual) {
        failed = rte_vdev_init(request.name.c_str(), request.arguments_text().c_str());
    } else {
        const std::string arguments = request.arguments_text();
        failed = rte_dev_probe(
            (arguments.empty() ? request.name : request.name + "," + arguments).c_str());
    }
    if (failed == -EEXIST) {
        return error{"device " + request.name + " is in use already"};
    }
    if (failed != 0) {
        return refused_by_driver(request, "cannot be opened", log, failed);
    }
    log.dismiss();
    const std::vector<std::uint16_t> found = ethdevs_of(request.name);
    if (found.size() != 1) {
        rte_device* handle = nullptr;
        for (const std::uint16_t id : found) {
            rte_eth_dev_info info{};
            if (rte_eth_dev_info_get(id, &info) == 0) {
                handle = info.device;
            }
            rte_eth_dev_close(id);
        }
        remove_device(request.name, request.is_virtual, handle);
        return error{"device " + request.name + " has " + std::to_string(found.size()) +
                     " Ethernet ports: a NIC port takes a device that has exactly one"};
    }
    return device{request.name, request.is_virtual, found.front()};
}

log_capture::log_capture(bool hold)
{
    std::FILE* const stream = sink_stream();
    log_sink& s = sink();
    const std::lock_guard lock{s.mutex};
    s.complaint.clear();
    s.active = true;
    s.holding = hold ? std::this_thread::get_id() : std::thread::id{};
    if (std::FILE* const now = rte_log_get_stream(); now != stream && stream != nullptr) {
        s.previous = now;
        rte_openlog_stream(stream);
    }
}

log_capture::~log_capture()
{
    log_sink& s = sink();
    const std::lock_guard lock{s.mutex};
    s.active = false;
    s.holding = {};
    if (!s.held.empty()) {
        write_to(s.previous, std::exchange(s.held, {}));
    }
    if (rte_log_get_stream() == sink_stream()) {
        rte_openlog_stream(s.previous);
    }
}

std::string log_capture::first_complaint() const
{
    log_sink& s = sink();
    const std::lock_guard lock{s.mutex};
    return s.complaint;
}

void log_capture::dismiss()
{
    log_sink& s = sink();
    const std::lock_guard lock{s.mutex};
    s.held.clear();
}

ports::error refused_by_driver(const device_request& request, std::string_view what,
                               const log_capture& log, int negative_errno)
{
    std::string message =
        "device " + request.name + " " + std::string{what} + ": " + cause(log, negative_errno);
    // "abc" for a number is 0 to a driver, which then fails for lack of 0 bytes of memory.
    if (log.first_complaint().empty() && !request.arguments.empty()) {
        message += "; its driver says no more: check its arguments, " + request.arguments_text();
    }
    return error{std::move(message)};
}

std::string cause(const log_capture& log, int negative_errno)
{
    std::string said = log.first_complaint();
    if (!said.empty()) {
        return said;
    }
    return std::generic_category().message(negative_errno < 0 ? -negative_errno : EIO);
}

} // namespace strait::nic
