// SPDX-License-Identifier: BSD-3-Clause
// The simulated hypervisor under processes that live, die in the middle of something, or talk
// nonsense.
#include "lab.hh"

#include "ports/xen-netback/simulated/wire.hh"

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <random>
#include <string_view>
#include <thread>

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated::test {
namespace {

using dataplane::remote_copy;
using dataplane::remote_span;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using namespace std::chrono_literals;

constexpr domain_id tools_domain{0};
constexpr domain_id guest_domain{1};
constexpr domain_id backend_domain{5};

std::uint32_t number(std::string_view text)
{
    std::uint32_t n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n);
    return n;
}

grant_status pull(xen::hypervisor& h, domain_id owner, grant_ref reference, std::byte& to)
{
    auto piece = remote_copy::pull(
        remote_span{static_cast<std::uint32_t>(reference), 0, static_cast<std::uint16_t>(owner), 1},
        &to);
    h.copy({&piece, 1});
    return piece.result();
}

// ---- what the other processes do ----

[[noreturn]] void stay()
{
    for (;;) {
        ::pause();
    }
}

void say(const std::string& text)
{
    (void)std::printf("%s\n", text.c_str());
    (void)std::fflush(stdout);
}

// A guest with a page granted to domain 0, an offered channel and nodes of its own.
int be_guest(const std::string& socket)
{
    auto g = simulated_guest::connect(socket, guest_domain, small_domain).value();
    std::byte* const page = g->allocate().value();
    std::memcpy(page, "alive", 6);
    const auto reference = g->grant(tools_domain, page);
    const auto channel = g->offer(tools_domain).value();
    (void)g->store().write("data/here", "1").has_value();
    say(std::to_string(static_cast<std::uint32_t>(*reference)) + " " +
        std::to_string(static_cast<std::uint32_t>(channel.port)));
    stay();
}

// Of a domain that is there: fills all that it may have, and opens transactions.
int be_hog(const std::string& socket)
{
    auto h = simulated_hypervisor::connect(socket, backend_domain).value();
    int watches = 0;
    while (h->store().watch("x", std::to_string(watches)).has_value()) {
        ++watches;
    }
    int transactions = 0;
    for (auto t = h->store().begin(); t.has_value(); t = h->store().begin()) {
        (void)h->store().write("data/never", "1", *t).has_value();
        ++transactions;
    }
    say(std::to_string(watches) + " " + std::to_string(transactions));
    stay();
}

// Maps and binds what a guest has, and copies without end.
int be_backend(const std::string& socket, grant_ref reference, event_port port)
{
    auto h = simulated_hypervisor::connect(socket, tools_domain).value();
    const std::array<grant_ref, 2> twice{reference, reference};
    const auto mapped = h->map(guest_domain, twice).value();
    const auto channel = h->bind(guest_domain, port).value();
    std::byte to{};
    bool said = false;
    for (;;) {
        if (pull(*h, guest_domain, reference, to) != grant_status::done) {
            return 1;
        }
        if (!said) {
            said = true;
            say("copying");
        }
    }
}

int run_child(const std::vector<std::string>& words)
{
    if (words.at(0) == "guest") {
        return be_guest(words.at(1));
    }
    if (words.at(0) == "hog") {
        return be_hog(words.at(1));
    }
    return be_backend(words.at(1), grant_ref{number(words.at(2))}, event_port{number(words.at(3))});
}

// What a child that is a guest has to offer.
struct offer {
    grant_ref reference;
    event_port port;
};

offer offer_of(child& guest)
{
    const std::string line = guest.line();
    const auto blank = line.find(' ');
    return {grant_ref{number(line.substr(0, blank))}, event_port{number(line.substr(blank + 1))}};
}

// ---- processes that die ----

TEST(a_guest_that_is_killed, ends_its_domain)
{
    lab l;
    auto tools = l.tools();
    auto h = l.hypervisor();
    child guest{{"guest", l.socket()}};
    const auto its = offer_of(guest);
    ASSERT_EQ(l.server().domains(), 1U);
    const auto page = h->map(guest_domain, {&its.reference, 1}).value();
    const auto channel = h->bind(guest_domain, its.port).value();
    ASSERT_TRUE(h->store().watch("@releaseDomain", "end").has_value());
    ASSERT_TRUE(h->store().watch("/local/domain/1/data/here", "node").has_value());
    (void)all_events(h->store());

    guest.kill();
    EXPECT_TRUE(eventually([&] { return l.server().domains() == 0; }));
    EXPECT_THAT(all_events(h->store()), Contains(Pair("@releaseDomain", "end")));
    std::byte to{};
    EXPECT_EQ(pull(*h, guest_domain, its.reference, to), grant_status::bad_domain);
    EXPECT_STREQ(static_cast<const char*>(page->base()), "alive") << "mapped pages stay";
    channel->notify();
    EXPECT_TRUE(h->map(guest_domain, {&its.reference, 1}).has_error());
    EXPECT_TRUE(h->bind(guest_domain, its.port).has_error());
}

TEST(a_guest_that_is_killed, takes_its_nodes_along)
{
    lab l;
    auto tools = l.tools();
    ASSERT_TRUE(tools->create_domain(guest_domain, "one", small_domain).has_value());
    child guest{{"guest", l.socket()}};
    (void)offer_of(guest);
    auto& store = tools->store();
    ASSERT_TRUE(store.watch("/local/domain/1/data/here", "node").has_value());
    EXPECT_EQ(next_event(store)->token, "node");
    EXPECT_EQ(store.read("/local/domain/1/data/here").value(), "1");
    guest.kill();
    EXPECT_EQ(next_event(store)->path, "/local/domain/1/data/here");
    EXPECT_EQ(store.read("/local/domain/1/data/here").value(), std::nullopt);
    EXPECT_EQ(store.read("/local/domain/1/name").value(), "one") << "the tool stack's own";
}

TEST(a_guest_that_is_killed, can_come_again_under_its_number)
{
    lab l;
    auto h = l.hypervisor();
    for (int i = 0; i < 3; ++i) {
        child guest{{"guest", l.socket()}};
        const auto its = offer_of(guest);
        std::byte to{};
        EXPECT_EQ(pull(*h, guest_domain, its.reference, to), grant_status::bad_domain)
            << "the new domain was not attached yet";
        ASSERT_TRUE(h->attach(guest_domain).has_value());
        EXPECT_EQ(pull(*h, guest_domain, its.reference, to), grant_status::done);
        EXPECT_EQ(to, std::byte{'a'});
        ASSERT_TRUE(h->bind(guest_domain, its.port).has_value());
        guest.kill();
        EXPECT_TRUE(eventually([&] { return l.server().domains() == 0; }));
    }
}

TEST(a_backend_that_is_killed, gives_back_what_it_used)
{
    lab l;
    auto guest = l.guest(guest_domain);
    std::byte* const page = guest->allocate().value();
    const auto channel = guest->offer(tools_domain).value();
    const auto reference = guest->grant(tools_domain, page).value();
    for (int i = 0; i < 10; ++i) {
        child backend{{"backend", l.socket(), std::to_string(static_cast<std::uint32_t>(reference)),
                       std::to_string(static_cast<std::uint32_t>(channel.port))}};
        ASSERT_EQ(backend.line(), "copying");
        EXPECT_FALSE(guest->end(reference)) << "it is mapped";
        backend.kill(); // amid a copy, quite likely
        ASSERT_TRUE(eventually([&] { return guest->end(reference); })) << i;
        guest->regrant(reference, tools_domain, page);
    }
    EXPECT_TRUE(guest->revoke(reference));
    auto next = l.hypervisor();
    EXPECT_TRUE(next->bind(guest_domain, channel.port).has_value()) << "the channel is free again";
}

TEST(a_backend_that_is_killed, leaves_another_of_its_domain_what_that_uses)
{
    lab l;
    auto guest = l.guest(guest_domain);
    const auto channel = guest->offer(tools_domain).value();
    const auto reference = guest->grant(tools_domain, guest->allocate().value()).value();
    auto other = l.hypervisor();
    auto mapped = other->map(guest_domain, {&reference, 1}).value();
    child backend{{"backend", l.socket(), std::to_string(static_cast<std::uint32_t>(reference)),
                   std::to_string(static_cast<std::uint32_t>(channel.port))}};
    ASSERT_EQ(backend.line(), "copying");
    ASSERT_EQ(l.server().connections(), 3U);
    backend.kill();
    ASSERT_TRUE(eventually([&] { return l.server().connections() == 2; }));
    EXPECT_EQ(grant_entry::uses(guest->memory().entry(static_cast<std::uint32_t>(reference))), 1U);
    EXPECT_FALSE(guest->end(reference)) << "the other one's mapping is still there";
    mapped.reset();
    EXPECT_TRUE(guest->end(reference));
}

TEST(a_process_that_is_killed, ends_with_its_watches_and_transactions)
{
    lab l;
    auto tools = l.tools();
    ASSERT_TRUE(tools->create_domain(backend_domain, "driver", small_domain).has_value());
    auto other = l.hypervisor(backend_domain);
    for (int i = 0; i < 3; ++i) {
        child hog{{"hog", l.socket()}};
        ASSERT_EQ(hog.line(), "129 11") << "all that a domain may have, each time";
        EXPECT_TRUE(other->store().watch("x", "mine").has_error());
        EXPECT_TRUE(other->store().begin().has_error());
        hog.kill();
        ASSERT_TRUE(eventually([&] { return l.server().connections() == 2; }));
    }
    EXPECT_TRUE(other->store().watch("x", "mine").has_value());
    EXPECT_EQ(other->store().read("data/never").value(), std::nullopt);
}

TEST(a_domain, lives_as_long_as_one_of_its_processes)
{
    lab l;
    auto one = l.guest(guest_domain);
    auto two = l.guest(guest_domain);
    const auto reference = two->grant(tools_domain, two->allocate().value()).value();
    one.reset();
    ASSERT_TRUE(eventually([&] { return l.server().connections() == 1; }));
    EXPECT_TRUE(two->alive());
    auto h = l.hypervisor();
    EXPECT_TRUE(h->map(guest_domain, {&reference, 1}).has_value());
    two.reset();
    EXPECT_TRUE(eventually([&] { return l.server().domains() == 0; }));
}

TEST(a_domain, made_by_the_tool_stack_lives_on_without_a_process_until_its_first_one_ends)
{
    lab l;
    auto tools = l.tools();
    ASSERT_TRUE(tools->create_domain(guest_domain, "one", small_domain).has_value());
    EXPECT_EQ(l.server().domains(), 1U);
    l.guest(guest_domain).reset();
    EXPECT_TRUE(eventually([&] { return l.server().domains() == 0; }));
}

TEST(a_process_of_domain_0, takes_its_own_grants_along)
{
    lab l;
    auto backend = l.hypervisor(tools_domain);
    auto granting = l.guest(tools_domain);
    const auto reference = granting->grant(tools_domain, granting->allocate().value()).value();
    ASSERT_TRUE(backend->attach(tools_domain).has_value());
    std::byte to{};
    EXPECT_EQ(pull(*backend, tools_domain, reference, to), grant_status::done);
    granting.reset();
    EXPECT_TRUE(eventually([&] { return l.server().connections() == 1; }));
    EXPECT_EQ(pull(*backend, tools_domain, reference, to), grant_status::general_error);
    // What was given back is given out again.
    auto again = l.guest(tools_domain);
    EXPECT_EQ(again->grant(tools_domain, again->allocate().value()), reference);
}

TEST(ending_a_domain, is_for_domain_0_alone)
{
    lab l;
    auto tools = l.tools();
    auto guest = l.guest(guest_domain);
    auto other = l.guest(domain_id{2});
    const auto ask = [&](domain_id as, wire::request what) {
        auto c = client::connect(l.socket(), {as}).value();
        wire::writer w;
        w.add(what).add(domain_id{2});
        if (what == wire::request::create_domain) {
            w.add(small_domain.grants).add(small_domain.pages);
        }
        return c->ask(w).code;
    };
    EXPECT_EQ(ask(guest_domain, wire::request::destroy_domain), EPERM);
    EXPECT_EQ(ask(guest_domain, wire::request::create_domain), EPERM);
    EXPECT_EQ(ask(tools_domain, wire::request::create_domain), EEXIST);
    EXPECT_TRUE(other->alive());
    EXPECT_EQ(ask(tools_domain, wire::request::destroy_domain), 0);
    EXPECT_FALSE(other->alive());
    EXPECT_EQ(ask(tools_domain, wire::request::destroy_domain), ESRCH);
    EXPECT_TRUE(guest->alive());
}

// ---- nonsense ----

class raw_client {
public:
    explicit raw_client(const std::string& path)
        : fd_{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)}
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        connected_ =
            ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
    [[nodiscard]] bool connected() const noexcept { return connected_; }
    int send(std::span<const std::byte> message) const
    {
        return wire::send(fd_.get(), message, {}, false);
    }
    int send(const wire::writer& w) const { return send(w.bytes()); }
    // Whether the server hangs up, within a few seconds; answers are thrown away.
    [[nodiscard]] bool hung_up() const
    {
        std::vector<std::byte> message;
        for (;;) {
            std::array<file_descriptor, wire::most_descriptors> unwanted;
            pollfd ready{.fd = fd_.get(), .events = POLLIN, .revents = 0};
            if (::poll(&ready, 1, 5000) != 1) {
                return false;
            }
            const int code = wire::receive(fd_.get(), message, unwanted, true);
            if (code != 0 || message.empty()) {
                return true;
            }
        }
    }
    bool greet(domain_id as) const
    {
        wire::writer w;
        w.add(wire::request::hello).add(wire::version).add(as).add(true);
        w.add(small_domain.grants).add(small_domain.pages);
        std::vector<std::byte> message;
        std::array<file_descriptor, wire::most_descriptors> events;
        return send(w) == 0 && wire::receive(fd_.get(), message, events, false) == 0 &&
               wire::reader{message}.number<std::uint32_t>() == 0;
    }

private:
    file_descriptor fd_;
    bool connected_{false};
};

