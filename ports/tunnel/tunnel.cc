// SPDX-License-Identifier: BSD-3-Clause
// Ports of which nothing has to be started or stopped.
#include "ports/tunnel/tunnel.hh"

namespace strait::tunnel {

namespace {

class queueless_port : public ports::port {
public:
    [[nodiscard]] std::span<const ports::queue_pair> queues() const noexcept override { return {}; }
    ports::result<void> start() override { return {}; }
    void stop() noexcept override {}
    ports::result<void> set_mtu(std::uint32_t /*mtu*/) override { return {}; }
    [[nodiscard]] bool link_up() const noexcept override { return true; }
    [[nodiscard]] std::vector<std::pair<std::string, ports::port_detail>> details() const override
    {
        return {};
    }
};

class tunnel_port final : public queueless_port {
public:
    explicit tunnel_port(const settings& s) : settings_{std::make_shared<settings>(s)}
    {
        settings_->next_sequence = std::make_shared<std::atomic<std::uint32_t>>(0);
    }
    [[nodiscard]] std::shared_ptr<const settings> tunnel() const override { return settings_; }

private:
    std::shared_ptr<settings> settings_;
};

} // namespace

std::unique_ptr<ports::port> make_port(const settings& s)
{
    return std::make_unique<tunnel_port>(s);
}

std::unique_ptr<ports::port> make_local_port()
{
    return std::make_unique<queueless_port>();
}

} // namespace strait::tunnel
