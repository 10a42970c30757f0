// SPDX-License-Identifier: BSD-3-Clause
// The driver's half of a vif's states. The store is only ever asked for what is there now: events
// say that something changed, and not what.
#include "ports/xen-netback/simulated/netfront.hh"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <thread>
#include <utility>

#include <poll.h>

namespace strait::xen::simulated {

using std::chrono::steady_clock;

// The control ring, and a page for what its messages refer to.
struct netfront::control_side {
    simulated_guest& guest;
    std::byte* memory{nullptr};
    grant_ref ring_ref{};
    grant_ref page_ref{};
    simulated_guest::offered channel{};
    control_front_ring ring{};
    std::uint16_t last_id{0};

    explicit control_side(simulated_guest& g) : guest{g} {}
    control_side(const control_side&) = delete;
    control_side& operator=(const control_side&) = delete;
    ~control_side()
    {
        // What is still in use stays what it is.
        if (memory != nullptr && revoke()) {
            guest.unreserve(ring_ref);
            guest.unreserve(page_ref);
            guest.free(memory, 2);
        }
    }
    [[nodiscard]] bool revoke() const noexcept
    {
        const bool first = guest.end(ring_ref);
        return guest.end(page_ref) && first;
    }
    [[nodiscard]] std::byte* page() const noexcept { return memory + page_size; }
    result<void> open(domain_id backend)
    {
        auto pages = guest.allocate(2);
        if (pages.has_error()) {
            return pages.error();
        }
        const auto first = guest.grant(backend, *pages);
        const auto second = guest.grant(backend, *pages + page_size, true);
        auto offered = guest.offer(backend);
        if (!first || !second || offered.has_error()) {
            return error{"the guest has no grants or event channels left for a control ring"};
        }
        memory = *pages;
        ring_ref = *first;
        page_ref = *second;
        ring = control_front_ring{memory};
        channel = std::move(*offered);
        return {};
    }
};

netfront::netfront(simulated_guest& g, netfront_options o)
    : guest_{g},
      options_{o},
      folder_{"device/vif/" + std::to_string(o.handle)},
      headroom_{o.headroom}
{}

netfront::~netfront()
{
    unwatch();
}

// ---- the store ----

std::uint32_t netfront::read_number(const std::string& path, std::uint32_t otherwise)
{
    const auto text = guest_.store().read(path);
    if (text.has_error() || !*text) {
        return otherwise;
    }
    std::uint32_t n = otherwise;
    std::from_chars((*text)->data(), (*text)->data() + (*text)->size(), n);
    return n;
}

xenbus_state netfront::read_state(const std::string& folder)
{
    const auto n = read_number(folder + "/state", 0);
    return n > static_cast<std::uint32_t>(xenbus_state::reconfigured)
               ? xenbus_state::absent
               : xenbus_state{static_cast<std::uint8_t>(n)};
}

xenbus_state netfront::backend_state()
{
    return backend_folder_.empty() ? xenbus_state::absent : read_state(backend_folder_);
}

result<void> netfront::set_state(xenbus_state s)
{
    auto written =
        guest_.store().write(folder_ + "/state", std::to_string(static_cast<unsigned>(s)));
    if (written.has_value()) {
        own_ = s;
    }
    return written;
}

void netfront::unwatch() noexcept
{
    if (!watched_.empty()) {
        guest_.store().unwatch(watched_ + "/state", folder_);
        watched_.clear();
    }
}

result<void> netfront::find_device()
{
    const auto backend = guest_.store().read(folder_ + "/backend");
    if (backend.has_error()) {
        return backend.error();
    }
    if (!*backend) {
        return error{"the guest has no " + folder_ + ": the tool stack has made no such device"};
    }
    backend_folder_ = **backend;
    backend_ = domain_id{static_cast<std::uint16_t>(read_number(folder_ + "/backend-id", 0))};
    const auto mac = guest_.store().read(folder_ + "/mac");
    mac_ = mac.has_value() ? mac->value_or("") : "";
    if (watched_ == backend_folder_) {
        return {};
    }
    unwatch();
    if (auto set = guest_.store().watch(backend_folder_ + "/state", folder_); set.has_error()) {
        return set;
    }
    watched_ = backend_folder_;
    return {};
}

void netfront::read_offer()
{
    const auto has = [this](const char* key) {
        return read_number(backend_folder_ + "/" + key, 0) == 1;
    };
    offered_ = {
        .queues = std::max(1U, read_number(backend_folder_ + "/multi-queue-max-queues", 1)),
        .scatter_gather = has("feature-sg"),
        .gso_tcp_v4 = has("feature-gso-tcpv4"),
        .gso_tcp_v6 = has("feature-gso-tcpv6"),
        .checksum = !has("feature-no-csum-offload"),
        .checksum_ipv6 = has("feature-ipv6-csum-offload"),
        .multicast_control = has("feature-multicast-control"),
        .split_channels = has("feature-split-event-channels"),
        .control_ring = has("feature-ctrl-ring"),
        .headroom = has("feature-xdp-headroom"),
    };
}

result<void> netfront::open_rings()
{
    const std::uint32_t count = std::clamp(options_.queues, 1U, offered_.queues);
    for (std::uint32_t i = 0; i < count; ++i) {
        auto q = netfront_queue::make(
            guest_, {.backend = backend_,
                     .split_channels = options_.split_channels && offered_.split_channels,
                     .receive_buffers = options_.receive_buffers});
        if (q.has_error()) {
            return q.error();
        }
        queues_.push_back(std::move(*q));
    }
    if (options_.control_ring && offered_.control_ring) {
        control_ = std::make_unique<control_side>(guest_);
        return control_->open(backend_);
    }
    return {};
}

result<void> netfront::write_keys(transaction t)
{
    simulated_store& store = guest_.store();
    result<void> outcome;
    const auto write = [&](const std::string& key, std::uint32_t value) {
        if (outcome.has_value()) {
            outcome = store.write(folder_ + "/" + key, std::to_string(value), t);
        }
    };
    const auto when = [&](bool has, const char* key) {
        if (has) {
            write(key, 1);
        } else if (outcome.has_value()) {
            // Of a driver that was here before.
            outcome = store.remove(folder_ + "/" + key, t);
        }
    };
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        const netfront_queue& q = *queues_[i];
        const std::string in = queues_.size() == 1 ? "" : "queue-" + std::to_string(i) + "/";
        write(in + "tx-ring-ref", static_cast<std::uint32_t>(q.tx_ring_ref()));
        write(in + "rx-ring-ref", static_cast<std::uint32_t>(q.rx_ring_ref()));
        if (q.tx_port() == q.rx_port()) {
            write(in + "event-channel", static_cast<std::uint32_t>(q.tx_port()));
        } else {
            write(in + "event-channel-tx", static_cast<std::uint32_t>(q.tx_port()));
            write(in + "event-channel-rx", static_cast<std::uint32_t>(q.rx_port()));
        }
    }
    write("multi-queue-num-queues", static_cast<std::uint32_t>(queues_.size()));
    if (control_) {
        write("ctrl-ring-ref", static_cast<std::uint32_t>(control_->ring_ref));
        write("event-channel-ctrl", static_cast<std::uint32_t>(control_->channel.port));
    }
    write("request-rx-copy", 1);
    write("feature-rx-notify", 1);
    when(options_.scatter_gather, "feature-sg");
    when(options_.gso_tcp_v4, "feature-gso-tcpv4");
    when(options_.gso_tcp_v6, "feature-gso-tcpv6");
    when(!options_.checksum, "feature-no-csum-offload");
    when(options_.checksum_ipv6, "feature-ipv6-csum-offload");
    when(options_.multicast_control && offered_.multicast_control, "request-multicast-control");
    if (offered_.headroom) {
        write("xdp-headroom", headroom_);
    }
    write("state", static_cast<std::uint32_t>(xenbus_state::connected));
    return outcome;
}

