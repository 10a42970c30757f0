// SPDX-License-Identifier: BSD-3-Clause
// The store against what xenstored 4.17 does: rights, watches, transactions, quotas, and the end of
// a domain.
#include "ports/xen-netback/simulated/store_tree.hh"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

namespace errc = boost::system::errc;

constexpr transaction outside = transaction::none;

class a_store : public testing::Test {
protected:
    using told = std::pair<std::string, std::string>; // path, token

    a_store()
    {
        tree.introduce(guest.domain);
        tree.introduce(other.domain);
        // As the tool stack does it.
        make("/local/domain/1", {{domain_id{0}, access::none}, {guest.domain, access::read}});
        make("/local/domain/1/data", {{guest.domain, access::none}});
        make("/local/domain/2", {{domain_id{0}, access::none}, {other.domain, access::read}});
        make("/local/domain/2/data", {{other.domain, access::none}});
        forget_events();
    }

    void make(const std::string& path, const permissions& allowed)
    {
        ASSERT_TRUE(tree.make_folder(tools, path, outside).has_value());
        ASSERT_TRUE(tree.set_permissions(tools, path, allowed, outside).has_value());
    }
    void write(store_tree::caller c, const std::string& path, const std::string& value)
    {
        const auto done = tree.write(c, path, value, outside);
        ASSERT_TRUE(done.has_value()) << path << ": " << done.error().message();
    }
    [[nodiscard]] std::vector<told> events_of(store_tree::caller c)
    {
        std::vector<told> its;
        for (const auto& [client, e] : events) {
            if (client == c.id) {
                its.emplace_back(e.path, e.token);
            }
        }
        return its;
    }
    void forget_events() { events.clear(); }
    // Watches it; the event of the set-up is forgotten.
    void watch(store_tree::caller c, const std::string& path, const std::string& token = "t")
    {
        ASSERT_TRUE(tree.watch(c, path, token).has_value());
        forget_events();
    }
    template <typename T>
    [[nodiscard]] static int code_of(const store_tree::outcome<T>& o)
    {
        return o.has_value() ? 0 : o.error().value();
    }

    const store_tree::caller tools{1, domain_id{0}};
    const store_tree::caller more_tools{2, domain_id{0}};
    const store_tree::caller guest{3, domain_id{1}};
    const store_tree::caller other{4, domain_id{2}};
    std::vector<std::pair<store_tree::client, watch_event>> events;
    store_tree tree{
        [this](store_tree::client to, watch_event e) { events.emplace_back(to, std::move(e)); }};
};

// ---- nodes ----

TEST_F(a_store, writing_makes_the_folders_above)
{
    write(tools, "/a/b/c", "value");
    EXPECT_EQ(tree.read(tools, "/a/b/c", outside).value(), "value");
    EXPECT_EQ(tree.read(tools, "/a/b", outside).value(), "");
    EXPECT_THAT(tree.list(tools, "/a", outside).value(), ElementsAre("b"));
    EXPECT_THAT(tree.list(tools, "/a/b/c", outside).value(), IsEmpty());
    write(tools, "/a/b/c", std::string("\0\xff", 2));
    EXPECT_EQ(tree.read(tools, "/a/b/c", outside).value(), std::string("\0\xff", 2));
}

TEST_F(a_store, a_relative_path_begins_at_the_own_folder)
{
    write(guest, "data/x", "1");
    EXPECT_EQ(tree.read(tools, "/local/domain/1/data/x", outside).value(), "1");
    write(tools, "backend/y", "2");
    EXPECT_EQ(tree.read(tools, "/local/domain/0/backend/y", outside).value(), "2");
}

TEST_F(a_store, a_folder_that_is_there_is_left_alone)
{
    write(tools, "/a", "value");
    EXPECT_TRUE(tree.make_folder(tools, "/a", outside).has_value());
    EXPECT_EQ(tree.read(tools, "/a", outside).value(), "value");
    EXPECT_EQ(code_of(tree.make_folder(guest, "/a", outside)), EACCES);
}

