// SPDX-License-Identifier: BSD-3-Clause
// What libxl 4.17 writes around domains and vifs, and when it takes it away.
#include "lab.hh"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr domain_id guest_domain{1};
constexpr domain_id driver_domain{2};
constexpr const char* mac = "00:16:3e:00:00:01";

class the_tool_stack : public testing::Test {
protected:
    the_tool_stack()
    {
        EXPECT_TRUE(tools->create_domain(guest_domain, "one", small_domain).has_value());
    }
    [[nodiscard]] std::optional<std::string> read(const std::string& path)
    {
        return tools->store().read(path).value();
    }
    [[nodiscard]] std::map<std::string, std::string> folder(const std::string& path)
    {
        std::map<std::string, std::string> all;
        for (const auto& name :
             tools->store().list(path).value().value_or(std::vector<std::string>{})) {
            all[name] = read(path + "/" + name).value_or("");
        }
        return all;
    }
    void add(unsigned handle, const vif_options& options = {})
    {
        const auto added = tools->add_vif(guest_domain, handle, mac, options);
        ASSERT_TRUE(added.has_value()) << added.error().message;
    }

    lab l;
    std::unique_ptr<tool_stack> tools{l.tools()};
    const std::string front{tool_stack::frontend_path(guest_domain, 0)};
    const std::string back{tool_stack::backend_path(guest_domain, 0)};
};

TEST_F(the_tool_stack, makes_a_domain_with_its_folder)
{
    EXPECT_EQ(l.server().domains(), 1U);
    EXPECT_EQ(read("/local/domain/1/name"), "one");
    EXPECT_EQ(read("/local/domain/1/domid"), "1");
    EXPECT_THAT(tools->store().get_permissions("/local/domain/1/device").value(),
                ElementsAre(permission{domain_id{0}, access::none},
                            permission{guest_domain, access::read}));
    EXPECT_THAT(tools->store().get_permissions("/local/domain/1/data").value(),
                ElementsAre(permission{guest_domain, access::none}));
    EXPECT_THAT(tools->create_domain(guest_domain, "again").error().message, HasSubstr("domain 1"));
}

TEST_F(the_tool_stack, makes_a_vif_of_two_folders_at_state_1)
{
    EXPECT_EQ(front, "/local/domain/1/device/vif/0");
    EXPECT_EQ(back, "/local/domain/0/backend/vif/1/0");
    add(0);
    const std::map<std::string, std::string> in_front{
        {"backend", back}, {"backend-id", "0"}, {"state", "1"},  {"handle", "0"},
        {"mac", mac},      {"trusted", "1"},    {"mtu", "1500"},
    };
    EXPECT_EQ(folder(front), in_front);
    const std::map<std::string, std::string> in_back{
        {"frontend", front},
        {"frontend-id", "1"},
        {"online", "1"},
        {"state", "1"},
        {"script", "/etc/xen/scripts/vif-bridge"},
        {"mac", mac},
        {"bridge", "xenbr0"},
        {"handle", "0"},
        {"type", "vif"},
        {"hotplug-status", ""},
    };
    EXPECT_EQ(folder(back), in_back);
}

TEST_F(the_tool_stack, writes_what_a_vif_was_configured_with)
{
    vif_options options;
    options.bridge = "br0.20";
    options.script = "vif-strait";
    options.vifname = "one0";
    options.mtu = 9000;
    options.rate = vif_options::limit{250'000, 20'000};
    add(3, options);
    const auto path = tool_stack::backend_path(guest_domain, 3);
    EXPECT_EQ(path, "/local/domain/0/backend/vif/1/3");
    EXPECT_THAT(folder(path),
                AllOf(Contains(Pair("bridge", "br0.20")), Contains(Pair("script", "vif-strait")),
                      Contains(Pair("vifname", "one0")), Contains(Pair("mtu", "9000")),
                      Contains(Pair("rate", "250000,20000"))));
    EXPECT_EQ(read(tool_stack::frontend_path(guest_domain, 3) + "/mtu"), "9000");
}

