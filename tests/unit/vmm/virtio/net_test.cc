// SPDX-License-Identifier: BSD-3-Clause
// The network device against back ends that a test plays: what they are told, that the guest's
// rings go on with the next one, and that whatever they do costs no more than their own connection.
#include "vmm/virtio/net.hh"

#include "control/log.hh"
#include "ports/unix_socket.hh"
#include "ports/vhost/protocol.hh"
#include "ports/vhost/virtio.hh"
#include "vmm/event.hh"

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace strait::vmm::virtio::test {
namespace {

using dataplane::file_descriptor;
using vhost::request;
namespace feature = vhost::feature;

constexpr std::chrono::seconds patience{10};

constexpr std::uint64_t bit(unsigned number)
{
    return std::uint64_t{1} << number;
}

struct message {
    request what;
    std::uint32_t flags;
    std::vector<std::byte> payload;
    std::vector<file_descriptor> files;

    template <typename T>
    [[nodiscard]] T as() const
    {
        T value{};
        EXPECT_GE(payload.size(), sizeof value);
        std::memcpy(&value, payload.data(), std::min(payload.size(), sizeof value));
        return value;
    }
};

// One connection, from a back end's side.
class peer {
public:
    explicit peer(file_descriptor socket) : socket_{std::move(socket)} {}

    [[nodiscard]] bool readable(std::chrono::milliseconds wait = patience) const
    {
        pollfd one{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        return ::poll(&one, 1, static_cast<int>(wait.count())) == 1;
    }
    // Nothing: the front end hung up, or said nothing in time.
    std::optional<message> next()
    {
        struct {
            request what;
            std::uint32_t flags;
            std::uint32_t size;
        } head{};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(8 * sizeof(int))> control{};
        iovec part{&head, sizeof head};
        msghdr whole{};
        whole.msg_iov = &part;
        whole.msg_iovlen = 1;
        whole.msg_control = control.data();
        whole.msg_controllen = control.size();
        if (!readable() || ::recvmsg(socket_.get(), &whole, MSG_WAITALL) != sizeof head) {
            return std::nullopt;
        }
        message m{head.what, head.flags, std::vector<std::byte>(head.size), {}};
        for (cmsghdr* c = CMSG_FIRSTHDR(&whole); c != nullptr; c = CMSG_NXTHDR(&whole, c)) {
            for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
                int fd = -1;
                std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                m.files.emplace_back(fd);
            }
        }
        if (head.size != 0 &&
            ::recv(socket_.get(), m.payload.data(), head.size, MSG_WAITALL) != head.size) {
            return std::nullopt;
        }
        return m;
    }
    template <typename T>
    void answer(request what, const T& value, int file = -1)
    {
        struct [[gnu::packed]] {
            request what;
            std::uint32_t flags;
            std::uint32_t size;
            T value;
        } reply{what, 5, sizeof value, value};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof file)> control{};
        iovec part{&reply, sizeof reply};
        msghdr whole{};
        whole.msg_iov = &part;
        whole.msg_iovlen = 1;
        if (file >= 0) {
            whole.msg_control = control.data();
            whole.msg_controllen = control.size();
            cmsghdr* const head = CMSG_FIRSTHDR(&whole);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(sizeof file);
            std::memcpy(CMSG_DATA(head), &file, sizeof file);
        }
        (void)::sendmsg(socket_.get(), &whole, MSG_NOSIGNAL);
    }
    void say(std::string_view bytes) const
    {
        (void)::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }

private:
    file_descriptor socket_;
};

// A back end that answers as a good one does, and keeps what it was told.
struct good_back_end {
    std::uint64_t features{bit(feature::version_1) | bit(feature::protocol_features) |
                           bit(feature::mergeable_buffers) | bit(feature::indirect) |
                           bit(feature::event_index) | bit(feature::checksum) |
                           bit(feature::ring_packed)};
    std::uint64_t pairs{4};
    std::uint64_t protocol{bit(vhost::protocol_feature::multiqueue) |
                           bit(vhost::protocol_feature::reply_ack) |
                           bit(vhost::protocol_feature::mtu)};

    std::chrono::milliseconds delay{0}; // of each answer

    std::map<request, std::uint64_t> told{};
    std::map<std::uint32_t, std::uint32_t> bases{}, sizes{}, enabled{};
    std::map<std::uint32_t, file_descriptor> kicks{}, calls{};
    std::vector<std::uint32_t> taken_back{};
    std::size_t memory_files{0};
    std::size_t notes_made{0}; // of descriptors in flight
    file_descriptor notes{};   // that it was given
    vhost::inflight_area area{};

    // Until a message of this kind (of this ring, where it has one) was answered. False: the front
    // end hung up first.
    bool serve_until(peer& p, request last, std::optional<std::uint32_t> ring = {})
    {
        for (;;) {
            auto m = p.next();
            if (!m) {
                return false;
            }
            const bool done = handle(p, *m, last, ring);
            if (done) {
                return true;
            }
        }
    }

private:
    bool handle(peer& p, message& m, request last, std::optional<std::uint32_t> ring)
    {
        std::optional<std::uint32_t> of;
        std::this_thread::sleep_for(delay);
        switch (m.what) {
        case request::get_features:
            p.answer(m.what, features);
            break;
        case request::get_protocol_features:
            p.answer(m.what, protocol);
            break;
        case request::get_queue_num:
            p.answer(m.what, pairs);
            break;
        case request::get_vring_base:
            of = m.as<vhost::vring_state>().index;
            taken_back.push_back(*of);
            p.answer(m.what, vhost::vring_state{*of, 0});
            break;
        case request::get_inflight_fd: {
            ++notes_made;
            const auto wanted = m.as<vhost::inflight_area>();
            const file_descriptor made{::memfd_create("inflight", MFD_CLOEXEC)};
            EXPECT_EQ(::ftruncate(made.get(), 8192), 0);
            p.answer(m.what, vhost::inflight_area{4096, 4096, wanted.queues, wanted.queue_size},
                     made.get());
            break;
        }
        default:
            of = note(m);
            if ((m.flags & 8) != 0) {
                const bool unknown = m.what == request::set_vring_enable && !kicks.contains(*of);
                p.answer(m.what, std::uint64_t{unknown ? 1U : 0U});
            }
            break;
        }
        return m.what == last && (!ring || ring == of);
    }
    std::optional<std::uint32_t> note(message& m)
    {
        const auto state = m.payload.size() == sizeof(vhost::vring_state)
                               ? m.as<vhost::vring_state>()
                               : vhost::vring_state{};
        switch (m.what) {
        case request::set_vring_num:
            sizes[state.index] = state.value;
            break;
        case request::set_vring_base:
            bases[state.index] = state.value;
            break;
        case request::set_vring_enable:
            enabled[state.index] = state.value;
            break;
        case request::set_vring_kick:
            kicks[state.index] = std::move(m.files.at(0));
            break;
        case request::set_vring_call:
            calls[state.index] = std::move(m.files.at(0));
            break;
        case request::set_inflight_fd:
            area = m.as<vhost::inflight_area>();
            notes = std::move(m.files.at(0));
            return std::nullopt;
        case request::set_mem_table:
            memory_files = m.files.size();
            return std::nullopt;
        case request::set_vring_addr:
        case request::set_owner:
            return std::nullopt;
        default:
            told[m.what] = m.as<std::uint64_t>();
            return std::nullopt;
        }
        return state.index;
    }
};

class quiet_transport final : public transport {
public:
    void config_changed() noexcept override { ++changes; }
    void broken(const char* /*why*/) noexcept override { ++faults; }
    std::atomic<int> changes{0};
    std::atomic<int> faults{0};
};

class net_device : public testing::Test {
protected:
    net_device()
    {
        control::set_log_level(control::log_level::debug); // else only some lines are written
        std::array<char, 32> name{"/tmp/strait-net.XXXXXX"};
        folder = ::mkdtemp(name.data());
        options.name = "net0";
        options.socket = folder + "/socket";
        options.mac = *dataplane::mac_address::parse("52:54:00:12:34:56");
        options.link_grace = std::chrono::milliseconds{200};
    }
    ~net_device() override
    {
        device.reset();
        std::filesystem::remove_all(folder);
    }

    void listen()
    {
        const sockaddr_un address = ports::socket_address(options.socket);
        listener = file_descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        ASSERT_EQ(
            ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(listener.get(), 4), 0);
    }
    peer meet()
    {
        pollfd one{.fd = listener.get(), .events = POLLIN, .revents = 0};
        EXPECT_EQ(::poll(&one, 1, static_cast<int>(std::chrono::milliseconds{patience}.count())),
                  1);
        return peer{file_descriptor{::accept(listener.get(), nullptr, nullptr)}};
    }
    void make()
    {
        auto made = net::make(options, ram);
        ASSERT_TRUE(made.has_value()) << made.error().message;
        device = std::move(made).value();
        device->attach(transport);
    }
    // Until the back end has been greeted, and that is known.
    void greet(good_back_end& back, peer& p)
    {
        ASSERT_TRUE(back.serve_until(p, request::set_owner));
        ASSERT_TRUE(soon([&] { return device->look().connected; }));
    }
    // And until it has the rings of a guest with one pair, and that is known.
    void serve(good_back_end& back, peer& p, std::uint64_t features = 0)
    {
        greet(back, p);
        start_guest(features, 2);
        ASSERT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
        ASSERT_TRUE(soon([&] { return device->look().serving; }));
    }
    // Features and queues as a driver would take them.
    void start_guest(std::uint64_t features, std::size_t packet_queues)
    {
        place_queues(packet_queues);
        drive(features);
    }
    void place_queues(std::size_t packet_queues)
    {
        queues.clear();
        events.clear();
        for (std::size_t i = 0; i <= packet_queues; ++i) {
            events.push_back(event::make().value());
            events.push_back(event::make().value());
            const std::uint64_t at = 0x10'0000 + i * 0x1'0000;
            queues.push_back({.size = 64,
                              .enabled = true,
                              .descriptors = at,
                              .driver = at + 0x4000,
                              .device = at + 0x8000,
                              .kick = events[2 * i].fd(),
                              .call = events[2 * i + 1].fd()});
        }
    }
    void drive(std::uint64_t features)
    {
        device->start(features | bit(feature::version_1) | bit(feature::control_queue), queues);
    }
    void stop_guest()
    {
        std::promise<void> done;
        auto stopped = done.get_future();
        device->stop([&done] { done.set_value(); });
        ASSERT_EQ(stopped.wait_for(patience), std::future_status::ready);
    }
    // How often a log has that.
    static std::size_t lines_with(const std::string& log, std::string_view what)
    {
        std::size_t count = 0;
        for (auto at = log.find(what); at != std::string::npos; at = log.find(what, at + 1)) {
            ++count;
        }
        return count;
    }
    void set_used_index(std::size_t queue, std::uint16_t value)
    {
        ASSERT_TRUE(ram.write(queues[queue].device + 2, std::as_bytes(std::span{&value, 1})));
    }
    template <typename T>
    T config(std::size_t offset)
    {
        T value{};
        device->read_config(offset, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    // Waits for what a thread does some time.
    template <typename Condition>
    static bool soon(Condition holds)
    {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!holds() && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        return holds();
    }

    std::string folder;
    net_options options;
    memory ram{memory::make({.bytes = std::uint64_t{16} << 20}).value()};
    quiet_transport transport;
    file_descriptor listener;
    std::vector<event> events;
    std::vector<queue_setup> queues;
    std::unique_ptr<net> device;
};

TEST_F(net_device, gives_its_rings_to_a_back_end)
{
    options.mtu = 9000;
    listen();
    make();
    good_back_end back;
    peer p = meet();
    ASSERT_NO_FATAL_FAILURE(serve(back, p, bit(feature::mergeable_buffers)));
    EXPECT_EQ(back.told[request::set_features], bit(feature::version_1) |
                                                    bit(feature::mergeable_buffers) |
                                                    bit(feature::protocol_features));
    EXPECT_EQ(back.told[request::net_set_mtu], 9000U);
    EXPECT_EQ(back.memory_files, 1U);
    EXPECT_EQ(back.bases, (std::map<std::uint32_t, std::uint32_t>{{0, 0}, {1, 0}}));
    EXPECT_EQ(back.sizes, (std::map<std::uint32_t, std::uint32_t>{{0, 64}, {1, 64}}));
    EXPECT_EQ(back.enabled, (std::map<std::uint32_t, std::uint32_t>{{0, 1}, {1, 1}}));
    EXPECT_TRUE(soon([&] { return device->look().serving; }));
    // What is kicked and called are the guest's own events; both sides are woken once.
    EXPECT_TRUE(soon([&] { return events[0].pending() && events[1].pending(); }));
    (void)events[0].take();
    ASSERT_EQ(::eventfd_write(back.kicks[0].get(), 1), 0);
    EXPECT_TRUE(events[0].pending());

    auto stopping = std::async(std::launch::async, [&] { stop_guest(); });
    ASSERT_TRUE(back.serve_until(p, request::get_vring_base, 1));
    stopping.get();
    EXPECT_EQ(back.taken_back, (std::vector<std::uint32_t>{0, 1}));
    EXPECT_FALSE(device->look().serving);
    EXPECT_TRUE(device->look().connected);
}

TEST_F(net_device, offers_what_its_back_end_has)
{
    options.pairs = 8;
    options.packed = true;
    listen();
    make();
    good_back_end back;
    peer p = meet();
    ASSERT_NO_FATAL_FAILURE(greet(back, p));
    const std::uint64_t offered = device->features();
    for (const unsigned has :
         {feature::mergeable_buffers, feature::checksum, feature::ring_packed, feature::mac,
          feature::status, feature::control_queue, feature::multiqueue}) {
        EXPECT_NE(offered & bit(has), 0U) << has;
    }
    for (const unsigned lacks : {feature::host_tso4, feature::guest_tso4, feature::mtu,
                                 feature::protocol_features, feature::in_order}) {
        EXPECT_EQ(offered & bit(lacks), 0U) << lacks;
    }
    EXPECT_EQ(config<std::uint16_t>(8), 4); // pairs
    EXPECT_EQ(config<std::uint32_t>(0), 0x1200'5452U);
}

TEST_F(net_device, passes_on_each_kind_of_segmentation)
{
    constexpr std::array kinds{feature::host_tso4,  feature::host_tso6,  feature::host_uso,
                               feature::guest_tso4, feature::guest_tso6, feature::guest_uso4,
                               feature::guest_uso6};
    listen();
    make();
    good_back_end back;
    for (const unsigned kind : kinds) {
        back.features |= bit(kind);
    }
    peer p = meet();
    ASSERT_NO_FATAL_FAILURE(greet(back, p));
    for (const unsigned kind : kinds) {
        EXPECT_NE(device->features() & bit(kind), 0U) << kind;
    }
}

TEST_F(net_device, offers_little_to_a_guest_that_boots_before_its_back_end)
{
    make();
    const std::uint64_t offered = device->features();
    EXPECT_NE(offered & bit(feature::mergeable_buffers), 0U);
    EXPECT_EQ(offered & bit(feature::checksum), 0U);
    EXPECT_EQ(offered & bit(feature::host_tso4), 0U);
    EXPECT_EQ(config<std::uint16_t>(6), 0); // link down
    // It drives the device and ends again, all without.
    start_guest(bit(feature::mergeable_buffers), 2);
    stop_guest();
    start_guest(bit(feature::mergeable_buffers), 2);
    // Then there is one.
    listen();
    good_back_end back;
    peer p = meet();
    ASSERT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
    EXPECT_TRUE(soon([&] { return config<std::uint16_t>(6) == 1; }));
    EXPECT_GE(transport.changes, 1);
}

TEST_F(net_device, expects_offloads_if_it_is_told_to)
{
    options.offloads_expected = true;
    make();
    EXPECT_NE(device->features() & bit(feature::host_tso4), 0U);
}

TEST_F(net_device, goes_on_where_a_split_ring_stood)
{
    listen();
    make();
    {
        good_back_end back;
        peer p = meet();
        ASSERT_NO_FATAL_FAILURE(serve(back, p));
    } // it dies
    set_used_index(0, 7);
    set_used_index(1, 0xfffe);
    for (event& e : events) {
        (void)e.take();
    }
    good_back_end next;
    peer p = meet();
    ASSERT_TRUE(next.serve_until(p, request::set_vring_enable, 1));
    EXPECT_EQ(next.bases, (std::map<std::uint32_t, std::uint32_t>{{0, 7}, {1, 0xfffe}}));
    // Neither side waits for what the dead one owed it.
    EXPECT_TRUE(soon([&] {
        return events[0].pending() && events[1].pending() && events[2].pending() &&
               events[3].pending();
    }));
    EXPECT_EQ(config<std::uint16_t>(6), 1); // the guest was told nothing
}

TEST_F(net_device, goes_on_where_a_packed_ring_stood)
{
    options.packed = true;
    listen();
    make();
    {
        good_back_end back;
        peer p = meet();
        ASSERT_NO_FATAL_FAILURE(serve(back, p, bit(feature::ring_packed)));
        EXPECT_EQ(back.bases[0], 0x8000'8000U);
        ASSERT_TRUE(soon([&] { return device->look().serving; }));
    }
    // Three were returned, and the fourth waits.
    for (std::uint16_t i = 0; i < 4; ++i) {
        const vhost::packed_descriptor d{
            0, 0, i,
            static_cast<std::uint16_t>(vhost::descriptor_flag::available |
                                       (i < 3 ? vhost::descriptor_flag::used : 0))};
        ASSERT_TRUE(
            ram.write(queues[0].descriptors + i * sizeof d, std::as_bytes(std::span{&d, 1})));
    }
    good_back_end next;
    peer p = meet();
    ASSERT_TRUE(next.serve_until(p, request::set_vring_enable, 1));
    EXPECT_EQ(next.bases[0], 0x8003'8003U);
    EXPECT_EQ(next.bases[1], 0x8000'8000U);
}

// What is in flight is the back ends' to note; the file is kept for the next one.
TEST_F(net_device, hands_the_notes_of_one_back_end_to_the_next)
{
    options.packed = true;
    listen();
    make();
    constexpr off_t place = 4096 + 100;
    {
        good_back_end back;
        back.protocol |= bit(vhost::protocol_feature::inflight);
        peer p = meet();
        ASSERT_NO_FATAL_FAILURE(serve(back, p, bit(feature::ring_packed)));
        EXPECT_EQ(back.notes_made, 1U);
        EXPECT_EQ(back.area.size, 4096U);
        EXPECT_EQ(back.area.offset, 4096U);
        EXPECT_EQ(back.area.queues, 2U);
        EXPECT_EQ(back.area.queue_size, 64U);
        ASSERT_EQ(::pwrite(back.notes.get(), "noted", 5, place), 5);
    }
    good_back_end next;
    next.protocol |= bit(vhost::protocol_feature::inflight);
    peer p = meet();
    ASSERT_TRUE(next.serve_until(p, request::set_vring_enable, 1));
    EXPECT_EQ(next.notes_made, 0U);
    EXPECT_EQ(next.area.size, 4096U);
    EXPECT_EQ(next.area.offset, 4096U);
    std::array<char, 5> read{};
    ASSERT_EQ(::pread(next.notes.get(), read.data(), read.size(), place), 5);
    EXPECT_EQ(std::string_view(read.data(), read.size()), "noted");
}

TEST_F(net_device, begins_rings_of_a_guest_that_was_reset_at_their_start)
{
    listen();
    make();
    good_back_end back;
    peer p = meet();
    ASSERT_NO_FATAL_FAILURE(serve(back, p));
    set_used_index(0, 7);
    auto stopping = std::async(std::launch::async, [&] { stop_guest(); });
    ASSERT_TRUE(back.serve_until(p, request::get_vring_base, 1));
    stopping.get();
    start_guest(0, 2);
    ASSERT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
    EXPECT_EQ(back.bases[0], 0U);
}

TEST_F(net_device, takes_the_link_down_when_nobody_comes_for_a_while)
{
    listen();
    make();
    {
        good_back_end back;
        peer p = meet();
        ASSERT_TRUE(back.serve_until(p, request::set_owner));
        ASSERT_TRUE(soon([&] { return config<std::uint16_t>(6) == 1; }));
        listener = {};
    }
    ASSERT_TRUE(soon([&] { return !device->look().connected; }));
    EXPECT_EQ(config<std::uint16_t>(6), 1); // not yet
    EXPECT_TRUE(soon([&] { return config<std::uint16_t>(6) == 0; }));
    EXPECT_EQ(transport.changes, 2);
}

TEST_F(net_device, leaves_back_ends_alone_that_lack_what_the_guest_uses)
{
    listen();
    make();
    start_guest(bit(feature::mergeable_buffers), 2);
    good_back_end poor;
    poor.features &= ~bit(feature::mergeable_buffers);
    {
        peer p = meet();
        ASSERT_TRUE(poor.serve_until(p, request::set_owner));
        EXPECT_FALSE(poor.serve_until(p, request::set_mem_table)); // it hangs up
    }
    good_back_end back;
    peer p = meet();
    EXPECT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
}

TEST_F(net_device, listens_where_it_is_the_server)
{
    options.server = true;
    make();
    for (int i = 0; i < 2; ++i) {
        const sockaddr_un address = ports::socket_address(options.socket);
        file_descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        ASSERT_EQ(
            ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
        peer p{std::move(socket)};
        good_back_end back;
        ASSERT_TRUE(back.serve_until(p, request::set_owner));
        if (i == 0) {
            ASSERT_TRUE(soon([&] { return device->look().connected; }));
            start_guest(0, 2);
        }
        ASSERT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
    }
    device.reset();
    EXPECT_FALSE(std::filesystem::exists(options.socket));
}

// ---- back ends that do not behave ----

class bad_back_end : public net_device, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(all, bad_back_end, testing::Range(0, 9));

TEST_P(bad_back_end, costs_its_own_connection_and_no_more)
{
    listen();
    make();
    start_guest(0, 2);
    {
        peer p = meet();
        good_back_end back;
        switch (GetParam()) {
        case 0: // hangs up at once
            break;
        case 1:
            p.say("GET / HTTP/1.1\r\n\r\n and so on, longer than an answer is");
            break;
        case 2: // half an answer
            (void)p.next();
            p.say({"\1\0\0\0\5\0\0\0\10\0\0\0\0", 13});
            break;
        case 3: // an answer to something else
            (void)p.next();
            p.answer(request::get_queue_num, std::uint64_t{1});
            break;
        case 4: // of another size
            (void)p.next();
            p.answer(request::get_features, std::uint32_t{1});
            break;
        case 5: // without what is needed
            (void)p.next();
            p.answer(request::get_features, std::uint64_t{0});
            break;
        case 6: // hangs up in the middle of the rings
            EXPECT_TRUE(back.serve_until(p, request::set_vring_base, 1));
            break;
        case 7: // refuses
            EXPECT_TRUE(back.serve_until(p, request::set_owner));
            while (const auto m = p.next()) {
                p.answer(m->what, std::uint64_t{1});
            }
            break;
        case 8: // speaks unasked
            EXPECT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
            p.say("hello");
            EXPECT_FALSE(p.next());
            break;
        default:
            break;
        }
        if (GetParam() >= 1 && GetParam() <= 5 && GetParam() != 2) {
            while (p.next()) { // it hangs up
            }
        }
    }
    good_back_end back;
    peer p = meet();
    EXPECT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
    EXPECT_EQ(transport.faults, 0);
}

TEST_F(net_device, does_not_run_after_back_ends_that_leave_as_soon_as_they_serve)
{
    listen();
    make();
    start_guest(0, 2);
    for (int i = 0; i < 2; ++i) {
        good_back_end back;
        peer p = meet();
        ASSERT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
        ASSERT_TRUE(soon([&] { return device->look().serving; }));
    }
    pollfd nobody{.fd = listener.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&nobody, 1, 300), 0);
    good_back_end back;
    peer p = meet();
    EXPECT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
}

TEST_F(net_device, does_not_keep_a_guest_waiting_for_one_that_never_answers)
{
    listen();
    make();
    peer p = meet();
    start_guest(0, 2);
    stop_guest(); // within the time that an answer may take
    EXPECT_FALSE(device->look().connected);
}

TEST_F(net_device, does_not_wait_for_one_that_does_not_give_the_rings_back)
{
    listen();
    make();
    good_back_end back;
    peer p = meet();
    ASSERT_TRUE(back.serve_until(p, request::set_owner));
    start_guest(0, 2);
    ASSERT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
    stop_guest(); // likewise
    EXPECT_FALSE(device->look().connected);
}

// Each answer comes in time, all of them together do not.
TEST_F(net_device, does_not_wait_for_one_that_starts_slowly)
{
    options.patience = std::chrono::milliseconds{300};
    listen();
    make();
    testing::internal::CaptureStderr();
    for (int i = 0; i < 2; ++i) {
        good_back_end slow;
        peer p = meet();
        ASSERT_TRUE(slow.serve_until(p, request::set_owner));
        if (i == 0) {
            ASSERT_TRUE(soon([&] { return device->look().connected; }));
            start_guest(0, 2);
        }
        const auto begin = std::chrono::steady_clock::now();
        slow.delay = std::chrono::milliseconds{100}; // 14 messages
        EXPECT_FALSE(slow.serve_until(p, request::set_vring_enable, 1));
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds{1000});
        EXPECT_FALSE(device->look().serving);
    }
    EXPECT_EQ(lines_with(testing::internal::GetCapturedStderr(),
                         "the back end did not answer all messages within 300 ms; trying again"),
              1U);
    good_back_end back;
    peer p = meet();
    EXPECT_TRUE(back.serve_until(p, request::set_vring_enable, 1));
    EXPECT_EQ(transport.faults, 0);
}

TEST_F(net_device, does_not_wait_for_one_that_stops_slowly)
{
    options.pairs = 4;
    options.patience = std::chrono::milliseconds{300};
    listen();
    make();
    good_back_end slow;
    peer p = meet();
    ASSERT_NO_FATAL_FAILURE(greet(slow, p));
    (void)device->features();
    start_guest(bit(feature::multiqueue), 8);
    ASSERT_TRUE(slow.serve_until(p, request::set_vring_enable, 1));
    ASSERT_TRUE(soon([&] { return device->look().serving; }));
    slow.delay = std::chrono::milliseconds{200}; // 8 messages
    const auto begin = std::chrono::steady_clock::now();
    auto stopping = std::async(std::launch::async, [&] {
        stop_guest();
        return std::chrono::steady_clock::now();
    });
    EXPECT_FALSE(slow.serve_until(p, request::get_vring_base, 7));
    EXPECT_LT(stopping.get() - begin, std::chrono::milliseconds{1000});
    EXPECT_FALSE(device->look().connected);
}

TEST_F(net_device, goes_while_a_back_end_is_silent)
{
    listen();
    make();
    peer p = meet();
    EXPECT_TRUE(p.next());
    const auto begin = std::chrono::steady_clock::now();
    device.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds{1500});
}

TEST_F(net_device, is_refused_where_no_socket_can_be)
{
    options.socket = folder + "/none/socket";
    EXPECT_FALSE(net::make(options, ram).has_value());
    options.socket = std::string(200, 'a');
    EXPECT_FALSE(net::make(options, ram).has_value());
    options.socket = folder;
    EXPECT_FALSE(net::make(options, ram).has_value());
    options.server = true;
    EXPECT_FALSE(net::make(options, ram).has_value());
}

// ---- guests that place rings beyond their memory ----

struct wrong_place {
    const char* name;
    bool packed;
    std::uint64_t queue_setup::*part;
    std::uint64_t bytes; // of the part, of a ring of 64 descriptors
};

class misplaced_ring : public net_device, public testing::WithParamInterface<wrong_place> {};

INSTANTIATE_TEST_SUITE_P(
    all, misplaced_ring,
    testing::Values(wrong_place{"split_descriptors", false, &queue_setup::descriptors, 64 * 16},
                    wrong_place{"split_driver", false, &queue_setup::driver, 6 + 64 * 2},
                    wrong_place{"split_device", false, &queue_setup::device, 6 + 64 * 8},
                    wrong_place{"packed_descriptors", true, &queue_setup::descriptors, 64 * 16},
                    wrong_place{"packed_driver", true, &queue_setup::driver, 4},
                    wrong_place{"packed_device", true, &queue_setup::device, 4}),
    [](const auto& test) { return std::string{test.param.name}; });

TEST_P(misplaced_ring, is_the_guests_fault)
{
    const wrong_place& wrong = GetParam();
    const std::uint64_t features =
        bit(feature::version_1) | (wrong.packed ? bit(feature::ring_packed) : 0);
    make();
    // Its last two bytes are outside; it wraps; it lies in what is no memory.
    for (const std::uint64_t at :
         {ram.bytes() - wrong.bytes + 2, ~std::uint64_t{15}, std::uint64_t{0xd000'0000}}) {
        place_queues(2);
        EXPECT_EQ(device->fault_of(features, queues), nullptr);
        queues[1].*wrong.part = at;
        EXPECT_STREQ(device->fault_of(features, queues), "a ring lies outside the memory") << at;
    }
    // A queue that is not enabled has no place, and one may end where memory does.
    place_queues(2);
    queues[0].*wrong.part = ram.bytes() - wrong.bytes;
    queues[1].*wrong.part = 0xd000'0000;
    queues[1].enabled = false;
    EXPECT_EQ(device->fault_of(features, queues), nullptr);
}

// ---- a kernel that has no room for one more descriptor to be waited for ----

// Of the calling thread, from now on.
ports::result<void> refuse_epoll()
{
    std::array<sock_filter, 6> program = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, EPOLL_CTL_ADD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog all{static_cast<unsigned short>(program.size()), program.data()};
    EXPECT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    EXPECT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all), 0);
    return {};
}

TEST_F(net_device, tries_again_when_a_connection_cannot_be_waited_for)
{
    thread_begin no_epoll{refuse_epoll};
    options.begin = &no_epoll;
    listen();
    make();
    testing::internal::CaptureStderr();
    for (int i = 0; i < 2; ++i) {
        good_back_end back;
        peer p = meet();
        EXPECT_TRUE(back.serve_until(p, request::set_owner));
        EXPECT_FALSE(p.next());
    }
    device.reset();
    EXPECT_EQ(lines_with(testing::internal::GetCapturedStderr(),
                         "the connection cannot be waited for: No space left on device"),
              1U);
}

TEST_F(net_device, tries_again_when_who_connects_cannot_be_waited_for)
{
    thread_begin no_epoll{refuse_epoll};
    options.begin = &no_epoll;
    options.server = true;
    testing::internal::CaptureStderr();
    make();
    start_guest(0, 2);
    stop_guest();
    device.reset();
    EXPECT_EQ(lines_with(testing::internal::GetCapturedStderr(),
                         "back ends that connect cannot be waited for: No space left on device"),
              1U);
}

// ---- the control queue ----

class control_queue : public net_device {
protected:
    void SetUp() override
    {
        options.pairs = 2;
        listen();
        make();
        p.emplace(meet());
        ASSERT_NO_FATAL_FAILURE(greet(back, *p));
        (void)device->features();
        place_queues(4);
        for (std::size_t i = enabled; i < 4; ++i) {
            queues[i].enabled = false;
        }
        drive(bit(feature::multiqueue));
        ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 1));
    }

    // Puts a command into the ring; `command()` waits for its answer.
    void put(std::span<const std::uint8_t> bytes, bool with_answer = true)
    {
        const queue_setup& q = queues.back();
        constexpr std::uint64_t data = 0x80'0000;
        ASSERT_TRUE(ram.write(data, std::as_bytes(bytes)));
        const std::array<vhost::split_descriptor, 2> chain = {
            vhost::split_descriptor{data, static_cast<std::uint32_t>(bytes.size()),
                                    static_cast<std::uint16_t>(with_answer ? 1 : 0), 1},
            vhost::split_descriptor{data + 0x1000, 1, vhost::descriptor_flag::write, 0}};
        const std::uint8_t none = 0xee;
        ASSERT_TRUE(ram.write(data + 0x1000, std::as_bytes(std::span{&none, 1})));
        ASSERT_TRUE(ram.write(q.descriptors, std::as_bytes(std::span{chain})));
        const std::uint16_t head = 0;
        ASSERT_TRUE(
            ram.write(q.driver + 4 + 2ULL * (next % q.size), std::as_bytes(std::span{&head, 1})));
        ++next;
        ASSERT_TRUE(ram.write(q.driver + 2, std::as_bytes(std::span{&next, 1})));
        ASSERT_EQ(::eventfd_write(q.kick, 1), 0);
    }
    [[nodiscard]] std::uint8_t answer()
    {
        EXPECT_TRUE(soon([&] {
            std::uint16_t used = 0;
            (void)ram.read(queues.back().device + 2, std::as_writable_bytes(std::span{&used, 1}));
            return used == next;
        }));
        std::uint8_t value = 0;
        (void)ram.read(0x80'1000, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    [[nodiscard]] std::uint8_t command(std::initializer_list<std::uint8_t> bytes)
    {
        put({bytes.begin(), bytes.size()});
        return answer();
    }

    std::size_t enabled{4}; // of the packet queues
    good_back_end back;
    std::optional<peer> p;
    std::uint16_t next{0};
};

// Of a driver that has set up one pair of two.
class control_queue_of_one_pair : public control_queue {
protected:
    control_queue_of_one_pair() { enabled = 2; }
};

TEST_F(control_queue_of_one_pair, enables_no_ring_that_was_never_handed_over)
{
    put(std::array<std::uint8_t, 4>{4, 0, 2, 0});
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 1));
    EXPECT_EQ(answer(), 0);
    EXPECT_EQ(back.enabled, (std::map<std::uint32_t, std::uint32_t>{{0, 1}, {1, 1}}));
    EXPECT_FALSE(p->readable(std::chrono::milliseconds{50}));
    EXPECT_TRUE(device->look().connected);
}

// The greeting, the start, a change of pairs and the stop each have time of their own.
TEST_F(control_queue, has_patience_anew_for_what_comes_later)
{
    device.reset();
    options.patience = std::chrono::milliseconds{1000};
    const auto later = [&] {
        std::this_thread::sleep_for(options.patience + std::chrono::milliseconds{50});
    };
    make();
    p.emplace(meet());
    back.delay = std::chrono::milliseconds{5};
    ASSERT_NO_FATAL_FAILURE(greet(back, *p));
    (void)device->features();
    later();
    start_guest(bit(feature::multiqueue), 4);
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 1));
    ASSERT_TRUE(soon([&] { return device->look().serving; }));
    later();
    next = 0;
    put(std::array<std::uint8_t, 4>{4, 0, 2, 0});
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 3));
    EXPECT_EQ(answer(), 0);
    later();
    auto stopping = std::async(std::launch::async, [&] { stop_guest(); });
    ASSERT_TRUE(back.serve_until(*p, request::get_vring_base, 3));
    stopping.get();
    EXPECT_TRUE(device->look().connected);
}

