// SPDX-License-Identifier: BSD-3-Clause
// vhost-user ports as well-behaved front ends see them: what is offered, when rings are served,
// what positions are told and kept, who may connect; and the layout of the library's messages.
#include "lab.hh"

#include "ports/vhost/library.hh"
#include "tests/unit/dataplane/ip_frame.hh"

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <optional>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rte_vhost.h>

namespace strait::vhost::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t features_of(bool packed)
{
    return packed ? packed_features : split_features;
}

class both_kinds : public testing::TestWithParam<bool> {
protected:
    [[nodiscard]] static guest::options options() { return {.features = features_of(GetParam())}; }
};
INSTANTIATE_TEST_SUITE_P(rings, both_kinds, testing::Bool(), kind_name);

// ---- the library's message ----

struct captured {
    std::mutex mutex;
    bool seen{false};
    std::uint32_t request{0};
    std::uint32_t size{0};
    std::vector<memory_region> regions;
    std::vector<ino_t> inodes;
};
captured capture;

rte_vhost_msg_result capture_message(int /*vid*/, void* at)
{
    const message m{at};
    if (m.request() != request::set_mem_table) {
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    }
    const std::scoped_lock lock{capture.mutex};
    capture.request = static_cast<std::uint32_t>(m.request());
    capture.size = m.size();
    for (std::uint32_t i = 0; i < m.payload<std::uint32_t>(); ++i) {
        capture.regions.push_back(m.payload<memory_region>(8 + i * sizeof(memory_region)));
    }
    for (std::size_t i = 0; i < m.descriptor_count(); ++i) {
        struct stat status {};
        ::fstat(m.descriptor(i), &status);
        capture.inodes.push_back(status.st_ino);
    }
    capture.seen = true;
    message answer{at};
    answer.answer(0x0123'4567'89ab'cdefULL);
    return RTE_VHOST_MSG_RESULT_REPLY;
}

TEST(vhost_message, has_the_layout_that_the_library_passes)
{
    const lab any{0}; // EAL
    const std::string path = any.folder() + "/raw.sock";
    static constexpr rte_vhost_user_extern_ops hooks{capture_message, nullptr};
    static constexpr rte_vhost_device_ops callbacks{
        .new_device = nullptr,
        .destroy_device = nullptr,
        .vring_state_changed = nullptr,
        .features_changed = nullptr,
        .new_connection =
            [](int vid) { return rte_vhost_extern_callback_register(vid, &hooks, nullptr); },
        .destroy_connection = nullptr,
        .guest_notified = nullptr,
        .reserved = {}};
    ASSERT_EQ(rte_vhost_driver_register(path.c_str(), 0), 0);
    ASSERT_EQ(rte_vhost_driver_callback_register(path.c_str(), &callbacks), 0);
    ASSERT_EQ(rte_vhost_driver_start(path.c_str()), 0);
    {
        front_end f{path};
        // All eight descriptors, so that the last one's place and the count's are checked too.
        std::vector<std::unique_ptr<guest_ram>> rams;
        std::vector<memory_region> regions;
        std::vector<int> fds;
        for (std::uint64_t i = 0; i < max_message_regions; ++i) {
            rams.push_back(std::make_unique<guest_ram>(8192));
            regions.push_back({0x1000 * i, 0x100 + i, 0x7000'0000 + i, i * 8});
            fds.push_back(rams.back()->fd());
        }
        ASSERT_TRUE(f.ask(request::get_features)); // it is accepted by now
        const std::size_t open_before = holdings::now().descriptors;
        const bytes table = front_end::memory_table(regions);
        ASSERT_TRUE(f.send(request::set_mem_table, std::span<const std::byte>{table}, fds));
        const auto answer = f.answer();
        ASSERT_TRUE(answer);
        std::uint64_t number = 0;
        ASSERT_EQ(answer->size(), sizeof(number));
        std::memcpy(&number, answer->data(), sizeof(number));
        EXPECT_EQ(number, 0x0123'4567'89ab'cdefULL);

        const std::scoped_lock lock{capture.mutex};
        ASSERT_TRUE(capture.seen);
        EXPECT_EQ(capture.size, table.size());
        ASSERT_EQ(capture.regions.size(), regions.size());
        ASSERT_EQ(capture.inodes.size(), regions.size());
        for (std::size_t i = 0; i < regions.size(); ++i) {
            EXPECT_EQ(capture.regions[i].guest_address, regions[i].guest_address);
            EXPECT_EQ(capture.regions[i].size, regions[i].size);
            EXPECT_EQ(capture.regions[i].user_address, regions[i].user_address);
            EXPECT_EQ(capture.regions[i].map_offset, regions[i].map_offset);
            struct stat status {};
            ::fstat(fds[i], &status);
            EXPECT_EQ(capture.inodes[i], status.st_ino);
        }
        EXPECT_EQ(holdings::now().descriptors, open_before) << "answer() closes what came";
    }
    EXPECT_EQ(rte_vhost_driver_unregister(path.c_str()), 0);
}

// ---- what is offered ----

TEST(vhost_port, offers_what_it_does_and_no_more)
{
    lab l{1};
    front_end f{l.socket(0)};
    const std::uint64_t offered = f.ask(request::get_features).value();
    for (const unsigned bit :
         {feature::mergeable_buffers, feature::indirect, feature::event_index, feature::version_1,
          feature::ring_packed, feature::in_order, feature::protocol_features, feature::mtu,
          feature::checksum, feature::guest_checksum, feature::host_tso4, feature::host_tso6,
          feature::host_ecn, feature::host_uso, feature::guest_tso4, feature::guest_tso6,
          feature::guest_ecn, feature::guest_uso4, feature::guest_uso6}) {
        EXPECT_TRUE(has_feature(offered, bit)) << bit;
    }
    EXPECT_TRUE(has_feature(offered, feature::log_all)) << "guests that are migrated";
    EXPECT_TRUE(has_feature(offered, feature::guest_announce));
    // UDP's fragments both ways, several queues, an IOMMU.
    for (const unsigned bit : {6U, 10U, 14U, 22U, 33U}) {
        EXPECT_FALSE(has_feature(offered, bit)) << bit;
    }
    EXPECT_EQ(f.ask(request::get_protocol_features).value(), 0x1eU | 1U << 16);
    EXPECT_EQ(f.ask(request::get_queue_num).value(), 1U);
}

TEST(vhost_port, shows_what_was_agreed)
{
    lab l{1};
    guest some{
        l.socket(0),
        {.features = split_features | feature_bits({feature::checksum, feature::guest_checksum,
                                                    feature::guest_tso4})}};
    EXPECT_TRUE(eventually([&] { return l.port(0).link_up(); }));
    const std::string shown = " " + l.detail(0, "features") + " ";
    for (const char* const name : {" csum ", " guest_csum ", " guest_tso4 "}) {
        EXPECT_THAT(shown, HasSubstr(name));
    }
    for (const char* const name : {"host_tso4", "guest_tso6", "ecn"}) {
        EXPECT_THAT(shown, testing::Not(HasSubstr(name)));
    }
}

// ---- service ----

TEST_P(both_kinds, pass_frames_between_two_guests)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    EXPECT_TRUE(eventually([&] { return l.port(0).link_up() && l.port(1).link_up(); }));
    EXPECT_TRUE(talk(a, 1, b, 2, 200));
    EXPECT_EQ(l.detail(0, "connected"), "true");
    EXPECT_EQ(l.detail(0, "ring_kind"), GetParam() ? "packed" : "split");
    EXPECT_EQ(l.detail(0, "guest_rx_ring_size"), "64");
    EXPECT_THAT(l.detail(0, "features"), HasSubstr("mrg_rxbuf"));
    EXPECT_THAT(l.detail(0, "guest_memory"), HasSubstr("0x100000-"));
    EXPECT_EQ(l.detail(0, "front_end_pid"), std::to_string(::getpid()));
    EXPECT_EQ(l.detail(0, "last_loss"), "");
}

// As no driver of Linux before 6.2 can: datagrams of one payload go whole from a guest that leaves
// them to be cut to one that takes them so, and cut to one that does not.
TEST_P(both_kinds, leave_datagrams_to_be_cut_and_take_them_whole)
{
    using strait::test::ip_frame;
    const auto with = [](std::initializer_list<unsigned> more) {
        return guest::options{.features = features_of(GetParam()) | feature_bits(more)};
    };
    lab l{3};
    guest a{l.socket(0), with({feature::checksum, feature::host_uso})};
    guest b{l.socket(1), with({feature::guest_checksum, feature::guest_uso4, feature::guest_uso6})};
    guest c{l.socket(2), options()};
    ASSERT_TRUE(eventually(
        [&] { return l.port(0).link_up() && l.port(1).link_up() && l.port(2).link_up(); }));
    EXPECT_THAT(l.detail(0, "features"), HasSubstr("host_uso"));
    EXPECT_THAT(l.detail(1, "features"), HasSubstr("guest_uso4 guest_uso6"));
    EXPECT_THAT(l.detail(2, "features"), Not(HasSubstr("uso")));
    const auto receive = [](guest& from, std::size_t count) {
        std::vector<guest::arrived> all;
        eventually([&] {
            for (guest::arrived& one : from.receive_with_headers()) {
                all.push_back(std::move(one));
            }
            return all.size() >= count;
        });
        return all;
    };
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .protocol = 17, .payload = 1500};
        strait::test::frame plain = shape.build(true);
        std::fill_n(plain.begin(), 6, std::uint8_t{0xff});
        bytes f(plain.size());
        std::memcpy(f.data(), plain.data(), f.size());
        const net_header todo{.flags = 1,
                              .gso_type = 5,
                              .header_length = static_cast<std::uint16_t>(shape.header_length()),
                              .gso_size = 400,
                              .checksum_start = static_cast<std::uint16_t>(shape.transport()),
                              .checksum_offset = 6,
                              .buffers = 0};
        ASSERT_TRUE(a.transmit(todo, f));
        const auto whole = receive(b, 1);
        ASSERT_EQ(whole.size(), 1U);
        EXPECT_EQ(whole[0].frame, f);
        net_header expected = todo;
        expected.buffers = 1;
        EXPECT_EQ(std::memcmp(&whole[0].header, &expected, sizeof expected), 0);
        const auto cut = receive(c, 4);
        ASSERT_EQ(cut.size(), 4U);
        strait::test::frame payload;
        for (const guest::arrived& one : cut) {
            EXPECT_EQ(one.header.flags, 0);
            EXPECT_EQ(one.header.gso_type, 0);
            strait::test::frame datagram(one.frame.size());
            std::memcpy(datagram.data(), one.frame.data(), datagram.size());
            EXPECT_TRUE(shape.correct(datagram));
            payload.insert(payload.end(),
                           datagram.begin() + static_cast<std::ptrdiff_t>(shape.header_length()),
                           datagram.end());
        }
        EXPECT_TRUE(std::equal(payload.begin(), payload.end(),
                               plain.begin() + static_cast<std::ptrdiff_t>(shape.header_length()),
                               plain.end()));
    }
    EXPECT_EQ(l.counters(1).tx_packets.read(), 2U);
    EXPECT_EQ(l.counters(2).tx_packets.read(), 8U);
    // What was not agreed on, or never is: segments of TCP, fragments.
    const ip_frame shape{.protocol = 17, .payload = 1000};
    bytes f(shape.size());
    std::memcpy(f.data(), shape.build(true).data(), f.size());
    constexpr auto refused = static_cast<std::size_t>(dataplane::drop_reason::bad_offload);
    for (const std::uint8_t type : {std::uint8_t{1}, std::uint8_t{3}}) {
        ASSERT_TRUE(a.transmit(net_header{.flags = 1,
                                          .gso_type = type,
                                          .header_length = 42,
                                          .gso_size = 400,
                                          .checksum_start = 34,
                                          .checksum_offset = 6,
                                          .buffers = 0},
                               f));
    }
    EXPECT_TRUE(eventually([&] { return l.counters(0).drops[refused].read() == 2; }));
    EXPECT_TRUE(talk(a, 1, b, 2));
}

// Every message that takes rings away for a moment leaves them where they stood.
TEST_P(both_kinds, go_on_after_each_message_that_interrupts_them)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2, 37));

    a.front().share(a.ram());
    EXPECT_TRUE(talk(a, 1, b, 2, 37)) << "SET_MEM_TABLE";
    for (unsigned ring = 0; ring < 2; ++ring) {
        const int call = (ring == 0 ? a.rx() : a.tx()).call_fd();
        ASSERT_EQ(
            a.front().try_out(request::set_vring_call, std::uint64_t{ring}, std::span{&call, 1}),
            0U);
    }
    EXPECT_TRUE(talk(a, 1, b, 2, 37)) << "SET_VRING_CALL";
    a.front().enable(0, false);
    a.front().enable(1, false);
    EXPECT_TRUE(eventually([&] { return !l.port(0).link_up(); }));
    a.front().enable(0, true);
    a.front().enable(1, true);
    EXPECT_TRUE(talk(a, 1, b, 2, 37)) << "SET_VRING_ENABLE";
    const int kick = a.tx().kick_fd();
    ASSERT_EQ(a.front().try_out(request::set_vring_kick, std::uint64_t{1}, std::span{&kick, 1}),
              0U);
    EXPECT_TRUE(talk(a, 1, b, 2, 37)) << "SET_VRING_KICK";
    ASSERT_EQ(a.front().try_out(request::set_features, features_of(GetParam())), 0U);
    EXPECT_TRUE(talk(a, 1, b, 2, 37)) << "SET_FEATURES, unchanged";
    ASSERT_EQ(a.front().try_out(request::reset_owner, std::uint64_t{0}), 0U);
    EXPECT_TRUE(talk(a, 1, b, 2, 37)) << "RESET_OWNER, which is ignored";
}