TEST_F(a_store, what_is_not_there_is_removed_without_error_if_its_folder_is)
{
    write(tools, "/a/b", "");
    EXPECT_TRUE(tree.remove(tools, "/a/b", outside).has_value());
    EXPECT_TRUE(tree.remove(tools, "/a/b", outside).has_value());
    EXPECT_EQ(code_of(tree.remove(tools, "/a/x/y", outside)), ENOENT);
    EXPECT_EQ(code_of(tree.remove(tools, "/", outside)), EINVAL);
    EXPECT_EQ(code_of(tree.read(tools, "/a/b", outside)), ENOENT);
    EXPECT_THAT(tree.list(tools, "/a", outside).value(), IsEmpty());
}

TEST_F(a_store, a_path_is_of_the_letters_of_paths)
{
    for (const char* path : {"/a//b", "/a/", "/a b", "/a.b", "//", "/a\n", "@a", "a/"}) {
        EXPECT_EQ(code_of(tree.read(tools, path, outside)), EINVAL) << path;
        EXPECT_EQ(code_of(tree.write(tools, path, "", outside)), EINVAL) << path;
    }
    EXPECT_EQ(code_of(tree.read(tools, "", outside)), EINVAL);
    EXPECT_TRUE(tree.write(tools, "/aZ0-_@", "", outside).has_value());
    EXPECT_TRUE(tree.list(tools, "/", outside).has_value());
}

TEST_F(a_store, a_path_has_2048_bytes_behind_the_domains_folder)
{
    const std::string longest = "/" + std::string(store_tree::most_path - 1, 'x');
    EXPECT_TRUE(tree.write(tools, longest, "", outside).has_value());
    EXPECT_EQ(code_of(tree.write(tools, longest + "x", "", outside)), EINVAL);

    const std::string below = std::string(store_tree::most_path, 'x');
    EXPECT_TRUE(tree.write(tools, "/local/domain/32751/" + below, "", outside).has_value());
    EXPECT_EQ(code_of(tree.write(tools, "/local/domain/32751/x" + below, "", outside)), EINVAL);
    // These only begin nearly so.
    EXPECT_EQ(code_of(tree.write(tools, "/local/domain/x1/" + below, "", outside)), EINVAL);
    EXPECT_EQ(code_of(tree.write(tools, "/local/domain/123456/" + below, "", outside)), EINVAL);
}

TEST_F(a_store, a_path_and_its_value_fit_into_one_request)
{
    const std::string path = "/a";
    const std::string most(store_tree::most_payload - path.size() - 1, 'v');
    write(tools, path, most);
    EXPECT_EQ(code_of(tree.write(tools, path, most + "v", outside)), E2BIG);
    EXPECT_EQ(tree.read(tools, path, outside).value(), most);
}

// ---- rights ----

TEST_F(a_store, new_nodes_have_the_rights_of_their_folder_and_their_maker_as_owner)
{
    make("/shared", {{domain_id{0}, access::none}, {guest.domain, access::both}});
    write(guest, "/shared/x", "1");
    EXPECT_THAT(tree.get_permissions(tools, "/shared/x", outside).value(),
                ElementsAre(permission{guest.domain, access::none},
                            permission{guest.domain, access::both}));
    // Domain 0 gives what it makes to the folder's owner.
    write(tools, "/local/domain/1/data/y", "");
    EXPECT_THAT(tree.get_permissions(tools, "/local/domain/1/data/y", outside).value(),
                ElementsAre(permission{guest.domain, access::none}));
}

TEST_F(a_store, nobody_sees_or_changes_what_is_not_theirs)
{
    write(tools, "/local/domain/2/data/secret", "1");
    EXPECT_EQ(code_of(tree.read(guest, "/local/domain/2/data/secret", outside)), EACCES);
    EXPECT_EQ(code_of(tree.list(guest, "/local/domain/2/data", outside)), EACCES);
    EXPECT_EQ(code_of(tree.write(guest, "/local/domain/2/data/secret", "2", outside)), EACCES);
    EXPECT_EQ(code_of(tree.remove(guest, "/local/domain/2/data/secret", outside)), EACCES);
    EXPECT_EQ(code_of(tree.write(guest, "/local/domain/1/name", "x", outside)), EACCES)
        << "it may only read that folder";
    EXPECT_EQ(tree.read(tools, "/local/domain/2/data/secret", outside).value(), "1");
}

