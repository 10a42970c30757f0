// SPDX-License-Identifier: BSD-3-Clause
// A service that keeps its configuration on a disk of the tests, and can be ended and begun again.
#pragma once

#include "control/log.hh"
#include "control/service.hh"
#include "cut_disk.hh"
#include "dataplane/conntrack/store.hh"
#include "eal_environment.hh"
#include "ports/tunnel/tunnel.hh"

#include <boost/asio/post.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

namespace strait::control::testing_support {

class kept_service : public testing::Test {
protected:
    kept_service() { start(); }

    static std::map<std::string, port_type> types(fake_control& fakes)
    {
        auto all = fake_types(fakes, shared_engine());
        all["local"] = {[](const port_request&) { return std::vector<std::string>{}; },
                        [](const port_request&) -> ports::result<std::unique_ptr<ports::port>> {
                            return tunnel::make_local_port();
                        }};
        return all;
    }

    struct life {
        life(fake_control& fakes, boost::asio::io_context& io)
            : sw{shared_engine(), types(fakes)},
              adoption{io, sw, nullptr},
              captures{io, sw},
              mirrors{io, sw},
              methods{sw, adoption, captures, mirrors, {.worker_cpus = {0, 1}}}
        {}
        virtual_switch sw;
        xen_adoption adoption;
        capture_list captures;
        mirror_list mirrors;
        service methods;
    };

    void start()
    {
        set_log_level(log_level::error);
        life_ = std::make_unique<life>(fakes_, io_);
        const auto read = read_store(*disk_.files());
        ASSERT_TRUE(read.has_value()) << read.error().message;
        restored_ = life_->methods.configuration().restore(*read);
        life_->methods.keep_in(std::make_unique<store_writer>(
            disk_.files(), *read,
            store_writer::settings{
                .post = [this](std::function<void()> call) { boost::asio::post(io_, call); },
                .fold_bytes = 20'000}));
    }
    // With what the engine, which others of this process use, would go on to know.
    void stop()
    {
        life_.reset();
        auto& limits = shared_engine().connections().limits();
        for (std::uint16_t i = 0; i < dataplane::max_ports; ++i) {
            limits.limit(conntrack::make_zone(i, true), std::nullopt);
        }
        limits.limit(conntrack::make_zone(7, false), std::nullopt);
        limits.limit_others(0);
    }
    ~kept_service() override { stop(); }
    void restart()
    {
        stop();
        start();
    }

    boost::json::value ask(std::string_view method, std::string_view parameters = "{}")
    {
        const auto answer = boost::json::parse(life_->methods.rpc().answer(
            R"({"jsonrpc":"2.0","id":1,"method":")" + std::string{method} + R"(","params":)" +
            std::string{parameters} + "}"));
        const auto* result = answer.as_object().if_contains("result");
        return result != nullptr ? *result : answer.at("error");
    }
    // "" or why it is refused.
    std::string why(std::string_view method, std::string_view parameters)
    {
        const auto answer = ask(method, parameters);
        const auto* o = answer.if_object();
        return o != nullptr && o->contains("message")
                   ? std::string{std::string_view{o->at("message").as_string()}}
                   : "";
    }
    std::string show() { return boost::json::serialize(ask("config.show")); }
    virtual_switch& sw() { return life_->sw; }

    fake_control fakes_;
    cut_disk disk_;
    boost::asio::io_context io_;
    std::unique_ptr<life> life_;
    configuration::restored restored_;
};

} // namespace strait::control::testing_support
