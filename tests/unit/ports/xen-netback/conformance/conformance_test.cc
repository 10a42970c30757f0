// SPDX-License-Identifier: BSD-3-Clause
// What the seam promises, whatever is behind it: these cases run on the simulated hypervisor with
// the unit tests, and on Xen in domain 0.
#include "world.hh"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::conformance {
namespace {

using dataplane::remote_copy;
using dataplane::remote_span;
using status = dataplane::remote_copy::status;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::UnorderedElementsAre;
using namespace std::chrono_literals;

constexpr domain_id somebody_else{77};
constexpr domain_id nobody{32'000};
constexpr auto patience = 10s;

bool eventually(const std::function<bool()>& holds)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > until) {
            return false;
        }
        std::this_thread::sleep_for(5ms);
    }
    return true;
}

bool readable(int descriptor, std::chrono::milliseconds wait = 0ms)
{
    pollfd ready{.fd = descriptor, .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, static_cast<int>(wait.count())) == 1;
}

class on_a_hypervisor : public testing::Test {
protected:
    [[nodiscard]] hypervisor& ours() { return world_->ours(); }
    [[nodiscard]] peer& theirs() { return world_->theirs(); }
    [[nodiscard]] domain_id own() { return ours().own_domain(); }

private:
    std::unique_ptr<world> world_{make_world()};
};

TEST_F(on_a_hypervisor, has_a_name_and_a_number)
{
    EXPECT_THAT(ours().name(), testing::AnyOf("libxen", "simulated"));
    EXPECT_EQ(own(), domain_id{0}) << "these cases are written for domain 0";
}

// ---- copies ----

class copies : public on_a_hypervisor {
protected:
    [[nodiscard]] peer::page grant(bool only_read = false)
    {
        return theirs().grant(own(), only_read);
    }
    [[nodiscard]] remote_span span(const peer::page& p, std::size_t offset, std::size_t size)
    {
        return {static_cast<std::uint32_t>(p.reference), static_cast<std::uint16_t>(offset),
                static_cast<std::uint16_t>(theirs().domain()), static_cast<std::uint16_t>(size)};
    }
    status copy(remote_copy piece)
    {
        ours().copy({&piece, 1});
        return piece.result();
    }
    // 0, 1, …, 255, 0, …
    static void fill(std::byte* to, std::size_t size)
    {
        for (std::size_t i = 0; i < size; ++i) {
            to[i] = static_cast<std::byte>(i);
        }
    }
};

TEST_F(copies, out_of_a_page_that_is_granted_for_reading)
{
    const auto page = grant(true);
    fill(page.memory, page_size);
    std::array<std::byte, 300> to{};
    EXPECT_EQ(copy(remote_copy::pull(span(page, 3000, to.size()), to.data())), status::done);
    EXPECT_TRUE(std::equal(to.begin(), to.end(), page.memory + 3000));
}

TEST_F(copies, into_a_page)
{
    const auto page = grant();
    std::array<std::byte, 300> from{};
    fill(from.data(), from.size());
    EXPECT_EQ(copy(remote_copy::push(from.data(), span(page, 3000, from.size()))), status::done);
    EXPECT_TRUE(std::equal(from.begin(), from.end(), page.memory + 3000));
    EXPECT_EQ(page.memory[2999], std::byte{});
    EXPECT_EQ(page.memory[3300], std::byte{});
}

TEST_F(copies, nothing_into_a_page_that_is_granted_for_reading)
{
    const auto page = grant(true);
    const std::byte one{1};
    EXPECT_EQ(copy(remote_copy::push(&one, span(page, 0, 1))), status::general_error);
    EXPECT_EQ(page.memory[0], std::byte{});
}

TEST_F(copies, from_page_to_page)
{
    const auto from = grant(true);
    const auto to = grant();
    fill(from.memory, page_size);
    EXPECT_EQ(copy(remote_copy::across(span(from, 10, 1000), span(to, 2000, 1000))), status::done);
    EXPECT_TRUE(std::equal(from.memory + 10, from.memory + 1010, to.memory + 2000));
    EXPECT_EQ(copy(remote_copy::across(span(to, 0, 1), span(from, 0, 1))), status::general_error);
}