TEST_F(a_store, who_may_not_look_into_a_folder_is_not_told_what_is_not_in_it)
{
    EXPECT_EQ(code_of(tree.read(guest, "/local/domain/2/data/nothing/there", outside)), EACCES);
    EXPECT_EQ(code_of(tree.read(guest, "/local/domain/1/nothing/there", outside)), ENOENT);
    EXPECT_EQ(code_of(tree.remove(guest, "/local/domain/2/data/nothing", outside)), EACCES);
}

TEST_F(a_store, who_is_listed_has_that_right_and_who_is_not_has_the_first_entrys)
{
    make("/n", {{domain_id{0}, access::read}, {other.domain, access::write}});
    write(tools, "/n", "1");
    EXPECT_EQ(tree.read(guest, "/n", outside).value(), "1");
    EXPECT_EQ(code_of(tree.write(guest, "/n", "2", outside)), EACCES);
    EXPECT_EQ(code_of(tree.read(other, "/n", outside)), EACCES);
    EXPECT_TRUE(tree.write(other, "/n", "2", outside).has_value());
}

TEST_F(a_store, rights_are_the_owners_to_give_but_not_the_node_itself)
{
    write(guest, "data/mine", "1");
    EXPECT_TRUE(tree.set_permissions(guest, "data/mine",
                                     {{guest.domain, access::none}, {other.domain, access::both}},
                                     outside)
                    .has_value());
    EXPECT_EQ(tree.read(other, "/local/domain/1/data/mine", outside).value(), "1");
    EXPECT_EQ(code_of(tree.set_permissions(other, "/local/domain/1/data/mine",
                                           {{other.domain, access::none}}, outside)),
              EACCES)
        << "it may write, but does not own";
    EXPECT_EQ(
        code_of(tree.set_permissions(guest, "data/mine", {{other.domain, access::none}}, outside)),
        EPERM);
    EXPECT_EQ(
        code_of(tree.set_permissions(guest, "data/none", {{guest.domain, access::none}}, outside)),
        ENOENT);
    EXPECT_EQ(code_of(tree.set_permissions(guest, "data/mine", {}, outside)), EINVAL);
    EXPECT_TRUE(tree.set_permissions(tools, "/local/domain/1/data/mine",
                                     {{other.domain, access::none}}, outside)
                    .has_value());
    EXPECT_EQ(code_of(tree.read(guest, "data/mine", outside)), EACCES);
}

TEST_F(a_store, who_is_not_there_yet_gets_no_rights)
{
    const domain_id later{9};
    EXPECT_EQ(
        code_of(tree.set_permissions(tools, "/local/domain/1", {{later, access::none}}, outside)),
        ENOENT);
    make("/n", {{domain_id{0}, access::none}, {later, access::read}});
    tree.introduce(later);
    EXPECT_EQ(code_of(tree.read({9, later}, "/n", outside)), EACCES);
}

// ---- watches ----

TEST_F(a_store, a_watch_is_told_at_once_with_the_path_as_it_was_given)
{
    ASSERT_TRUE(tree.watch(tools, "backend/vif", "relative").has_value());
    ASSERT_TRUE(tree.watch(tools, "/not/there", "absolute").has_value());
    EXPECT_THAT(events_of(tools),
                ElementsAre(told{"backend/vif", "relative"}, told{"/not/there", "absolute"}));
}

TEST_F(a_store, a_watch_is_told_of_the_node_and_of_all_below_it)
{
    watch(tools, "/a");
    watch(tools, "backend");
    write(tools, "/a/b/c", "1");
    write(tools, "/ab", "1");
    write(tools, "/a", "1");
    write(tools, "/local/domain/0/backend/vif", "1");
    EXPECT_THAT(events_of(tools),
                ElementsAre(told{"/a/b/c", "t"}, told{"/a", "t"}, told{"backend/vif", "t"}))
        << "the folders that were made on the way are no events";
}