// Old keys that only some shapes of a device have go first: a reader must not find both.
result<void> netfront::publish_rings()
{
    simulated_store& store = guest_.store();
    constexpr int most_tries = 100;
    for (int i = 0; i < most_tries; ++i) {
        const auto t = store.begin();
        if (t.has_error()) {
            return t.error();
        }
        result<void> outcome;
        const auto remove = [&](const std::string& key) {
            if (outcome.has_value()) {
                outcome = store.remove(folder_ + "/" + key, *t);
            }
        };
        for (const char* const key :
             {"tx-ring-ref", "rx-ring-ref", "event-channel", "event-channel-tx", "event-channel-rx",
              "ctrl-ring-ref", "event-channel-ctrl", "xdp-headroom"}) {
            remove(key);
        }
        const auto names = store.list(folder_, *t);
        if (names.has_value() && *names) {
            for (const std::string& name : **names) {
                if (name.starts_with("queue-")) {
                    remove(name);
                }
            }
        }
        if (outcome.has_value()) {
            outcome = write_keys(*t);
        }
        if (outcome.has_error()) {
            store.abandon(*t);
            return outcome;
        }
        const auto committed = store.commit(*t);
        if (committed.has_error()) {
            return committed.error();
        }
        if (*committed) {
            own_ = xenbus_state::connected;
            return {};
        }
    }
    return error{"the nodes of " + folder_ + " are changed by others all the time"};
}

