// SPDX-License-Identifier: BSD-3-Clause
// Finding back ends and giving them the guest's rings; the control queue.
#include "vmm/virtio/net.hh"

#include "control/log.hh"
#include "ports/unix_socket.hh"
#include "ports/vhost/virtio.hh"
#include "vmm/virtio/packed_position.hh"
#include "vmm/virtio/queue.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <future>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::vmm::virtio {

namespace {

using boost::system::error_code;
using control::log_level;
using dataplane::file_descriptor;
using ports::error;
using ports::result;
namespace feature = vhost::feature;

// VIRTIO 1.1, 5.1.4.
struct device_config {
    std::array<std::uint8_t, 6> mac;
    std::uint16_t status;
    std::uint16_t max_pairs;
    std::uint16_t mtu;
};
constexpr std::uint16_t link_is_up = 1;

// Control commands: 5.1.6.5.
namespace group {
constexpr std::uint8_t receive = 0;
constexpr std::uint8_t mac = 1;
constexpr std::uint8_t multiqueue = 4;
} // namespace group
constexpr std::uint8_t last_receive_mode = 5;
constexpr std::uint8_t set_mac_table = 0;
constexpr std::uint8_t set_mac = 1;
constexpr std::uint8_t set_pairs = 0;
constexpr std::uint8_t command_done = 0;
constexpr std::uint8_t command_refused = 1;

constexpr std::chrono::milliseconds answer_patience{2000};
constexpr std::chrono::milliseconds connect_interval{100};
constexpr std::chrono::milliseconds refused_interval{1000}; // after one that was of no use

template <typename... Numbers>
constexpr std::uint64_t bits(Numbers... numbers) noexcept
{
    return ((1ULL << numbers) | ...);
}

constexpr std::uint64_t ring_kinds =
    bits(feature::mergeable_buffers, feature::indirect, feature::event_index);
constexpr std::uint64_t offload_kinds =
    bits(feature::checksum, feature::guest_checksum, feature::guest_tso4, feature::guest_tso6,
         feature::guest_ecn, feature::guest_ufo, feature::host_tso4, feature::host_tso6,
         feature::host_ecn, feature::host_ufo, feature::guest_uso4, feature::guest_uso6,
         feature::host_uso);
// What a guest that boots before its back end is offered of them: those that all have.
constexpr std::uint64_t expected_offloads =
    bits(feature::checksum, feature::guest_checksum, feature::guest_tso4, feature::guest_tso6,
         feature::host_tso4, feature::host_tso6);

result<file_descriptor> listen_at(const std::string& path)
{
    if (auto way = ports::make_way_for_socket(path); way.has_error()) {
        return way.error();
    }
    const sockaddr_un address = ports::socket_address(path);
    file_descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 1) != 0) {
        return error{"the socket " + path + " cannot be made: " + ports::describe(errno)};
    }
    return socket;
}

} // namespace

result<std::unique_ptr<net>> net::make(const net_options& o, const memory& ram)
{
    file_descriptor listener;
    if (o.server) {
        auto listening = listen_at(o.socket);
        if (listening.has_error()) {
            return listening.error();
        }
        listener = std::move(listening).value();
    } else if (auto there = ports::check_socket_to_connect_to(o.socket); there.has_error()) {
        return there.error();
    }
    auto leaving = event::make();
    if (leaving.has_error()) {
        return leaving.error();
    }
    return std::unique_ptr<net>{new net{o, ram, std::move(listener), std::move(leaving).value()}};
}

net::net(const net_options& o, const memory& ram, file_descriptor listener, event leaving)
    : options_{o},
      ram_{ram},
      leaving_{std::move(leaving)},
      mac_{o.mac},
      told_pairs_{o.pairs},
      listener_{std::move(listener)},
      thread_{o.name, o.begin}
{
    control_queue_.emplace(ram.guest(), o.name + " control", o.begin,
                           [this](chain& c) { return control(c); });
}

net::~net()
{
    leaving_.signal();
    control_queue_.reset();
    thread_.stop();
    if (listener_) {
        (void)::unlink(options_.socket.c_str());
    }
    // Ours to close, not the waiters'.
    if (incoming_.is_open()) {
        (void)incoming_.release();
    }
    if (connection_.is_open()) {
        (void)connection_.release();
    }
}

// ---- what the guest sees ----