TEST_F(a_store, a_write_of_the_same_value_is_an_event)
{
    write(tools, "/a", "1");
    watch(tools, "/a");
    write(tools, "/a", "1");
    EXPECT_THAT(events_of(tools), ElementsAre(told{"/a", "t"}));
    EXPECT_TRUE(tree.make_folder(tools, "/a", outside).has_value());
    EXPECT_THAT(events_of(tools), ElementsAre(told{"/a", "t"})) << "it was there";
}

TEST_F(a_store, removal_of_a_folder_is_told_to_who_watches_what_was_in_it)
{
    write(tools, "/a/b/c", "");
    write(tools, "/a/b/d", "");
    watch(tools, "/a/b/c", "c");
    watch(tools, "/a/b", "b");
    watch(tools, "/a", "a");
    watch(tools, "/", "top");
    watch(tools, "/a/b/x", "nothing is there");
    ASSERT_TRUE(tree.remove(tools, "/a/b", outside).has_value());
    EXPECT_THAT(events_of(tools), UnorderedElementsAre(told{"/a/b/c", "c"}, told{"/a/b", "b"},
                                                       told{"/a/b", "a"}, told{"/a/b", "top"}))
        << "each watch once, whatever was below";
}

TEST_F(a_store, events_are_for_those_who_could_read_the_node_or_can_read_its_folder)
{
    watch(guest, "/local/domain/2", "t");
    write(other, "data/x", "1");
    EXPECT_THAT(events_of(guest), IsEmpty());

    watch(guest, "/local/domain/1", "t");
    make("/local/domain/1/hidden", {{domain_id{0}, access::none}});
    EXPECT_THAT(events_of(guest), ElementsAre(told{"/local/domain/1/hidden", "t"},
                                              told{"/local/domain/1/hidden", "t"}))
        << "not the node, but its folder is the guest's to read";
    forget_events();
    write(tools, "/local/domain/1/hidden/below", "1");
    EXPECT_THAT(events_of(guest), IsEmpty());
}

TEST_F(a_store, who_loses_the_right_to_read_is_told)
{
    make("/n", {{domain_id{0}, access::read}});
    watch(guest, "/n");
    ASSERT_TRUE(tree.set_permissions(tools, "/n", {{domain_id{0}, access::none}}, outside));
    EXPECT_THAT(events_of(guest), ElementsAre(told{"/n", "t"}));
    write(tools, "/n", "1");
    EXPECT_THAT(events_of(guest), ElementsAre(told{"/n", "t"}));
}

TEST_F(a_store, a_watch_is_set_once_and_ended_once)
{
    watch(tools, "/a", "t");
    EXPECT_EQ(code_of(tree.watch(tools, "/a", "t")), EEXIST);
    EXPECT_TRUE(tree.watch(tools, "/a", "another").has_value());
    EXPECT_TRUE(tree.watch(more_tools, "/a", "t").has_value()) << "another connection's";
    EXPECT_TRUE(tree.unwatch(tools, "/a", "t").has_value());
    EXPECT_EQ(code_of(tree.unwatch(tools, "/a", "t")), ENOENT);
    EXPECT_TRUE(tree.unwatch(tools, "/a", "another").has_value());
    forget_events();
    write(tools, "/a", "1");
    EXPECT_THAT(events_of(tools), IsEmpty());
    EXPECT_THAT(events_of(more_tools), ElementsAre(told{"/a", "t"}));
}

TEST_F(a_store, a_relative_watch_is_the_absolute_one)
{
    watch(guest, "data", "t");
    EXPECT_EQ(code_of(tree.watch(guest, "/local/domain/1/data", "t")), EEXIST);
    EXPECT_TRUE(tree.unwatch(guest, "/local/domain/1/data", "t").has_value());
}

TEST_F(a_store, a_watchs_path_and_token_fit_into_one_request)
{
    const std::string token(store_tree::most_payload - 4, 'k');
    EXPECT_TRUE(tree.watch(tools, "/a", token).has_value());
    EXPECT_EQ(code_of(tree.watch(tools, "/a", token + "k")), E2BIG);
    EXPECT_EQ(code_of(tree.watch(tools, "/a//b", "t")), EINVAL);
    EXPECT_EQ(code_of(tree.watch(tools, "@" + std::string(store_tree::most_path, 'x'), "t")),
              EINVAL);
}