// What a busy ring gave comes back a look later, and when the ring is taken out of service.
TEST_P(both_kinds, send_nothing_twice_whatever_interrupts_them)
{
    lab l{2};
    guest::options wide = options();
    wide.ring_size = 256;
    guest a{l.socket(0), wide};
    guest b{l.socket(1), wide};
    ASSERT_TRUE(talk(a, 1, b, 2));
    std::uint64_t arrived = 0;
    std::uint64_t again = 0;
    std::jthread traffic{[&](const std::stop_token& enough) {
        constexpr std::size_t at_once = 128;
        constexpr std::size_t at = 14;
        std::uint32_t sent = 0;
        std::uint32_t last = 0;
        while (!enough.stop_requested()) {
            for (std::size_t i = 0; i < at_once; ++i) {
                bytes frame = make_frame(2, 1, 60, 0);
                ++sent;
                std::memcpy(frame.data() + at, &sent, sizeof sent);
                if (!a.transmit(frame, false)) {
                    --sent;
                    break;
                }
            }
            a.tx().publish();
            for (const bytes& frame : b.receive()) {
                std::uint32_t number = 0;
                std::memcpy(&number, frame.data() + at, sizeof number);
                ++arrived;
                again += number <= last ? 1 : 0;
                last = number;
            }
        }
    }};
    const int call = a.tx().call_fd();
    for (int i = 0; i < 500; ++i) {
        ASSERT_EQ(a.front().try_out(request::set_vring_call, std::uint64_t{1}, std::span{&call, 1}),
                  0U);
    }
    traffic.request_stop();
    traffic.join();
    EXPECT_GT(arrived, 0U);
    EXPECT_EQ(again, 0U) << "of " << arrived;
    EXPECT_TRUE(talk(b, 2, a, 1));
}