// ---- states ----

result<void> netfront::start()
{
    if (auto found = find_device(); found.has_error()) {
        return found;
    }
    if (auto written = set_state(xenbus_state::initialising); written.has_error()) {
        return written;
    }
    return follow();
}

result<void> netfront::follow()
{
    if (own_ == xenbus_state::absent) {
        return {};
    }
    const xenbus_state theirs = backend_state();
    backend_connected_ = theirs == xenbus_state::connected || theirs == xenbus_state::reconfigured;
    switch (theirs) {
    case xenbus_state::init_wait:
        if (own_ == xenbus_state::initialising) {
            read_offer();
            let_go_of_queues();
            if (auto opened = open_rings(); opened.has_error()) {
                return opened;
            }
            return publish_rings();
        }
        break;
    case xenbus_state::closing:
    case xenbus_state::closed:
        // For a driver that starts it is what the one before left behind.
        if (own_ != xenbus_state::closed && own_ != xenbus_state::initialising) {
            return set_state(xenbus_state::closed);
        }
        break;
    default:
        break;
    }
    return {};
}

template <typename Done>
result<void> netfront::wait_until(Done&& done, milliseconds patience, const std::string& what)
{
    const auto until = steady_clock::now() + patience;
    for (;;) {
        while (guest_.store().next_event()) {}
        if (auto followed = follow(); followed.has_error()) {
            return followed;
        }
        if (done()) {
            return {};
        }
        const auto left =
            std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
        if (left <= 0) {
            return error{what + " did not happen within " + std::to_string(patience.count()) +
                         " ms: the guest's end of " + folder_ + " is in state " +
                         std::to_string(static_cast<unsigned>(own_)) + ", the back end in " +
                         std::to_string(static_cast<unsigned>(backend_state()))};
        }
        // Not for ever: another device of this guest may have taken the event.
        constexpr long longest = 20;
        pollfd event{.fd = guest_.store().descriptor(), .events = POLLIN, .revents = 0};
        (void)::poll(&event, 1, static_cast<int>(std::min<long>(left, longest)));
    }
}

result<void> netfront::connect(milliseconds patience)
{
    if (auto started = start(); started.has_error()) {
        return started;
    }
    return wait_until([this] { return carrier(); }, patience, "the connection");
}

result<void> netfront::wait_for_backend(xenbus_state s, milliseconds patience)
{
    return wait_until([this, s] { return backend_state() == s; }, patience,
                      "state " + std::to_string(static_cast<unsigned>(s)) + " of the back end");
}

result<void> netfront::stop(milliseconds patience)
{
    const auto gone = [this] {
        const xenbus_state s = backend_state();
        return s == xenbus_state::closed || s == xenbus_state::absent;
    };
    if (own_ != xenbus_state::absent && !gone()) {
        if (auto written = set_state(xenbus_state::closing); written.has_error()) {
            return written;
        }
        const auto follows = [&] { return gone() || backend_state() == xenbus_state::closing; };
        if (auto done = wait_until(follows, patience, "the back end's closing"); done.has_error()) {
            return done;
        }
        if (auto written = set_state(xenbus_state::closed); written.has_error()) {
            return written;
        }
        if (auto done = wait_until(gone, patience, "the back end's end"); done.has_error()) {
            return done;
        }
    }
    unwatch();
    own_ = xenbus_state::absent;
    backend_connected_ = false;
    const auto free = [this] {
        bool all = true;
        for (const auto& q : queues_) {
            all = q->revoke_all() && all;
        }
        return (!control_ || control_->revoke()) && all;
    };
    if (auto done = wait_until(free, patience, "the end of the back end's use of grants");
        done.has_error()) {
        return done;
    }
    let_go_of_queues();
    return {};
}

void netfront::let_go_of_queues()
{
    for (const auto& q : queues_) {
        past_ += q->counts();
    }
    queues_.clear();
    control_.reset();
}