TEST_F(a_store, domains_that_come_and_go_are_told_to_those_who_may_know)
{
    watch(tools, "@releaseDomain", "end");
    watch(tools, "@introduceDomain", "begin");
    watch(guest, "@releaseDomain", "end");
    tree.introduce(domain_id{7});
    EXPECT_THAT(events_of(tools), ElementsAre(told{"@introduceDomain", "begin"}));
    forget_events();
    tree.release(domain_id{7});
    EXPECT_THAT(events_of(tools), ElementsAre(told{"@releaseDomain", "end"}));
    EXPECT_THAT(events_of(guest), IsEmpty());

    EXPECT_EQ(code_of(tree.set_permissions(guest, "@releaseDomain", {{guest.domain, access::read}},
                                           outside)),
              EACCES);
    EXPECT_EQ(
        code_of(tree.set_permissions(tools, "@nothing", {{domain_id{0}, access::read}}, outside)),
        EINVAL);
    ASSERT_TRUE(tree.set_permissions(tools, "@releaseDomain",
                                     {{domain_id{0}, access::none}, {guest.domain, access::read}},
                                     outside));
    forget_events();
    tree.release(other.domain);
    EXPECT_THAT(events_of(guest), ElementsAre(told{"@releaseDomain", "end"}));
}

// ---- transactions ----

TEST_F(a_store, a_transaction_is_seen_by_itself_until_it_is_committed)
{
    write(tools, "/a", "old");
    watch(more_tools, "/", "t");
    const auto t = tree.begin(tools).value();
    ASSERT_TRUE(tree.write(tools, "/a", "new", t));
    ASSERT_TRUE(tree.write(tools, "/b/c", "1", t));
    EXPECT_EQ(tree.read(tools, "/a", t).value(), "new");
    EXPECT_THAT(tree.list(tools, "/b", t).value(), ElementsAre("c"));
    EXPECT_EQ(tree.read(more_tools, "/a", outside).value(), "old");
    EXPECT_EQ(code_of(tree.read(tools, "/b", outside)), ENOENT);
    EXPECT_THAT(events_of(more_tools), IsEmpty());
    ASSERT_TRUE(tree.commit(tools, t));
    EXPECT_EQ(tree.read(more_tools, "/a", outside).value(), "new");
    EXPECT_EQ(tree.read(more_tools, "/b/c", outside).value(), "1");
    EXPECT_THAT(events_of(more_tools), ElementsAre(told{"/a", "t"}, told{"/b/c", "t"}));
    EXPECT_EQ(code_of(tree.commit(tools, t)), ENOENT);
}

TEST_F(a_store, a_transaction_is_one_event_a_node)
{
    write(tools, "/a/b/c", "");
    watch(more_tools, "/a", "t");
    watch(more_tools, "/a/b/c", "c");
    const auto t = tree.begin(tools).value();
    ASSERT_TRUE(tree.write(tools, "/a/x", "1", t));
    ASSERT_TRUE(tree.write(tools, "/a/x", "2", t));
    ASSERT_TRUE(tree.remove(tools, "/a/b", t));
    ASSERT_TRUE(tree.remove(tools, "/a/x", t));
    ASSERT_TRUE(tree.write(tools, "/a/x", "3", t));
    ASSERT_TRUE(tree.commit(tools, t));
    EXPECT_THAT(events_of(more_tools),
                UnorderedElementsAre(told{"/a/x", "t"}, told{"/a/b", "t"}, told{"/a/b/c", "c"}));
    EXPECT_EQ(tree.read(tools, "/a/x", outside).value(), "3");
}

TEST_F(a_store, an_abandoned_transaction_leaves_nothing)
{
    watch(tools, "/", "t");
    const auto t = tree.begin(tools).value();
    ASSERT_TRUE(tree.write(tools, "/a", "1", t));
    ASSERT_TRUE(tree.abandon(tools, t));
    EXPECT_EQ(code_of(tree.read(tools, "/a", outside)), ENOENT);
    EXPECT_EQ(code_of(tree.read(tools, "/a", t)), ENOENT);
    EXPECT_EQ(code_of(tree.abandon(tools, t)), ENOENT);
    EXPECT_THAT(events_of(tools), IsEmpty());
}