std::uint64_t net::features() noexcept
{
    const std::scoped_lock lock{mutex_};
    const std::uint64_t assumed = ring_kinds |
                                  (options_.offloads_expected ? expected_offloads : 0) |
                                  (options_.packed ? bits(feature::ring_packed) : 0);
    const std::uint64_t has = back_end_features_.value_or(assumed);
    const std::uint64_t passed = ring_kinds | (options_.offloads ? offload_kinds : 0) |
                                 (options_.packed ? bits(feature::ring_packed) : 0);
    told_pairs_ =
        back_end_features_
            ? static_cast<std::uint16_t>(std::min<unsigned>(options_.pairs, back_end_pairs_))
            : options_.pairs;
    return (has & passed) |
           bits(feature::mac, feature::status, feature::control_queue, feature::control_receive,
                feature::control_mac) |
           (told_pairs_ > 1 ? bits(feature::multiqueue) : 0) |
           (options_.mtu ? bits(feature::mtu) : 0);
}

std::size_t net::config_size() const noexcept
{
    return offsetof(device_config, mtu) + sizeof(device_config::mtu);
}

void net::read_config(std::size_t offset, std::span<std::byte> to) noexcept
{
    device_config c{};
    {
        const std::scoped_lock lock{mutex_};
        c.mac = mac_.bytes();
        c.status = link_ ? link_is_up : 0;
        c.max_pairs = told_pairs_;
        c.mtu = options_.mtu.value_or(0);
    }
    std::memcpy(to.data(), reinterpret_cast<const std::byte*>(&c) + offset, to.size());
}

net::state net::look() const
{
    const std::scoped_lock lock{mutex_};
    return {connected_, serving_, back_end_features_.value_or(0), connections_, agreed_};
}

// ---- the guest begins and ends ----

void net::attach(transport& t) noexcept
{
    transport_ = &t;
    control_queue_->attach(t);
    thread_.post([this] {
        if (listener_) {
            accept();
        } else {
            look_for_back_end();
        }
    });
}

const char* net::fault_of(std::uint64_t features,
                          std::span<const queue_setup> queues) const noexcept
{
    for (const queue_setup& q : queues) {
        if (const char* const why = q.enabled ? misplaced(q, features, ram_.guest()) : nullptr) {
            return why;
        }
    }
    return nullptr;
}

void net::start(std::uint64_t features, std::span<const queue_setup> queues)
{
    const bool multiqueue = vhost::has_feature(features, feature::multiqueue);
    std::size_t packets = 2;
    if (multiqueue) {
        const std::scoped_lock lock{mutex_};
        packets = std::size_t{2} * told_pairs_;
    }
    if (vhost::has_feature(features, feature::control_queue) && queues[packets].enabled) {
        control_queue_->start(features, queues[packets]);
    }
    const auto of_packets = queues.first(packets);
    {
        const std::scoped_lock lock{mutex_};
        agreed_ = {.features = features,
                   .pairs = static_cast<std::uint16_t>(packets / 2),
                   .ring_size = of_packets.front().size};
    }
    thread_.post([this, g = guest{features, {of_packets.begin(), of_packets.end()}}]() mutable {
        guest_ = std::move(g);
        if (back_end_) {
            back_end_->channel().set_limit(options_.patience);
        }
        serve();
    });
}

void net::stop(std::function<void()> done)
{
    control_queue_->stop([this, done = std::move(done)]() mutable {
        thread_.post([this, done = std::move(done)] { give_up_rings(done); });
    });
}

void net::give_up_rings(const std::function<void()>& done)
{
    if (guest_ && back_end_ && look().serving) {
        back_end_->channel().set_limit(options_.patience);
        if (auto stopped = back_end_->stop(guest_->queues); stopped.has_error()) {
            lost(stopped.error().message);
        }
    }
    guest_.reset();
    notes_ = {};
    {
        const std::scoped_lock lock{mutex_};
        serving_ = false;
        agreed_.reset();
    }
    done();
}

// ---- back ends come and go ----

void net::look_for_back_end()
{
    auto socket = vhost::front_channel::connect(options_.socket);
    if (socket.has_error()) {
        complain(socket.error().message);
        look_again(connect_interval);
        return;
    }
    met(std::move(socket).value());
}

void net::look_again(std::chrono::milliseconds when)
{
    again_.expires_after(when);
    again_.async_wait([this](error_code cancelled) {
        if (!cancelled) {
            listener_ ? accept() : look_for_back_end();
        }
    });
}

