// SPDX-License-Identifier: BSD-3-Clause
// Front ends that send what no front end should: each message costs its sender its port, and
// nobody anything else.
#include "hostile_lab.hh"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t set_inflight_fd = 32; // not offered

constexpr auto nothing = [](front_end&) {};
constexpr auto introduced = [](front_end& f) { f.introduce(split_features); };

class hostile_message : public attacked_switch {
protected:
    static bytes header(std::uint32_t request, std::uint32_t flags, std::uint32_t size)
    {
        const std::array<std::uint32_t, 3> words{request, flags, size};
        const auto raw = std::as_bytes(std::span{words});
        return {raw.begin(), raw.end()};
    }
};

// ---- framing ----

TEST_F(hostile_message, short_header)
{
    front_end& f = connect();
    const bytes all = header(1, 1, 0);
    ASSERT_TRUE(f.send_raw(std::span{all}.first(5)));
    EXPECT_TRUE(f.is_closed());
}

TEST_F(hostile_message, payload_missing_because_the_sender_left)
{
    connect().send_raw(header(3, 1, 8));
    intruder_.reset();
    EXPECT_TRUE(answers(connect()));
}

TEST_F(hostile_message, payload_in_two_parts)
{
    front_end& f = connect();
    bytes all = header(static_cast<std::uint32_t>(request::set_features), 1, 8);
    all.resize(16);
    ASSERT_TRUE(f.send_raw(all));
    EXPECT_TRUE(f.is_closed());
}