TEST_F(a_store, a_transaction_is_its_connections_alone)
{
    const auto t = tree.begin(tools).value();
    EXPECT_EQ(code_of(tree.write(more_tools, "/a", "1", t)), ENOENT);
    EXPECT_EQ(code_of(tree.commit(more_tools, t)), ENOENT);
    EXPECT_TRUE(tree.commit(tools, t).has_value());
}

// What one transaction does, what happens outside meanwhile, and whether they go together.
struct conflict_case {
    const char* name;
    void (*inside)(store_tree&, store_tree::caller, transaction);
    void (*meanwhile)(store_tree&, store_tree::caller);
    bool good;
};

class a_transaction_conflict : public a_store, public testing::WithParamInterface<conflict_case> {};

TEST_P(a_transaction_conflict, is_found_by_the_commit)
{
    write(tools, "/a/read", "1");
    write(tools, "/b/x", "1");
    const auto t = tree.begin(tools).value();
    GetParam().inside(tree, tools, t);
    GetParam().meanwhile(tree, more_tools);
    ASSERT_TRUE(tree.write(tools, "/done", "1", t));
    const auto end = tree.commit(tools, t);
    EXPECT_EQ(code_of(end), GetParam().good ? 0 : EAGAIN);
    EXPECT_EQ(tree.read(tools, "/done", outside).has_value(), GetParam().good);
}

constexpr auto reads = [](store_tree& tree, store_tree::caller c, transaction t) {
    EXPECT_EQ(tree.read(c, "/a/read", t).value(), "1");
};
constexpr auto misses = [](store_tree& tree, store_tree::caller c, transaction t) {
    EXPECT_FALSE(tree.read(c, "/a/missing", t).has_value());
};
constexpr auto lists = [](store_tree& tree, store_tree::caller c, transaction t) {
    EXPECT_TRUE(tree.list(c, "/a", t).has_value());
};
constexpr auto writes = [](store_tree& tree, store_tree::caller c, transaction t) {
    EXPECT_TRUE(tree.write(c, "/a/read", "2", t).has_value());
};
constexpr auto makes = [](store_tree& tree, store_tree::caller c, transaction t) {
    EXPECT_TRUE(tree.write(c, "/a/made", "2", t).has_value());
};
constexpr auto change = [](store_tree& tree, store_tree::caller c) {
    EXPECT_TRUE(tree.write(c, "/a/read", "1", outside).has_value());
};
constexpr auto make_missing = [](store_tree& tree, store_tree::caller c) {
    EXPECT_TRUE(tree.write(c, "/a/missing", "1", outside).has_value());
};
constexpr auto make_and_remove = [](store_tree& tree, store_tree::caller c) {
    EXPECT_TRUE(tree.write(c, "/a/read/below", "1", outside).has_value());
    EXPECT_TRUE(tree.remove(c, "/a/read/below", outside).has_value());
};
constexpr auto remove_all = [](store_tree& tree, store_tree::caller c) {
    EXPECT_TRUE(tree.remove(c, "/a", outside).has_value());
};
constexpr auto elsewhere = [](store_tree& tree, store_tree::caller c) {
    EXPECT_TRUE(tree.write(c, "/b/x", "2", outside).has_value());
};

INSTANTIATE_TEST_SUITE_P(
    cases, a_transaction_conflict,
    testing::Values(
        conflict_case{"another_changed_what_was_read", reads, change, false},
        conflict_case{"another_removed_what_was_read", reads, remove_all, false},
        conflict_case{"another_made_what_was_missing", misses, make_missing, false},
        conflict_case{"another_made_a_node_in_a_listed_folder", lists, make_missing, false},
        conflict_case{"another_wrote_what_was_written", writes, change, false},
        conflict_case{"another_made_a_node_beside_a_made_one", makes, make_missing, false},
        conflict_case{"a_node_in_it_came_and_went", reads, make_and_remove, false},
        conflict_case{"another_changed_something_else", reads, elsewhere, true},
        conflict_case{"another_changed_a_value_in_a_listed_folder", lists, change, true}),
    [](const auto& c) { return c.param.name; });