TEST(nonsense, costs_its_own_connection)
{
    lab l;
    auto good = l.hypervisor();
    std::vector<wire::writer> all(8);
    all[0].add(std::uint32_t{0xffff'ffff});
    all[1].add(wire::request::read).add(transaction::none).add("/"); // before hello
    all[2].add(wire::request::hello).add(std::uint32_t{1});          // another version, and short
    all[3].add(wire::request::hello).add(wire::version + 1).add(domain_id{1}).add(true);
    all[3].add(small_domain.grants).add(small_domain.pages);
    all[4].add(std::uint8_t{0});
    all[5].add(wire::request::hello).add(wire::version).add(domain_id{1}).add(true);
    all[5].add(small_domain.grants).add(small_domain.pages).add(std::uint8_t{0}); // and too long
    all[6].append({}).add("x");
    all[7].add(std::uint64_t{0}).add(std::uint64_t{0});
    for (const auto& message : all) {
        const raw_client bad{l.socket()};
        ASSERT_EQ(bad.send(message), 0);
        EXPECT_TRUE(bad.hung_up());
    }
    const raw_client longest{l.socket()};
    ASSERT_EQ(longest.send(std::vector<std::byte>(wire::longest + 1)), 0);
    EXPECT_TRUE(longest.hung_up());
    EXPECT_EQ(l.server().connections(), 1U);
    EXPECT_EQ(l.server().domains(), 0U);
    EXPECT_TRUE(good->store().write("/a", "1").has_value());
}

TEST(nonsense, of_a_known_client_costs_its_own_connection)
{
    lab l;
    auto good = l.hypervisor();
    const auto ends_it = [&l](auto... parts) {
        const raw_client bad{l.socket()};
        EXPECT_TRUE(bad.greet(guest_domain));
        wire::writer w;
        (w.add(parts), ...);
        EXPECT_EQ(bad.send(w), 0);
        return bad.hung_up();
    };
    using enum wire::request;
    constexpr std::uint32_t many = 0xffff'ffff;
    EXPECT_TRUE(ends_it(hello, wire::version, guest_domain, true, std::uint32_t{512}, many));
    EXPECT_TRUE(ends_it(map, guest_domain, std::uint32_t{0}));
    EXPECT_TRUE(ends_it(map, guest_domain, many));
    EXPECT_TRUE(ends_it(map, guest_domain, std::uint32_t{1})) << "it has no reference";
    EXPECT_TRUE(ends_it(unmap));
    EXPECT_TRUE(ends_it(bind, guest_domain));
    EXPECT_TRUE(ends_it(read, transaction::none, many));
    EXPECT_TRUE(ends_it(write, transaction::none, std::string_view{"/a"}));
    EXPECT_TRUE(ends_it(set_permissions, transaction::none, std::string_view{"/a"}, many));
    EXPECT_TRUE(ends_it(set_permissions, transaction::none, std::string_view{"/a"},
                        std::uint32_t{1}, guest_domain, std::uint8_t{4}))
        << "there is no such access";
    EXPECT_TRUE(ends_it(set_faults, many));
    EXPECT_TRUE(ends_it(std::uint32_t{1000}));
    EXPECT_TRUE(eventually([&] { return l.server().connections() == 1; }));
    EXPECT_EQ(l.server().domains(), 0U);
}

TEST(nonsense, at_random_ends_nobody_else)
{
    lab l;
    auto good = l.hypervisor();
    std::mt19937 random{7};
    for (int i = 0; i < 300; ++i) {
        const raw_client bad{l.socket()};
        ASSERT_TRUE(bad.connected());
        if ((i & 1) != 0) {
            ASSERT_TRUE(bad.greet(guest_domain));
        }
        for (int n = 0; n < 8; ++n) {
            wire::writer w;
            w.add(static_cast<std::uint32_t>(random() % 28));
            for (auto left = random() % 12; left > 0; --left) {
                w.add(static_cast<std::uint32_t>((random() & 1U) != 0 ? random() : random() % 16));
            }
            if (bad.send(w) != 0) {
                break;
            }
        }
    }
    EXPECT_TRUE(good->store().write("/a", "1").has_value());
    EXPECT_TRUE(eventually([&] { return l.server().connections() == 1; }));
}

TEST(a_request_that_cannot_be, is_refused_with_a_sentence)
{
    lab l;
    auto c = client::connect(l.socket(), {guest_domain, true, small_domain}).value();
    const auto refused = [&c](auto... parts) {
        wire::writer w;
        (w.add(parts), ...);
        const auto a = c->ask(w);
        EXPECT_NE(a.code, 0);
        return a.why;
    };
    using enum wire::request;
    constexpr std::uint32_t none = 999'999;
    EXPECT_THAT(refused(memory, domain_id{77}), HasSubstr("domain 77"));
    EXPECT_THAT(refused(allocate_pages, std::uint32_t{0}), HasSubstr("0 free pages"));
    EXPECT_THAT(refused(allocate_pages, none), HasSubstr("999999 free pages"));
    EXPECT_THAT(refused(allocate_grants, none), HasSubstr("999999 free grants"));
    EXPECT_THAT(refused(free_pages, std::uint32_t{1}, std::uint32_t{1}),
                HasSubstr("not allocated"));
    EXPECT_THAT(refused(unmap, none), HasSubstr("no such mapping"));
    EXPECT_THAT(refused(unbind, none), HasSubstr("no such binding"));
    EXPECT_THAT(refused(close, none), HasSubstr("no such event channel"));
    EXPECT_THAT(refused(bind, domain_id{77}, none), HasSubstr("domain 77"));
    EXPECT_THAT(refused(bind, guest_domain, none), HasSubstr("999999"));
    EXPECT_THAT(refused(map, domain_id{77}, std::uint32_t{1}, none), HasSubstr("domain 77"));
    EXPECT_THAT(refused(map, guest_domain, std::uint32_t{1}, none),
                testing::AllOf(HasSubstr("grant 999999"), HasSubstr("bad_reference")));
    EXPECT_THAT(refused(set_faults, std::string_view{"{}"}), HasSubstr("domain 0"));
}

TEST(a_connection, that_is_one_too_many_is_hung_up_on)
{
    lab l{{}, 2};
    auto one = l.hypervisor();
    auto two = l.hypervisor();
    const auto three = simulated_hypervisor::connect(l.socket(), tools_domain);
    ASSERT_TRUE(three.has_error());
    EXPECT_THAT(three.error().message, HasSubstr("does not answer"));
    two.reset();
    EXPECT_TRUE(eventually(
        [&] { return simulated_hypervisor::connect(l.socket(), tools_domain).has_value(); }));
}

TEST(a_connection, that_never_reads_its_events_is_hung_up_on)
{
    lab l;
    auto good = l.hypervisor();
    const raw_client deaf{l.socket()};
    ASSERT_TRUE(deaf.greet(guest_domain));
    for (int i = 0; i < 100; ++i) {
        wire::writer w;
        w.add(wire::request::watch).add("@introduceDomain").add(std::to_string(i));
        ASSERT_EQ(deaf.send(w), 0);
    }
    auto watching = client::connect(l.socket(), {tools_domain}).value();
    for (int i = 0; i < 300; ++i) {
        wire::writer w;
        w.add(wire::request::watch).add("@introduceDomain").add(std::to_string(i));
        ASSERT_EQ(watching->ask(w).code, 0);
    }
    // 300 events each time that a domain begins, and nobody takes one.
    for (int i = 0; i < 100; ++i) {
        l.guest(domain_id{2}).reset();
        (void)eventually([&] { return l.server().domains() == 1; });
    }
    EXPECT_TRUE(eventually([&] { return l.server().connections() == 2; }));
    wire::writer w;
    w.add(wire::request::begin);
    EXPECT_NE(watching->ask(w).code, 0);
    EXPECT_TRUE(good->store().write("/a", "1").has_value());
}

TEST(a_connection, that_never_reads_its_answers_is_hung_up_on)
{
    lab l;
    auto good = l.hypervisor();
    ASSERT_TRUE(good->store().write("/big", std::string(4000, 'x')).has_value());
    const raw_client deaf{l.socket()};
    ASSERT_TRUE(deaf.greet(tools_domain));
    wire::writer w;
    w.add(wire::request::read).add(transaction::none).add("/big");
    int sent = 0;
    while (sent < 10'000 && deaf.send(w) == 0) {
        ++sent;
    }
    EXPECT_LT(sent, 10'000);
    EXPECT_TRUE(eventually([&] { return l.server().connections() == 1; }));
}

TEST(the_server, says_why_it_cannot_listen)
{
    const auto why = [](const std::string& path) {
        const auto s = server_thread::start({path});
        return s.has_error() ? s.error().message : std::string{};
    };
    EXPECT_THAT(why("/nowhere/at/all/xen.sock"), HasSubstr("/nowhere/at/all/xen.sock"));
    EXPECT_THAT(why("/" + std::string(200, 'x')), HasSubstr("xxxx"));
    lab l;
    EXPECT_THAT(why(l.socket()), HasSubstr(l.socket())) << "somebody answers there";
}

TEST(the_server, is_for_its_owner_and_group)
{
    lab l;
    struct stat status {};
    ASSERT_EQ(::stat(l.socket().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0660U);
}

TEST(the_server, that_ends_leaves_its_clients_errors_and_no_socket)
{
    lab l;
    auto h = l.hypervisor();
    auto guest = l.guest(guest_domain);
    std::byte* const page = guest->allocate().value();
    const auto reference = guest->grant(tools_domain, page).value();
    const auto mapped = h->map(guest_domain, {&reference, 1}).value();
    const auto end = guest->offer(tools_domain).value();
    const auto channel = h->bind(guest_domain, end.port).value();
    l.end_server();
    EXPECT_NE(::access(l.socket().c_str(), F_OK), 0);
    EXPECT_FALSE(guest->alive());
    EXPECT_TRUE(h->store().read("/a").has_error());
    EXPECT_TRUE(h->store().begin().has_error());
    std::byte to{};
    EXPECT_EQ(pull(*h, guest_domain, reference, to), grant_status::bad_domain);
    EXPECT_FALSE(h->store().next_event());
    pollfd ready{.fd = h->store().descriptor(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ready, 1, 0), 0) << "who waits for events sleeps on";
    channel->notify();
    static_cast<std::byte*>(mapped->base())[0] = std::byte{1};
}

TEST(a_client, says_why_it_cannot_connect)
{
    const auto why = [](const std::string& path, domain_id d = tools_domain) {
        const auto c = simulated_hypervisor::connect(path, d);
        return c.has_error() ? c.error().message : std::string{};
    };
    EXPECT_THAT(why("/nowhere/xen.sock"), HasSubstr("/nowhere/xen.sock"));
    EXPECT_THAT(why(""), HasSubstr("path"));
    EXPECT_THAT(why("/" + std::string(200, 'x')), HasSubstr("path"));
    lab l;
    EXPECT_THAT(why(l.socket(), domain_id{44}), HasSubstr("there is no domain 44"));
    const auto reserved = simulated_guest::connect(l.socket(), domain_id{0x7ff0});
    ASSERT_TRUE(reserved.has_error());
    EXPECT_THAT(reserved.error().message, HasSubstr("reserved"));
}

} // namespace
} // namespace strait::xen::simulated::test

int main(int argc, char** argv)
{
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() > 1 && words[0] == "--child") {
        return strait::xen::simulated::test::run_child({words.begin() + 1, words.end()});
    }
    testing::InitGoogleMock(&argc, argv);
    return RUN_ALL_TESTS();
}
