// SPDX-License-Identifier: BSD-3-Clause
// A client of the control service: one connection, one call at a time, blocking.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace strait::control {

// Why a call has no result.
struct call_error {
    bool reached; // false: there was no answer; true: the daemon said no
    std::string message;
};

class client {
public:
    // Nothing is sent yet. `run_dir` is the daemon's.
    explicit client(std::string run_dir);
    ~client();
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    // Connects if need be, sends and waits for the answer. Throws call_error.
    boost::json::value call(std::string_view method, const boost::json::object& parameters);

private:
    void connect();
    // False when the daemon ended the connection before it had all of `text`.
    bool send(std::string_view text);
    std::string receive_line(bool sent);
    [[noreturn]] void ended(bool sent);
    [[noreturn]] void fail(const std::string& what, int code);

    static constexpr std::chrono::seconds patience{60}; // for an answer

    std::string run_dir_;
    std::string path_;
    int fd_{-1};
    std::int64_t next_id_{1};
    std::string buffer_;
};

} // namespace strait::control