TEST_F(the_tool_stack, gives_each_side_its_own_folder_to_write)
{
    add(0);
    auto guest = l.guest(guest_domain);
    auto& store = guest->store();
    EXPECT_TRUE(store.write("device/vif/0/state", "4").has_value());
    EXPECT_TRUE(store.write("device/vif/0/tx-ring-ref", "9").has_value());
    EXPECT_TRUE(store.write("device/vif/0/mtu", "9000").has_error());
    EXPECT_EQ(store.read("device/vif/0/mtu").value(), "1500");
    EXPECT_EQ(store.read(back + "/state").value(), "1");
    EXPECT_TRUE(store.write(back + "/state", "4").has_error());
    EXPECT_TRUE(store.remove(back).has_error());
    EXPECT_TRUE(store.write("device/vif/1/state", "1").has_error()) << "no vif of its own making";
}

TEST_F(the_tool_stack, makes_a_vif_once)
{
    add(0);
    const auto again = tools->add_vif(guest_domain, 0, mac);
    ASSERT_TRUE(again.has_error());
    EXPECT_THAT(again.error().message, HasSubstr("has a vif 0 already"));
    add(1);
}

TEST_F(the_tool_stack, tells_all_of_a_vif_at_once)
{
    auto h = l.hypervisor();
    ASSERT_TRUE(h->store().watch("backend/vif", "t").has_value());
    (void)all_events(h->store());
    add(0);
    for (const auto& [path, token] : all_events(h->store())) {
        EXPECT_EQ(h->store().read("backend/vif/1/0/state").value(), "1") << path;
    }
}

TEST_F(the_tool_stack, detaches_by_writing_to_the_backend)
{
    add(0);
    ASSERT_TRUE(tools->detach_vif(guest_domain, 0).has_value());
    EXPECT_EQ(read(back + "/online"), "0");
    EXPECT_EQ(read(back + "/state"), "5");
    EXPECT_EQ(read(front + "/state"), "1") << "the frontend stays";
    EXPECT_TRUE(tools->detach_vif(guest_domain, 7).has_error());
}

TEST_F(the_tool_stack, leaves_a_closed_backends_state_as_it_is)
{
    add(0);
    ASSERT_TRUE(tools->store().write(back + "/state", "6").has_value());
    ASSERT_TRUE(tools->detach_vif(guest_domain, 0).has_value());
    EXPECT_EQ(read(back + "/state"), "6");
    EXPECT_EQ(read(back + "/online"), "0");
}

TEST_F(the_tool_stack, destroys_a_vif_with_its_frontend_in_the_same_moment)
{
    add(0);
    auto h = l.hypervisor();
    ASSERT_TRUE(h->store().watch(front, "front").has_value());
    ASSERT_TRUE(h->store().watch("backend/vif", "back").has_value());
    (void)all_events(h->store());
    ASSERT_TRUE(tools->destroy_vif(guest_domain, 0).has_value());
    const auto first = next_event(h->store());
    ASSERT_TRUE(first);
    EXPECT_EQ(h->store().read(front + "/state").value(), std::nullopt);
    EXPECT_EQ(h->store().read(back + "/state").value(), "5");
    EXPECT_EQ(h->store().read(back + "/online").value(), "0");
    auto all = all_events(h->store());
    all.emplace_back(first->path, first->token);
    EXPECT_THAT(all, AllOf(Contains(Pair(front, "front")),
                           Contains(Pair("backend/vif/1/0/state", "back")),
                           Contains(Pair("backend/vif/1/0/online", "back"))));
}

TEST_F(the_tool_stack, forgets_a_vif_and_leaves_no_empty_folder)
{
    add(0);
    add(1);
    ASSERT_TRUE(tools->forget_vif(guest_domain, 0).has_value());
    EXPECT_THAT(tools->store().list("/local/domain/0/backend/vif/1").value().value(),
                ElementsAre("1"));
    ASSERT_TRUE(tools->forget_vif(guest_domain, 1).has_value());
    EXPECT_EQ(read("/local/domain/0/backend"), std::nullopt) << "that is what libxl does";
    EXPECT_EQ(read("/local/domain/1/device"), std::nullopt);
    EXPECT_EQ(read("/libxl/1"), std::nullopt);
    EXPECT_EQ(read("/local/domain/1/name"), "one");
    add(0);
    EXPECT_EQ(read(back + "/state"), "1");
}

