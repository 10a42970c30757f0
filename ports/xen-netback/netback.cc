// SPDX-License-Identifier: BSD-3-Clause
// What a vif is to the switch.
#include "ports/xen-netback/netback.hh"

#include "ports/mtu.hh"

#include <utility>

#include <rte_cycles.h>

namespace strait::xen {

namespace {

class netback_port final : public ports::port {
public:
    netback_port(settings s, backend& b, dataplane::rcu_domain& rcu)
        : backend_{b},
          vif_{s.vif,
               {.port = std::move(s.name),
                .mtu = s.mtu,
                .queues = s.queues,
                .tsc_hz = rte_get_tsc_hz()},
               b.get_hypervisor(),
               rcu,
               queue_}
    {}
    netback_port(const netback_port&) = delete;
    netback_port& operator=(const netback_port&) = delete;
    ~netback_port() override { end(); }

    [[nodiscard]] std::span<const ports::queue_pair> queues() const noexcept override
    {
        return {&pair_, 1};
    }
    ports::result<void> start() override
    {
        backend_.add(vif_);
        serving_ = true;
        return {};
    }
    void stop() noexcept override { end(); }
    void forget() noexcept override { backend_.retire(vif_); }
    ports::result<void> set_mtu(std::uint32_t mtu) override
    {
        if (auto right = ports::check_mtu("a Xen port", mtu); right.has_error()) {
            return right;
        }
        vif_.set_mtu(mtu);
        return {};
    }
    ports::result<void> rename(const std::string& name) override
    {
        vif_.rename(name);
        return {};
    }
    void set_admin(bool up) noexcept override { vif_.set_carrier(up); }
    [[nodiscard]] bool link_up() const noexcept override { return vif_.link_up(); }
    [[nodiscard]] guests attached() const noexcept override { return vif_.attached(); }
    [[nodiscard]] std::vector<std::pair<std::string, ports::port_detail>> details() const override
    {
        return vif_.details();
    }

private:
    void end() noexcept
    {
        if (std::exchange(serving_, false)) {
            backend_.remove(vif_);
        }
    }

    backend& backend_;
    queue queue_;
    const ports::queue_pair pair_{&queue_, &queue_};
    bool serving_{false}; // control thread
    vif vif_;
};

} // namespace

ports::result<std::unique_ptr<ports::port>> make_port(settings s, backend& b,
                                                      dataplane::rcu_domain& rcu)
{
    if (s.queues < 1 || s.queues > max_queues) {
        return ports::error{"a Xen port has 1 to " + std::to_string(max_queues) + " queues, not " +
                            std::to_string(s.queues)};
    }
    return std::make_unique<netback_port>(std::move(s), b, rcu);
}

} // namespace strait::xen