TEST_F(control_queue, does_not_wait_for_one_that_changes_pairs_slowly)
{
    device.reset();
    options.patience = std::chrono::milliseconds{300};
    make();
    p.emplace(meet());
    ASSERT_NO_FATAL_FAILURE(greet(back, *p));
    (void)device->features();
    start_guest(bit(feature::multiqueue), 4);
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 1));
    ASSERT_TRUE(soon([&] { return device->look().serving; }));
    back.delay = std::chrono::milliseconds{200}; // 4 messages
    put(std::array<std::uint8_t, 4>{4, 0, 2, 0});
    EXPECT_FALSE(back.serve_until(*p, request::set_vring_enable, 3));
    EXPECT_EQ(answer(), 0);
    EXPECT_FALSE(device->look().connected);
}

TEST_F(control_queue, changes_the_pairs_in_use)
{
    put(std::array<std::uint8_t, 4>{4, 0, 2, 0});
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 3));
    EXPECT_EQ(answer(), 0);
    EXPECT_EQ(back.enabled[2], 1U);
    EXPECT_EQ(back.enabled[3], 1U);
    put(std::array<std::uint8_t, 4>{4, 0, 1, 0});
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 3));
    EXPECT_EQ(answer(), 0);
    EXPECT_EQ(back.enabled[1], 1U);
    EXPECT_EQ(back.enabled[2], 0U);
}