TEST_F(hostile_message, payload_larger_than_any)
{
    front_end& f = connect();
    ASSERT_TRUE(
        f.send_raw(header(static_cast<std::uint32_t>(request::set_features), 1, 0xffff'fff0)));
    EXPECT_TRUE(f.is_closed());
}

TEST_F(hostile_message, payload_of_another_size_than_its_kind_has)
{
    const std::array<std::byte, 4> half{};
    const std::array<std::byte, 64> much{};
    for (const request r : {request::set_features, request::set_vring_num, request::set_vring_addr,
                            request::set_vring_kick, request::set_vring_base,
                            request::set_vring_enable, request::set_status}) {
        for (const std::span<const std::byte> payload :
             {std::span<const std::byte>{half}, std::span<const std::byte>{much}}) {
            expect_refused("size", introduced, [&](front_end& f, std::uint32_t flags) {
                return f.send(r, payload, {}, flags);
            });
            EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("its payload has"));
        }
    }
}

TEST_F(hostile_message, unknown_kinds)
{
    for (const std::uint32_t kind : {0U, 22U, 33U, 41U, 0x7fff'ffffU, 0xffff'ffffU}) {
        front_end& f = connect();
        ASSERT_TRUE(f.send_raw(header(kind, 1, 0))) << kind;
        EXPECT_TRUE(f.is_closed()) << kind;
    }
}

TEST_F(hostile_message, versions_and_flags_that_do_not_exist)
{
    for (const std::uint32_t flags : {0U, 2U, 3U, 4U, 0xffff'fff7U}) {
        front_end& f = connect();
        f.send(request::get_features, {}, {}, flags);
        f.send(request::set_owner, {}, {}, flags);
    }
}

// Disabled: the library's event thread, which all ports share, waits for the rest in a blocking
// read. docs/threats.md says so; the gate in front of the library comes later.
TEST_F(hostile_message, DISABLED_announced_payload_never_sent)
{
    front_end& f = connect();
    ASSERT_TRUE(f.send_raw(header(static_cast<std::uint32_t>(request::set_features), 1, 8)));
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    front_end neighbour{lab_.socket(1)};
    EXPECT_TRUE(neighbour.is_closed()) << "another port's socket answers nobody";
}

// The operator's way out of it: ports come and go, the one that holds the thread as well.
TEST_F(hostile_message, announced_payload_never_sent_holds_up_no_removal)
{
    ::alarm(60); // what hangs here hangs for ever
    front_end& f = connect();
    ASSERT_TRUE(f.send_raw(header(static_cast<std::uint32_t>(request::set_features), 1, 8)));
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    const auto start = std::chrono::steady_clock::now();
    lab_.stop(1);
    lab_.stop(victim);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{5});
    EXPECT_TRUE(f.is_closed());
    lab_.start(1);
    lab_.start(victim);
    first_.attach(lab_.socket(1));
    ::alarm(0);
}

// Answers that nobody reads fill the socket; the library's thread then waits to write.
TEST_F(hostile_message, answers_never_read_hold_up_no_removal)
{
    ::alarm(60);
    front_end& f = connect();
    ASSERT_EQ(::fcntl(f.fd(), F_SETFL, O_NONBLOCK), 0);
    const auto ask = header(static_cast<std::uint32_t>(request::get_features), 1, 0);
    // Both directions are full when no question has been taken for a while.
    for (int idle = 0; idle < 20;) {
        idle = f.send_raw(ask) ? 0 : idle + 1;
        if (idle != 0) {
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
        }
    }
    const auto start = std::chrono::steady_clock::now();
    lab_.stop(1);
    lab_.stop(victim);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{5});
    lab_.start(1);
    lab_.start(victim);
    first_.attach(lab_.socket(1));
    ::alarm(0);
}

// Disabled: the library hangs up on a number of rings that it cannot have before anyone is asked,
// and forgets the descriptor that came with it.
TEST_F(hostile_message, DISABLED_descriptors_of_a_message_to_no_ring)
{
    const std::size_t open = settled();
    const int file = ::eventfd(0, EFD_CLOEXEC);
    constexpr std::array<std::uint64_t, 3> no_queues{4096, 0, 0};
    front_end& f = connect();
    f.send(static_cast<request>(set_inflight_fd), std::as_bytes(std::span{no_queues}),
           std::span{&file, 1});
    EXPECT_TRUE(f.is_closed());
    ::close(file);
    intruder_.reset();
    EXPECT_TRUE(eventually([&] { return holdings::now().descriptors <= open; }));
}

TEST_F(hostile_message, idle_connections)
{
    // One stays, for a front end may take its time; the others are refused, and none takes
    // anything from the other ports' sockets.
    std::vector<front_end> idle;
    front_end& kept = connect();
    const std::size_t open = settled();
    for (int i = 0; i < 1200; ++i) {
        front_end f{lab_.socket(victim)};
        if (!f.is_closed()) {
            idle.push_back(std::move(f));
        }
    }
    EXPECT_TRUE(idle.empty());
    EXPECT_EQ(settled(), open);
    EXPECT_TRUE(answers(kept));
    second_.detach();
    ASSERT_TRUE(eventually([&] { return lab_.detail(2, "connected") == "false"; }));
    second_.attach(lab_.socket(2)); // another port takes connections as before
}

// ---- descriptors ----

TEST_F(hostile_message, surplus_descriptors)
{
    const int file = ::memfd_create("surplus", MFD_CLOEXEC);
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{2}, std::size_t{8}, std::size_t{9}, std::size_t{253}}) {
        SCOPED_TRACE(count);
        const std::vector<int> fds(count, file);
        for (const request r : {request::get_features, request::set_owner, request::set_vring_num,
                                request::set_vring_call, request::set_mem_table}) {
            front_end& f = connect();
            const std::size_t open = settled();
            const vring_state payload{0, 64};
            f.send(r, payload, fds);
            // Sent away or not: what came with it does not stay.
            if (f.is_closed(std::chrono::milliseconds{20})) {
                intruder_.reset();
                EXPECT_TRUE(eventually([&] { return holdings::now().descriptors < open; }))
                    << static_cast<unsigned>(r);
            } else {
                EXPECT_TRUE(eventually([&] { return holdings::now().descriptors == open; }))
                    << static_cast<unsigned>(r) << ": " << holdings::now().descriptors << " of "
                    << open;
            }
        }
    }
    ::close(file);
}

