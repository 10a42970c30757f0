// SPDX-License-Identifier: BSD-3-Clause
// The simulated hypervisor itself: domains and their memory, event channels, the store, and who is
// connected as which domain. It is one thread's; copies need none of it (simulated_hypervisor.hh).
#pragma once

#include "ports/error.hh"
#include "ports/xen-netback/simulated/faults.hh"

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>

namespace strait::xen::simulated {

struct server_settings {
    std::string socket;            // a path; at most ports::max_socket_path bytes
    faults wrong{};                // until set_faults()
    std::size_t connections{1024}; // more are hung up on
};

// A domain is made by the tool stack, or by the first connection that wants to be it; it ends when
// the tool stack says so, or with its last connection. Domain 0 never ends. Whatever a connection
// held goes with it. What a client sends that is no request costs its own connection.
class server {
public:
    // Listens, for the socket's owner and group. All happens in the thread that runs `io`, which
    // outlives the server.
    [[nodiscard]] static result<std::unique_ptr<server>> listen(boost::asio::io_context& io,
                                                                server_settings s);
    // Hangs up on everybody, ends every domain and removes the socket.
    ~server();
    server(const server&) = delete;
    server& operator=(const server&) = delete;

    // Clients are told of the rules for copies.
    void set_faults(const faults& f);
    [[nodiscard]] std::size_t domains() const noexcept; // domain 0 not counted
    [[nodiscard]] std::size_t connections() const noexcept;

private:
    class implementation;
    explicit server(std::shared_ptr<implementation> i) noexcept;
    std::shared_ptr<implementation> implementation_;
};

// A server with a thread of its own. Any thread may call.
class server_thread {
public:
    [[nodiscard]] static result<std::unique_ptr<server_thread>> start(server_settings s);
    ~server_thread();
    server_thread(const server_thread&) = delete;
    server_thread& operator=(const server_thread&) = delete;

    void set_faults(const faults& f);
    [[nodiscard]] std::size_t domains();
    [[nodiscard]] std::size_t connections();

private:
    server_thread() = default;
    boost::asio::io_context io_{1};
    std::unique_ptr<server> server_;
    std::thread thread_;
};

} // namespace strait::xen::simulated
