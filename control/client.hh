// SPDX-License-Identifier: BSD-3-Clause
// A client of a control socket: one connection, one call at a time, blocking.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace strait::control {

// Why a call has no result.
struct call_error {
    bool reached; // false: there was no answer; true: it was refused
    std::string message;
    bool absent{false}; // nobody listens there
    bool denied{false}; // this user may not speak to it
};

// Whom a client speaks to.
struct service_address {
    std::string path;                  // of the control socket
    std::string name;                  // in sentences: "the daemon"
    std::string program;               // that is behind it: "straitd"
    std::string advice;                // to who finds nobody there
    std::chrono::seconds patience{60}; // for an answer
    // Set by a handler of signals: the answer is waited for no longer.
    const volatile std::sig_atomic_t* interrupted{nullptr};
};
[[nodiscard]] service_address daemon_in(const std::string& run_dir);

class client {
public:
    // Nothing is sent yet.
    explicit client(service_address address);
    ~client();
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    // Connects if need be, sends and waits for the answer. Throws call_error.
    boost::json::value call(std::string_view method, const boost::json::object& parameters);
    // For what follows, where nothing is called. Throws call_error.
    void connect();

    // After a call whose answer a stream follows: its connection, which is the caller's from here
    // on, and what was read of the stream already.
    struct stream {
        int descriptor;
        std::string begun;
    };
    [[nodiscard]] stream take_stream() noexcept;

    // Of a connection: the process that listens.
    [[nodiscard]] pid_t peer() const noexcept;

private:
    // False when the daemon ended the connection before it had all of `text`.
    bool send(std::string_view text);
    std::string receive_line(bool sent);
    void wait_for_answer(std::chrono::steady_clock::time_point until);
    [[noreturn]] void ended(bool sent);
    [[noreturn]] void fail(const std::string& what, int code);

    service_address address_;
    int fd_{-1};
    std::int64_t next_id_{1};
    std::string buffer_;
};

} // namespace strait::control