TEST_F(hostile_message, missing_descriptors)
{
    for (const request r : {request::set_vring_call, request::set_vring_kick}) {
        expect_refused("none", introduced, [&](front_end& f, std::uint32_t flags) {
            return f.send(r, std::uint64_t{0}, {}, flags);
        });
    }
    const memory_region region{0x1000, 4096, 0x1000, 0};
    const bytes table = front_end::memory_table({&region, 1});
    expect_refused("no memory", introduced, [&](front_end& f, std::uint32_t flags) {
        return f.send(request::set_mem_table, std::span<const std::byte>{table}, {}, flags);
    });
}

// A worker writes to the call descriptor: one that can make it wait makes every port wait.
TEST_F(hostile_message, call_and_kick_descriptors_of_the_wrong_kind)
{
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const int file = ::memfd_create("no eventfd", MFD_CLOEXEC);
    const int folder = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const int fd : {pipe_ends[1], pair[0], file, folder}) {
        for (const request r : {request::set_vring_call, request::set_vring_kick}) {
            expect_refused("kind", introduced, [&](front_end& f, std::uint32_t flags) {
                return f.send(r, std::uint64_t{0}, std::span{&fd, 1}, flags);
            });
            EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("no eventfd"));
        }
    }
    for (const int fd : {pipe_ends[0], pipe_ends[1], pair[0], pair[1], file, folder}) {
        ::close(fd);
    }
}

// ---- rings ----

TEST_F(hostile_message, ring_indices_that_do_not_exist)
{
    for (const std::uint32_t index : {2U, 3U, 255U}) {
        for (const request r : {request::set_vring_num, request::set_vring_base,
                                request::set_vring_enable, request::get_vring_base}) {
            expect_refused("index", introduced, [&](front_end& f, std::uint32_t flags) {
                return f.send(r, vring_state{index, 64}, {}, flags);
            });
            EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("there is no ring"));
        }
    }
    for (const std::uint32_t index : {256U, 0xffffU, 0xffff'ffffU}) {
        for (const request r : {request::set_vring_num, request::set_vring_addr}) {
            front_end& f = connect();
            f.introduce(split_features);
            f.send(r, vring_address{.index = index,
                                    .flags = 0,
                                    .descriptors = 0,
                                    .used = 0,
                                    .available = 0,
                                    .log = 0});
            EXPECT_TRUE(f.is_closed());
        }
    }
}