// They come when the worker is awake, about to sleep and asleep; nothing else could wake it.
TEST_P(both_kinds, wake_a_worker_that_sleeps)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2));
    const dataplane::worker_index worker{0};
    const std::uint64_t before = l.engine().counters(worker).asleep.read(rte_rdtsc);
    std::minstd_rand random{1};
    for (unsigned i = 0; i < 500; ++i) {
        ASSERT_TRUE(a.transmit(make_frame(2, 1, 60, i)));
        const auto begin = std::chrono::steady_clock::now();
        while (b.receive().empty()) {
            ASSERT_LT(std::chrono::steady_clock::now(), begin + std::chrono::seconds{10}) << i;
            std::this_thread::yield();
        }
        const auto end =
            std::chrono::steady_clock::now() + std::chrono::microseconds{random() % 300};
        while (std::chrono::steady_clock::now() < end) {
            std::this_thread::yield();
        }
    }
    EXPECT_GT(l.engine().counters(worker).asleep.read(rte_rdtsc), before);
    EXPECT_GT(a.tx().kicks(), 0U);
    EXPECT_LT(a.tx().kicks(), 2000U);
}

// A ring that is published wakes as well: what its driver left in it before is taken.
TEST_P(both_kinds, are_looked_at_when_they_come_though_the_worker_sleeps)
{
    lab l{2};
    guest b{l.socket(1), options()};
    guest a{l.socket(0), options()};
    ASSERT_TRUE(talk(a, 1, b, 2));
    for (unsigned i = 0; i < 5; ++i) {
        a.detach();
        ASSERT_TRUE(eventually([&] { return l.detail(0, "connected") != "true"; }));
        ASSERT_TRUE(a.transmit(make_frame(2, 1, 60, i)));
        a.attach(l.socket(0));
        EXPECT_TRUE(eventually([&] { return !b.receive().empty(); })) << i;
    }
}