TEST_F(control_queue, keeps_the_pairs_for_the_next_back_end)
{
    put(std::array<std::uint8_t, 4>{4, 0, 2, 0});
    ASSERT_TRUE(back.serve_until(*p, request::set_vring_enable, 3));
    EXPECT_EQ(answer(), 0);
    p.reset();
    good_back_end other;
    p.emplace(meet());
    ASSERT_TRUE(other.serve_until(*p, request::set_vring_enable, 3));
    EXPECT_EQ(other.enabled[3], 1U);
}

TEST_F(control_queue, sets_the_mac)
{
    EXPECT_EQ(command({1, 1, 2, 0, 0, 0, 0, 9}), 0);
    EXPECT_EQ(config<std::uint8_t>(5), 9);
    EXPECT_EQ(command({1, 1, 2, 0, 0, 0, 0}), 1);
    EXPECT_EQ(command({1, 1, 2, 0, 0, 0, 0, 9, 9}), 1);
    EXPECT_EQ(config<std::uint8_t>(0), 2);
}

TEST_F(control_queue, receives_all_in_any_mode)
{
    EXPECT_EQ(command({0, 0, 1}), 0);
    EXPECT_EQ(command({0, 5, 0}), 0);
    EXPECT_EQ(command({1, 0, 0, 0, 0, 0, 0, 0, 0, 0}), 0);
    EXPECT_EQ(command({0, 6, 0}), 1);
    EXPECT_EQ(command({0, 0}), 1);
}

TEST_F(control_queue, refuses_what_it_has_not)
{
    for (const auto& wrong : std::initializer_list<std::initializer_list<std::uint8_t>>{
             {4, 0, 0, 0}, {4, 0, 3, 0}, {4, 0, 1}, {4, 1, 1, 0}, {2, 0, 1, 0}, {255, 255}}) {
        EXPECT_EQ(command(wrong), 1);
    }
    EXPECT_EQ(transport.faults, 0);
}

TEST_F(control_queue, breaks_by_a_command_that_nobody_can_answer)
{
    put(std::array<std::uint8_t, 3>{0, 0, 1}, false);
    EXPECT_TRUE(soon([&] { return transport.faults == 1; }));
    stop_guest();
}

TEST_F(control_queue, breaks_by_half_a_command)
{
    put(std::array<std::uint8_t, 1>{0});
    EXPECT_TRUE(soon([&] { return transport.faults == 1; }));
}

} // namespace
} // namespace strait::vmm::virtio::test
