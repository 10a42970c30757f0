// SPDX-License-Identifier: BSD-3-Clause
// Captures that are under way, each with a client behind it: begun when its client has been
// answered, ended when the client goes, has enough, or does not read. What is captured is the
// request's business; writing it is tap_writer.hh's.
#pragma once

#include "control/failure.hh"
#include "control/rpc.hh"
#include "control/switch.hh"
#include "control/tap_writer.hh"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <map>
#include <memory>

namespace strait::control {

// All calls from the control thread, which runs `io`.
class capture_list {
public:
    static constexpr std::size_t most = 8;

    // Both outlive it.
    capture_list(boost::asio::io_context& io, virtual_switch& sw);
    // Ends all of them.
    ~capture_list();
    capture_list(const capture_list&) = delete;
    capture_list& operator=(const capture_list&) = delete;

    // Begins it when `then` is called, for the client behind that descriptor. Its number.
    [[nodiscard]] outcome<std::int64_t> prepare(tap_request request, tap_writer::settings settings,
                                                std::uint32_t snaplen, rpc::takeover& then);
    // Also of one that ended, unless many have since.
    [[nodiscard]] outcome<tap_writer::summary> result(std::int64_t id) const;
    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

private:
    struct capture {
        tap_request request;
        std::unique_ptr<tap_writer> writer;
        tap_id tap{0}; // 0: not begun, or ended
    };
    static constexpr std::size_t results_kept = 64;

    void begin(std::int64_t id, int descriptor);
    void end(std::int64_t id);
    void forget(std::int64_t id);

    boost::asio::io_context& io_;
    virtual_switch& switch_;
    std::map<std::int64_t, capture> all_;
    std::map<std::int64_t, tap_writer::summary> results_;
    std::int64_t last_{0};
    std::shared_ptr<bool> alive_{std::make_shared<bool>(true)}; // for what is posted
};

} // namespace strait::control