// The driver's kicks come by the descriptor that was passed last, or by none.
TEST_P(both_kinds, wake_by_the_kick_descriptor_they_have_now)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2));
    const auto asleep = [&] {
        const std::uint64_t before =
            l.engine().counters(dataplane::worker_index{0}).asleep.read(rte_rdtsc);
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        return l.engine().counters(dataplane::worker_index{0}).asleep.read(rte_rdtsc) > before;
    };
    const auto passes = [&](unsigned seed) {
        return a.transmit(make_frame(2, 1, 60, seed)) &&
               eventually([&] { return !b.receive().empty(); });
    };
    const int other = ::eventfd(0, EFD_CLOEXEC);
    ASSERT_EQ(a.front().try_out(request::set_vring_kick, std::uint64_t{1}, std::span{&other, 1}),
              0U);
    EXPECT_TRUE(eventually(asleep));
    ASSERT_TRUE(a.transmit(make_frame(2, 1, 60, 1)));
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    EXPECT_THAT(b.receive(), testing::IsEmpty()) << "the driver kicks by the old one";
    ASSERT_EQ(::eventfd_write(other, 1), 0);
    EXPECT_TRUE(eventually([&] { return !b.receive().empty(); }));
    ::close(other);

    constexpr std::uint64_t no_descriptor = 1U << 8;
    ASSERT_EQ(a.front().try_out(request::set_vring_kick, 1 | no_descriptor), 0U);
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
    EXPECT_TRUE(passes(2)) << "polled";
    EXPECT_FALSE(asleep());

    const int own = a.tx().kick_fd();
    ASSERT_EQ(a.front().try_out(request::set_vring_kick, std::uint64_t{1}, std::span{&own, 1}), 0U);
    EXPECT_TRUE(eventually(asleep));
    EXPECT_TRUE(passes(3));
}

TEST_P(both_kinds, positions_are_told_right_for_both_rings)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2, 45)); // more than half a lap of 64, or more than one
    ASSERT_TRUE(talk(a, 1, b, 2, 45));
    ASSERT_TRUE(eventually([&] {
        a.receive();
        return a.unsent() == 0;
    }));
    // The second question is answered after the device stopped at the first.
    for (unsigned ring = 0; ring < 2; ++ring) {
        ASSERT_TRUE(a.front().send(request::get_vring_base, vring_state{ring, 0}));
        const auto answer = a.front().answer();
        ASSERT_TRUE(answer);
        vring_state told{};
        ASSERT_EQ(answer->size(), sizeof(told));
        std::memcpy(&told, answer->data(), sizeof(told));
        const ring_index at = (ring == 0 ? a.rx() : a.tx()).position();
        const std::uint32_t expected =
            GetParam() ? packed_place{at.next, at.wrap}.encoded() : at.next;
        EXPECT_EQ(told.value, expected) << "ring " << ring;
    }
    EXPECT_FALSE(l.port(0).link_up());
    // And the VMM starts it again from there.
    const auto base = [](const driver& d, bool packed) -> std::uint32_t {
        const ring_index at = d.position();
        return packed ? packed_place{at.next, at.wrap}.encoded() : at.next;
    };
    a.front().set_ring(0, a.rx(), base(a.rx(), GetParam()));
    a.front().set_ring(1, a.tx(), base(a.tx(), GetParam()));
    EXPECT_TRUE(talk(a, 1, b, 2, 45));
}

