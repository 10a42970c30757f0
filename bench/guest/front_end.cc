// SPDX-License-Identifier: BSD-3-Clause
// Messages, and the order in which DPDK's back end expects them.

#include "bench/guest/front_end.hh"

#include "ports/unix_socket.hh"

#include <array>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::bench {

namespace {

using dataplane::file_descriptor;
using vhost::request;

constexpr std::uint64_t protocol_reply_ack = 1ULL << vhost::protocol_feature::reply_ack;
constexpr std::uint64_t protocol_multiqueue = 1ULL << vhost::protocol_feature::multiqueue;
constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::chrono::seconds reply_patience{10};

constexpr std::uint64_t bit(unsigned feature) noexcept
{
    return 1ULL << feature;
}

} // namespace

front_end::front_end(const options& o) : options_{o}
{
    if (!o.server) {
        auto socket = vhost::front_channel::connect(o.path);
        if (socket.has_error()) {
            fail(socket.error().message);
        }
        channel_ = vhost::front_channel{std::move(socket).value(), reply_patience};
        return;
    }
    if (o.path.size() > ports::max_socket_path) {
        fail("the path is longer than the 107 bytes that a socket's can have");
    }
    const sockaddr_un address = ports::socket_address(o.path);
    file_descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        fail("the socket cannot be made", errno);
    }
    listener_ = std::move(socket); // from here on the path is ours to remove
    if (listen(listener_.get(), 1) != 0) {
        fail("the socket cannot be listened on", errno);
    }
}

front_end::~front_end()
{
    if (memory_ != nullptr) {
        munmap(memory_, memory_bytes_);
    }
    if (listener_.get() >= 0) {
        unlink(options_.path.c_str());
    }
}

void front_end::fail(const std::string& what) const
{
    throw std::runtime_error{options_.path + ": " + what};
}

void front_end::fail(const std::string& what, int code) const
{
    fail(what + ": " + std::generic_category().message(code));
}