result<void> netfront::resume_cancelled()
{
    unwatch();
    if (auto found = find_device(); found.has_error()) {
        return found;
    }
    for (const auto& q : queues_) {
        q->notify();
        (void)q->may_sleep();
    }
    return follow();
}

netfront_counts netfront::counts() const noexcept
{
    netfront_counts sum = past_;
    for (const auto& q : queues_) {
        sum += q->counts();
    }
    return sum;
}

std::string netfront::violation() const
{
    for (const auto& q : queues_) {
        if (!q->violation().empty()) {
            return q->violation();
        }
    }
    return {};
}

// ---- while connected ----

result<netif::control_response> netfront::control(netif::control_type type,
                                                  std::array<std::uint32_t, 3> data,
                                                  milliseconds patience)
{
    if (!control_) {
        return error{"the device has no control ring"};
    }
    control_side& c = *control_;
    const std::uint16_t id = ++c.last_id;
    c.ring.put(netif::control_request{
        .id = id, .type = static_cast<std::uint16_t>(type), .data = {data[0], data[1], data[2]}});
    if (c.ring.publish()) {
        c.channel.end->notify();
    }
    const auto until = steady_clock::now() + patience;
    while (c.ring.may_sleep()) {
        if (steady_clock::now() >= until) {
            return error{"the back end does not answer the control ring"};
        }
        constexpr int longest = 20;
        pollfd event{.fd = c.channel.end->descriptor(), .events = POLLIN, .revents = 0};
        (void)::poll(&event, 1, longest);
        (void)c.channel.end->take();
    }
    const auto answer = c.ring.peek();
    if (c.ring.ready() != 1 || answer.id != id || answer.type != static_cast<std::uint16_t>(type)) {
        return error{"the back end answered what was not asked"};
    }
    c.ring.drop(1);
    return answer;
}

result<void> netfront::ask(netif::control_type type, std::array<std::uint32_t, 3> data,
                           milliseconds patience)
{
    const auto answer = control(type, data, patience);
    if (answer.has_error()) {
        return answer.error();
    }
    if (answer->status != netif::control_status::success) {
        return error{"the back end refuses control message " +
                     std::to_string(static_cast<unsigned>(type)) + " with status " +
                     std::to_string(answer->status)};
    }
    return {};
}

result<void> netfront::use_toeplitz(std::span<const std::uint8_t> key, std::uint32_t types,
                                    std::span<const std::uint32_t> table, milliseconds patience)
{
    using enum netif::control_type;
    if (!control_ || key.size() > page_size || table.size_bytes() > page_size) {
        return error{"the device has no control ring, or its page no room for that"};
    }
    const auto page = static_cast<std::uint32_t>(control_->page_ref);
    const auto tell = [&](netif::control_type type, std::array<std::uint32_t, 3> data) {
        return ask(type, data, patience);
    };
    if (auto done = tell(set_hash_algorithm, {netif::hash_algorithm::toeplitz, 0, 0});
        done.has_error()) {
        return done;
    }
    std::memcpy(control_->page(), key.data(), key.size());
    if (auto done = tell(set_hash_key, {page, static_cast<std::uint32_t>(key.size()), 0});
        done.has_error()) {
        return done;
    }
    const auto entries = static_cast<std::uint32_t>(table.size());
    if (auto done = tell(set_hash_mapping_size, {entries, 0, 0}); done.has_error()) {
        return done;
    }
    if (entries > 0) {
        std::memcpy(control_->page(), table.data(), table.size_bytes());
        if (auto done = tell(set_hash_mapping, {page, entries, 0}); done.has_error()) {
            return done;
        }
    }
    return tell(set_hash_flags, {types, 0, 0});
}

result<void> netfront::set_headroom(std::uint16_t bytes, milliseconds patience)
{
    if (!carrier() || !offered_.headroom) {
        return error{"the back end offers no headroom, or is not connected"};
    }
    headroom_ = bytes;
    if (auto written = guest_.store().write(folder_ + "/xdp-headroom", std::to_string(bytes));
        written.has_error()) {
        return written;
    }
    if (auto written = set_state(xenbus_state::reconfiguring); written.has_error()) {
        return written;
    }
    if (auto done = wait_for_backend(xenbus_state::reconfigured, patience); done.has_error()) {
        return done;
    }
    return set_state(xenbus_state::connected);
}

} // namespace strait::xen::simulated
