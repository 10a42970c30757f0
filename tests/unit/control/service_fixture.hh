// SPDX-License-Identifier: BSD-3-Clause
// A control service over a real engine with fake ports, and how it is asked.
#pragma once

#include "control/service.hh"
#include "eal_environment.hh"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control::testing_support {

class methods_of_the_service : public testing::Test {
protected:
    methods_of_the_service()
        : switch_{shared_engine(), fake_types(fakes_, shared_engine())},
          adoption_{io_, switch_, nullptr},
          captures_{io_, switch_},
          mirrors_{io_, switch_},
          service_{
              switch_, adoption_, captures_, mirrors_, {.worker_cpus = {0, 1}, .hugepages = false}}
    {}

    boost::json::value ask(std::string_view method, std::string_view parameters = "{}")
    {
        const auto answer = boost::json::parse(
            service_.rpc().answer(R"({"jsonrpc":"2.0","id":1,"method":")" + std::string{method} +
                                  R"(","params":)" + std::string{parameters} + "}"));
        const auto* result = answer.as_object().if_contains("result");
        return result != nullptr ? *result : answer.at("error");
    }
    std::string why(std::string_view method, std::string_view parameters)
    {
        const auto answer = ask(method, parameters);
        const auto* o = answer.if_object();
        return o != nullptr && o->contains("message")
                   ? std::string{std::string_view{o->at("message").as_string()}}
                   : "done: " + boost::json::serialize(answer);
    }
    void add_two_ports()
    {
        ask("bridge.add", R"({"name":"br0"})");
        ask("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0"})");
        ask("port.add",
            R"({"name":"b","bridge":"br0","type":"vhost-user","socket":"/s","trunk":["10-12",20],
                "native":1,"mtu":9000,"admin":"down","number":77})");
    }

    fake_control fakes_;
    virtual_switch switch_;
    boost::asio::io_context io_;
    xen_adoption adoption_;
    capture_list captures_;
    mirror_list mirrors_;
    service service_;
};

} // namespace strait::control::testing_support