TEST_F(copies, a_whole_page_wherever_ours_lies)
{
    const auto page = grant();
    fill(page.memory, page_size);
    alignas(page_size) static std::array<std::byte, 3 * page_size> local;
    for (const std::size_t at : {std::size_t{0}, std::size_t{1}, page_size - 1}) {
        local.fill(std::byte{0xee});
        EXPECT_EQ(copy(remote_copy::pull(span(page, 0, page_size), local.data() + at)),
                  status::done);
        EXPECT_TRUE(std::equal(page.memory, page.memory + page_size,
                               local.begin() + static_cast<std::ptrdiff_t>(at)));
        EXPECT_EQ(local.at(at + page_size), std::byte{0xee});
    }
}

TEST_F(copies, no_byte_and_says_that_it_is_done)
{
    const auto page = grant(true);
    std::byte to{7};
    EXPECT_EQ(copy(remote_copy::pull(span(page, 4096, 0), &to)), status::done);
    EXPECT_EQ(to, std::byte{7});
    ours().copy({});
}

TEST_F(copies, nothing_by_a_reference_that_there_is_not)
{
    std::byte to{7};
    EXPECT_EQ(copy(remote_copy::pull(span({nullptr, grant_ref{0x7fff'ffff}}, 0, 1), &to)),
              status::bad_reference);
    EXPECT_EQ(to, std::byte{7});
}

TEST_F(copies, nothing_by_a_grant_that_was_taken_back)
{
    const auto page = grant();
    std::byte to{};
    ASSERT_EQ(copy(remote_copy::pull(span(page, 0, 1), &to)), status::done);
    ASSERT_TRUE(theirs().revoke(page));
    EXPECT_EQ(copy(remote_copy::pull(span(page, 0, 1), &to)), status::general_error);
}

TEST_F(copies, nothing_that_is_granted_to_somebody_else)
{
    const auto page = theirs().grant(somebody_else, false);
    std::byte to{};
    EXPECT_EQ(copy(remote_copy::pull(span(page, 0, 1), &to)), status::general_error);
}

TEST_F(copies, nothing_of_a_domain_that_there_is_not)
{
    const auto page = grant();
    std::byte to{};
    auto of_nobody = span(page, 0, 1);
    of_nobody.owner = static_cast<std::uint16_t>(nobody);
    EXPECT_EQ(copy(remote_copy::pull(of_nobody, &to)), status::bad_domain);
    EXPECT_EQ(copy(remote_copy::push(&to, of_nobody)), status::bad_domain);
    // It is found out before anything is said of the other side.
    auto by_nothing = span(page, 0, 1);
    by_nothing.reference = 0x7fff'ffff;
    EXPECT_EQ(copy(remote_copy::across(by_nothing, of_nobody)), status::bad_domain);
    EXPECT_EQ(copy(remote_copy::across(of_nobody, by_nothing)), status::bad_domain);
}

TEST_F(copies, nothing_that_leaves_its_page)
{
    const auto page = grant();
    std::array<std::byte, 64> to{};
    EXPECT_EQ(copy(remote_copy::pull(span(page, 4090, 7), to.data())), status::bad_argument);
    EXPECT_EQ(copy(remote_copy::push(to.data(), span(page, 4096, 1))), status::bad_argument);
    EXPECT_EQ(copy(remote_copy::push(to.data(), span(page, 65'535, 1))), status::bad_argument);
    EXPECT_EQ(copy(remote_copy::pull(span(page, 4090, 6), to.data())), status::done);
}

TEST_F(copies, every_piece_of_a_batch_with_its_own_result)
{
    const auto page = grant();
    const auto only_read = grant(true);
    fill(page.memory, page_size);
    std::array<std::byte, 300> to{};
    std::vector<remote_copy> pieces;
    std::vector<status> expected;
    for (std::size_t i = 0; i < to.size(); ++i) {
        auto from = span(page, i, 1);
        auto result = status::done;
        if (i % 50 == 7) {
            from.reference = 0x7fff'ffff;
            result = status::bad_reference;
        } else if (i % 50 == 21) {
            from.owner = static_cast<std::uint16_t>(nobody);
            result = status::bad_domain;
        } else if (i % 50 == 33) {
            from.offset = 4096;
            result = status::bad_argument;
        }
        if (i % 50 == 40) {
            pieces.push_back(remote_copy::push(&to.at(i), span(only_read, 0, 1)));
            result = status::general_error;
        } else {
            pieces.push_back(remote_copy::pull(from, &to.at(i)));
        }
        expected.push_back(result);
    }
    ours().copy(pieces);
    for (std::size_t i = 0; i < to.size(); ++i) {
        EXPECT_EQ(pieces[i].result(), expected[i]) << i;
        EXPECT_EQ(to.at(i), expected[i] == status::done ? static_cast<std::byte>(i) : std::byte{})
            << i;
    }
}

TEST_F(copies, from_many_threads_at_a_time)
{
    const auto page = grant(true);
    fill(page.memory, page_size);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                std::array<std::byte, 64> to{};
                std::array<remote_copy, 64> pieces;
                for (std::size_t i = 0; i < to.size(); ++i) {
                    pieces.at(i) = remote_copy::pull(span(page, i, 1), &to.at(i));
                }
                ours().copy(pieces);
                for (std::size_t i = 0; i < to.size(); ++i) {
                    wrong += pieces.at(i).done() && to.at(i) == static_cast<std::byte>(i) ? 0 : 1;
                }
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
    EXPECT_EQ(wrong, 0);
}

// ---- mappings ----

class mappings : public copies {};

TEST_F(mappings, are_the_pages_themselves_side_by_side)
{
    const std::array<peer::page, 3> pages{grant(), grant(), grant()};
    const std::array<grant_ref, 3> references{pages[2].reference, pages[0].reference,
                                              pages[1].reference};
    const auto mapped = ours().map(theirs().domain(), references);
    ASSERT_TRUE(mapped.has_value()) << mapped.error().message;
    auto* const base = static_cast<std::byte*>((*mapped)->base());
    pages[2].memory[5] = std::byte{1};
    pages[0].memory[6] = std::byte{2};
    EXPECT_EQ(base[5], std::byte{1});
    EXPECT_EQ(base[page_size + 6], std::byte{2});
    base[2 * page_size + 7] = std::byte{3};
    EXPECT_EQ(pages[1].memory[7], std::byte{3});
}

TEST_F(mappings, keep_a_grant_from_being_taken_back)
{
    const auto page = grant();
    auto mapped = ours().map(theirs().domain(), {&page.reference, 1});
    ASSERT_TRUE(mapped.has_value()) << mapped.error().message;
    auto* const base = static_cast<std::byte*>((*mapped)->base());
    page.memory[0] = std::byte{9};
    EXPECT_FALSE(theirs().revoke(page));
    EXPECT_EQ(base[0], std::byte{9});
    base[1] = std::byte{1};
    mapped->reset();
    EXPECT_TRUE(eventually([&] { return theirs().revoke(page); }));
    EXPECT_TRUE(ours().map(theirs().domain(), {&page.reference, 1}).has_error());
}

TEST_F(mappings, of_one_page_can_be_many)
{
    const auto page = grant();
    auto one = ours().map(theirs().domain(), {&page.reference, 1});
    auto two = ours().map(theirs().domain(), {&page.reference, 1});
    ASSERT_TRUE(one.has_value() && two.has_value());
    static_cast<std::byte*>((*one)->base())[0] = std::byte{4};
    EXPECT_EQ(static_cast<std::byte*>((*two)->base())[0], std::byte{4});
    one->reset();
    EXPECT_EQ(static_cast<std::byte*>((*two)->base())[0], std::byte{4});
    std::byte to{};
    EXPECT_EQ(copy(remote_copy::pull(span(page, 0, 1), &to)), status::done) << "and copied";
    EXPECT_EQ(to, std::byte{4});
}

TEST_F(mappings, are_refused_by_a_sentence_and_leave_nothing_in_use)
{
    const auto page = grant();
    const auto only_read = grant(true);
    const auto why = [this](std::vector<grant_ref> references, domain_id d) {
        const auto mapped = ours().map(d, references);
        return mapped.has_error() ? mapped.error().message : std::string{};
    };
    const domain_id d = theirs().domain();
    EXPECT_THAT(why({grant_ref{0x7fff'ffff}}, d), HasSubstr("grant 2147483647"));
    EXPECT_THAT(why({only_read.reference}, d), HasSubstr("cannot be mapped"));
    EXPECT_THAT(why({page.reference, only_read.reference}, d), HasSubstr("cannot be mapped"));
    EXPECT_THAT(why({page.reference}, nobody), HasSubstr("domain 32000"));
    EXPECT_NE(why({}, d), "");
    EXPECT_TRUE(eventually([&] { return theirs().revoke(page); }));
    EXPECT_TRUE(eventually([&] { return theirs().revoke(only_read); }));
}

// ---- event channels ----

class channels : public on_a_hypervisor {
protected:
    void bind()
    {
        auto bound = ours().bind(theirs().domain(), offered.port);
        ASSERT_TRUE(bound.has_value()) << bound.error().message;
        end = std::move(*bound);
    }
    static void drain(event_channel& c)
    {
        while (readable(c.descriptor(), 20ms)) {
            (void)c.take();
        }
    }

    peer::offer offered{theirs().offer_channel(own())};
    std::unique_ptr<event_channel> end;
};

TEST_F(channels, are_notified_when_they_are_bound_so_that_one_looks)
{
    bind();
    EXPECT_TRUE(eventually([this] { return end->take(); }));
    EXPECT_FALSE(end->take());
    EXPECT_FALSE(readable(end->descriptor()));
}

TEST_F(channels, carry_notifications_both_ways)
{
    bind();
    drain(*end);
    drain(*offered.end);
    for (int i = 0; i < 3; ++i) {
        offered.end->notify();
        EXPECT_TRUE(readable(end->descriptor(), patience));
        EXPECT_TRUE(end->take());
        EXPECT_FALSE(end->take());
        end->notify();
        EXPECT_TRUE(readable(offered.end->descriptor(), patience));
        EXPECT_TRUE(offered.end->take());
        EXPECT_FALSE(offered.end->take());
    }
}

TEST_F(channels, make_one_of_notifications_that_nobody_took)
{
    bind();
    drain(*end);
    for (int i = 0; i < 100; ++i) {
        offered.end->notify();
    }
    EXPECT_TRUE(readable(end->descriptor(), patience));
    EXPECT_TRUE(end->take());
    // One more may have come between the look and its end, but not a hundred.
    (void)end->take();
    EXPECT_FALSE(end->take());
}

TEST_F(channels, that_are_notified_without_end_hold_nobody_up)
{
    bind();
    std::atomic<bool> stop{false};
    std::thread hostile{[&] {
        while (!stop) {
            offered.end->notify();
        }
    }};
    int taken = 0;
    for (int i = 0; i < 1000; ++i) {
        taken += end->take() ? 1 : 0;
        std::this_thread::yield();
    }
    stop = true;
    hostile.join();
    EXPECT_GT(taken, 0);
}

TEST_F(channels, are_bound_by_one_at_a_time)
{
    bind();
    EXPECT_TRUE(ours().bind(theirs().domain(), offered.port).has_error());
    end.reset();
    bind();
    drain(*end);
    offered.end->notify();
    EXPECT_TRUE(readable(end->descriptor(), patience));
}

TEST_F(channels, that_are_not_offered_to_us_cannot_be_bound)
{
    const auto why = [this](domain_id d, event_port p) {
        const auto bound = ours().bind(d, p);
        return bound.has_error() ? bound.error().message : std::string{};
    };
    const auto for_another = theirs().offer_channel(somebody_else);
    EXPECT_NE(why(theirs().domain(), for_another.port), "");
    EXPECT_THAT(why(theirs().domain(), event_port{4000}), HasSubstr("event channel 4000"));
    EXPECT_NE(why(theirs().domain(), event_port{0xffff'ffff}), "");
    EXPECT_THAT(why(nobody, offered.port), HasSubstr("domain 32000"));
}

TEST_F(channels, that_the_other_side_closed_stay_quiet)
{
    bind();
    drain(*end);
    const event_port port = offered.port;
    offered.end.reset();
    end->notify();
    EXPECT_FALSE(end->take());
    EXPECT_FALSE(readable(end->descriptor()));
    end.reset();
    EXPECT_TRUE(ours().bind(theirs().domain(), port).has_error());
}

TEST_F(channels, that_nobody_binds_can_be_notified)
{
    offered.end->notify();
    EXPECT_FALSE(offered.end->take());
    bind();
    EXPECT_TRUE(eventually([this] { return end->take(); }));
}

// ---- the store ----

using told = std::pair<std::string, std::string>; // path, token

class the_store : public on_a_hypervisor {
protected:
    the_store() { clear(); }
    ~the_store() override { clear(); }

    [[nodiscard]] xen::store& store() { return ours().store(); }
    void write(const std::string& path, const std::string& value)
    {
        const auto done = store().write(path, value);
        ASSERT_TRUE(done.has_value()) << done.error().message;
    }
    void write_theirs(const std::string& path, const std::string& value)
    {
        const auto done = theirs().store().write(path, value);
        ASSERT_TRUE(done.has_value()) << done.error().message;
    }
    [[nodiscard]] std::optional<std::string> read(const std::string& path)
    {
        const auto value = store().read(path);
        EXPECT_TRUE(value.has_value()) << value.error().message;
        return value.has_value() ? *value : std::nullopt;
    }
    void watch(const std::string& path, const std::string& token)
    {
        const auto done = store().watch(path, token);
        ASSERT_TRUE(done.has_value()) << done.error().message;
    }
    // All that was told until now: what stands before an event of our own making.
    [[nodiscard]] std::vector<told> events()
    {
        const std::string mark = std::to_string(++marks_);
        EXPECT_TRUE(store().watch(top + "-mark", mark).has_value());
        std::vector<told> all;
        const auto until = std::chrono::steady_clock::now() + patience;
        for (;;) {
            auto e = store().next_event();
            if (e && e->token == mark) {
                break;
            }
            if (e) {
                all.emplace_back(std::move(e->path), std::move(e->token));
            } else if (!readable(store().descriptor(), 1s) &&
                       std::chrono::steady_clock::now() > until) {
                ADD_FAILURE() << "an event is missing";
                break;
            }
        }
        store().unwatch(top + "-mark", mark);
        return all;
    }

    const std::string top{"/strait-conformance"};
    const std::string home{"/local/domain/0/strait-conformance"}; // the same name, relative

private:
    void clear()
    {
        EXPECT_TRUE(store().remove(top).has_value());
        EXPECT_TRUE(store().remove(home).has_value());
        EXPECT_TRUE(theirs().store().remove(theirs().folder() + "/conformance").has_value());
    }
    int marks_{0};
};

TEST_F(the_store, keeps_what_is_written)
{
    EXPECT_EQ(read(top + "/a/b"), std::nullopt);
    write(top + "/a/b", "value");
    EXPECT_THAT(read(top + "/a/b"), Optional(std::string{"value"}));
    EXPECT_THAT(read(top + "/a"), Optional(std::string{})) << "a folder on the way";
    write(top + "/a/b", "");
    EXPECT_THAT(read(top + "/a/b"), Optional(std::string{}));
    const std::string binary("\0\x01\xff", 3);
    write(top + "/a/b", binary);
    EXPECT_THAT(read(top + "/a/b"), Optional(binary));
}

TEST_F(the_store, lists_what_is_in_a_folder)
{
    EXPECT_EQ(store().list(top).value(), std::nullopt);
    write(top + "/a/x", "");
    write(top + "/b", "");
    EXPECT_THAT(store().list(top).value().value(), UnorderedElementsAre("a", "b"));
    EXPECT_THAT(store().list(top + "/b").value().value(), IsEmpty());
    std::vector<std::string> many;
    for (int i = 0; i < 300; ++i) {
        many.push_back("a-name-that-makes-the-list-long-" + std::to_string(i));
        write(top + "/many/" + many.back(), "");
    }
    EXPECT_THAT(store().list(top + "/many").value().value(),
                testing::UnorderedElementsAreArray(many))
        << "more than fits into one answer of xenstored's";
}

TEST_F(the_store, takes_relative_paths_for_those_of_the_own_domain)
{
    write("strait-conformance/x", "1");
    EXPECT_THAT(read(home + "/x"), Optional(std::string{"1"}));
    write(home + "/x", "2");
    EXPECT_THAT(read("strait-conformance/x"), Optional(std::string{"2"}));
    EXPECT_THAT(store().list("strait-conformance").value().value(), ElementsAre("x"));
    EXPECT_TRUE(store().remove("strait-conformance/x").has_value());
    EXPECT_EQ(read(home + "/x"), std::nullopt);
}

TEST_F(the_store, removes_a_folder_with_all_that_is_in_it)
{
    write(top + "/a/b/c", "1");
    EXPECT_TRUE(store().remove(top + "/a").has_value());
    EXPECT_EQ(read(top + "/a/b/c"), std::nullopt);
    EXPECT_THAT(store().list(top).value().value(), IsEmpty());
    EXPECT_TRUE(store().remove(top + "/a").has_value()) << "it was not there";
    EXPECT_TRUE(store().remove(top + "/x/y/z").has_value()) << "nor that";
}

TEST_F(the_store, is_the_same_for_all)
{
    const std::string path = theirs().folder() + "/conformance/x";
    write_theirs(path, "theirs");
    EXPECT_THAT(read(path), Optional(std::string{"theirs"}));
    write(path, "ours");
    EXPECT_THAT(theirs().store().read(path).value(), Optional(std::string{"ours"}));
}

TEST_F(the_store, refuses_what_is_no_path)
{
    for (const char* path : {"/a//b", "/a/", "/a b", "/a.b", "/ä"}) {
        const auto read = store().read(path);
        EXPECT_TRUE(read.has_error()) << path;
        const auto written = store().write(path, "");
        ASSERT_TRUE(written.has_error()) << path;
        EXPECT_THAT(written.error().message, HasSubstr(path));
        EXPECT_TRUE(store().watch(path, "t").has_error()) << path;
    }
    const std::string longest = top + "/" + std::string(2048 - top.size() - 1, 'x');
    write(longest, "");
    EXPECT_TRUE(store().write(longest + "x", "").has_error());
}

TEST_F(the_store, has_room_for_a_path_and_its_value_in_4096_bytes)
{
    const std::string path = top + "/a";
    const std::string most(4096 - path.size() - 1, 'v');
    write(path, most);
    EXPECT_THAT(read(path), Optional(most));
    EXPECT_TRUE(store().write(path, most + "v").has_error());
    EXPECT_THAT(read(path), Optional(most));
}

TEST_F(the_store, tells_of_a_watch_at_once_with_its_path_as_it_was_given)
{
    watch(top + "/not/there", "absolute");
    watch("strait-conformance", "relative");
    EXPECT_THAT(events(), ElementsAre(told{top + "/not/there", "absolute"},
                                      told{"strait-conformance", "relative"}));
}

TEST_F(the_store, tells_of_changes_of_a_watched_node_and_below_it)
{
    write(top + "/a/old", "1");
    watch(top + "/a", "t");
    watch("strait-conformance", "r");
    (void)events();
    write(top + "/a/old", "2");
    write(top + "/a/new/er", "1");
    write(top + "/a", "1");
    write(top + "/ab", "1");
    write(home + "/x", "1");
    EXPECT_TRUE(store().remove(top + "/a/old").has_value());
    EXPECT_THAT(events(), ElementsAre(told{top + "/a/old", "t"}, told{top + "/a/new/er", "t"},
                                      told{top + "/a", "t"}, told{"strait-conformance/x", "r"},
                                      told{top + "/a/old", "t"}));
}

TEST_F(the_store, tells_of_what_another_domain_writes)
{
    const std::string path = theirs().folder() + "/conformance";
    watch(path, "t");
    (void)events();
    write_theirs(path + "/state", "4");
    EXPECT_THAT(events(), ElementsAre(told{path + "/state", "t"}));
    EXPECT_TRUE(theirs().store().remove(path).has_value());
    EXPECT_THAT(events(), ElementsAre(told{path, "t"}));
}

TEST_F(the_store, tells_who_watches_a_node_that_its_folder_was_removed)
{
    write(top + "/a/b/c", "");
    watch(top + "/a/b/c", "c");
    watch(top + "/a/b", "b");
    watch(top, "top");
    watch(top + "/a/b/x", "was not there");
    (void)events();
    EXPECT_TRUE(store().remove(top + "/a").has_value());
    EXPECT_THAT(events(), UnorderedElementsAre(told{top + "/a/b/c", "c"}, told{top + "/a/b", "b"},
                                               told{top + "/a", "top"}));
}

TEST_F(the_store, tells_each_watch)
{
    watch(top, "one");
    watch(top, "two");
    (void)events();
    write(top, "1");
    EXPECT_THAT(events(), UnorderedElementsAre(told{top, "one"}, told{top, "two"}));
    EXPECT_TRUE(store().watch(top, "one").has_error()) << "it is set";
}

TEST_F(the_store, tells_no_more_when_a_watch_has_ended)
{
    watch(top, "one");
    watch(top, "two");
    store().unwatch(top, "one");
    store().unwatch(top, "three"); // which never was
    (void)events();
    write(top, "1");
    EXPECT_THAT(events(), ElementsAre(told{top, "two"}));
}

TEST_F(the_store, has_a_descriptor_that_is_readable_while_there_is_an_event)
{
    EXPECT_FALSE(readable(store().descriptor()));
    EXPECT_FALSE(store().next_event());
    watch(top, "t");
    EXPECT_TRUE(readable(store().descriptor(), patience));
    EXPECT_TRUE(eventually([this] { return store().next_event().has_value(); }));
    EXPECT_FALSE(store().next_event());
    EXPECT_FALSE(readable(store().descriptor()));
    write(top, "1");
    EXPECT_TRUE(readable(store().descriptor(), patience));
    (void)events();
}

TEST_F(the_store, shows_a_transaction_to_others_when_it_is_committed)
{
    const std::string path = theirs().folder() + "/conformance";
    write(path + "/a", "old");
    watch(path, "t");
    (void)events();
    const auto t = store().begin().value();
    ASSERT_TRUE(store().write(path + "/a", "new", t).has_value());
    ASSERT_TRUE(store().write(path + "/b", "1", t).has_value());
    ASSERT_TRUE(store().write(path + "/b", "2", t).has_value());
    EXPECT_THAT(store().read(path + "/a", t).value(), Optional(std::string{"new"}));
    EXPECT_THAT(store().list(path, t).value().value(), UnorderedElementsAre("a", "b"));
    EXPECT_THAT(theirs().store().read(path + "/a").value(), Optional(std::string{"old"}));
    EXPECT_EQ(read(path + "/b"), std::nullopt);
    EXPECT_THAT(events(), IsEmpty());
    EXPECT_TRUE(store().commit(t).value());
    EXPECT_THAT(theirs().store().read(path + "/a").value(), Optional(std::string{"new"}));
    EXPECT_THAT(events(), UnorderedElementsAre(told{path + "/a", "t"}, told{path + "/b", "t"}))
        << "once a node";
}

TEST_F(the_store, forgets_a_transaction_that_is_abandoned)
{
    watch(top, "t");
    (void)events();
    const auto t = store().begin().value();
    ASSERT_TRUE(store().write(top + "/a", "1", t).has_value());
    store().abandon(t);
    EXPECT_EQ(read(top + "/a"), std::nullopt);
    EXPECT_THAT(events(), IsEmpty());
    EXPECT_TRUE(store().commit(t).has_error());
    EXPECT_TRUE(store().write(top + "/a", "1", t).has_error());
}

TEST_F(the_store, does_not_commit_what_another_has_changed_meanwhile)
{
    const std::string path = theirs().folder() + "/conformance";
    write(path + "/a", "1");
    const auto conflicts = [&](auto inside, auto meanwhile) {
        const auto t = store().begin().value();
        inside(t);
        EXPECT_TRUE(store().write(top + "/done", "1", t).has_value());
        meanwhile();
        const auto committed = store().commit(t);
        EXPECT_TRUE(committed.has_value());
        const bool there = read(top + "/done").has_value();
        EXPECT_EQ(there, committed.has_value() && *committed) << "all or nothing";
        EXPECT_TRUE(store().remove(top).has_value());
        return !there;
    };
    const auto reads = [&](transaction t) { (void)store().read(path + "/a", t).value(); };
    const auto lists = [&](transaction t) { (void)store().list(path, t).value(); };
    const auto writes = [&](transaction t) {
        EXPECT_TRUE(store().write(path + "/a", "2", t).has_value());
    };
    const auto makes = [&](transaction t) {
        EXPECT_TRUE(store().write(path + "/c", "2", t).has_value());
    };
    const auto change = [&] { write_theirs(path + "/a", "1"); };
    const auto make = [&] {
        write_theirs(path + "/b", "1");
        EXPECT_TRUE(theirs().store().remove(path + "/b").has_value());
    };
    const auto elsewhere = [&] { write_theirs(theirs().folder() + "/conformance/d/e", "1"); };
    write_theirs(path + "/d/e", "1");
    EXPECT_TRUE(conflicts(reads, change));
    EXPECT_TRUE(conflicts(writes, change));
    EXPECT_TRUE(conflicts(lists, make));
    EXPECT_TRUE(conflicts(makes, make));
    EXPECT_FALSE(conflicts(reads, make));
    EXPECT_FALSE(conflicts(lists, change));
    EXPECT_FALSE(conflicts(reads, elsewhere));
}

TEST_F(the_store, reads_in_a_transaction_what_it_read_before)
{
    write(top, "1");
    const auto t = store().begin().value();
    EXPECT_THAT(store().read(top, t).value(), Optional(std::string{"1"}));
    write(top, "2");
    EXPECT_THAT(store().read(top, t).value(), Optional(std::string{"1"}));
    EXPECT_FALSE(store().commit(t).value());
}

TEST_F(the_store, has_transactions_beside_each_other)
{
    const auto one = store().begin().value();
    const auto two = store().begin().value();
    EXPECT_NE(one, two);
    ASSERT_TRUE(store().write(top + "/one/x", "1", one).has_value());
    ASSERT_TRUE(store().write(home + "/two/x", "1", two).has_value());
    EXPECT_EQ(store().read(top + "/one/x", two).value(), std::nullopt);
    EXPECT_TRUE(store().commit(one).value());
    EXPECT_FALSE(store().commit(two).value()) << "it missed what the other made";
}

TEST_F(the_store, removes_in_a_transaction)
{
    write(top + "/a/b", "1");
    watch(top + "/a/b", "b");
    watch(top, "t");
    (void)events();
    const auto t = store().begin().value();
    ASSERT_TRUE(store().remove(top + "/a", t).has_value());
    EXPECT_EQ(store().read(top + "/a/b", t).value(), std::nullopt);
    EXPECT_THAT(read(top + "/a/b"), Optional(std::string{"1"}));
    EXPECT_TRUE(store().commit(t).value());
    EXPECT_EQ(read(top + "/a/b"), std::nullopt);
    EXPECT_THAT(events(), UnorderedElementsAre(told{top + "/a/b", "b"}, told{top + "/a", "t"}));
}

} // namespace
} // namespace strait::xen::conformance