void net::accept()
{
    error_code failed;
    if (!incoming_.is_open()) {
        incoming_.assign(listener_.get(), failed);
    }
    if (failed) {
        complain("back ends that connect cannot be waited for: " + failed.message());
        look_again(refused_interval);
        return;
    }
    incoming_.async_wait(
        boost::asio::posix::stream_descriptor::wait_read, [this](error_code cancelled) {
            if (cancelled) {
                return;
            }
            file_descriptor socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (socket) {
                met(std::move(socket));
            } else {
                look_again(connect_interval);
            }
        });
}

void net::met(file_descriptor socket)
{
    vhost::front_channel channel{std::move(socket), answer_patience, leaving_.fd()};
    channel.set_limit(options_.patience);
    auto greeted = back_end::greet(std::move(channel));
    if (greeted.has_error()) {
        complain(greeted.error().message);
        look_again(refused_interval);
        return;
    }
    back_end_.emplace(std::move(greeted).value());
    met_at_ = std::chrono::steady_clock::now();
    {
        const std::scoped_lock lock{mutex_};
        connected_ = true;
        ++connections_;
        back_end_features_ = back_end_->features();
        back_end_pairs_ = back_end_->pairs();
    }
    if (const char* const why = unfit()) {
        lost(why);
        return;
    }
    error_code failed;
    connection_.assign(back_end_->channel().fd(), failed);
    if (failed) {
        lost("the connection cannot be waited for: " + failed.message());
        return;
    }
    watch();
    settle_link();
    serve();
    if (back_end_) { // what one after the other does wrong was said when the first one did
        complaint_.clear();
        control::log(log_level::info, options_.name, "a back end serves " + options_.socket);
    }
}

// Why a back end cannot go on with what the guest has agreed to; null if it can.
const char* net::unfit() const
{
    if (!guest_) {
        return nullptr;
    }
    const std::uint64_t missing = guest_->features &
                                  (ring_kinds | offload_kinds | bits(feature::ring_packed)) &
                                  ~back_end_->features();
    if (missing & bits(feature::ring_packed)) {
        return "the back end has no packed rings, which the guest uses";
    }
    if (missing & bits(feature::mergeable_buffers)) {
        return "the back end has no mergeable buffers, which the guest uses";
    }
    if (missing & offload_kinds) {
        return "the back end lacks a checksum or segmentation offload that the guest uses";
    }
    if (missing != 0) {
        return "the back end lacks a feature of rings that the guest uses";
    }
    if (back_end_->pairs() * 2 < guest_->queues.size()) {
        return "the back end has fewer queues than the guest uses";
    }
    return nullptr;
}

void net::watch()
{
    connection_.async_wait(
        boost::asio::posix::stream_descriptor::wait_read, [this](error_code cancelled) {
            if (cancelled || !back_end_) {
                return;
            }
            if (auto silent = back_end_->channel().expect_silence(); silent.has_error()) {
                lost(silent.error().message);
            } else {
                watch();
            }
        });
}

void net::serve()
{
    if (!guest_ || !back_end_) {
        return;
    }
    if (const char* const why = unfit()) {
        lost(why);
        return;
    }
    const auto positions = bases();
    const ring_plan plan{guest_->features, guest_->queues, positions, guest_->pairs, options_.mtu};
    if (auto started = back_end_->start(ram_, plan, notes_); started.has_error()) {
        lost(started.error().message);
        return;
    }
    guest_->served = true;
    {
        const std::scoped_lock lock{mutex_};
        serving_ = true;
    }
    wake_both_sides();
}

// The last back end may have died between a kick and its work, or between its work and a call.
void net::wake_both_sides() const
{
    for (const queue_setup& q : guest_->queues) {
        if (q.enabled) {
            (void)::eventfd_write(q.kick, 1);
            (void)::eventfd_write(q.call, 1);
        }
    }
}

std::vector<std::uint32_t> net::bases() const
{
    constexpr std::uint32_t first_lap = 0x8000'8000;
    const bool packed = vhost::has_feature(guest_->features, feature::ring_packed);
    std::vector<std::uint32_t> all;
    for (const queue_setup& q : guest_->queues) {
        std::uint32_t base = packed ? first_lap : 0;
        if (guest_->served && q.enabled && packed) {
            // A back end that keeps positions of its own needs none from here.
            const auto stands = packed_position(ram_, q);
            base = stands.value_or(first_lap);
        } else if (guest_->served && q.enabled) {
            std::uint16_t used = 0;
            constexpr std::uint64_t index = 2; // bytes into the used ring
            (void)ram_.read(q.device + index, std::as_writable_bytes(std::span{&used, 1}));
            base = used;
        }
        all.push_back(base);
    }
    return all;
}

