// SPDX-License-Identifier: BSD-3-Clause
// What a service manager is told of the daemon, by systemd's protocol: sd_notify(3) says that it is
// stable, and may be spoken without its library. Where nobody asked for it, nothing is told.
#pragma once

#include "dataplane/engine.hh"
#include "ports/error.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace strait::control {

// Where to, as $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID say. Control thread.
class service_manager {
public:
    // As the environment says, for a process of this number. Refused: an address that is none.
    [[nodiscard]] static ports::result<service_manager>
    from_environment(const std::function<const char*(const char*)>& variable, pid_t self);

    // One state, "READY=1", or several, a line each. Never waits: what the manager has no room for
    // is lost. Nothing where there is no manager.
    void tell(std::string_view state) const noexcept;
    [[nodiscard]] bool listens() const noexcept { return !address_.empty(); }
    // How often WATCHDOG=1 is expected at least; nothing: never.
    [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const noexcept
    {
        return watchdog_;
    }

private:
    std::string address_; // of the socket; a leading '@' means an abstract one
    std::optional<std::chrono::microseconds> watchdog_;
};

// Tells from looks at workers whether each has gone on since. A worker that sleeps is woken by each
// look, so that it has to show that it can be. Control thread.
class worker_pulse {
public:
    explicit worker_pulse(dataplane::engine& engine);

    // Those that have not finished an iteration since the last look; at the first, none.
    [[nodiscard]] std::vector<std::size_t> stopped();

private:
    dataplane::engine& engine_;
    std::vector<std::uint64_t> iterations_; // by worker, at the last look
};

// From its making on the manager hears that the daemon is ready; every second what it is doing, if
// that is other than before; and, four times in the time that it waits at most, that all is alive.
// That the control thread is, is shown by this running: it is called by the loop that serves
// clients. One worker that stands still, and the manager is told nothing more: it ends the daemon
// with SIGABRT and starts another.
class manager_watch {
public:
    // What it refers to outlives it. `status` is one line.
    manager_watch(boost::asio::io_context& io, const service_manager& manager,
                  dataplane::engine& engine, std::function<std::string()> status);
    // Says that the daemon is about to end.
    ~manager_watch();
    manager_watch(const manager_watch&) = delete;
    manager_watch& operator=(const manager_watch&) = delete;

private:
    void wait_for_status();
    void wait_for_pulse();

    const service_manager& manager_;
    worker_pulse pulse_;
    std::function<std::string()> status_;
    std::string told_;
    bool stopped_{false}; // and it was logged
    boost::asio::steady_timer status_timer_;
    boost::asio::steady_timer pulse_timer_;
};

} // namespace strait::control
