// SPDX-License-Identifier: BSD-3-Clause
#include "control/service_manager.hh"

#include "control/log.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/number.hh"
#include "ports/unix_socket.hh"

#include <cstddef>
#include <utility>

#include <sys/socket.h>

namespace strait::control {

ports::result<service_manager>
service_manager::from_environment(const std::function<const char*(const char*)>& variable,
                                  pid_t self)
{
    service_manager m;
    if (const char* const address = variable("NOTIFY_SOCKET")) {
        m.address_ = address;
        if (m.address_.size() < 2 || (m.address_[0] != '/' && m.address_[0] != '@') ||
            m.address_.size() > ports::max_socket_path) {
            return ports::error{"$NOTIFY_SOCKET is " + m.address_ +
                                ", and the socket of a service manager is an absolute path, or "
                                "'@' and a name, of at most " +
                                std::to_string(ports::max_socket_path) + " bytes"};
        }
    }
    const char* const usec = variable("WATCHDOG_USEC");
    const char* const pid = variable("WATCHDOG_PID");
    if (m.address_.empty() || usec == nullptr ||
        (pid != nullptr && to_number<pid_t>(pid) != self)) {
        return m;
    }
    const auto time = to_number<std::uint32_t>(usec);
    if (!time || *time == 0) {
        return ports::error{"$WATCHDOG_USEC is " + std::string{usec} +
                            ", and it is microseconds, from 1 to 4294967295"};
    }
    m.watchdog_ = std::chrono::microseconds{*time};
    return m;
}

void service_manager::tell(std::string_view state) const noexcept
{
    if (address_.empty()) {
        return;
    }
    const dataplane::file_descriptor socket{
        ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    sockaddr_un to = ports::socket_address(address_);
    if (to.sun_path[0] == '@') {
        to.sun_path[0] = 0;
    }
    // The name of an abstract socket ends where its address does.
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
    (void)::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&to), size);
}

worker_pulse::worker_pulse(dataplane::engine& engine) : engine_{engine}
{
    (void)stopped();
}

std::vector<std::size_t> worker_pulse::stopped()
{
    std::vector<std::size_t> out;
    const bool first = iterations_.empty();
    iterations_.resize(engine_.worker_count());
    for (std::size_t i = 0; i < iterations_.size(); ++i) {
        const dataplane::worker_index index{static_cast<std::uint16_t>(i)};
        const std::uint64_t now = engine_.counters(index).iterations.read();
        if (!first && now == iterations_[i]) {
            out.push_back(i);
        }
        iterations_[i] = now;
    }
    engine_.wake_workers();
    return out;
}

manager_watch::manager_watch(boost::asio::io_context& io, const service_manager& manager,
                             dataplane::engine& engine, std::function<std::string()> status)
    : manager_{manager},
      pulse_{engine},
      status_{std::move(status)},
      told_{manager.listens() ? status_() : std::string{}},
      status_timer_{io},
      pulse_timer_{io}
{
    if (!manager_.listens()) {
        return;
    }
    manager_.tell("READY=1\nSTATUS=" + told_);
    wait_for_status();
    if (manager_.watchdog()) {
        manager_.tell("WATCHDOG=1");
        wait_for_pulse();
    }
}

manager_watch::~manager_watch()
{
    manager_.tell("STOPPING=1");
}

void manager_watch::wait_for_status()
{
    status_timer_.expires_after(std::chrono::seconds{1});
    status_timer_.async_wait([this](boost::system::error_code error) {
        if (error) {
            return;
        }
        if (std::string now = status_(); now != told_) {
            told_ = std::move(now);
            manager_.tell("STATUS=" + told_);
        }
        wait_for_status();
    });
}

void manager_watch::wait_for_pulse()
{
    constexpr int looks = 4; // so that one that comes late is not taken for the end
    pulse_timer_.expires_after(*manager_.watchdog() / looks);
    pulse_timer_.async_wait([this](boost::system::error_code error) {
        if (error) {
            return;
        }
        const std::vector<std::size_t> stopped = pulse_.stopped();
        if (stopped.empty()) {
            manager_.tell("WATCHDOG=1");
        } else if (!stopped_) {
            log(log_level::error, "straitd",
                "worker " + std::to_string(stopped.front()) +
                    " stands still: the service manager is not told any more that all is well, and "
                    "starts the daemon anew if that lasts");
        }
        stopped_ = !stopped.empty();
        wait_for_pulse();
    });
}

} // namespace strait::control
