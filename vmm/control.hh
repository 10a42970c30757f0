// SPDX-License-Identifier: BSD-3-Clause
// The control socket of a running machine: JSON-RPC, as straitd has it. What is asked of the
// machine is done by its owner.
#pragma once

#include "control/rpc.hh"
#include "control/server.hh"
#include "ports/error.hh"
#include "vmm/config.hh"

#include <boost/asio/io_context.hpp>
#include <boost/json/object.hpp>

#include <chrono>
#include <functional>
#include <memory>

namespace strait::vmm {

// All in the thread that runs the service's io_context; none may wait for long.
struct machine_calls {
    std::function<void()> pause;
    std::function<void()> resume;
    // Returns when it has begun.
    std::function<void(bool force, std::chrono::seconds patience)> stop;
    // Of vm.info: state and nets. What the configuration says is added here.
    std::function<boost::json::object()> info;
    std::function<boost::json::object()> stats; // all of vm.stats
};

class control_service {
public:
    // Listens at c.control. `io` outlives it.
    [[nodiscard]] static ports::result<std::unique_ptr<control_service>>
    listen(boost::asio::io_context& io, const config& c, machine_calls calls);

private:
    control_service(const config& c, machine_calls calls);
    [[nodiscard]] boost::json::object info() const;

    using clock = std::chrono::steady_clock;

    boost::json::object facts_; // of vm.info, that do not change
    machine_calls calls_;
    clock::time_point start_{clock::now()};
    control::rpc rpc_;
    std::unique_ptr<control::server> server_; // last: it uses the others
};

} // namespace strait::vmm
