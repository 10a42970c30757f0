// SPDX-License-Identifier: BSD-3-Clause
// Dispatch of the vhost library's callbacks, and the threads that look after ports.
#include "ports/vhost/library.hh"

#include "dataplane/guest_span.hh"
#include "ports/unix_socket.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <limits.h>
#include <map>
#include <mutex>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <rte_thread.h>
#include <rte_vhost.h>

namespace strait::vhost {

namespace {

std::mutex sockets_mutex;
struct served {
    endpoint* to;
    ports::socket_file file; // that the library made
};
std::map<std::string, served, std::less<>> sockets;

// By connection; null while nobody has it.
std::array<std::atomic<endpoint*>, RTE_MAX_VHOST_DEVICE> connections;

// Set by the SIGBUS guard on the library's event thread, whose message was handled then.
std::atomic<bool> library_fault{false};
std::atomic<int> library_vid{-1};

endpoint* endpoint_of(int vid) noexcept
{
    return vid < 0 || vid >= RTE_MAX_VHOST_DEVICE
               ? nullptr
               : connections[static_cast<std::size_t>(vid)].load(std::memory_order_acquire);
}

void report_library_fault() noexcept
{
    if (!library_fault.exchange(false, std::memory_order_acq_rel)) {
        return;
    }
    const int vid = library_vid.load(std::memory_order_relaxed);
    if (endpoint* const e = endpoint_of(vid)) {
        e->memory_lost(vid);
    }
}

rte_vhost_msg_result before_message(int vid, void* at)
{
    report_library_fault();
    library_vid.store(vid, std::memory_order_relaxed);
    // The library reads rings in memory that it has just mapped and nobody could register yet.
    dataplane::survive_unregistered_faults(&library_fault);
    endpoint* const e = endpoint_of(vid);
    return e == nullptr ? RTE_VHOST_MSG_RESULT_ERR
                        : static_cast<rte_vhost_msg_result>(e->before(vid, message{at}));
}

rte_vhost_msg_result after_message(int vid, void* at)
{
    if (endpoint* const e = endpoint_of(vid)) {
        e->after(vid, message{at});
    }
    report_library_fault();
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

constexpr rte_vhost_user_extern_ops hooks{before_message, after_message};

int new_connection(int vid)
{
    std::array<char, PATH_MAX> path{};
    endpoint* e = nullptr;
    if (rte_vhost_get_ifname(vid, path.data(), path.size()) == 0) {
        const std::scoped_lock lock{sockets_mutex};
        const auto found = sockets.find(std::string_view{path.data()});
        e = found == sockets.end() ? nullptr : found->second.to;
    }
    if (e == nullptr || !e->connected(vid)) {
        return -1;
    }
    connections[static_cast<std::size_t>(vid)].store(e, std::memory_order_release);
    return rte_vhost_extern_callback_register(vid, &hooks, nullptr);
}

void destroy_connection(int vid)
{
    report_library_fault();
    if (endpoint* const e = endpoint_of(vid)) {
        connections[static_cast<std::size_t>(vid)].store(nullptr, std::memory_order_release);
        e->disconnected(vid);
    }
}

int new_device(int vid)
{
    if (endpoint* const e = endpoint_of(vid)) {
        e->device_ready(vid);
    }
    return 0;
}

void destroy_device(int vid)
{
    if (endpoint* const e = endpoint_of(vid)) {
        e->device_stopped(vid);
    }
}

int vring_state_changed(int vid, std::uint16_t ring, int enable)
{
    if (endpoint* const e = endpoint_of(vid)) {
        e->ring_state(vid, ring, enable != 0);
    }
    return 0;
}

constexpr rte_vhost_device_ops callbacks{
    .new_device = new_device,
    .destroy_device = destroy_device,
    .vring_state_changed = vring_state_changed,
    .features_changed = nullptr,
    .new_connection = new_connection,
    .destroy_connection = destroy_connection,
    .guest_notified = nullptr,
    .reserved = {},
};

// Its thread runs while there is an endpoint, and looks at each.
class watcher {
public:
    using look = bool (*)(endpoint&) noexcept; // true: again a moment later

    watcher(look what, const char* name) noexcept : look_{what}, name_{name} {}

    void add(endpoint& e)
    {
        const std::scoped_lock lock{mutex_};
        endpoints_.push_back(&e);
        if (!thread_.joinable()) {
            stop_ = false;
            thread_ = std::thread{[this] { run(); }};
            rte_thread_setname(thread_.native_handle(), name_);
        }
    }
    // The endpoint is not looked at when this returned.
    void remove(endpoint& e) noexcept
    {
        std::thread finished;
        {
            const std::scoped_lock lock{mutex_};
            std::erase(endpoints_, &e);
            if (endpoints_.empty() && thread_.joinable()) {
                stop_ = true;
                wake_.notify_one();
                finished = std::move(thread_);
            }
        }
        if (finished.joinable()) {
            finished.join();
        }
    }

private:
    void run()
    {
        std::unique_lock lock{mutex_};
        while (!stop_) {
            bool again = false;
            for (endpoint* const e : endpoints_) {
                again = look_(*e) || again;
            }
            constexpr std::chrono::milliseconds moment{1};
            wake_.wait_for(lock, again ? moment : look_interval, [this] { return stop_; });
        }
    }

    look look_;
    const char* name_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<endpoint*> endpoints_;
    bool stop_{false};
    std::thread thread_;
};

watcher& the_watcher()
{
    static watcher instance{[](endpoint& e) noexcept {
                                e.look();
                                return false;
                            },
                            "strait-vhost"};
    return instance;
}

watcher& the_liberator()
{
    static watcher instance{[](endpoint& e) noexcept { return e.free_workers(); }, "strait-free"};
    return instance;
}

// The library says neither why it could not bind nor leaves another's socket alone then; so the
// path is tried first.
ports::result<void> try_to_bind(const std::string& path)
{
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ports::error{"cannot make a socket: " + std::string{std::strerror(errno)}};
    }
    const sockaddr_un address = ports::socket_address(path);
    const bool bound =
        ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    const int code = errno;
    ::close(fd);
    if (!bound) {
        return ports::error{"cannot make the socket '" + path + "': " + std::strerror(code) +
                            "; its folder must exist and be writable"};
    }
    ::unlink(path.c_str());
    return {};
}

// The library's event thread looks at a new listening socket only when its poll ends, up to a
// second later; what wakes it is a connection that the library makes itself. So it makes one, to a
// socket that is there for that alone. Where this fails a guest waits for that second.
void wake_event_thread(const std::string& near)
{
    static constexpr rte_vhost_device_ops none{};
    const std::string path = near + "~";
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_un address = ports::socket_address(path);
    if (listener < 0 || path.size() > ports::max_socket_path) {
        ::close(listener);
        return;
    }
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
        constexpr std::uint64_t once = RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT;
        if (::listen(listener, 1) == 0 && rte_vhost_driver_register(path.c_str(), once) == 0) {
            rte_vhost_driver_callback_register(path.c_str(), &none);
            rte_vhost_driver_start(path.c_str());
            rte_vhost_driver_unregister(path.c_str());
        }
        ::unlink(path.c_str());
    }
    ::close(listener);
}

} // namespace

