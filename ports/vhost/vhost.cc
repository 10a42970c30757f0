// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user port: its socket, its connections, what it tells of itself.
#include "ports/vhost/vhost.hh"

#include "ports/log.hh"
#include "ports/mtu.hh"
#include "ports/number.hh"
#include "ports/unix_socket.hh"
#include "ports/vhost/connection.hh"
#include "ports/vhost/feature_names.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <mutex>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_vhost.h>

namespace strait::vhost {

namespace {

constexpr std::uint64_t bit(unsigned n)
{
    return std::uint64_t{1} << n;
}

// What a port offers a guest's driver, and its front end for migrating it. UDP's fragmentation,
// which Linux no longer does, is not among them; several queue pairs are where the port has some;
// the control queue is the VMM's own, and offered so that it may be.
constexpr std::array offered_features = {
    feature::checksum,          feature::guest_checksum, feature::mtu,
    feature::guest_tso4,        feature::guest_tso6,     feature::guest_ecn,
    feature::host_tso4,         feature::host_tso6,      feature::host_ecn,
    feature::mergeable_buffers, feature::control_queue,  feature::control_receive,
    feature::guest_announce,    feature::log_all,        feature::any_layout,
    feature::indirect,          feature::event_index,    feature::protocol_features,
    feature::version_1,         feature::ring_packed,    feature::in_order,
    feature::guest_uso4,        feature::guest_uso6,     feature::host_uso};

constexpr std::uint64_t offered_mask()
{
    std::uint64_t mask = 0;
    for (const unsigned f : offered_features) {
        mask |= bit(f);
    }
    return mask;
}

constexpr std::uint64_t offered_protocol_mask =
    bit(VHOST_USER_PROTOCOL_F_REPLY_ACK) | bit(VHOST_USER_PROTOCOL_F_NET_MTU) |
    bit(VHOST_USER_PROTOCOL_F_STATUS) | bit(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
    bit(VHOST_USER_PROTOCOL_F_RARP);

// A VMM may have bound its socket by another path to it than the one we connected to, relative to
// its own working folder even; two paths are compared by the file that they lead to.
bool leads_to(std::string_view found, const std::string& path, int fd)
{
    struct stat theirs {};
    struct stat ours {};
    std::string full{found};
    if (!full.starts_with('/')) {
        ucred peer{};
        socklen_t size = sizeof(peer);
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
            return false;
        }
        full = "/proc/" + std::to_string(peer.pid) + "/cwd/" + full;
    }
    return ::stat(full.c_str(), &theirs) == 0 && ::stat(path.c_str(), &ours) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

bool is_connection_to(int fd, const std::string& path, bool client)
{
    int listening = 0;
    socklen_t size = sizeof(listening);
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening != 0) {
        return false;
    }
    sockaddr_un address{};
    size = sizeof(address);
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    if ((client ? ::getpeername(fd, at, &size) : ::getsockname(fd, at, &size)) != 0 ||
        address.sun_family != AF_UNIX || size <= offsetof(sockaddr_un, sun_path)) {
        return false;
    }
    const std::string_view found{address.sun_path,
                                 ::strnlen(address.sun_path, sizeof(address.sun_path))};
    return found == path || (client && !found.empty() && leads_to(found, path, fd));
}

// The inode of a connected socket, nobody else's to find while this lives.
class found_socket {
public:
    found_socket() noexcept = default;
    explicit found_socket(ino_t inode) noexcept : inode_{inode} {}
    found_socket(found_socket&& other) noexcept : inode_{std::exchange(other.inode_, 0)} {}
    found_socket& operator=(found_socket&& other) noexcept
    {
        std::swap(inode_, other.inode_);
        return *this;
    }
    ~found_socket()
    {
        if (inode_ != 0) {
            const std::scoped_lock lock{mutex_};
            std::erase(all_, inode_);
        }
    }