void front_end::attach(std::chrono::milliseconds patience)
{
    if (options_.server) {
        accept_within(patience);
    }
    features_ = negotiate();

    const auto kind = options_.packed ? virtqueue::layout::packed : virtqueue::layout::split;
    const bool in_order = vhost::has_feature(features_, vhost::feature::in_order);
    const virtqueue::shape receive{kind, virtqueue::direction::to_driver, options_.queue_size,
                                   options_.receive_buffer, in_order};
    const virtqueue::shape transmit{kind, virtqueue::direction::to_device, options_.queue_size,
                                    options_.transmit_buffer, in_order};
    make_memory(receive, transmit);
    std::size_t at = 0;
    const auto place = [&](std::optional<virtqueue>& queue, const virtqueue::shape& form) {
        queue.emplace(form, memory_ + at, guest_base + at);
        at += virtqueue::bytes(form);
    };
    for (unsigned i = 0; i < options_.pairs; ++i) {
        queue_pair& pair = pairs_.at(i);
        place(pair.receive, receive);
        place(pair.transmit, transmit);
        static_cast<void>(pair.receive->offer(pair.receive->idle()));
    }
    for (std::size_t i = 0; i < std::size_t{2} * options_.pairs; ++i) {
        kicks_.at(i) = file_descriptor{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        calls_.at(i) = file_descriptor{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (!kicks_.at(i) || !calls_.at(i)) {
            fail("no eventfd can be had", errno);
        }
    }
    hand_out();
}

void front_end::follow()
{
    if (!channel_.expect_silence().has_error()) {
        return;
    }
    channel_ = vhost::front_channel{};
    auto socket = vhost::front_channel::connect(options_.path);
    if (socket.has_error()) {
        refusal_.clear(); // nobody is there
        return;           // yet
    }
    channel_ = vhost::front_channel{std::move(socket).value(), reply_patience};
    channel_.set_limit(std::chrono::seconds{1}); // the other ends wait meanwhile
    try {
        if (negotiate() != features_) {
            fail("the switch does not offer what the one before it did");
        }
        hand_out();
        refusal_.clear();
    } catch (const std::runtime_error& error) {
        refusal_ = error.what(); // it may be one that is about to end: there is another time
        channel_ = vhost::front_channel{};
    }
}

void front_end::wait_readable(int fd, std::chrono::milliseconds patience, const char* missing) const
{
    pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = poll(&one, 1, static_cast<int>(patience.count()));
    if (ready < 0) {
        fail(std::string{missing} + " when this was stopped", errno);
    }
    if (ready == 0) {
        std::array<char, 32> seconds{};
        std::snprintf(seconds.data(), seconds.size(), "%g",
                      static_cast<double>(patience.count()) / 1000);
        fail(std::string{missing} + " within " + seconds.data() + " s");
    }
}

void front_end::accept_within(std::chrono::milliseconds patience)
{
    wait_readable(listener_.get(), patience, "no switch connected");
    file_descriptor socket{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (!socket) {
        fail("the switch could not be let in", errno);
    }
    channel_ = vhost::front_channel{std::move(socket), reply_patience};
    // One switch, once: another one would wait in vain for its first message.
    unlink(options_.path.c_str());
    listener_ = file_descriptor{};
}

std::uint64_t front_end::negotiate()
{
    namespace feature = vhost::feature;
    std::uint64_t wanted = bit(feature::version_1) | bit(feature::protocol_features);
    wanted |= options_.packed ? bit(feature::ring_packed) : 0;
    wanted |= options_.mergeable ? bit(feature::mergeable_buffers) : 0;
    wanted |= options_.pairs > 1 ? bit(feature::multiqueue) : 0;
    if (options_.sends_segments) {
        wanted |= bit(feature::checksum) | bit(feature::host_tso4) | bit(feature::host_tso6);
    }
    if (options_.takes_segments) {
        wanted |=
            bit(feature::guest_checksum) | bit(feature::guest_tso4) | bit(feature::guest_tso6);
    }
    const std::uint64_t offered = ask(request::get_features);
    for (const auto& [number, name] :
         {std::pair{feature::version_1, "virtio 1.0"},
          std::pair{feature::protocol_features, "vhost-user protocol features"},
          std::pair{feature::ring_packed, "packed rings"},
          std::pair{feature::mergeable_buffers, "mergeable receive buffers"},
          std::pair{feature::multiqueue, "several queue pairs"},
          std::pair{feature::checksum, "to fill in checksums"},
          std::pair{feature::guest_checksum, "frames with checksums to fill in"},
          std::pair{feature::host_tso4, "to segment TCP in IPv4"},
          std::pair{feature::host_tso6, "to segment TCP in IPv6"},
          std::pair{feature::guest_tso4, "frames to segment, of IPv4"},
          std::pair{feature::guest_tso6, "frames to segment, of IPv6"}}) {
        if ((wanted & ~offered & bit(number)) != 0) {
            fail(std::string{"the switch does not offer "} + name);
        }
    }
    wanted |= options_.in_order ? offered & bit(feature::in_order) : 0;

    if (auto told = channel_.announce(request::set_owner); told.has_error()) {
        fail(told.error().message);
    }
    const std::uint64_t protocol =
        ask(request::get_protocol_features) & (protocol_reply_ack | protocol_multiqueue);
    tell(request::set_protocol_features, "SET_PROTOCOL_FEATURES", protocol);
    channel_.expect_answers((protocol & protocol_reply_ack) != 0);
    if (options_.pairs > 1) {
        const std::uint64_t most =
            (protocol & protocol_multiqueue) != 0 ? ask(request::get_queue_num) : 1;
        if (most < options_.pairs) {
            fail("the switch has " + std::to_string(most) + " queue pairs for it, of " +
                 std::to_string(options_.pairs));
        }
    }
    tell(request::set_features, "SET_FEATURES", wanted);
    return wanted;
}

void front_end::make_memory(const virtqueue::shape& receive, const virtqueue::shape& transmit)
{
    memory_bytes_ = options_.pairs * (virtqueue::bytes(receive) + virtqueue::bytes(transmit));
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (options_.huge_pages) {
        memory_bytes_ = (memory_bytes_ + huge_page - 1) / huge_page * huge_page;
        flags |= MFD_HUGETLB | MFD_HUGE_2MB;
    }
    memory_fd_ = file_descriptor{memfd_create("strait-generator", flags)};
    void* mapped = MAP_FAILED;
    if (memory_fd_.get() >= 0 &&
        ftruncate(memory_fd_.get(), static_cast<off_t>(memory_bytes_)) == 0 &&
        // The switch gets the descriptor too, and must not cut what this side has mapped.
        fcntl(memory_fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        mapped = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      memory_fd_.get(), 0);
    }
    if (mapped == MAP_FAILED) {
        fail("no memory for its guest: " + std::to_string(memory_bytes_ >> 10) + " KiB" +
                 (options_.huge_pages ? " in huge pages of 2 MiB (sysctl vm.nr_hugepages, or "
                                        "--no-huge)"
                                      : ""),
             errno);
    }
    memory_ = static_cast<std::byte*>(mapped);
}

void front_end::share_memory()
{
    const vhost::memory_table table{1, 0, {{guest_base, memory_bytes_, guest_base, 0}}};
    const int fd = memory_fd_.get();
    tell(request::set_mem_table, "SET_MEM_TABLE", table, {&fd, 1});
}

void front_end::hand_out()
{
    share_memory();
    for (unsigned i = 0; i < options_.pairs; ++i) {
        hand_out(2 * i, receive(i));
        hand_out(2 * i + 1, transmit(i));
        // There may be something in them: a switch that sleeps is to look.
        kick_receive(i);
        kick_transmit(i);
    }
}

void front_end::hand_out(unsigned index, virtqueue& queue)
{
    const virtqueue::places at = virtqueue::places_of(queue.form());
    const std::uint64_t address = queue.address();
    tell(request::set_vring_num, "SET_VRING_NUM", vhost::vring_state{index, queue.form().size});
    tell(request::set_vring_base, "SET_VRING_BASE", vhost::vring_state{index, queue.position()});
    tell(request::set_vring_addr, "SET_VRING_ADDR",
         vhost::vring_address{index, 0, address + at.descriptors, address + at.used,
                              address + at.available, 0});
    const int kick = kicks_.at(index).get();
    const int call = calls_.at(index).get();
    tell(request::set_vring_call, "SET_VRING_CALL", std::uint64_t{index}, {&call, 1});
    tell(request::set_vring_kick, "SET_VRING_KICK", std::uint64_t{index}, {&kick, 1});
    tell(request::set_vring_enable, "SET_VRING_ENABLE", vhost::vring_state{index, 1});
}

std::uint64_t front_end::ask(request r)
{
    const auto answer = channel_.ask(r);
    if (answer.has_error()) {
        fail(answer.error().message);
    }
    return *answer;
}

template <typename T>
void front_end::tell(request r, const char* name, const T& payload, std::span<const int> fds)
{
    if (auto told = channel_.tell(r, name, payload, fds); told.has_error()) {
        fail(told.error().message);
    }
}

void front_end::expect_connected() const
{
    if (auto silent = channel_.expect_silence(); silent.has_error()) {
        if (!refusal_.empty()) {
            throw std::runtime_error{refusal_};
        }
        fail(channel_.fd() < 0 ? "the switch hung up, and none came back" : silent.error().message);
    }
}

void front_end::kick(unsigned index) noexcept
{
    // A count that is full already wakes as well.
    [[maybe_unused]] const int ignored = eventfd_write(kicks_[index].get(), 1);
}

} // namespace strait::bench
