// SPDX-License-Identifier: BSD-3-Clause
// Host ports: a tap of the host's own, configured by the switch.
#include "ports/nic/interface.hh"
#include "ports/nic/nic.hh"

#include <utility>

namespace strait::nic {

namespace {

using ports::error;

class host_port final : public ports::port {
public:
    host_port(std::unique_ptr<ports::port> tap, std::string address)
        : tap_{std::move(tap)}, address_{std::move(address)}
    {}

    std::span<const ports::queue_pair> queues() const noexcept override { return tap_->queues(); }
    ports::result<void> start() override { return tap_->start(); }
    void stop() noexcept override { tap_->stop(); }
    ports::result<void> set_mtu(std::uint32_t mtu) override { return tap_->set_mtu(mtu); }
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
    std::string address_;
};

error refused(const host_settings& s, error e)
{
    return error{"port " + s.name + ": " + std::move(e.message)};
}

} // namespace

ports::result<std::unique_ptr<ports::port>> make_host_port(host_settings s, rte_mempool* pool)
{
    if (!valid_interface_name(s.interface)) {
        return refused(s, {"\"" + s.interface +
                           "\" cannot be an interface's name: 1 to 15 characters without spaces, "
                           "'/', ':', ',', '=', '%' or brackets"});
    }
    if (!s.address.empty()) {
        if (auto ok = check_address(s.address); !ok) {
            return refused(s, std::move(ok).error());
        }
    }
    if (find_interface(s.interface)) {
        return refused(s, {"there is an interface " + s.interface +
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
            return refused(s, std::move(ok).error());
        }
    }
    if (auto ok = set_interface_up(s.interface); !ok) {
        return refused(s, std::move(ok).error());
    }
    return std::unique_ptr<ports::port>{
        std::make_unique<host_port>(std::move(tap).value(), s.address)};
}

} // namespace strait::nic
