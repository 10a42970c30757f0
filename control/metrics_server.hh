// SPDX-License-Identifier: BSD-3-Clause
// A page over HTTP, for Prometheus: GET /metrics, one request a connection. Whatever a client sends
// or fails to read, it costs bounded memory, bounded time and its own connection.
#pragma once

#include "ports/error.hh"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace strait::control {

// Where metrics are asked for: a UNIX socket, or an address that other hosts do not reach.
struct metrics_address {
    std::string socket{}; // its path; empty: it is the other
    std::string host{};   // a loopback address, as a number
    std::uint16_t port{0};

    // "127.0.0.1:9476", "[::1]:9476" or "unix:/run/strait/metrics.sock"; one sentence on error.
    [[nodiscard]] static ports::result<metrics_address> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;
};

struct metrics_limits {
    std::size_t clients{64};                        // at once; others wait until one is gone
    std::size_t header{8192};                       // bytes of a request
    std::chrono::milliseconds whole_request{5'000}; // from the connection to its last byte
    std::chrono::milliseconds whole_answer{10'000}; // for a client to take it
    std::chrono::milliseconds farewell{1'000};      // for a client to see that it is complete
};

class metrics_server {
public:
    // `page` makes the answer; what it made is given to all who ask soon after, so that no number
    // of clients has it made more than a tenth of the time. It and `io` outlive the server;
    // everything happens in the thread that runs `io`. A socket is for its owner and group.
    [[nodiscard]] static ports::result<std::unique_ptr<metrics_server>>
    listen(boost::asio::io_context& io, const metrics_address& at,
           std::function<std::string()> page, metrics_limits limits = {});
    // Drops every client and removes the socket.
    ~metrics_server();
    metrics_server(const metrics_server&) = delete;
    metrics_server& operator=(const metrics_server&) = delete;

private:
    class implementation;
    explicit metrics_server(std::shared_ptr<implementation> i) noexcept;

    std::shared_ptr<implementation> implementation_;
};

} // namespace strait::control