TEST_F(hostile_message, ring_sizes)
{
    for (const std::uint32_t size : {0U, 3U, 65U, 32769U, 65535U, 0xffff'ffffU}) {
        SCOPED_TRACE(size);
        for (const bool packed : {false, true}) {
            intruder_.reset();
            eventually([&] { return lab_.detail(victim, "connected") == "false"; });
            guest g{lab_.socket(victim), {.features = packed ? packed_features : split_features}};
            ASSERT_TRUE(eventually([&] { return lab_.port(victim).link_up(); }));
            g.front().try_out(request::set_vring_num, vring_state{0, size});
            ASSERT_TRUE(answers(g.front()));
            const std::string served = lab_.detail(victim, "guest_rx_ring_size");
            if (packed && (size == 3 || size == 65)) {
                EXPECT_EQ(served, std::to_string(size)) << "any size will do";
            } else if (size > 32768) {
                EXPECT_EQ(served, "64") << "the message had no effect";
            } else {
                EXPECT_EQ(served, "0");
                EXPECT_NE(lab_.detail(victim, "obstacle"), "");
            }
        }
    }
}

// A ring as large as virtio allows does not fit the memory it is said to lie in.
TEST_F(hostile_message, ring_sizes_beyond_the_memory)
{
    for (const bool packed : {false, true}) {
        guest g{lab_.socket(victim),
                {.features = packed ? packed_features : split_features, .memory = 256 * 1024}};
        ASSERT_TRUE(eventually([&] { return lab_.port(victim).link_up(); }));
        EXPECT_EQ(g.front().try_out(request::set_vring_num, vring_state{0, 32768}), 0U);
        ASSERT_TRUE(answers(g.front()));
        EXPECT_EQ(lab_.detail(victim, "guest_rx_ring_size"), "0");
        EXPECT_THAT(lab_.detail(victim, "obstacle"), HasSubstr("one memory region"));
        g.detach();
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
    }
}

TEST_F(hostile_message, packed_rings_that_start_beyond_their_end)
{
    guest g{lab_.socket(victim), {.features = packed_features}};
    ASSERT_TRUE(eventually([&] { return lab_.port(victim).link_up(); }));
    EXPECT_EQ(g.front().try_out(request::set_vring_base, vring_state{0, 0x7fff}), 0U);
    ASSERT_TRUE(answers(g.front()));
    EXPECT_THAT(lab_.detail(victim, "obstacle"), HasSubstr("start at descriptor 32767 of 64"));
}

// Where such a ring goes on matters to nobody, as long as it is inside.
TEST_F(hostile_message, packed_rings_that_shrink_below_their_position)
{
    guest g{lab_.socket(victim), {.features = packed_features}};
    ASSERT_TRUE(talk(g, 9, first_, 1, 40));
    for (const std::string ring : {"guest_rx", "guest_tx"}) {
        ASSERT_GE(std::stoi(lab_.detail(victim, ring + "_position")), 16);
        const vring_state shrunk{ring == "guest_rx" ? 0U : 1U, 16};
        ASSERT_EQ(g.front().try_out(request::set_vring_num, shrunk), 0U);
        ASSERT_TRUE(answers(g.front()));
        EXPECT_LT(std::stoi(lab_.detail(victim, ring + "_position")), 16);
    }
}

TEST_F(hostile_message, addresses_before_memory)
{
    expect_refused("addresses", introduced, [](front_end& f, std::uint32_t flags) {
        return f.send(request::set_vring_addr,
                      vring_address{.index = 0,
                                    .flags = 0,
                                    .descriptors = 0x1000,
                                    .used = 0x2000,
                                    .available = 0x3000,
                                    .log = 0},
                      {}, flags);
    });
}

TEST_F(hostile_message, enabled_and_kicked_before_anything_else)
{
    front_end& f = connect();
    f.introduce(split_features);
    const int event = ::eventfd(0, EFD_CLOEXEC);
    for (std::uint32_t ring = 0; ring < 2; ++ring) {
        f.enable(ring, true);
        f.try_out(request::set_vring_call, std::uint64_t{ring}, std::span{&event, 1});
        f.try_out(request::set_vring_kick, std::uint64_t{ring}, std::span{&event, 1});
    }
    EXPECT_TRUE(answers(f));
    EXPECT_FALSE(lab_.port(victim).link_up());
    ::close(event);
}

TEST_F(hostile_message, addresses_everywhere)
{
    std::optional<guest> g{lab_.socket(victim)};
    std::mt19937_64 random{5}; // NOLINT: the same numbers each time
    const auto base = g->ram().regions()[0];
    start_flood();
    for (int i = 0; i < 500; ++i) {
        const auto somewhere = [&]() -> std::uint64_t {
            switch (pick(random, 0, 3)) {
            case 0:
                return random();
            case 1:
                return base.address + base.size - pick(random, 0, 4096);
            case 2:
                return base.address - pick(random, 0, 4096);
            default:
                return base.address + pick(random, 0, base.size);
            }
        };
        const vring_address address{.index = static_cast<std::uint32_t>(i % 2),
                                    .flags = 0,
                                    .descriptors = somewhere() & ~15ULL,
                                    .used = somewhere() & ~3ULL,
                                    .available = somewhere() & ~1ULL,
                                    .log = random()};
        if (!g->front().try_out(request::set_vring_addr, address)) {
            // What lay there made no ring.
            g->detach();
            ASSERT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
            g.emplace(lab_.socket(victim));
        }
    }
    stop_flood();
}

// ---- features ----

TEST_F(hostile_message, features_that_were_not_offered)
{
    for (const std::uint64_t features :
         {~std::uint64_t{0}, split_features | feature_bits({14}),
          split_features | feature_bits({33}), split_features | feature_bits({22})}) {
        expect_refused("features", nothing, [&](front_end& f, std::uint32_t flags) {
            return f.send(request::set_features, features, {}, flags);
        });
    }
    expect_refused("protocol features", nothing, [&](front_end& f, std::uint32_t flags) {
        return f.send(request::set_protocol_features, ~std::uint64_t{0}, {}, flags);
    });
}

TEST_F(hostile_message, features_changed_while_running)
{
    for (const bool packed : {false, true}) {
        SCOPED_TRACE(packed);
        guest g{lab_.socket(victim), {.features = packed ? packed_features : split_features}};
        ASSERT_TRUE(talk(g, 9, first_, 1));
        EXPECT_EQ(
            g.front().try_out(request::set_features, packed ? split_features : packed_features),
            1U);
        EXPECT_TRUE(answers(g.front()));
        EXPECT_TRUE(talk(g, 9, first_, 1)) << "what was agreed before holds";
        g.detach();
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
    }
}

TEST_F(hostile_message, kinds_that_belong_to_features_not_offered)
{
    constexpr std::uint32_t beyond_any = 64;
    const int file = ::memfd_create("shared", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(file, 1 << 20), 0);
    // As the size of a region for buffers in flight, with its numbers.
    const std::array<std::uint64_t, 4> words{1 << 20, 0, 2 | (256 << 16), 0};
    const auto payload = std::as_bytes(std::span{words});
    const auto offered = [](request r) {
        return (r >= request::get_features && r <= request::net_set_mtu) ||
               r == request::set_status || r == request::get_status;
    };
    std::size_t open = 0;
    for (std::uint32_t kind = 0; kind < beyond_any; ++kind) {
        const auto r = static_cast<request>(kind);
        if (offered(r)) {
            continue;
        }
        SCOPED_TRACE(kind);
        for (const std::size_t size : {std::size_t{0}, sizeof(std::uint64_t), payload.size()}) {
            if (kind == set_inflight_fd && size < payload.size()) {
                continue; // see descriptors_of_a_message_to_no_ring
            }
            for (const bool with_file : {false, true}) {
                for (const std::uint32_t flags : {1U, 1U | need_reply}) {
                    front_end& f = connect();
                    introduced(f);
                    ASSERT_TRUE(f.send(r, payload.first(size),
                                       with_file ? std::span{&file, 1} : std::span<const int>{},
                                       flags));
                    const auto answer = f.answer(); // none when it was closed
                    EXPECT_TRUE(!answer || (answer->size() == sizeof(std::uint64_t) &&
                                            (*answer)[0] != std::byte{0}));
                }
            }
        }
        ASSERT_FALSE(testing::Test::HasFailure());
        intruder_.reset();
        open = open == 0 ? settled() : open; // after the first kind
    }
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("not offered"));
    EXPECT_TRUE(eventually([&] { return holdings::now().descriptors <= open; }))
        << holdings::now().descriptors << " open, " << open << " before";
    EXPECT_TRUE(answers(connect()));
    ::close(file);
}