void net::lost(const std::string& why)
{
    complain(why);
    if (connection_.is_open()) {
        connection_.cancel();
        (void)connection_.release();
    }
    back_end_.reset();
    bool was_serving = false;
    {
        const std::scoped_lock lock{mutex_};
        connected_ = false;
        was_serving = std::exchange(serving_, false);
    }
    settle_link();
    // The next one may be there already; but where one after the other leaves as soon as it is met,
    // that is no reason to hurry.
    const bool early = std::chrono::steady_clock::now() - met_at_ < refused_interval;
    const bool hurry = was_serving && !(std::exchange(left_early_, early) && early);
    look_again(hurry ? std::chrono::milliseconds{0} : refused_interval);
}

void net::complain(const std::string& what)
{
    if (what != complaint_) {
        complaint_ = what;
        control::log_limited(log_level::warning, options_.name,
                             options_.socket + ": " + what + "; trying again");
    }
}

// Up at once; down when there has been no back end for a while.
void net::settle_link()
{
    if (look().connected) {
        link_down_.cancel();
        set_link(true);
        return;
    }
    link_down_.expires_after(options_.link_grace);
    link_down_.async_wait([this](error_code cancelled) {
        if (!cancelled && !look().connected) {
            set_link(false);
        }
    });
}

void net::set_link(bool up)
{
    {
        const std::scoped_lock lock{mutex_};
        if (std::exchange(link_, up) == up) {
            return;
        }
    }
    transport_->config_changed();
}

// ---- the control queue: 5.1.6.5 ----

queue_server::outcome net::control(chain& c)
{
    struct {
        std::uint8_t kind;
        std::uint8_t number;
    } head{};
    dataplane::guest_span acknowledgement;
    if (!c.read(std::as_writable_bytes(std::span{&head, 1}))) {
        return {.fault = "a control command has no header"};
    }
    if (!c.take_last(acknowledgement)) {
        return {.fault = "a control command has no room for its answer"};
    }
    const std::uint8_t answer = command(head.kind, head.number, c) ? command_done : command_refused;
    acknowledgement.copy_in(&answer, 0, sizeof answer);
    return {.written = 1};
}

bool net::command(std::uint8_t kind, std::uint8_t number, chain& c)
{
    switch (kind) {
    case group::receive:
        // The switch sends what is for this guest; all of it is received in any mode.
        return number <= last_receive_mode && c.readable_bytes() == 1;
    case group::mac: {
        if (number == set_mac_table) {
            return true; // as above
        }
        constexpr std::size_t size = 6;
        std::uint64_t mac = 0;
        if (number != set_mac || c.readable_bytes() != size ||
            !c.read(std::as_writable_bytes(std::span{&mac, 1}).first(size))) {
            return false;
        }
        const std::scoped_lock lock{mutex_};
        mac_ = dataplane::mac_address{mac};
        return true;
    }
    case group::multiqueue: {
        std::uint16_t pairs = 0;
        return number == set_pairs && c.readable_bytes() == sizeof pairs &&
               c.read(std::as_writable_bytes(std::span{&pairs, 1})) && use_pairs(pairs);
    }
    default:
        return false;
    }
}

bool net::use_pairs(std::uint16_t pairs)
{
    std::promise<bool> done;
    auto answer = done.get_future();
    thread_.post([this, pairs, &done] {
        const bool right = guest_ && pairs >= 1 && std::size_t{2} * pairs <= guest_->queues.size();
        if (right) {
            guest_->pairs = pairs;
            const std::scoped_lock lock{mutex_};
            if (agreed_) {
                agreed_->used = pairs;
            }
        }
        if (right && back_end_ && look().serving) {
            // One that is lost now finds them in use when it is back.
            back_end_->channel().set_limit(options_.patience);
            if (auto used = back_end_->use_pairs(pairs, guest_->queues); used.has_error()) {
                lost(used.error().message);
            }
        }
        done.set_value(right);
    });
    return answer.get();
}

} // namespace strait::vmm::virtio