ports::result<void> register_socket(endpoint& e, const std::string& path, bool client,
                                    std::uint64_t features, std::uint64_t protocol_features)
{
    if (!client) {
        if (auto bindable = try_to_bind(path); !bindable) {
            return bindable;
        }
    }
    {
        const std::scoped_lock lock{sockets_mutex};
        if (sockets.size() >= max_sockets) {
            return ports::error{"the switch has " + std::to_string(max_sockets) +
                                " vhost-user ports already, as many as DPDK's vhost library can "
                                "serve in a process; another straitd, with a run folder of its "
                                "own, can have more"};
        }
        if (!sockets.emplace(path, served{&e, {}}).second) {
            return ports::error{"the socket '" + path +
                                "' is another port's; give each port one "
                                "of its own"};
        }
    }
    const auto failed = [&](bool registered) -> ports::result<void> {
        if (registered) {
            rte_vhost_driver_unregister(path.c_str());
        }
        const std::scoped_lock lock{sockets_mutex};
        sockets.erase(path);
        return ports::error{"DPDK's vhost library refused the socket '" + path +
                            "'; its reason is in the log"};
    };
    if (rte_vhost_driver_register(path.c_str(), client ? RTE_VHOST_USER_CLIENT : 0) != 0) {
        return failed(false);
    }
    std::uint64_t offered = 0;
    if (rte_vhost_driver_get_features(path.c_str(), &offered) != 0 ||
        rte_vhost_driver_disable_features(path.c_str(), offered & ~features) != 0 ||
        rte_vhost_driver_get_protocol_features(path.c_str(), &offered) != 0 ||
        rte_vhost_driver_set_protocol_features(path.c_str(), offered & protocol_features) != 0 ||
        rte_vhost_driver_callback_register(path.c_str(), &callbacks) != 0) {
        return failed(true);
    }
    the_liberator().add(e);
    the_watcher().add(e);
    // The umask, so that a new socket is nobody else's until it is given to its owner.
    constexpr mode_t no_others = 0177;
    const mode_t umask_before = ::umask(no_others);
    const int started = rte_vhost_driver_start(path.c_str());
    ::umask(umask_before);
    if (started != 0) {
        the_watcher().remove(e);
        the_liberator().remove(e);
        return failed(true);
    }
    if (!client) {
        const auto made = ports::socket_file::at(path);
        {
            const std::scoped_lock lock{sockets_mutex};
            sockets.at(path).file = made;
        }
        wake_event_thread(path);
    }
    return {};
}

void unregister_socket(endpoint& e, const std::string& path) noexcept
{
    the_watcher().remove(e);
    the_liberator().remove(e);
    // The library removes whatever stands at the path by now. What is not its own steps aside.
    const std::string aside = path + "~";
    const auto file = ports::socket_file::at(path);
    bool stepped_aside = false;
    {
        const std::scoped_lock lock{sockets_mutex};
        const auto& made = sockets.at(path).file;
        stepped_aside =
            made.inode != 0 && file.inode != 0 && file != made &&
            ::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_NOREPLACE) == 0;
    }
    rte_vhost_driver_unregister(path.c_str());
    if (stepped_aside) {
        ::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
    }
    for (auto& slot : connections) {
        endpoint* expected = &e;
        slot.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
    }
    const std::scoped_lock lock{sockets_mutex};
    sockets.erase(path);
}

} // namespace strait::vhost