// ---- restarts ----

TEST_P(both_kinds, a_vmm_that_comes_again_goes_on_where_its_rings_stood)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    for (int round = 0; round < 10; ++round) {
        ASSERT_TRUE(talk(a, 1, b, 2, 23)) << round;
        a.detach();
        a.attach(l.socket(0));
    }
    EXPECT_EQ(l.detail(0, "connections"), "11");
    EXPECT_TRUE(talk(a, 1, b, 2, 23));
}

TEST_P(both_kinds, a_port_made_anew_goes_on_where_the_rings_stood)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    for (int round = 0; round < 5; ++round) {
        ASSERT_TRUE(talk(a, 1, b, 2, 29)) << round;
        l.stop(0);
        EXPECT_TRUE(a.front().is_closed(std::chrono::milliseconds{300})) << "it is told at once";
        EXPECT_NE(::access(l.socket(0).c_str(), F_OK), 0) << "the socket is gone with its port";
        l.start(0);
        a.attach(l.socket(0));
    }
    EXPECT_TRUE(talk(a, 1, b, 2, 29));
}

// What served the rings before may have been killed before it could say what it had returned.
TEST_P(both_kinds, go_on_when_the_file_of_their_positions_is_cut_off)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    EXPECT_TRUE(talk(a, 1, b, 2));
    testing::internal::CaptureStderr();
    std::filesystem::resize_file(l.folder() + "/vm0.rings", 0);
    EXPECT_TRUE(talk(a, 1, b, 2));
    std::this_thread::sleep_for(std::chrono::milliseconds{300}); // it is looked for now and then
    const std::string logged = testing::internal::GetCapturedStderr();
    // Split rings keep nothing there, and never look.
    EXPECT_EQ(logged.find("its ring positions in the run folder were cut off") != logged.npos,
              GetParam())
        << logged;
}

TEST_P(both_kinds, a_guest_is_told_when_its_rings_are_served_again)
{
    lab l{1};
    guest a{l.socket(0), options()};
    for (int round = 0; round < 3; ++round) {
        EXPECT_TRUE(eventually([&] { return a.rx().interrupts() > 0; })) << round;
        EXPECT_TRUE(eventually([&] { return a.tx().interrupts() > 0; })) << round;
        a.detach();
        ASSERT_TRUE(eventually([&] { return l.detail(0, "connected") == "false"; }));
        a.attach(l.socket(0));
    }
}

// The guest was reset while nobody served it: its new rings begin at the start.
TEST_P(both_kinds, a_new_guest_in_the_old_ones_place_begins_at_the_start)
{
    lab l{2};
    guest b{l.socket(1), options()};
    for (int round = 0; round < 4; ++round) {
        guest a{l.socket(0), options()};
        ASSERT_TRUE(talk(a, 1, b, 2, 17)) << round;
        // Gone without a word about its rings; the next one's lie at the same addresses.
    }
}

// ---- after errors ----

TEST_P(both_kinds, are_not_served_once_more_by_the_message_that_disables_them)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2));
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    static_cast<void>(a.tx().interrupts());
    a.front().enable(1, false);
    EXPECT_EQ(a.tx().interrupts(), 0U) << "a guest is told of every ring that is served";
    a.front().enable(1, true);
    EXPECT_TRUE(talk(a, 1, b, 2));
}

// As a VMM says it that passes on its guest's status.
TEST_P(both_kinds, are_served_while_their_driver_is_ready_and_not_after_its_reset)
{
    constexpr std::uint64_t reply_ack = 1U << 3;
    constexpr std::uint64_t status = 1U << 16;
    constexpr std::uint64_t driver_ok = 4;
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2));
    ASSERT_EQ(a.front().try_out(request::set_protocol_features, reply_ack | status), 0U);
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(a.front().ask(request::get_features));
        EXPECT_FALSE(l.port(0).link_up()) << "it says nothing yet, or was reset";
        ASSERT_EQ(a.front().try_out(request::set_status, driver_ok), 0U);
        EXPECT_TRUE(talk(a, 1, b, 2));
        ASSERT_EQ(a.front().try_out(request::set_status, std::uint64_t{0}), 0U);
    }
}

// A driver that was reset makes its rings where they were, and begins at their start.
TEST_P(both_kinds, begin_where_the_front_end_says_once_it_has_asked_where_they_stood)
{
    lab l{2};
    guest b{l.socket(1), options()};
    front_end f{l.socket(0)};
    f.introduce(options().features);
    guest_ram ram{1 << 20};
    f.share(ram);
    const std::uint64_t place = ram.allocate(128);
    const ring_options rings{.packed = GetParam(),
                             .size = 64,
                             .features = options().features,
                             .start = {},
                             .shuffle = nullptr};
    std::uint64_t before = 0;
    for (std::size_t life = 1; life <= 2; ++life) {
        const auto rx = make_driver(ram, rings);
        const auto tx = make_driver(ram, rings);
        ASSERT_TRUE(life == 1 || before == tx->places()[0].address) << "in the same place";
        before = tx->places()[0].address;
        const std::uint32_t start = GetParam() ? 0x8000 : 0;
        f.set_ring(0, *rx, start);
        f.set_ring(1, *tx, start);
        f.enable(0, true);
        f.enable(1, true);
        for (unsigned i = 1; i <= 5; ++i) {
            bytes buffer(sizeof(net_header));
            const bytes frame = make_broadcast(1, 60, i);
            buffer.insert(buffer.end(), frame.begin(), frame.end());
            ram.write(place, buffer);
            ASSERT_TRUE(tx->add({{place, static_cast<std::uint32_t>(buffer.size())}}, i));
            tx->publish();
            std::vector<bytes> got;
            EXPECT_TRUE(eventually([&] { return !(got = b.receive()).empty(); })) << life;
            EXPECT_EQ(got, std::vector<bytes>{frame});
        }
        for (const std::uint32_t ring : {0U, 1U}) {
            ASSERT_TRUE(f.send(request::get_vring_base, vring_state{ring, 0}));
            ASSERT_TRUE(f.answer());
        }
    }
}

