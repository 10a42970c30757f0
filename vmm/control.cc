// SPDX-License-Identifier: BSD-3-Clause
// From methods to calls of the machine's owner.
#include "vmm/control.hh"

#include "control/parameters.hh"
#include "control/version.hh"
#include "vmm/methods.hh"

#include <boost/json/array.hpp>

#include <utility>

namespace strait::vmm {

namespace json = boost::json;
using done = control::outcome<json::value>;

control_service::control_service(const config& c, machine_calls calls)
    : facts_{{"name", c.name},
             {"version", control::version()},
             {"cpus", c.cpus},
             {"memory", c.memory.bytes}},
      calls_{std::move(calls)},
      rpc_{methods()}
{
    json::array disks;
    for (const auto& d : c.disks) {
        disks.push_back({{"path", d.path}, {"read_only", d.read_only}});
    }
    facts_["disks"] = std::move(disks);

    rpc_.add("vm.info", [this](const json::object&) -> done { return json::value(info()); });
    rpc_.add("vm.pause", [this](const json::object&) -> done {
        calls_.pause();
        return json::value{{"state", "paused"}};
    });
    rpc_.add("vm.resume", [this](const json::object&) -> done {
        calls_.resume();
        return json::value{{"state", "running"}};
    });
    rpc_.add("vm.stop", [this](const json::object& p) -> done {
        const std::chrono::seconds patience{
            control::number_of(p, "timeout").value_or(power_off_patience.count())};
        calls_.stop(control::is_set(p, "force"), patience);
        return json::value{{"state", "stopping"}};
    });
    rpc_.add("vm.stats",
             [this](const json::object&) -> done { return json::value(calls_.stats()); });
    rpc_.add("schema", [](const json::object&) -> done {
        return json::value(control::schema(methods(), "strait-vmm control service"));
    });
}

ports::result<std::unique_ptr<control_service>>
control_service::listen(boost::asio::io_context& io, const config& c, machine_calls calls)
{
    std::unique_ptr<control_service> self{new control_service{c, std::move(calls)}};
    auto listening = control::server::listen(io, c.control, self->rpc_);
    if (listening.has_error()) {
        return listening.error();
    }
    self->server_ = std::move(listening).value();
    return self;
}

json::object control_service::info() const
{
    json::object all = facts_;
    all["uptime_s"] =
        std::chrono::duration_cast<std::chrono::seconds>(clock::now() - start_).count();
    for (auto& [key, value] : calls_.info()) {
        all[key] = std::move(value);
    }
    return all;
}

} // namespace strait::vmm
