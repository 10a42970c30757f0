// SPDX-License-Identifier: BSD-3-Clause
// The control socket: many clients, one JSON-RPC message a line, each answered before the next of
// the same client is looked at. Whatever a client sends or fails to read, it costs bounded memory
// and its own connection. What messages mean is in rpc.cc.
#pragma once

#include "control/rpc.hh"
#include "ports/error.hh"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <string>

namespace strait::control {

struct server_limits {
    std::size_t clients{64};                      // one more, and the one silent for longest goes
    std::chrono::milliseconds whole_line{30'000}; // from a request's first byte to its last
    std::chrono::milliseconds progress{10'000};   // for a client to take some of its answer
};

class server {
public:
    // Listens at `path`, for its owner and group. The caller holds the run folder's lock. `handler`
    // and `io` outlive the server; everything happens in the thread that runs `io`.
    [[nodiscard]] static ports::result<std::unique_ptr<server>> listen(boost::asio::io_context& io,
                                                                       std::string path,
                                                                       const rpc& handler,
                                                                       server_limits limits = {});
    // Drops every client and removes the socket.
    ~server();
    server(const server&) = delete;
    server& operator=(const server&) = delete;

    [[nodiscard]] std::size_t clients() const noexcept;

private:
    class implementation;
    explicit server(std::shared_ptr<implementation> i) noexcept;

    std::shared_ptr<implementation> implementation_;
};

} // namespace strait::control