TEST_F(the_tool_stack, destroys_a_domain_after_its_vifs)
{
    add(0);
    add(1);
    auto guest = l.guest(guest_domain);
    auto h = l.hypervisor();
    ASSERT_TRUE(h->store().watch(back, "back").has_value());
    (void)all_events(h->store());
    ASSERT_TRUE(tools->destroy_domain(guest_domain).has_value());
    EXPECT_FALSE(guest->alive());
    EXPECT_EQ(l.server().domains(), 0U);
    EXPECT_EQ(read("/local/domain/1"), std::nullopt);
    EXPECT_EQ(read(back + "/state"), "5") << "the back end has yet to write 6";
    EXPECT_EQ(read(tool_stack::backend_path(guest_domain, 1) + "/state"), "5");
    ASSERT_TRUE(tools->forget_domain(guest_domain).has_value());
    EXPECT_EQ(read(back + "/state"), std::nullopt);
    EXPECT_EQ(read("/libxl/1"), std::nullopt);
}

TEST_F(the_tool_stack, cleans_up_after_a_domain_that_ended_by_itself)
{
    add(0);
    l.guest(guest_domain).reset();
    ASSERT_TRUE(eventually([&] { return l.server().domains() == 0; }));
    EXPECT_EQ(read(front + "/state"), std::nullopt) << "it was the domain's own";
    EXPECT_EQ(read(back + "/state"), "1");
    ASSERT_TRUE(tools->destroy_domain(guest_domain).has_value());
    EXPECT_EQ(read(back + "/state"), "5");
    ASSERT_TRUE(tools->forget_domain(guest_domain).has_value());
    ASSERT_TRUE(tools->create_domain(guest_domain, "two", small_domain).has_value());
    add(0);
    EXPECT_EQ(read("/local/domain/1/name"), "two");
}

TEST_F(the_tool_stack, serves_driver_domains)
{
    ASSERT_TRUE(tools->create_domain(driver_domain, "driver", small_domain).has_value());
    vif_options options;
    options.backend = driver_domain;
    add(0, options);
    auto driver = l.hypervisor(driver_domain);
    auto& store = driver->store();
    EXPECT_EQ(store.read("backend/vif/1/0/frontend").value(), front);
    EXPECT_THAT(store.list("backend/vif").value().value(), ElementsAre("1"));
    EXPECT_TRUE(store.write("backend/vif/1/0/state", "2").has_value());
    EXPECT_TRUE(store.write("backend/vif/1/0/feature-sg", "1").has_value());
    EXPECT_EQ(store.read(front + "/state").value(), "1") << "it may read its frontend's folder";
    EXPECT_TRUE(store.write(front + "/state", "4").has_error());
    EXPECT_EQ(read(front + "/backend-id"), "2");
    // It ends, and its vifs can still be destroyed.
    driver.reset();
    ASSERT_TRUE(eventually([&] { return l.server().domains() == 1; }));
    EXPECT_TRUE(tools->destroy_vif(guest_domain, 0).has_value());
    EXPECT_EQ(read(front), std::nullopt);
    EXPECT_TRUE(tools->forget_vif(guest_domain, 0).has_value());
}

TEST_F(the_tool_stack, begins_again_when_others_change_the_same)
{
    faults f;
    fault_rule r;
    r.on = operation::commit;
    r.count = 5;
    f.rules.push_back(r);
    ASSERT_TRUE(tools->set_faults(f).has_value());
    add(0);
    EXPECT_EQ(read(back + "/state"), "1");
    f.rules[0].count = 1000;
    ASSERT_TRUE(tools->set_faults(f).has_value());
    const auto never = tools->add_vif(guest_domain, 1, mac);
    ASSERT_TRUE(never.has_error());
    EXPECT_THAT(never.error().message, HasSubstr("changed by others"));
    EXPECT_THAT(folder(tool_stack::backend_path(guest_domain, 1)), IsEmpty());
}

} // namespace
} // namespace strait::xen::simulated::test