TEST_F(a_store, what_a_transaction_read_once_it_reads_again)
{
    write(tools, "/a", "1");
    const auto t = tree.begin(tools).value();
    EXPECT_EQ(tree.read(tools, "/a", t).value(), "1");
    write(more_tools, "/a", "2");
    EXPECT_EQ(tree.read(tools, "/a", t).value(), "1");
    EXPECT_EQ(code_of(tree.commit(tools, t)), EAGAIN);
}

TEST_F(a_store, two_transactions_that_crossed_cannot_both_be)
{
    write(tools, "/a", "1");
    write(tools, "/b", "1");
    const auto one = tree.begin(tools).value();
    const auto two = tree.begin(tools).value();
    ASSERT_TRUE(tree.read(tools, "/a", one).has_value());
    ASSERT_TRUE(tree.read(tools, "/b", two).has_value());
    ASSERT_TRUE(tree.write(tools, "/b", "2", one));
    ASSERT_TRUE(tree.write(tools, "/a", "2", two));
    EXPECT_TRUE(tree.commit(tools, one).has_value());
    EXPECT_EQ(code_of(tree.commit(tools, two)), EAGAIN);
}

TEST_F(a_store, rights_hold_in_a_transaction)
{
    const auto t = tree.begin(guest).value();
    EXPECT_EQ(code_of(tree.write(guest, "/local/domain/2/data/x", "1", t)), EACCES);
    EXPECT_TRUE(tree.write(guest, "data/x", "1", t).has_value());
    EXPECT_TRUE(tree.commit(guest, t).has_value());
}

// ---- quotas ----

TEST_F(a_store, a_guest_owns_1000_nodes_at_most)
{
    const std::size_t has = tree.nodes_of(guest.domain);
    for (std::size_t i = has; i < 1000; ++i) {
        write(guest, "data/" + std::to_string(i / 100) + "/" + std::to_string(i), "");
        if (tree.nodes_of(guest.domain) >= 1000) {
            break;
        }
    }
    EXPECT_EQ(tree.nodes_of(guest.domain), 1000U);
    EXPECT_EQ(code_of(tree.write(guest, "data/one_more", "", outside)), ENOSPC);
    EXPECT_EQ(code_of(tree.make_folder(guest, "data/one_more", outside)), ENOSPC);
    EXPECT_TRUE(tree.write(guest, "data/0", "changed", outside).has_value());
    EXPECT_TRUE(tree.write(other, "data/mine", "", outside).has_value()) << "others have their own";
    EXPECT_TRUE(tree.write(tools, "/local/domain/1/data/tools", "", outside).has_value());
    ASSERT_TRUE(tree.remove(guest, "data/0", outside));
    EXPECT_TRUE(tree.write(guest, "data/one_more", "", outside).has_value());
}

TEST_F(a_store, two_transactions_cannot_go_over_the_quota_together)
{
    // In folders of their own, so that they do not conflict.
    const auto fill = [this](const std::string& folder, transaction t) {
        for (int i = 0; i < 550; ++i) {
            const auto path =
                "data/" + folder + "/" + std::to_string(i / 50) + "/" + std::to_string(i);
            ASSERT_TRUE(tree.write(guest, path, "", t).has_value());
        }
    };
    write(guest, "data/one", "");
    write(guest, "data/two", "");
    const auto one = tree.begin(guest).value();
    const auto two = tree.begin(guest).value();
    fill("one", one);
    fill("two", two);
    ASSERT_TRUE(tree.commit(guest, one).has_value());
    EXPECT_EQ(tree.nodes_of(guest.domain), 3U + 550 + 11);
    EXPECT_EQ(code_of(tree.commit(guest, two)), ENOSPC);
    EXPECT_EQ(tree.nodes_of(guest.domain), 3U + 550 + 11);
    EXPECT_THAT(tree.list(guest, "data/two", outside).value(), IsEmpty());
}

