// SPDX-License-Identifier: BSD-3-Clause
// The engine and the fake ports of the tests.
#include "eal_environment.hh"

#include "control/cpu_list.hh"
#include "control/eal.hh"
#include "control/log.hh"

#include <boost/json/value.hpp>

#include <gtest/gtest.h>

#include <thread>

namespace strait::control::testing_support {

namespace {

std::unique_ptr<eal> environment;
std::unique_ptr<dataplane::engine> the_engine;

class environment_of_tests : public testing::Environment {
public:
    void SetUp() override
    {
        set_log_level(log_level::error);
        eal_settings settings;
        settings.worker_cpus = {allowed_cpus().front(), allowed_cpus().back()};
        settings.no_huge = true;
        settings.memory_mib = minimum_memory_mib;
        settings.run_dir = testing::TempDir();
        environment = eal::start(settings).value();
        EXPECT_FALSE(environment->hugepages());
        the_engine = std::make_unique<dataplane::engine>(
            dataplane::engine_settings{.lcores = environment->worker_lcores(),
                                       .share_cpus = true,
                                       .pool = environment->pool()});
    }
    void TearDown() override
    {
        the_engine.reset();
        environment.reset();
    }
};

const auto* const registered = testing::AddGlobalTestEnvironment(new environment_of_tests);

class fake_rx : public ports::rx_queue {
public:
    fake_rx(std::atomic<std::uint64_t>& too_short, std::atomic<std::uint64_t>& packets,
            std::atomic<bool>& holds)
        : too_short_{too_short}, packets_{packets}, holds_{holds}
    {}
    poll receive(dataplane::burst& /*b*/, const ports::queue_context& context) noexcept override
    {
        while (holds_.load()) {
            std::this_thread::yield();
        }
        if (const std::uint64_t n = too_short_.exchange(0); n > 0) {
            context.counters->rx_packets.add(n);
            context.counters->drop(dataplane::drop_reason::frame_too_short, n);
        }
        if (const std::uint64_t n = packets_.exchange(0); n > 0) {
            constexpr std::uint64_t size = 100;
            context.counters->rx_bytes.add(n * size);
            context.counters->rx_packets.add(n);
        }
        return poll::empty;
    }
    void release(dataplane::burst& /*b*/, const ports::queue_context& /*context*/) noexcept override
    {}

private:
    std::atomic<std::uint64_t>& too_short_;
    std::atomic<std::uint64_t>& packets_;
    std::atomic<bool>& holds_;
};

class fake_tx : public ports::tx_queue {
public:
    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override
    {
        context.counters->tx_packets.add(packets.size());
    }
};

class fake_port : public ports::port {
public:
    fake_port(const port_request& r, fake_control& control, dataplane::engine& engine)
        : name_{r.name}, control_{control}, engine_{engine}
    {
        note("make");
        for (std::size_t i = 0; i < control.queues; ++i) {
            rx_.push_back(std::make_unique<fake_rx>(control.to_count[name_],
                                                    control.to_carry[name_], control.holds[name_]));
            tx_.push_back(std::make_unique<fake_tx>());
            queues_.push_back({rx_.back().get(), tx_.back().get()});
        }
    }
    ~fake_port() override
    {
        note("destroy");
        EXPECT_FALSE(published()) << name_ << " was destroyed under the workers";
    }
    fake_port(const fake_port&) = delete;
    fake_port& operator=(const fake_port&) = delete;

    [[nodiscard]] std::span<const ports::queue_pair> queues() const noexcept override
    {
        return queues_;
    }
    ports::result<void> start() override
    {
        note("start");
        EXPECT_TRUE(published()) << name_ << " was started before it was published";
        if (!control_.fail_start.empty()) {
            return ports::error{control_.fail_start};
        }
        return {};
    }
    void stop() noexcept override
    {
        note("stop");
        EXPECT_TRUE(published()) << name_ << " was stopped after it was unpublished";
    }
    ports::result<void> rename(const std::string& name) override
    {
        name_ = name;
        return {};
    }
    ports::result<void> set_mtu(std::uint32_t mtu) override
    {
        if (!control_.fail_mtu.empty()) {
            return ports::error{control_.fail_mtu};
        }
        note("mtu " + std::to_string(mtu));
        return {};
    }
    void set_admin(bool up) noexcept override
    {
        if (up != up_) {
            note(up ? "admin up" : "admin down");
        }
        up_ = up;
    }
    [[nodiscard]] bool link_up() const noexcept override
    {
        const auto found = control_.links.find(name_);
        return found != control_.links.end() && found->second;
    }
    [[nodiscard]] dataplane::mac_address mac() const noexcept override
    {
        const auto found = control_.macs.find(name_);
        return found == control_.macs.end() ? dataplane::mac_address{} : found->second;
    }
    [[nodiscard]] guests attached() const noexcept override
    {
        const auto found = control_.guests.find(name_);
        return found == control_.guests.end() ? guests{} : found->second;
    }
    [[nodiscard]] std::string why_lost() const override
    {
        const auto found = control_.lost.find(name_);
        return found == control_.lost.end() ? std::string{} : found->second;
    }
    [[nodiscard]] std::vector<std::pair<std::string, ports::port_detail>> details() const override
    {
        return {{"driver", std::string{"fake"}},
                {"connected", true},
                {"rings", std::int64_t{3}},
                {"features", std::vector<std::string>{"a", "b"}}};
    }

private:
    void note(const std::string& what) { control_.events.push_back(what + " " + name_); }
    [[nodiscard]] bool published() const
    {
        for (const auto& p : engine_.current().ports) {
            if (p && p->name == name_) {
                return true;
            }
        }
        return false;
    }

    std::string name_;
    bool up_{true};
    fake_control& control_;
    dataplane::engine& engine_;
    std::vector<std::unique_ptr<fake_rx>> rx_;
    std::vector<std::unique_ptr<fake_tx>> tx_;
    std::vector<ports::queue_pair> queues_;
};

} // namespace

dataplane::engine& shared_engine()
{
    return *the_engine;
}

std::map<std::string, port_type> fake_types(fake_control& control, dataplane::engine& engine)
{
    port_type fake;
    fake.claims = [](const port_request& r) {
        std::vector<std::string> claims;
        for (const auto* name : {"socket", "device"}) {
            if (const auto* value = r.options.if_contains(name)) {
                claims.push_back(name + (" " + std::string{std::string_view{value->as_string()}}));
            }
        }
        return claims;
    };
    fake.make = [&control,
                 &engine](const port_request& r) -> ports::result<std::unique_ptr<ports::port>> {
        if (!control.fail_make.empty()) {
            return ports::error{control.fail_make};
        }
        return std::unique_ptr<ports::port>{new fake_port{r, control, engine}};
    };
    fake.forget = [&control](const std::string& name) {
        control.events.push_back("forget " + name);
    };
    return {{"vhost-user", fake}, {"nic", fake}, {"host", fake}, {"xen", fake}};
}

} // namespace strait::control::testing_support