TEST_P(both_kinds, stay_unpublished_after_an_error_until_the_next_good_message)
{
    lab l{2};
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    ASSERT_TRUE(talk(a, 1, b, 2));
    const guest_ram other{1 << 16};
    const memory_region region{0x10'0000, 1 << 20, 0x10'0000, 0}; // larger than the file
    const bytes table = front_end::memory_table({&region, 1});
    const int fd = other.fd();
    EXPECT_EQ(a.front().try_out(request::set_mem_table, std::span<const std::byte>{table},
                                std::span{&fd, 1}),
              1U);
    EXPECT_FALSE(l.port(0).link_up());
    EXPECT_THAT(l.detail(0, "last_loss"),
                HasSubstr("needs 1048576 bytes of a file that has 65536"));
    EXPECT_TRUE(a.front().ask(request::get_features)) << "the connection stays";
    EXPECT_TRUE(a.front().ask(request::get_features)); // the first is done with
    EXPECT_FALSE(l.port(0).link_up()) << "there is no memory to serve from";
    a.front().share(a.ram());
    EXPECT_TRUE(talk(a, 1, b, 2));
}

vring_address receive_ring_of(guest& g)
{
    const auto places = g.rx().places();
    return {.index = 0,
            .flags = 0,
            .descriptors = places[0].address,
            .used = places[2].address,
            .available = places[1].address,
            .log = 0};
}

// The last message is done with, and the first question, which is answered before it is.
void wait_until_taken(guest& g)
{
    g.front().ask(request::get_features);
    g.front().ask(request::get_features);
}

TEST_P(both_kinds, are_not_served_where_they_leave_their_region_or_are_not_aligned)
{
    lab l{1};
    guest a{l.socket(0), options()};
    ASSERT_TRUE(eventually([&] { return l.port(0).link_up(); }));
    const std::uint64_t end = a.ram().regions()[0].address + a.ram().regions()[0].size;
    const vring_address good = receive_ring_of(a);
    const auto attempt = [&](vring_address wrong) {
        a.front().try_out(request::set_vring_addr, wrong);
        wait_until_taken(a);
        const std::string why = l.detail(0, "obstacle");
        const bool served = l.detail(0, "guest_rx_ring_size") != "0";
        EXPECT_EQ(a.front().try_out(request::set_vring_addr, good), 0U);
        EXPECT_TRUE(eventually([&] { return l.detail(0, "guest_rx_ring_size") == "64"; }));
        return served ? "served" : why;
    };
    auto wrong = good;
    if (!GetParam()) {
        wrong.used = end - 64; // begins inside, ends outside: the library says it is ready
        EXPECT_THAT(attempt(wrong), HasSubstr("does not lie in one memory region"));
    }
    wrong = good;
    wrong.descriptors += 8;
    EXPECT_THAT(attempt(wrong), HasSubstr("not aligned"));
    wrong = good;
    wrong.available += GetParam() ? 2U : 1U;
    EXPECT_THAT(attempt(wrong), HasSubstr("not aligned"));
    wrong = good;
    wrong.used += 2;
    EXPECT_THAT(attempt(wrong), HasSubstr("not aligned"));
}

// The library does not look at a ring's place again when it learns of another size.
TEST(vhost_port, serves_no_ring_that_grew_out_of_its_region)
{
    lab l{1};
    guest a{l.socket(0)};
    const std::uint64_t end = a.ram().regions()[0].address + a.ram().regions()[0].size;
    const vring_address good = receive_ring_of(a);
    const auto grown = [&](vring_address at) {
        // It fits to the byte with 64 descriptors, and not with 128.
        a.front().try_out(request::set_vring_addr, at);
        wait_until_taken(a);
        EXPECT_EQ(l.detail(0, "guest_rx_ring_size"), "64");
        a.front().try_out(request::set_vring_num, vring_state{0, 128});
        wait_until_taken(a);
        const std::string why = l.detail(0, "obstacle");
        a.front().try_out(request::set_vring_num, vring_state{0, 64});
        return l.detail(0, "guest_rx_ring_size") == "128" ? "served" : why;
    };
    auto at = good;
    at.descriptors = end - 64 * sizeof(split_descriptor);
    EXPECT_THAT(grown(at), HasSubstr("one memory region"));
    at = good;
    at.available = end - (6 + 64 * 2);
    EXPECT_THAT(grown(at), HasSubstr("one memory region"));
    at = good;
    at.used = end - (8 + 64 * sizeof(used_element));
    EXPECT_THAT(grown(at), HasSubstr("one memory region"));
}