TEST_F(a_store, a_guests_node_has_less_than_2048_bytes_with_its_header)
{
    constexpr std::size_t header = 24 + 8; // and one permission
    EXPECT_EQ(code_of(tree.write(guest, "data/x", std::string(2048 - header, 'v'), outside)),
              ENOSPC);
    EXPECT_TRUE(
        tree.write(guest, "data/x", std::string(2048 - header - 1, 'v'), outside).has_value());
    // The names of what is in it count, too.
    EXPECT_EQ(code_of(tree.write(guest, "data/x/y", "", outside)), ENOSPC);
    EXPECT_TRUE(tree.write(tools, "/local/domain/1/data/x/y", "", outside).has_value());
}

TEST_F(a_store, a_guest_has_129_watches_11_transactions_and_5_permissions)
{
    for (int i = 0; i < 129; ++i) {
        EXPECT_TRUE(tree.watch(guest, "data", std::to_string(i)).has_value());
        EXPECT_TRUE(tree.watch(tools, "/", std::to_string(i)).has_value());
    }
    EXPECT_EQ(code_of(tree.watch(guest, "data", "more")), E2BIG);
    EXPECT_TRUE(tree.watch(tools, "/", "more").has_value());
    for (int i = 0; i < 11; ++i) {
        EXPECT_TRUE(tree.begin(guest).has_value());
        EXPECT_TRUE(tree.begin(tools).has_value());
    }
    EXPECT_EQ(code_of(tree.begin(guest)), ENOSPC);
    EXPECT_TRUE(tree.begin(tools).has_value());
    const permissions six(6, permission{guest.domain, access::none});
    EXPECT_EQ(code_of(tree.set_permissions(guest, "data", six, outside)), ENOSPC);
    EXPECT_TRUE(tree.set_permissions(tools, "/local/domain/1/data", six, outside).has_value());
}

// ---- ends ----

TEST_F(a_store, a_connection_ends_with_its_watches_and_transactions)
{
    watch(guest, "data");
    const auto t = tree.begin(guest).value();
    ASSERT_TRUE(tree.write(guest, "data/x", "1", t));
    tree.forget(guest.id);
    EXPECT_EQ(code_of(tree.commit(guest, t)), ENOENT);
    write(tools, "/local/domain/1/data/y", "1");
    EXPECT_THAT(events_of(guest), IsEmpty());
    EXPECT_EQ(code_of(tree.read(tools, "/local/domain/1/data/x", outside)), ENOENT);
}

TEST_F(a_store, a_domain_ends_with_its_nodes_and_their_watchers_are_told)
{
    const std::string front = "/local/domain/1/device/vif/0";
    make(front, {{guest.domain, access::none}, {other.domain, access::read}});
    write(guest, front + "/state", "4");
    write(tools, "/local/domain/1/name", "one");
    watch(other, front, "front");
    watch(other, front + "/state", "state");
    tree.release(guest.domain);
    EXPECT_THAT(events_of(other),
                UnorderedElementsAre(told{front, "front"}, told{front + "/state", "state"}));
    EXPECT_EQ(tree.nodes_of(guest.domain), 0U);
    EXPECT_EQ(code_of(tree.read(tools, front, outside)), ENOENT);
    EXPECT_EQ(tree.read(tools, "/local/domain/1/name", outside).value(), "one")
        << "domain 0's nodes are the tool stack's to remove";
    EXPECT_THAT(tree.list(tools, "/local/domain/1/device/vif", outside).value(), IsEmpty());
}

TEST_F(a_store, a_later_domain_of_the_number_has_no_rights_of_the_former)
{
    make("/n", {{domain_id{0}, access::none}, {guest.domain, access::both}});
    make("/m", {{other.domain, access::none}, {guest.domain, access::read}});
    tree.release(guest.domain);
    tree.introduce(guest.domain);
    EXPECT_EQ(code_of(tree.read(guest, "/n", outside)), EACCES);
    EXPECT_EQ(code_of(tree.read(guest, "/m", outside)), EACCES);
    EXPECT_EQ(code_of(tree.read(guest, "/local/domain/1", outside)), EACCES);
}

} // namespace
} // namespace strait::xen::simulated
