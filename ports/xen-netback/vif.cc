// SPDX-License-Identifier: BSD-3-Clause
// The state machine of a vif. Every value in the frontend's folder is the guest's to write, at any
// time: it may be missing, huge, or another one at each look.
#include "ports/xen-netback/vif.hh"

#include "ports/log.hh"
#include "ports/number.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

namespace strait::xen {

using dataplane::offloads;
using ports::error;

namespace {

// In the own folder: what the guest asked for by its control ring, for the next process.
constexpr std::string_view hash_node = "hash";
constexpr std::string_view carrier_node = "carrier"; // netif.h, "Link state"

std::string below(const std::string& folder, std::string_view node)
{
    return folder + '/' + std::string{node};
}

// The store did not answer.
struct unreadable {
    std::string why;
};

} // namespace

std::string vif_id::to_string() const
{
    return "vif" + std::to_string(static_cast<unsigned>(domain)) + "." + std::to_string(handle);
}

std::string vif_id::backend_path() const
{
    return "backend/vif/" + std::to_string(static_cast<unsigned>(domain)) + "/" +
           std::to_string(handle);
}

vif::vif(vif_id id, vif_settings s, hypervisor& h, dataplane::rcu_domain& rcu, queue& q)
    : id_{id},
      settings_{std::move(s)},
      hypervisor_{h},
      store_{h.store()},
      rcu_{rcu},
      queue_{q},
      path_{id.backend_path()},
      mtu_{settings_.mtu}
{}

bool vif::writes_alone(std::string_view path) noexcept
{
    const std::string_view node = path.substr(path.rfind('/') + 1);
    return node == hash_node || node == carrier_node;
}

void vif::detach()
{
    disconnect({});
    follow(std::nullopt);
}

// ---- reading the store ----

std::optional<std::string> vif::read(const std::string& path) const
{
    auto value = store_.read(path);
    if (value.has_error()) {
        throw unreadable{value.error().message};
    }
    return std::move(*value);
}

std::optional<std::uint32_t> vif::read_number(const std::string& path) const
{
    const auto text = read(path);
    return text ? to_number<std::uint32_t>(*text) : std::nullopt;
}

bool vif::read_flag(const std::string& path) const
{
    return read_number(path).value_or(0) == 1;
}

xenbus_state vif::read_state(const std::string& folder) const
{
    const auto n = read_number(folder + "/state").value_or(0);
    constexpr auto last = static_cast<std::uint32_t>(xenbus_state::reconfigured);
    return n > last ? xenbus_state::absent : static_cast<xenbus_state>(n);
}

// Writes to the back end's folder, unless it is gone: the tool stack may be removing it, and what
// is written then would bring it back. False if nothing was written.
bool vif::change(const std::function<ports::result<void>(transaction)>& what, const char* name)
{
    const auto refused = [&](const ports::error& e) {
        note(std::string{name} + " cannot be written: " + e.message);
        return false;
    };
    constexpr int attempts = 8;
    for (int i = 0; i <= attempts; ++i) {
        transaction t = transaction::none;
        if (i < attempts) { // at last without: somebody keeps changing the folder
            const auto begun = store_.begin();
            if (begun.has_error()) {
                return refused(begun.error());
            }
            t = *begun;
        }
        const auto state = store_.read(path_ + "/state", t);
        const bool there = state.has_value() && *state;
        const auto written = there ? what(t) : ports::result<void>{};
        if (t == transaction::none) {
            return there && (written.has_value() || refused(written.error()));
        }
        if (!there || written.has_error()) {
            store_.abandon(t);
            return written.has_error() ? refused(written.error()) : false;
        }
        const auto committed = store_.commit(t);
        if (committed.has_error()) {
            return refused(committed.error());
        }
        if (*committed) {
            return true;
        }
    }
    return false;
}

void vif::set_state(xenbus_state s)
{
    const auto write = [&](transaction t) {
        return store_.write(path_ + "/state", std::to_string(static_cast<unsigned>(s)), t);
    };
    if (own_ != s && change(write, "its state")) {
        own_ = s;
    }
}

// Changes of the frontend's folder are to be heard of; of what it is and whether it goes.
void vif::follow(const std::optional<std::string>& frontend)
{
    const std::string next = frontend.value_or("");
    if (next == frontend_) {
        return;
    }
    const std::string token = id_.to_string();
    if (!frontend_.empty()) {
        store_.unwatch(frontend_, token);
    }
    frontend_ = next;
    if (!frontend_.empty()) {
        if (const auto set = store_.watch(frontend_, token); set.has_error()) {
            note("its frontend cannot be watched: " + set.error().message);
        }
    }
}

// ---- states ----

bool vif::evaluate()
{
    using enum xenbus_state;
    failed_carrier_.reset();
    try {
        own_ = read_state(path_);
        if (own_ == absent) {
            // The tool stack has removed the device, or has not made it yet.
            disconnect("the tool stack removed the device");
            follow(std::nullopt);
            given_up_ = false;
            const std::scoped_lock lock{mutex_};
            status_.backend = status_.frontend = absent;
        } else {
            // The tool stack wrote it; the guest cannot.
            follow(read(path_ + "/frontend"));
            const xenbus_state front = frontend_.empty() ? absent : read_state(frontend_);
            act(front, read_flag(path_ + "/online"));
            const std::scoped_lock lock{mutex_};
            status_.backend = own_;
            status_.frontend = front;
        }
    } catch (const unreadable& e) {
        if (!std::exchange(store_failed_, true)) {
            note("the store cannot be asked, so all stays as it is: " + e.why);
        }
        return false;
    }
    store_failed_ = false;
    return true;
}

void vif::act(xenbus_state front, bool online)
{
    using enum xenbus_state;
    if (front != connected && front != initialised && front != reconfiguring) {
        given_up_ = false;
    }
    // Of this process, or of one before it whose rings are still in the store.
    const bool was_connected = own_ == connected || own_ == reconfigured;
    switch (front) {
    case initialising:
    case init_wait:
        disconnect("its driver starts anew");
        if (!online && (own_ == closing || own_ == closed)) {
            set_state(closed);
        } else if (own_ != init_wait) {
            announce();
        }
        break;
    case initialised:
    case connected:
    case reconfiguring:
        if (!rings_ && !given_up_ && (online || was_connected)) {
            connect(was_connected);
        }
        if (!rings_) {
            break;
        }
        if (front == reconfiguring) {
            rings_->guest->headroom.store(read_headroom(), std::memory_order_relaxed);
            set_state(reconfigured);
        } else if (own_ == reconfigured) {
            set_state(connected);
        }
        break;
    case closing:
        disconnect("its driver closed it");
        if (own_ != closed) {
            set_state(closing);
        }
        break;
    case closed:
        disconnect("its driver closed it");
        set_state(closed);
        break;
    case absent:
        disconnect("the guest is gone");
        // A device that is only being made may have its back end's folder first.
        if (own_ != initialising) {
            set_state(closed);
        }
        break;
    case reconfigured: // not a state of a frontend's
        break;
    }
}

bool vif::look()
{
    tell_carrier();
    bool more = false;
    if (control_) {
        more = control_->serve();
    }
    if (rings_) {
        const char* why = rings_->fault();
        if (why == nullptr && control_) {
            why = control_->fault();
        }
        if (why != nullptr) {
            give_up(why);
        }
    }
    return more;
}

void vif::tell_carrier()
{
    const bool there = carrier_.load(std::memory_order_relaxed);
    // Without a device there is nobody to tell; announce() will.
    if (there == told_carrier_ || there == failed_carrier_ || own_ == xenbus_state::absent ||
        own_ == xenbus_state::closed) {
        return;
    }
    const auto write = [&](transaction t) {
        return store_.write(below(path_, carrier_node), there ? "1" : "0", t);
    };
    // A store that fails is not asked at each look, but when something has changed.
    (change(write, "its carrier") ? told_carrier_ : failed_carrier_) = there;
}

int vif::control_descriptor() const noexcept
{
    return control_ ? control_->descriptor() : -1;
}

void vif::retire()
{
    disconnect("the port was removed");
    // A driver that is there closes its side upon it, and can do no more.
    own_ = xenbus_state::absent;
    set_state(xenbus_state::closing);
    set_state(xenbus_state::closed);
}

void vif::give_up(const std::string& why)
{
    disconnect(why);
    given_up_ = true;
    set_state(xenbus_state::closing);
}

// What the switch can do, then that it waits for the driver.
void vif::announce()
{
    static constexpr std::pair<const char*, const char*> features[] = {
        {"feature-rx-copy", "1"},
        {"feature-rx-flip", "0"},
        {"feature-sg", "1"},
        {"feature-gso-tcpv4", "1"},
        {"feature-gso-tcpv6", "1"},
        {"feature-ipv6-csum-offload", "1"},
        {"feature-multicast-control", "1"},
        {"feature-split-event-channels", "1"},
        {"feature-ctrl-ring", "1"},
        {"feature-xdp-headroom", "1"},
    };
    const bool carrier = carrier_.load(std::memory_order_relaxed);
    const auto write_all = [this, carrier](transaction t) -> ports::result<void> {
        const auto write = [&](const std::string& key, const std::string& value) {
            return store_.write(path_ + "/" + key, value, t);
        };
        for (const auto& [key, value] : features) {
            if (auto done = write(key, value); done.has_error()) {
                return done;
            }
        }
        std::uint32_t mtu = 0;
        {
            const std::scoped_lock lock{mutex_};
            mtu = mtu_;
        }
        for (const auto& [key, value] :
             {std::pair{"multi-queue-max-queues", settings_.queues}, std::pair{"mtu", mtu}}) {
            if (auto done = write(key, std::to_string(value)); done.has_error()) {
                return done;
            }
        }
        if (auto done = write(std::string{carrier_node}, carrier ? "1" : "0"); done.has_error()) {
            return done;
        }
        // libxl's own script has nothing left to say.
        if (auto done = write("hotplug-status", "connected"); done.has_error()) {
            return done;
        }
        return write("state", std::to_string(static_cast<unsigned>(xenbus_state::init_wait)));
    };
    if (change(write_all, "what the switch can do")) {
        own_ = xenbus_state::init_wait;
        told_carrier_ = carrier;
    }
}

// ---- connections ----

void vif::connect(bool adopting)
{
    std::unique_ptr<control_ring> control;
    auto made = make_rings(control, adopting);
    if (made.has_error()) {
        note("cannot be connected: " + made.error().message);
        {
            const std::scoped_lock lock{mutex_};
            status_.why = made.error().message;
        }
        given_up_ = true;
        set_state(xenbus_state::closing);
        return;
    }
    {
        const std::scoped_lock lock{mutex_};
        rings_ = std::move(*made);
        control_ = std::move(control);
        status_.why.clear();
        ++status_.connections;
        status_.adopted = adopting;
    }
    queue_.publish(rings_.get());
    rcu_.wake_all();
    // What another process answered without saying so, its guest still waits for.
    for (const auto& channel : rings_->channels) {
        channel->notify();
    }
    up_.store(true, std::memory_order_release);
    set_state(xenbus_state::connected);
    note(std::string{adopting ? "taken over" : "connected"} + " with " +
         std::to_string(rings_->sources.size()) +
         (rings_->sources.size() == 1 ? " queue pair" : " queue pairs"));
}

ports::result<std::unique_ptr<ring_set>> vif::make_rings(std::unique_ptr<control_ring>& control,
                                                         bool adopting)
{
    if (!read_flag(frontend_ + "/request-rx-copy")) {
        return error{
            "its driver does not ask for copies (request-rx-copy), the only way to receive"};
    }
    const auto asked = read(frontend_ + "/multi-queue-num-queues");
    const std::uint32_t queues = asked ? to_number<std::uint32_t>(*asked).value_or(0) : 1;
    if (queues == 0 || queues > settings_.queues) {
        return error{"its driver asks for \"" + asked.value_or("").substr(0, 16) +
                     "\" queues; 1 to " + std::to_string(settings_.queues) + " can be had"};
    }
    auto rings = std::make_unique<ring_set>();
    rings->guest = std::make_unique<guest>();
    rings->guest->hypervisor = &hypervisor_;
    rings->guest->domain = id_.domain;
    rings->guest->features = read_features();
    if (adopting) {
        rings->guest->multicasts.want_all(); // what it wants it told who was here before
    }
    rings->guest->rate = read_rate();
    for (std::uint32_t i = 0; i < queues; ++i) {
        const std::string folder =
            queues == 1 ? frontend_ : frontend_ + "/queue-" + std::to_string(i);
        if (auto added = add_queue(*rings, folder, adopting); added.has_error()) {
            return added.error();
        }
    }
    auto made = make_control_ring(*rings, adopting);
    if (made.has_error()) {
        return made.error();
    }
    control = std::move(*made);
    rings->guest->headroom.store(read_headroom());
    return rings;
}

ports::result<void> vif::add_queue(ring_set& rings, const std::string& folder, bool adopting)
{
    std::array<grant_ref, 2> refs{};
    for (const auto& [at, key] : {std::pair{0, "tx-ring-ref"}, std::pair{1, "rx-ring-ref"}}) {
        const auto n = read_number(folder + "/" + key);
        if (!n) {
            return error{"its driver gave no grant of its ring (" + std::string{key} + ")"};
        }
        refs[static_cast<std::size_t>(at)] = grant_ref{*n};
    }
    auto mapped = hypervisor_.map(id_.domain, refs);
    if (mapped.has_error()) {
        return error{"its rings cannot be mapped: " + mapped.error().message};
    }
    auto* const tx_page = static_cast<std::byte*>((*mapped)->base());
    rings.mappings.push_back(std::move(*mapped));
    const netif::tx_ring tx{tx_page};
    const netif::rx_ring rx{tx_page + page_size};
    if (tx.request_producer() - tx.response_producer() > netif::ring_size ||
        rx.request_producer() - rx.response_producer() > netif::ring_size) {
        return error{"a ring of its driver holds more requests than it has slots"};
    }
    const auto bind = [&](std::uint32_t port) -> ports::result<event_channel*> {
        auto channel = hypervisor_.bind(id_.domain, event_port{port});
        if (channel.has_error()) {
            return error{"its event channel cannot be bound: " + channel.error().message};
        }
        rings.channels.push_back(std::move(*channel));
        return rings.channels.back().get();
    };
    const auto tx_port = read_number(folder + "/event-channel-tx");
    const auto rx_port = read_number(folder + "/event-channel-rx");
    event_channel* tx_channel = nullptr;
    event_channel* rx_channel = nullptr;
    if (tx_port && rx_port) {
        auto first = bind(*tx_port);
        if (first.has_error()) {
            return first.error();
        }
        auto second = bind(*rx_port);
        if (second.has_error()) {
            return second.error();
        }
        tx_channel = *first;
        rx_channel = *second;
    } else {
        const auto port = read_number(folder + "/event-channel");
        if (!port) {
            return error{"its driver gave no event channel"};
        }
        auto only = bind(*port);
        if (only.has_error()) {
            return only.error();
        }
        tx_channel = rx_channel = *only;
    }
    {
        const std::scoped_lock lock{mutex_};
        status_.split_channels = tx_channel != rx_channel;
    }
    rings.sources.push_back(std::make_unique<source>(tx, *rings.guest, *tx_channel, adopting));
    rings.sinks.push_back(std::make_unique<sink>(rx, *rings.guest, *rx_channel, adopting));
    return {};
}

// Null where the driver has none.
ports::result<std::unique_ptr<control_ring>> vif::make_control_ring(ring_set& rings, bool adopting)
{
    const auto ref = read_number(frontend_ + "/ctrl-ring-ref");
    const auto port = read_number(frontend_ + "/event-channel-ctrl");
    if (!ref || !port) {
        return std::unique_ptr<control_ring>{};
    }
    const std::array refs{grant_ref{*ref}};
    auto page = hypervisor_.map(id_.domain, refs);
    if (page.has_error()) {
        return error{"its control ring cannot be mapped: " + page.error().message};
    }
    auto channel = hypervisor_.bind(id_.domain, event_port{*port});
    if (channel.has_error()) {
        return error{"its control ring's event channel cannot be bound: " +
                     channel.error().message};
    }
    const std::string node = below(path_, hash_node);
    if (!adopting) { // what is there is another connection's
        const auto remove = [&](transaction t) { return store_.remove(node, t); };
        if (read(node) && !change(remove, "the hash that its driver asked for before")) {
            return error{"what its driver asked for before cannot be removed from the store"};
        }
    } else { // the process before may have ended between an answer and its announcement
        (*channel)->notify();
    }
    auto ring =
        std::make_unique<control_ring>(std::move(*page), std::move(*channel), rings, rcu_,
                                       [this](const std::string& s) { return keep_hash(s); });
    const auto kept = adopting ? read(node) : std::nullopt;
    if (kept && !ring->restore(*kept)) {
        note(
            "what its driver asked for of its hash cannot be read, so its queues are chosen by the "
            "switch's own");
    }
    return ring;
}

// What the guest told this process, the next one is not told again.
bool vif::keep_hash(const std::string& text)
{
    return change([&](transaction t) { return store_.write(below(path_, hash_node), text, t); },
                  "the hash that its driver asked for");
}

frontend_features vif::read_features() const
{
    const auto has = [this](const char* key) { return read_flag(frontend_ + "/" + key); };
    frontend_features f;
    f.scatter_gather = has("feature-sg");
    f.multicast_control = has("request-multicast-control");
    if (!has("feature-no-csum-offload")) {
        f.offloads |= offloads::checksum_ipv4;
    }
    if (has("feature-ipv6-csum-offload")) {
        f.offloads |= offloads::checksum_ipv6;
    }
    // A frame of many segments is in many slots.
    if (f.scatter_gather && has("feature-gso-tcpv4")) {
        f.offloads |= offloads::segmentation_ipv4;
    }
    if (f.scatter_gather && has("feature-gso-tcpv6")) {
        f.offloads |= offloads::segmentation_ipv6;
    }
    return f;
}

// "bytes,microseconds", which the tool stack makes of an operator's "10Mb/s@50ms".
credit vif::read_rate() const
{
    const auto text = read(path_ + "/rate");
    if (!text) {
        return {};
    }
    std::uint64_t bytes = 0;
    std::uint64_t usec = 0;
    const char* const end = text->data() + text->size();
    const auto first = std::from_chars(text->data(), end, bytes);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ',') {
        note("its rate is not BYTES,MICROSECONDS and is ignored: " + *text);
        return {};
    }
    const auto second = std::from_chars(first.ptr + 1, end, usec);
    constexpr std::uint64_t longest = 10'000'000'000;
    if (second.ec != std::errc{} || second.ptr != end || usec > longest) {
        note("its rate is not BYTES,MICROSECONDS and is ignored: " + *text);
        return {};
    }
    return {bytes, usec, settings_.tsc_hz};
}

