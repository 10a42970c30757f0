// SPDX-License-Identifier: BSD-3-Clause
// Mirrors as taps of the switch.
#include "control/mirror_list.hh"

#include "control/log.hh"
#include "ports/error.hh"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include <fcntl.h>

namespace strait::control {

namespace asio = boost::asio;

namespace {

tap_ports to_ports(const mirror_request& r, const std::vector<std::string>& names)
{
    // VLANs or flows alone are of all ports.
    const bool none = r.source_ports.empty() && r.destination_ports.empty();
    return {.all = r.all || none, .names = names};
}

bool contains(const std::vector<std::string>& names, const std::string& name)
{
    return std::ranges::find(names, name) != names.end();
}

} // namespace

mirror_list::mirror_list(asio::io_context& io, virtual_switch& sw) : io_{io}, switch_{sw} {}

mirror_list::~mirror_list()
{
    *alive_ = false;
    for (auto& [name, m] : all_) {
        stop(m);
    }
}

void mirror_list::rename_port(const std::string& from, const std::string& to)
{
    for (auto& [name, m] : all_) {
        std::ranges::replace(m.request.source_ports, from, to);
        std::ranges::replace(m.request.destination_ports, from, to);
        if (m.request.output_port == from) {
            m.request.output_port = to;
        }
    }
}

void mirror_list::stop(mirror& m)
{
    if (m.tap != 0) {
        switch_.remove_tap(std::exchange(m.tap, 0));
    }
    if (m.writer) {
        m.writer->abandon();
        m.writer.reset();
    }
}

outcome<void> mirror_list::check_ports(const mirror_request& r) const
{
    for (const auto* names : {&r.source_ports, &r.destination_ports}) {
        for (const auto& name : *names) {
            if (auto found = switch_.find_port_on(r.bridge, name); found.has_error()) {
                return found.error();
            }
        }
    }
    if (!r.output_port) {
        return {};
    }
    if (auto found = switch_.find_port_on(r.bridge, *r.output_port); found.has_error()) {
        return found.error();
    }
    if (contains(r.source_ports, *r.output_port) || contains(r.destination_ports, *r.output_port)) {
        return failure{failure_kind::invalid,
                       "port " + *r.output_port +
                           " cannot be mirrored to itself; its own packets are the copies"};
    }
    for (const auto& [name, m] : all_) {
        if (contains(m.request.source_ports, *r.output_port) ||
            contains(m.request.destination_ports, *r.output_port)) {
            return failure{failure_kind::in_use, "port " + *r.output_port + " is one that mirror " +
                                                     name +
                                                     " selects, and an output port carries copies "
                                                     "alone"};
        }
    }
    return {};
}

outcome<std::uint32_t> mirror_list::free_bit() const
{
    std::uint32_t used = 0;
    for (const auto& [name, m] : all_) {
        used |= m.outlet->once;
    }
    if (all_.size() >= most || used == ~std::uint32_t{0}) {
        return failure{failure_kind::limit, "there are " + std::to_string(most) +
                                                " mirrors already, and no room for more"};
    }
    return std::uint32_t{1} << std::countr_one(used);
}

outcome<void> mirror_list::open_file(mirror& m)
{
    constexpr mode_t owner_alone = 0600;
    constexpr unsigned most_files = 1000;
    std::string path = *m.request.output_file;
    const auto open = [&path] {
        return dataplane::file_descriptor{::open(
            path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, owner_alone)};
    };
    dataplane::file_descriptor file = open();
    int code = errno;
    for (unsigned i = 1; !file && code == EEXIST && continues_files_ && i < most_files; ++i) {
        path = *m.request.output_file + "." + std::to_string(i);
        file = open();
        code = errno;
    }
    if (!file) {
        return failure{code == EEXIST ? failure_kind::exists : failure_kind::failed,
                       "the file " + path + " cannot be made: " + ports::describe(code) +
                           (code == EEXIST ? "; a mirror writes a new file" : "")};
    }
    const auto posted = [this, name = m.request.name, serial = m.serial, alive = alive_] {
        asio::post(io_, [this, name, serial, alive] {
            if (*alive) {
                file_failed(name, serial);
            }
        });
    };
    m.outlet = make_ring_outlet(switch_.engine().worker_count());
    m.writer = std::make_unique<tap_writer>(m.outlet, tap_writer::settings{}, posted, [] {});
    m.writer->start(std::move(file));
    return {};
}

outcome<void> mirror_list::add(mirror_request request)
{
    if (all_.contains(request.name)) {
        return failure{failure_kind::exists, "mirror " + request.name + " exists already"};
    }
    if (auto right = check_ports(request); right.has_error()) {
        return right.error();
    }
    const auto bit = free_bit();
    if (bit.has_error()) {
        return bit.error();
    }
    mirror m;
    m.request = std::move(request);
    m.serial = ++last_serial_;
    if (m.request.output_file) {
        if (auto opened = open_file(m); opened.has_error()) {
            return opened.error();
        }
    } else {
        m.outlet = std::make_shared<dataplane::tap_outlet>(switch_.engine().worker_count());
    }
    const mirror_request& r = m.request;
    m.outlet->name = r.name;
    m.outlet->once = *bit;
    m.outlet->snaplen = r.snaplen.value_or(m.outlet->snaplen);
    tap_request t;
    t.bridge = r.bridge;
    t.received = to_ports(r, r.source_ports);
    t.sent = to_ports(r, r.destination_ports);
    if (r.vlans) {
        t.vlans.emplace();
        for (const std::uint16_t vlan : *r.vlans) {
            t.vlans->set(vlan);
        }
    }
    t.flows = r.flows;
    t.outlet = m.outlet;
    t.output_port = r.output_port.value_or(std::string{});
    t.output_vlan = r.output_vlan.value_or(0);
    if (m.writer) {
        t.ports_change = [w = m.writer.get()](const dataplane::snapshot& config) {
            w->ports_change(config);
        };
    }
    m.tap = switch_.add_tap(std::move(t));
    log(log_level::info, "control", "mirror " + r.name + " added to bridge " + r.bridge);
    all_.emplace(m.request.name, std::move(m));
    return {};
}

bool mirror_list::remove(const std::string& name)
{
    const auto found = all_.find(name);
    if (found == all_.end()) {
        return false;
    }
    mirror& m = found->second;
    if (m.tap != 0) {
        switch_.remove_tap(std::exchange(m.tap, 0));
    }
    if (m.writer) {
        m.writer->finish();
        m.writer.reset(); // when all of it is in the file
    }
    all_.erase(found);
    log(log_level::info, "control", "mirror " + name + " removed");
    return true;
}

void mirror_list::forget_bridge(const std::string& name)
{
    std::vector<std::string> gone;
    for (const auto& [mirror_name, m] : all_) {
        if (m.request.bridge == name) {
            gone.push_back(mirror_name);
        }
    }
    for (const auto& mirror_name : gone) {
        (void)remove(mirror_name);
    }
}

// A disk that is full, say.
void mirror_list::file_failed(const std::string& name, std::uint64_t serial)
{
    const auto found = all_.find(name);
    if (found == all_.end() || found->second.serial != serial) {
        return;
    }
    mirror& m = found->second;
    m.error = m.writer->result().why;
    stop(m);
    log(log_level::error, "control", "mirror " + name + " writes no more: " + m.error);
}

mirror_list::totals mirror_list::count(const mirror& m)
{
    totals t;
    for (const auto& w : m.outlet->by_worker) {
        t.packets += w.packets.read();
        t.bytes += w.bytes.read();
        t.drops += w.drops.read();
    }
    return t;
}

} // namespace strait::control
