// SPDX-License-Identifier: BSD-3-Clause
// Host ports: a tap of the host's own, configured by the switch.
#include "ports/nic/interface.hh"
#include "ports/nic/nic.hh"

#include <utility>

namespace strait::nic {

namespace {

using ports::error;

error refused(const std::string& port, error e)
{
    return error{"port " + port + ": " + std::move(e.message)};
}

// The kernel takes an interface of a smaller MTU for one without IPv6, and its addresses away.
ports::result<void> check_mtu(const std::string& address, std::uint32_t mtu)
{
    constexpr std::uint32_t least = 1280;
    if (address.find(':') != std::string::npos && mtu < least) {
        return error{"an IPv6 address needs an MTU of at least " + std::to_string(least) +
                     ", and " + std::to_string(mtu) + " is less"};
    }
    return {};
}

class host_port final : public ports::port {
public:
    host_port(std::unique_ptr<ports::port> tap, const host_settings& s)
        : tap_{std::move(tap)}, name_{s.name}, address_{s.address}
    {}

    std::span<const ports::queue_pair> queues() const noexcept override { return tap_->queues(); }
    ports::result<void> start() override { return tap_->start(); }
    void stop() noexcept override { tap_->stop(); }
    ports::result<void> set_mtu(std::uint32_t mtu) override
    {
        if (auto ok = check_mtu(address_, mtu); !ok) {
            return refused(name_, std::move(ok).error());
        }
        return tap_->set_mtu(mtu);
    }
    ports::result<void> rename(const std::string& name) override
    {
        name_ = name;
        return tap_->rename(name);
    }
    bool link_up() const noexcept override { return tap_->link_up(); }
    std::vector<std::pair<std::string, ports::port_detail>> details() const override
    {
        auto out = tap_->details();
        if (!address_.empty()) {
            out.emplace_back("address", address_);
        }
        return out;
    }

private:
    std::unique_ptr<ports::port> tap_;
    std::string name_;
    std::string address_;
};

} // namespace

ports::result<std::unique_ptr<ports::port>> make_host_port(host_settings s, rte_mempool* pool)
{
    if (!valid_interface_name(s.interface)) {
        return refused(s.name,
                       {"\"" + s.interface +
                        "\" cannot be an interface's name: 1 to 15 characters without spaces, "
                        "'/', ':', ',', '=', '%' or brackets"});
    }
    if (!s.address.empty()) {
        if (auto ok = check_address(s.address); !ok) {
            return refused(s.name, std::move(ok).error());
        }
        if (auto ok = check_mtu(s.address, s.mtu); !ok) {
            return refused(s.name, std::move(ok).error());
        }
    }
    if (find_interface(s.interface)) {
        return refused(s.name, {"there is an interface " + s.interface +
                                " already: choose another name, or attach to it with --type nic "
                                "--device net_af_packet0,iface=" +
                                s.interface});
    }
    auto tap = make_port({.name = s.name,
                          .device = "net_tap_" + s.interface + ",iface=" + s.interface,
                          .mtu = s.mtu},
                         pool);
    if (!tap) {
        return std::move(tap).error();
    }
    if (!s.address.empty()) {
        if (auto ok = add_interface_address(s.interface, s.address); !ok) {
            return refused(s.name, std::move(ok).error());
        }
    }
    if (auto ok = set_interface_up(s.interface); !ok) {
        return refused(s.name, std::move(ok).error());
    }
    return std::unique_ptr<ports::port>{std::make_unique<host_port>(std::move(tap).value(), s)};
}

} // namespace strait::nic