std::uint16_t vif::read_headroom() const
{
    constexpr std::uint32_t most = page_size / 2;
    const auto n = read_number(frontend_ + "/xdp-headroom").value_or(0);
    return static_cast<std::uint16_t>(std::min(n, most));
}

void vif::disconnect(const std::string& why)
{
    if (!rings_) {
        return;
    }
    up_.store(false, std::memory_order_release);
    queue_.publish(nullptr);
    rcu_.synchronize();
    rcu_.rouse_all();
    std::unique_ptr<ring_set> old;
    std::unique_ptr<control_ring> old_control; // goes first
    {
        const std::scoped_lock lock{mutex_};
        old = std::move(rings_);
        old_control = std::move(control_);
        status_.why = why;
    }
    if (!why.empty()) {
        note("disconnected: " + why);
    }
}

ports::port::guests vif::attached() const noexcept
{
    const std::scoped_lock lock{mutex_};
    return {.came = static_cast<std::uint64_t>(status_.connections),
            .there = rings_ != nullptr,
            .taken_over = status_.adopted};
}

void vif::set_mtu(std::uint32_t mtu)
{
    const std::scoped_lock lock{mutex_};
    mtu_ = mtu;
}

// ---- what is shown ----

std::vector<std::pair<std::string, ports::port_detail>> vif::details() const
{
    std::vector<std::pair<std::string, ports::port_detail>> out;
    const std::scoped_lock lock{mutex_};
    out.emplace_back("domain", std::int64_t{static_cast<std::uint16_t>(id_.domain)});
    out.emplace_back("handle", std::int64_t{id_.handle});
    out.emplace_back("hypervisor", std::string{hypervisor_.name()});
    out.emplace_back("frontend", std::string{to_string(status_.frontend)});
    out.emplace_back("backend", std::string{to_string(status_.backend)});
    out.emplace_back("connections", status_.connections);
    if (!status_.why.empty()) {
        out.emplace_back("last_error", status_.why);
    }
    if (!rings_) {
        return out;
    }
    out.emplace_back("taken_over", status_.adopted);
    const guest& g = *rings_->guest;
    std::vector<std::string> features;
    const auto add = [&](bool has, const char* name) {
        if (has) {
            features.emplace_back(name);
        }
    };
    using dataplane::contains;
    add(g.features.scatter_gather, "sg");
    add(contains(g.features.offloads, offloads::checksum_ipv4), "csum_ipv4");
    add(contains(g.features.offloads, offloads::checksum_ipv6), "csum_ipv6");
    add(contains(g.features.offloads, offloads::segmentation_ipv4), "gso_tcpv4");
    add(contains(g.features.offloads, offloads::segmentation_ipv6), "gso_tcpv6");
    add(g.features.multicast_control, "multicast_control");
    add(status_.split_channels, "split_event_channels");
    add(control_ != nullptr, "ctrl_ring");
    add(g.hash.load() != nullptr, "toeplitz");
    add(g.headroom.load() != 0, "xdp_headroom");
    out.emplace_back("features", std::move(features));
    std::vector<std::string> positions;
    for (std::size_t i = 0; i < rings_->sources.size(); ++i) {
        positions.push_back("tx " + std::to_string(rings_->sources[i]->position()) + ", rx " +
                            std::to_string(rings_->sinks[i]->position()));
    }
    out.emplace_back("rings", std::move(positions));
    const auto number = [](const dataplane::counter& c) {
        return static_cast<std::int64_t>(c.read());
    };
    out.emplace_back("grant_errors_tx", number(g.counters.source_errors));
    out.emplace_back("grant_errors_rx", number(g.counters.target_errors));
    out.emplace_back("grant_copies", number(g.counters.copies));
    out.emplace_back("notifications", number(g.counters.notifications));
    return out;
}

void vif::note(const std::string& what) const
{
    const std::scoped_lock lock{naming_};
    ports::log_notice("xen", "port " + settings_.port + " (" + id_.to_string() + "): " + what);
}

void vif::rename(const std::string& port)
{
    const std::scoped_lock lock{naming_};
    settings_.port = port;
}

} // namespace strait::xen
