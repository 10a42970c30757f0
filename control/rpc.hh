// SPDX-License-Identifier: BSD-3-Clause
// JSON-RPC 2.0: a message in, the answer out. Parameters are checked against a method table before
// a handler sees them. Sockets are in server.cc; what methods do is for those who add them.
#pragma once

#include "control/failure.hh"
#include "control/method_table.hh"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strait::control {

// A connection; there is no other of the same number, before or after.
using client_id = std::uint64_t;

// Who keeps what methods change, beyond the process.
class change_keeper {
public:
    virtual ~change_keeper() = default;
    // Before a method that changes what is kept. A value: it is done so, and the method not called.
    [[nodiscard]] virtual outcome<std::optional<boost::json::value>>
    before(const method& m, const boost::json::object& parameters) = 0;
    virtual void after(const method& m) noexcept = 0;
    // Calls `then` when all that was changed until now is kept, with nothing, or with the reason
    // why it is not.
    using kept_or_not = std::function<void(const std::optional<std::string>& why)>;
    virtual void when_kept(kept_or_not then) = 0;
};

class rpc {
public:
    static constexpr client_id nobody = 0; // what is called without a connection

    using handler = std::function<outcome<boost::json::value>(const boost::json::object&)>;
    // What goes on with a connection once its answer is written: it owns the descriptor. Destroyed
    // without a call if the connection ends before.
    using takeover = std::function<void(int descriptor)>;
    using stream_handler =
        std::function<outcome<boost::json::value>(const boost::json::object&, takeover& then)>;

    static constexpr std::size_t longest_request = std::size_t{1} << 20U; // bytes
    static constexpr std::size_t longest_batch = 1000;                    // requests
    // Bytes of answers after which the rest of a batch is refused.
    static constexpr std::size_t longest_answer = std::size_t{32} << 20U;

    // `table` outlives it.
    explicit rpc(const method_table& table) : table_{&table} {}

    // `method` is in the table.
    void add(std::string_view method, handler h);
    // Of a method whose answer is followed by a stream, which takes the connection.
    void add_stream(std::string_view method, stream_handler h);
    // The names in the table that have no handler; for start-up.
    [[nodiscard]] std::vector<std::string_view> missing() const;

    // One request or batch of a client. Empty when there is nothing to answer. Does not throw but
    // bad_alloc. `then` is set if the connection is to be taken over; without it no method can do
    // so.
    [[nodiscard]] std::string answer(std::string_view message, client_id from = nobody,
                                     takeover* then = nullptr) const;
    // It outlives this; without one nothing is kept.
    void set_keeper(change_keeper* keeper) noexcept { keeper_ = keeper; }
    // Whether the last answer may be given only when what it says is kept.
    [[nodiscard]] bool must_wait() const noexcept { return changed_; }
    void when_kept(change_keeper::kept_or_not then) const { keeper_->when_kept(std::move(then)); }
    // What is answered in place of `answers` then, if it is not.
    [[nodiscard]] static std::string not_kept(std::string_view answers, std::string_view why);

    // Whom the handler that is called answers.
    [[nodiscard]] client_id caller() const noexcept { return caller_; }
    // Calls it after each method, be it a request's, one of a batch's or one that another calls:
    // for what cannot wait until all of them are done.
    void when_called(std::function<void()> then) { called_ = std::move(then); }
    // For those who keep something for a client until it is gone.
    void when_left(std::function<void(client_id)> then) { left_.push_back(std::move(then)); }
    void left(client_id who) const;

    // For what never became a message: cut off, too long.
    [[nodiscard]] static std::string parse_error(std::string_view why);
    [[nodiscard]] static std::string too_long();
    // For a client that makes room for another.
    [[nodiscard]] static std::string too_many(std::size_t clients);

    // Parameters by hand, as the configuration file gives them.
    [[nodiscard]] outcome<boost::json::value> call(std::string_view method,
                                                   const boost::json::object& parameters) const;

private:
    [[nodiscard]] std::string answer_one(const boost::json::value& request, takeover* then) const;
    [[nodiscard]] outcome<boost::json::value>
    carry_out(const method& m, const boost::json::object& parameters, takeover* then) const;
    [[nodiscard]] outcome<boost::json::value> change(const method& m,
                                                     const boost::json::object& parameters) const;

    const method_table* table_;
    change_keeper* keeper_{nullptr};
    mutable bool changed_{false};
    mutable client_id caller_{nobody};
    std::function<void()> called_; // empty: nobody is
    std::vector<std::function<void(client_id)>> left_;
    std::map<std::string, handler, std::less<>> handlers_;
    std::map<std::string, stream_handler, std::less<>> streams_;
};

} // namespace strait::control
