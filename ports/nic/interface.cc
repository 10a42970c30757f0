// SPDX-License-Identifier: BSD-3-Clause
// Kernel interfaces through libnl.
#include "ports/nic/interface.hh"

#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>

#include <linux/rtnetlink.h>

#include <algorithm>
#include <cctype>
#include <memory>

namespace strait::nic {

namespace {

using ports::error;

template <auto Free>
struct freed_by {
    template <typename T>
    void operator()(T* p) const noexcept
    {
        Free(p);
    }
};
using socket_ptr = std::unique_ptr<nl_sock, freed_by<&nl_socket_free>>;
using link_ptr = std::unique_ptr<rtnl_link, freed_by<&rtnl_link_put>>;
using addr_ptr = std::unique_ptr<nl_addr, freed_by<&nl_addr_put>>;
using rtnl_addr_ptr = std::unique_ptr<rtnl_addr, freed_by<&rtnl_addr_put>>;

// Null when the kernel refuses a netlink socket.
socket_ptr route_socket()
{
    socket_ptr s{nl_socket_alloc()};
    if (s == nullptr || nl_connect(s.get(), NETLINK_ROUTE) != 0) {
        return nullptr;
    }
    return s;
}

error no_netlink()
{
    return error{"the kernel gave no netlink socket to configure interfaces with"};
}

error no_interface(const std::string& name)
{
    return error{"there is no interface " + name +
                 " in the switch's network namespace (ip link lists them)"};
}

link_ptr get_link(nl_sock* s, const std::string& name)
{
    rtnl_link* found = nullptr;
    if (rtnl_link_get_kernel(s, 0, name.c_str(), &found) != 0) {
        return nullptr;
    }
    return link_ptr{found};
}

addr_ptr parse_address(const std::string& cidr)
{
    nl_addr* parsed = nullptr;
    if (cidr.find('/') == std::string::npos ||
        nl_addr_parse(cidr.c_str(), AF_UNSPEC, &parsed) != 0) {
        return nullptr;
    }
    addr_ptr address{parsed};
    const int family = nl_addr_get_family(parsed);
    const bool fits = (family == AF_INET && nl_addr_get_prefixlen(parsed) <= 32) ||
                      (family == AF_INET6 && nl_addr_get_prefixlen(parsed) <= 128);
    return fits ? std::move(address) : nullptr;
}

// Asks the kernel to make `change` of the interface.
ports::result<void> change_link(const std::string& name, rtnl_link* change, const std::string& what)
{
    const socket_ptr s = route_socket();
    if (s == nullptr) {
        return no_netlink();
    }
    const link_ptr link = get_link(s.get(), name);
    if (link == nullptr) {
        return no_interface(name);
    }
    if (const int failed = rtnl_link_change(s.get(), link.get(), change, 0); failed != 0) {
        return error{"interface " + name + " does not take " + what + ": " + nl_geterror(failed)};
    }
    return {};
}

} // namespace

bool valid_interface_name(const std::string& name) noexcept
{
    return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
           std::ranges::all_of(name, [](unsigned char c) {
               return std::isgraph(c) != 0 && c != '/' && c != ':' && c != ',' && c != '=' &&
                      c != '%' && c != '[' && c != ']';
           });
}

std::optional<interface_state> find_interface(const std::string& name)
{
    const socket_ptr s = route_socket();
    const link_ptr link = s != nullptr ? get_link(s.get(), name) : nullptr;
    if (link == nullptr) {
        return std::nullopt;
    }
    const char* const type = rtnl_link_get_type(link.get());
    const unsigned flags = rtnl_link_get_flags(link.get());
    constexpr unsigned both = IFF_UP | IFF_RUNNING;
    return interface_state{static_cast<std::uint32_t>(rtnl_link_get_ifindex(link.get())),
                           rtnl_link_get_mtu(link.get()), (flags & both) == both,
                           (flags & IFF_PROMISC) != 0, type != nullptr ? type : ""};
}

ports::result<void> set_interface_mtu(const std::string& name, std::uint32_t mtu)
{
    const link_ptr change{rtnl_link_alloc()};
    rtnl_link_set_mtu(change.get(), mtu);
    return change_link(name, change.get(), "an MTU of " + std::to_string(mtu));
}

ports::result<void> set_interface_up(const std::string& name)
{
    const link_ptr change{rtnl_link_alloc()};
    rtnl_link_set_flags(change.get(), IFF_UP);
    return change_link(name, change.get(), "being set up");
}

ports::result<void> check_address(const std::string& cidr)
{
    if (parse_address(cidr) == nullptr) {
        return error{"\"" + cidr +
                     "\" is not an address with its prefix length, such as 10.0.0.1/24 or "
                     "fd00::1/64"};
    }
    return {};
}

ports::result<void> add_interface_address(const std::string& name, const std::string& cidr)
{
    if (auto ok = check_address(cidr); !ok) {
        return ok;
    }
    const socket_ptr s = route_socket();
    if (s == nullptr) {
        return no_netlink();
    }
    const unsigned index = if_nametoindex(name.c_str());
    if (index == 0) {
        return no_interface(name);
    }
    const addr_ptr address = parse_address(cidr);
    const rtnl_addr_ptr request{rtnl_addr_alloc()};
    rtnl_addr_set_ifindex(request.get(), static_cast<int>(index));
    rtnl_addr_set_local(request.get(), address.get());
    if (const int failed = rtnl_addr_add(s.get(), request.get(), 0); failed != 0) {
        return error{"interface " + name + " does not take the address " + cidr + ": " +
                     nl_geterror(failed)};
    }
    return {};
}

} // namespace strait::nic