// ---- messages while packets flow ----

TEST_F(hostile_message, every_interrupting_message_in_the_middle_of_bursts)
{
    for (const bool packed : {false, true}) {
        SCOPED_TRACE(packed);
        start_flood();
        guest g{lab_.socket(victim), {.features = packed ? packed_features : split_features}};
        for (int i = 0; i < 100; ++i) {
            g.front().share(g.ram());
            for (std::uint32_t ring = 0; ring < 2; ++ring) {
                const driver& d = ring == 0 ? g.rx() : g.tx();
                const int call = d.call_fd();
                ASSERT_EQ(g.front().try_out(request::set_vring_call, std::uint64_t{ring},
                                            std::span{&call, 1}),
                          0U);
                g.front().enable(ring, false);
                g.front().enable(ring, true);
            }
            g.receive();
        }
        stop_flood();
        EXPECT_TRUE(talk(g, 9, first_, 1));
        g.detach();
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
    }
}

TEST_F(hostile_message, stopped_and_left_in_the_middle_of_bursts)
{
    start_flood();
    for (int i = 0; i < 30; ++i) {
        guest g{lab_.socket(victim), {.features = i % 2 == 0 ? split_features : packed_features}};
        eventually([&] { return !g.receive().empty(); });
        if (i % 3 == 0) {
            g.front().send(request::get_vring_base, vring_state{1, 0});
        } else if (i % 3 == 1) {
            g.front().send(request::reset_owner);
        }
        g.detach();
        ASSERT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
    }
}