// ---- connections and sockets ----

TEST(vhost_port, has_one_front_end_at_a_time)
{
    lab l{2};
    guest a{l.socket(0)};
    guest b{l.socket(1)};
    ASSERT_TRUE(talk(a, 1, b, 2));
    front_end second{l.socket(0)};
    EXPECT_TRUE(second.is_closed());
    EXPECT_TRUE(talk(a, 1, b, 2)) << "the first is not disturbed";
    EXPECT_THAT(l.detail(0, "last_loss"), HasSubstr("a second front end was refused"));
    a.detach();
    guest next{l.socket(0)};
    EXPECT_TRUE(talk(next, 1, b, 2));
}

std::unique_ptr<ports::port> client_port(lab& l, const std::string& name, const std::string& path)
{
    settings s;
    s.name = name;
    s.socket = path;
    s.client = true;
    s.state_dir = l.folder();
    return make_port(s, l.engine().rcu()).value();
}

int listen_at(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener, 4), 0);
    return listener;
}

TEST(vhost_port, connects_to_a_vmm_that_listens)
{
    lab l{0, true};
    const std::string path = l.folder() + "/vmm.sock";
    auto port = client_port(l, "vmm", path);
    ASSERT_TRUE(port->start()) << "nobody listens yet: it tries again and again";
    const int listener = listen_at(path);
    for (int round = 0; round < 2; ++round) {
        guest a{front_end{::accept(listener, nullptr, nullptr)}, guest::options{}};
        EXPECT_TRUE(eventually([&] { return port->link_up(); })) << round;
        a.detach();
        EXPECT_TRUE(eventually([&] { return !port->link_up(); })) << round;
    }
    port->stop();
    port.reset();
    ::close(listener);
}

// A folder for each guest, and the same name in each: the one that breaks the protocol is sent
// away.
TEST(vhost_port, tells_vmms_with_sockets_of_one_name_apart)
{
    lab l{0, true};
    const std::array folders{l.folder() + "/one", l.folder() + "/two"};
    std::array<int, 2> listeners{};
    std::array<std::unique_ptr<ports::port>, 2> ports;
    std::array<std::optional<guest>, 2> guests;
    for (std::size_t i = 0; i < 2; ++i) {
        std::filesystem::create_directory(folders.at(i));
        const std::string path = folders.at(i) + "/net.sock";
        listeners.at(i) = listen_at(path);
        ports.at(i) = client_port(l, "vmm" + std::to_string(i), path);
        ASSERT_TRUE(ports.at(i)->start());
        guests.at(i).emplace(front_end{::accept(listeners.at(i), nullptr, nullptr)},
                             guest::options{});
        ASSERT_TRUE(eventually([&] { return ports.at(i)->link_up(); }));
    }
    // As a front end does that wants a worker to wait.
    ASSERT_EQ(::fcntl(guests[1]->tx().call_fd(), F_SETFL, 0), 0);
    EXPECT_TRUE(guests[1]->front().is_closed());
    EXPECT_TRUE(guests[0]->front().ask(request::get_features));
    EXPECT_TRUE(ports[0]->link_up());
    for (std::size_t i = 0; i < 2; ++i) {
        ports.at(i)->stop();
        ports.at(i).reset();
        ::close(listeners.at(i));
    }
}

TEST(vhost_port, leaves_nothing_behind_when_it_goes_for_good)
{
    lab l{1};
    const std::string kept = l.folder() + "/vm0.rings";
    l.stop(0);
    EXPECT_TRUE(std::filesystem::exists(kept)) << "it may come again";
    l.start(0);
    l.port(0).stop();
    l.port(0).forget();
    EXPECT_FALSE(std::filesystem::exists(kept));
}

class vhost_socket : public testing::Test {
protected:
    [[nodiscard]] ports::result<void> start(settings s)
    {
        s.name = "p";
        s.state_dir = l_.folder();
        auto made = make_port(s, l_.engine().rcu());
        if (!made) {
            return made.error();
        }
        port_ = std::move(*made);
        return port_->start();
    }
    [[nodiscard]] std::string refusal(settings s)
    {
        auto started = start(std::move(s));
        return started ? "started" : started.error().message;
    }
    [[nodiscard]] std::string path() const { return l_.folder() + "/p.sock"; }
    [[nodiscard]] static settings at(std::string path)
    {
        settings s;
        s.socket = std::move(path);
        return s;
    }

    lab l_{1};
    std::unique_ptr<ports::port> port_;
};