    // The library tells nobody a connection's descriptor, which it takes to send a guest away:
    // among this process's sockets it is the one of this path that no connection of any port has.
    [[nodiscard]] static std::pair<found_socket, file_descriptor> find(const std::string& path,
                                                                       bool client)
    {
        struct closer {
            void operator()(DIR* d) const noexcept { ::closedir(d); }
        };
        const std::unique_ptr<DIR, closer> dir{::opendir("/proc/self/fd")};
        const std::scoped_lock lock{mutex_};
        while (const dirent* const entry = dir ? ::readdir(dir.get()) : nullptr) {
            const int fd = to_number<int>(entry->d_name).value_or(-1);
            if (fd < 0 || !is_connection_to(fd, path, client)) {
                continue;
            }
            struct stat status {};
            if (::fstat(fd, &status) != 0 || std::ranges::find(all_, status.st_ino) != all_.end()) {
                continue;
            }
            all_.push_back(status.st_ino);
            return {found_socket{status.st_ino}, file_descriptor{::fcntl(fd, F_DUPFD_CLOEXEC, 0)}};
        }
        return {};
    }

private:
    static inline std::mutex mutex_;
    static inline std::vector<ino_t> all_;
    ino_t inode_{0};
};

class vhost_port final : public ports::port, private endpoint {
public:
    vhost_port(settings s, dataplane::rcu_domain& rcu, position_file positions)
        : settings_{std::move(s)}
    {
        parts_.name = settings_.name;
        parts_.pairs = settings_.queues;
        parts_.offered = offered_mask() | (settings_.queues > 1 ? bit(feature::multiqueue) : 0);
        parts_.rcu = &rcu;
        parts_.positions = std::move(positions);
        parts_.mtu = settings_.mtu;
        // Each worker is to have one, with its share of the guest's pairs.
        const unsigned count = std::min(settings_.queues, settings_.workers);
        for (unsigned i = 0; i < count; ++i) {
            const unsigned share = (settings_.queues - i + count - 1) / count;
            const queue* const first = i == 0 ? nullptr : parts_.queues.front().get();
            parts_.queues.push_back(std::make_unique<queue>(share, first));
            pairs_.push_back({parts_.queues.back().get(), parts_.queues.back().get()});
        }
    }
    vhost_port(const vhost_port&) = delete;
    vhost_port& operator=(const vhost_port&) = delete;
    ~vhost_port() override { stop_serving(); }
    void forget() noexcept override
    {
        settle_name();
        vhost::forget(settings_.state_dir, settings_.name);
    }
    ports::result<void> rename(const std::string& name) override;
    void settle_name() noexcept override
    {
        for (const std::string& name : std::exchange(former_names_, {})) {
            vhost::forget(settings_.state_dir, name);
        }
    }

    [[nodiscard]] std::span<const ports::queue_pair> queues() const noexcept override
    {
        return pairs_;
    }
    ports::result<void> start() override;
    void stop() noexcept override { stop_serving(); }
    ports::result<void> set_mtu(std::uint32_t mtu) override;
    [[nodiscard]] bool link_up() const noexcept override
    {
        return link_up_.load(std::memory_order_acquire);
    }
    [[nodiscard]] guests attached() const noexcept override
    {
        const std::uint64_t now = guests_.load(std::memory_order_acquire);
        return {.came = now / 2, .there = now % 2 != 0};
    }
    [[nodiscard]] std::vector<std::pair<std::string, ports::port_detail>> details() const override;

private:
    struct slot {
        std::unique_ptr<connection> front_end;
        found_socket socket;
    };

    // endpoint
    bool connected(int vid) noexcept override;
    void disconnected(int vid) noexcept override;
    void device_ready(int vid) noexcept override;
    void device_stopped(int vid) noexcept override;
    void ring_state(int vid, unsigned ring, bool ready) noexcept override;
    verdict before(int vid, message m) noexcept override;
    void after(int vid, message m) noexcept override;
    void memory_lost(int vid) noexcept override;
    void look() noexcept override;
    bool free_workers() noexcept override;