// An eventfd at its limit makes a writer wait, unless it may not: the worker would.
TEST_F(hostile_message, call_descriptors_at_their_limit)
{
    guest g{lab_.socket(victim)};
    for (std::uint32_t ring = 0; ring < 2; ++ring) {
        const int full = ::eventfd(0, EFD_CLOEXEC);
        ASSERT_EQ(::eventfd_write(full, 0xffff'ffff'ffff'fffeULL), 0);
        ASSERT_EQ(
            g.front().try_out(request::set_vring_call, std::uint64_t{ring}, std::span{&full, 1}),
            0U);
        ::close(full);
    }
    EXPECT_TRUE(talk(g, 9, first_, 1));
    EXPECT_NE(lab_.detail(victim, "kicks"), "0") << "nothing was ever written to them";
}

// A worker that is about to sleep reads it, once: it would never be done with this one.
TEST_F(hostile_message, a_kick_descriptor_that_never_runs_dry)
{
    guest g{lab_.socket(victim)};
    const int kick = ::eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    ASSERT_EQ(::eventfd_write(kick, 0xffff'ffff'ffff'fffeULL), 0);
    ASSERT_EQ(g.front().try_out(request::set_vring_kick, std::uint64_t{1}, std::span{&kick, 1}),
              0U);
    for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(talk(first_, 1, second_, 2));
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    EXPECT_TRUE(talk(g, 9, first_, 1)) << "which costs it nothing, for its worker never sleeps";
    ::close(kick);
}

// The front end shares the descriptor's flags, and can take back that it does not block.
TEST_F(hostile_message, call_descriptors_that_are_made_to_block)
{
    guest g{lab_.socket(victim)};
    const int full = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (std::uint32_t ring = 0; ring < 2; ++ring) {
        ASSERT_EQ(
            g.front().try_out(request::set_vring_call, std::uint64_t{ring}, std::span{&full, 1}),
            0U);
    }
    // The rings are published after the answer, the descriptor set not to block, the guest told.
    std::this_thread::sleep_for(std::chrono::milliseconds{300});
    eventfd_t told = 0;
    static_cast<void>(::eventfd_read(full, &told));
    ASSERT_EQ(::eventfd_write(full, 0xffff'ffff'ffff'fffeULL), 0);
    ASSERT_EQ(::fcntl(full, F_SETFL, 0), 0);
    start_flood(); // the worker wants to tell this guest, too
    EXPECT_TRUE(g.front().is_closed());
    stop_flood();
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("made a call descriptor block"));
    EXPECT_TRUE(talk(first_, 1, second_, 2));
    ::close(full);
}

// The flag is changed between any two looks at it.
TEST_F(hostile_message, call_descriptors_that_are_made_to_block_all_the_time)
{
    guest g{lab_.socket(victim)};
    std::atomic<bool> stop{false};
    std::thread attacker{[&] {
        while (!stop.load()) {
            ::fcntl(g.tx().call_fd(), F_SETFL, 0);
            ::fcntl(g.rx().call_fd(), F_SETFL, 0);
        }
    }};
    EXPECT_TRUE(g.front().is_closed());
    // Looked at for as long as the guest is not gone, which may be a while.
    std::this_thread::sleep_for(std::chrono::seconds{2});
    EXPECT_TRUE(talk(first_, 1, second_, 2));
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("made a call descriptor block"));
    front_end next{lab_.socket(victim)};
    EXPECT_TRUE(answers(next));
    stop.store(true);
    attacker.join();
}

} // namespace
} // namespace strait::vhost::test
