// SPDX-License-Identifier: BSD-3-Clause
// The search for a packet's tunnel.
#include "dataplane/tunnel/ports.hh"

#include <algorithm>

namespace strait::tunnel {

using dataplane::no_port;
using dataplane::port_index;

namespace {

constexpr std::uint32_t code_of(kind what, std::uint16_t udp_port) noexcept
{
    return static_cast<std::uint32_t>(what) << 16 | udp_port;
}

} // namespace

std::size_t table::hash::operator()(const identity& i) const noexcept
{
    std::uint64_t state = i.what;
    for (const std::uint64_t word :
         {i.local.high, i.local.low, i.remote.high, i.remote.low, i.key}) {
        state = (state ^ word) * 0x9e37'79b9'7f4a'7c15;
        state ^= state >> 32;
    }
    return state;
}

table::identity table::make(unsigned which, const identity& of) noexcept
{
    identity out = of;
    if ((which & any_local) != 0) {
        out.local = {};
    }
    if ((which & any_remote) != 0) {
        out.remote = {};
    }
    if ((which & any_key) != 0) {
        out.key = 0;
    }
    return out;
}

void table::add(const settings& s, port_index port)
{
    const unsigned which = (s.local.is_set() ? 0 : any_local) |
                           (s.remote.is_set() ? 0 : any_remote) | (s.key_by_flow ? any_key : 0);
    const identity whole{s.local, s.remote, s.key, code_of(s.what, s.destination_port)};
    classes_[which].insert_or_assign(make(which, whole), port);
    if (!over_udp(s.what)) {
        gre_ = true;
    } else if (at_udp_port(s.destination_port) == nullptr) {
        udp_.push_back({s.destination_port, s.what});
    }
}

const kind* table::at_udp_port(std::uint16_t port) const noexcept
{
    for (const udp_port& u : udp_) {
        if (u.port == port) {
            return &u.what;
        }
    }
    return nullptr;
}

port_index table::find(const identity& whole) const noexcept
{
    for (unsigned which = 0; which < class_count; ++which) { // from the most specific
        const auto& all = classes_[which];
        if (all.empty()) {
            continue;
        }
        if (const auto found = all.find(make(which, whole)); found != all.end()) {
            return found->second;
        }
    }
    return no_port;
}

port_index table::find(const contents& c, const outer_ip& ip) const noexcept
{
    const bool udp = over_udp(c.header.what);
    const identity whole{ip.destination, ip.source, c.header.key,
                         code_of(c.header.what, udp ? c.header.destination_port : 0)};
    const port_index found = find(whole);
    if (found != no_port || udp || !c.header.has_key) {
        return found;
    }
    // The same header, read as NVGRE's: a virtual subnet above a flow's number.
    identity nvgre = whole;
    nvgre.key >>= 8;
    nvgre.what = code_of(kind::nvgre, 0);
    return find(nvgre);
}

} // namespace strait::tunnel