    void stop_serving() noexcept;
    // Calls `what` with the connection of `vid`, with the lock held.
    template <typename What>
    void with(int vid, What&& what) noexcept;
    void note_link() noexcept;
    void add_connection(std::vector<std::pair<std::string, ports::port_detail>>& out,
                        const connection& c) const;

    settings settings_;
    std::vector<ports::queue_pair> pairs_;
    std::vector<std::string> former_names_; // under which its ring positions are, too
    bool serving_{false};                   // control thread
    std::atomic<bool> link_up_{false};
    std::atomic<std::uint64_t> guests_{0}; // twice accepted_, and one while there is one
    std::atomic<bool> tampered_{false};
    bool positions_lost_{false}; // the thread that looks after ports

    mutable std::mutex mutex_; // what is below
    port_parts parts_;
    std::vector<slot> connections_; // one, and for a moment one that has hung up
    bool stopping_{false};
    std::int64_t accepted_{0};
    std::int64_t refused_{0};
};

// ---- control ----

ports::result<void> vhost_port::start()
{
    if (auto usable = settings_.client ? ports::check_socket_to_connect_to(settings_.socket)
                                       : ports::make_way_for_socket(settings_.socket);
        !usable) {
        return usable;
    }
    {
        const std::scoped_lock lock{mutex_};
        stopping_ = false;
    }
    const bool several = settings_.queues > 1;
    auto registered =
        register_socket(*this, settings_.socket, settings_.client, parts_.offered,
                        offered_protocol_mask | (several ? bit(protocol_feature::multiqueue) : 0));
    if (!registered) {
        return registered;
    }
    serving_ = true;
    if (!settings_.client) {
        // A group that is given is given to be let in.
        const mode_t usual = settings_.group ? 0660 : 0600;
        if (auto given = ports::give_socket_to(settings_.socket, settings_.owner, settings_.group,
                                               settings_.mode.value_or(usual));
            !given) {
            stop_serving();
            return given;
        }
    }
    return {};
}

void vhost_port::stop_serving() noexcept
{
    if (!serving_) {
        return;
    }
    serving_ = false;
    {
        const std::scoped_lock lock{mutex_};
        stopping_ = true;
        for (auto& s : connections_) {
            s.front_end->take_back();
            // Now: the library's thread may be waiting for the rest of a message of its, and the
            // library for that thread.
            s.front_end->hang_up();
        }
        note_link();
    }
    // Not with the lock held: its callbacks, on this thread and the library's, take it.
    unregister_socket(*this, settings_.socket);
    const std::scoped_lock lock{mutex_};
    connections_.clear();
}

ports::result<void> vhost_port::set_mtu(std::uint32_t mtu)
{
    if (auto right = ports::check_mtu("port " + settings_.name + ": a vhost-user port", mtu);
        right.has_error()) {
        return right;
    }
    const std::scoped_lock lock{mutex_};
    parts_.mtu = mtu;
    return {};
}

ports::result<void> vhost_port::rename(const std::string& name)
{
    if (auto linked = position_file::link(settings_.state_dir, settings_.name, name);
        linked.has_error()) {
        return linked;
    }
    former_names_.push_back(std::exchange(settings_.name, name));
    std::erase(former_names_, name); // it had that before
    const std::scoped_lock lock{mutex_};
    parts_.name = name;
    return {};
}

// ---- the library's calls ----

template <typename What>
void vhost_port::with(int vid, What&& what) noexcept
{
    const std::scoped_lock lock{mutex_};
    for (auto& s : connections_) {
        if (s.front_end->vid() == vid) {
            what(*s.front_end);
            note_link();
            return;
        }
    }
}

void vhost_port::note_link() noexcept
{
    link_up_.store(
        std::ranges::any_of(connections_, [](const slot& s) { return s.front_end->running(); }),
        std::memory_order_release);
    const bool there =
        std::ranges::any_of(connections_, [](const slot& s) { return !s.front_end->expelled(); });
    guests_.store(static_cast<std::uint64_t>(accepted_) * 2 + (there ? 1 : 0),
                  std::memory_order_release);
}

bool vhost_port::connected(int vid) noexcept
{
    const std::scoped_lock lock{mutex_};
    if (stopping_) {
        return false;
    }
    for (auto& s : connections_) {
        if (!s.front_end->hung_up()) {
            ++refused_;
            parts_.lost("a second front end was refused: process " +
                        std::to_string(s.front_end->peer()) + " is connected");
            return false;
        }
        // Its end has not reached us yet: whoever comes after it is not to wait.
        s.front_end->retire();
    }
    auto [socket, descriptor] = found_socket::find(settings_.socket, settings_.client);
    connections_.push_back(
        {std::make_unique<connection>(vid, parts_, std::move(descriptor)), std::move(socket)});
    ++accepted_;
    parts_.note("a front end connected");
    note_link();
    return true;
}

void vhost_port::disconnected(int vid) noexcept
{
    const std::scoped_lock lock{mutex_};
    if (std::erase_if(connections_, [vid](const slot& s) { return s.front_end->vid() == vid; }) !=
        0) {
        parts_.note("its front end is gone");
    }
    note_link();
}

void vhost_port::device_ready(int vid) noexcept
{
    with(vid, [](connection& c) { c.device_ready(); });
}

void vhost_port::device_stopped(int vid) noexcept
{
    with(vid, [](connection& c) { c.device_stopped(); });
}

void vhost_port::ring_state(int vid, unsigned ring, bool ready) noexcept
{
    with(vid, [=](connection& c) { c.ring_state(ring, ready); });
}

verdict vhost_port::before(int vid, message m) noexcept
{
    verdict v = verdict::error;
    with(vid, [&](connection& c) { v = c.before(m); });
    return v;
}

void vhost_port::after(int vid, message m) noexcept
{
    with(vid, [m](connection& c) { c.after(m); });
}

void vhost_port::memory_lost(int vid) noexcept
{
    with(vid, [](connection& c) { c.memory_lost(); });
}

bool vhost_port::free_workers() noexcept
{
    const auto found = parts_.calls.look();
    if (found == call_guard::state::tampered) {
        tampered_ = true;
    }
    return found != call_guard::state::right;
}

void vhost_port::look() noexcept
{
    // Other ports are not to wait for whoever holds it.
    const std::unique_lock lock{mutex_, std::try_to_lock};
    if (!lock || stopping_) {
        return;
    }
    const bool tampered = tampered_.exchange(false);
    for (auto& s : connections_) {
        if (tampered && !s.front_end->expelled()) {
            s.front_end->expel("its front end made a call descriptor block");
        }
        s.front_end->look();
    }
    if (parts_.positions.lost() && !std::exchange(positions_lost_, true)) {
        ports::log_warning("vhost", "port " + parts_.name +
                                        ": its ring positions in the run folder were cut off; a "
                                        "guest with packed rings goes on, but will not find its "
                                        "place when the switch or its VMM starts again");
    }
    note_link();
}

// ---- what is shown ----

void vhost_port::add_connection(std::vector<std::pair<std::string, ports::port_detail>>& out,
                                const connection& c) const
{
    if (const int peer = c.peer(); peer != 0) {
        out.emplace_back("front_end_pid", std::int64_t{peer});
    }
    out.emplace_back("ring_kind", ring_kind_of(c.features()));
    out.emplace_back("features", names_of(c.features()));
    constexpr std::array prefix{"guest_rx", "guest_tx"};
    for (unsigned ring = 0; ring < prefix.size(); ++ring) {
        const auto facts = c.facts(ring);
        const std::string name = prefix[ring];
        out.emplace_back(name + "_ring_size", std::int64_t{facts.size});
        out.emplace_back(name + "_position", std::int64_t{facts.position});
    }
    if (settings_.queues > 1) {
        std::vector<std::string> pairs;
        for (unsigned pair = 0; pair < settings_.queues; ++pair) {
            const auto rx = c.facts(2 * pair);
            const auto tx = c.facts(2 * pair + 1);
            pairs.push_back(
                rx.size == 0 && tx.size == 0
                    ? "off"
                    : "rx " + std::to_string(rx.position) + " of " + std::to_string(rx.size) +
                          ", tx " + std::to_string(tx.position) + " of " + std::to_string(tx.size));
        }
        out.emplace_back("queue_pairs", std::move(pairs));
    }
    if (const auto mtu = c.guest_mtu()) {
        out.emplace_back("guest_mtu", std::int64_t{*mtu});
    }
    std::vector<std::string> regions;
    if (const guest_memory* const memory = c.memory()) {
        for (const auto& r : memory->regions()) {
            std::ostringstream text;
            text << std::hex << "0x" << r.guest_address << "-0x" << r.guest_address + r.size - 1;
            regions.push_back(text.str());
        }
    }
    out.emplace_back("guest_memory", std::move(regions));
    if (!c.obstacle().empty()) {
        out.emplace_back("obstacle", c.obstacle());
    }
}

std::vector<std::pair<std::string, ports::port_detail>> vhost_port::details() const
{
    const std::scoped_lock lock{mutex_};
    std::vector<std::pair<std::string, ports::port_detail>> out;
    const auto current =
        std::ranges::find_if(connections_, [](const slot& s) { return !s.front_end->expelled(); });
    const bool connected = current != connections_.end();
    out.emplace_back("mode", settings_.client ? "client" : "server");
    out.emplace_back("socket", settings_.socket);
    out.emplace_back("connected", connected);
    std::uint64_t kicks = parts_.kicks;
    if (connected) {
        add_connection(out, *current->front_end);
        kicks += current->front_end->kicks();
    }
    out.emplace_back("kicks", static_cast<std::int64_t>(kicks));
    out.emplace_back("connections", accepted_);
    out.emplace_back("connections_refused", refused_);
    if (!parts_.last_loss.empty()) {
        out.emplace_back("last_loss", parts_.last_loss);
    }
    return out;
}

} // namespace

void forget(const std::string& state_dir, const std::string& name) noexcept
{
    position_file::remove(state_dir, name);
}

ports::result<std::unique_ptr<ports::port>> make_port(settings s, dataplane::rcu_domain& rcu)
{
    if (s.socket.empty() || s.socket.size() > ports::max_socket_path) {
        return ports::error{"port " + s.name + ": a socket's path has 1 to " +
                            std::to_string(ports::max_socket_path) + " bytes, this one " +
                            std::to_string(s.socket.size())};
    }
    if (s.client && (s.owner || s.group || s.mode)) {
        return ports::error{"port " + s.name +
                            ": owner and mode of the socket are the VMM's "
                            "to set in client mode; leave them out"};
    }
    if (s.queues < 1 || s.queues > max_pairs || s.workers < 1) {
        return ports::error{"port " + s.name + ": a vhost-user port has 1 to " +
                            std::to_string(max_pairs) + " queue pairs, not " +
                            std::to_string(s.queues)};
    }
    auto positions = position_file::open(s.state_dir, s.name);
    if (!positions) {
        return positions.error();
    }
    const std::uint32_t mtu = s.mtu;
    auto port = std::make_unique<vhost_port>(std::move(s), rcu, std::move(*positions));
    if (auto fits = port->set_mtu(mtu); !fits) {
        port->forget();
        return fits.error();
    }
    return std::unique_ptr<ports::port>{std::move(port)};
}

} // namespace strait::vhost