TEST_F(vhost_socket, has_the_mode_it_was_given)
{
    settings s = at(path());
    s.mode = 0604;
    s.owner = ::getuid();
    ASSERT_TRUE(start(s));
    struct stat status {};
    ASSERT_EQ(::stat(path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0604U);
    port_.reset();
    EXPECT_NE(::stat(path().c_str(), &status), 0) << "a port that goes takes its socket with it";
}

// Whatever the umask is: who can open it drives the vhost library.
TEST_F(vhost_socket, is_its_owners_alone_unless_told_otherwise)
{
    const auto mode = [this] {
        struct stat status {};
        EXPECT_EQ(::stat(path().c_str(), &status), 0);
        return status.st_mode & 0777;
    };
    for (const mode_t umask : {0U, 022U, 0777U}) {
        const mode_t before = ::umask(umask);
        EXPECT_TRUE(start(at(path())));
        EXPECT_EQ(::umask(before), umask) << "it is put back";
        EXPECT_EQ(mode(), 0600U) << umask;
        port_.reset();
    }
    settings s = at(path());
    s.group = ::getgid();
    ASSERT_TRUE(start(s));
    EXPECT_EQ(mode(), 0660U) << "a group that is named is let in";
}

TEST_F(vhost_socket, takes_over_a_socket_that_nobody_answers_on)
{
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path().copy(address.sun_path, sizeof(address.sun_path) - 1);
        const int old = ::socket(AF_UNIX, SOCK_STREAM, 0);
        ASSERT_EQ(::bind(old, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        ::close(old);
    }
    EXPECT_TRUE(start(at(path())));
}

TEST_F(vhost_socket, leaves_what_is_not_its_own)
{
    std::ofstream{path()} << "a file";
    EXPECT_THAT(refusal(at(path())), HasSubstr(path()));
    EXPECT_TRUE(std::ifstream{path()}.good());
    EXPECT_THAT(refusal(at(l_.socket(0))), HasSubstr(l_.socket(0))) << "another port's";
    front_end still{l_.socket(0)};
    EXPECT_TRUE(still.ask(request::get_features));
}

TEST_F(vhost_socket, leaves_what_was_put_in_its_place)
{
    ASSERT_TRUE(start(at(path())));
    std::filesystem::remove(path());
    std::ofstream{path()} << "a file";
    port_.reset();
    EXPECT_TRUE(std::filesystem::is_regular_file(path()));
    std::filesystem::remove(path());
    ASSERT_TRUE(start(at(path())));
    port_.reset();
    EXPECT_FALSE(std::filesystem::exists(path())) << "its own goes";
}

TEST_F(vhost_socket, connects_to_what_is_or_may_become_a_socket)
{
    settings s = at(path());
    s.client = true;
    EXPECT_TRUE(start(s)) << "nothing is there yet";
    port_.reset();
    s.socket = l_.folder();
    EXPECT_THAT(refusal(s), HasSubstr("exists and is not a socket"));
    s.socket = l_.folder() + "/missing/p.sock";
    EXPECT_THAT(refusal(s), HasSubstr("does not exist"));
}

TEST_F(vhost_socket, says_what_is_wrong_with_a_path)
{
    EXPECT_THAT(refusal(at("")), HasSubstr("1 to 107 bytes"));
    EXPECT_THAT(refusal(at("/" + std::string(107, 'x'))), HasSubstr("108"));
    EXPECT_THAT(refusal(at(l_.folder() + "/missing/p.sock")), HasSubstr("missing"));
    settings s = at(path());
    s.client = true;
    s.mode = 0600;
    EXPECT_THAT(refusal(s), HasSubstr("client mode"));
    s = at(path());
    s.mtu = 67;
    EXPECT_THAT(refusal(s), HasSubstr("68"));
}

TEST_F(vhost_socket, beyond_what_the_library_serves_is_refused_and_all_others_are_served)
{
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit all{.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &all), 0);
    if (all.rlim_cur < 4 * max_sockets) {
        GTEST_SKIP() << "skipped: this process may open only " << all.rlim_cur << " files";
    }
    const auto path_of = [this](std::size_t i) {
        return l_.folder() + "/" + std::to_string(i) + ".sock";
    };
    {
        std::vector<std::unique_ptr<ports::port>> many;
        for (std::size_t i = 1; i < max_sockets; ++i) { // one is the lab's
            ASSERT_TRUE(start(at(path_of(i)))) << i;
            many.push_back(std::move(port_));
        }
        EXPECT_THAT(refusal(at(path_of(max_sockets))),
                    HasSubstr("has " + std::to_string(max_sockets) + " vhost-user ports already"));
        EXPECT_FALSE(std::filesystem::exists(path_of(max_sockets)));
        std::vector<front_end> connected;
        connected.emplace_back(l_.socket(0));
        for (std::size_t i = 1; i < max_sockets; ++i) {
            connected.emplace_back(path_of(i));
        }
        for (front_end& f : connected) { // the library accepts them one after another
            ASSERT_TRUE(f.send(request::get_features));
            ASSERT_TRUE(f.answer(std::chrono::seconds{60}));
        }
    }
    EXPECT_EQ(refusal(at(path())), "started") << "there is room again";
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(vhost_socket, starts_and_stops_again_and_again)
{
    ASSERT_TRUE(start(at(path())));
    port_->stop();
    port_->stop();
    port_.reset();
    const holdings before = holdings::now();
    for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(start(at(path())));
        const front_end f{path()};
        port_->stop();
        port_.reset();
    }
    const holdings after = holdings::now();
    EXPECT_EQ(after.descriptors, before.descriptors);
    EXPECT_EQ(after.mappings, before.mappings);
    EXPECT_EQ(after.dpdk, before.dpdk);
}

} // namespace
} // namespace strait::vhost::test
