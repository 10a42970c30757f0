// SPDX-License-Identifier: BSD-3-Clause
// Rules of faults: their form in JSON, and that the same operations meet the same fate.
#include "ports/xen-netback/simulated/faults.hh"

#include <array>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using namespace std::chrono_literals;

std::string why(const std::string& text)
{
    const auto f = parse_faults(text);
    return f.has_error() ? f.error().message : std::string{};
}

TEST(faults_json, is_all_optional)
{
    EXPECT_EQ(parse_faults("{}").value(), faults{});
    EXPECT_EQ(parse_faults(R"({"rules": [{"on": "map"}]})").value().rules.at(0).on, operation::map);
}

TEST(faults_json, has_a_member_for_everything)
{
    const auto f = parse_faults(R"({"seed": 18446744073709551615, "watch_delay_ms": 60000,
        "watch_merging": "token", "rules": [
        {"on": "copy", "effect": "deny", "domain": 32751, "reference": 9, "skip": 1, "count": 2,
         "probability": 0.25, "status": "no_space", "delay_us": 7},
        {"on": "bind", "effect": "delay", "reference": [3, 4], "delay_us": 60000000},
        {"on": "commit", "effect": "fail", "status": -3}]})")
                       .value();
    EXPECT_EQ(f.seed, 18'446'744'073'709'551'615ULL);
    EXPECT_EQ(f.watch_delay, 60s);
    EXPECT_EQ(f.watch_merging, merging::token);
    ASSERT_EQ(f.rules.size(), 3U);
    fault_rule one;
    one.on = operation::copy;
    one.what = effect::deny;
    one.domain = domain_id{32'751};
    one.first_reference = one.last_reference = 9;
    one.skip = 1;
    one.count = 2;
    one.probability = 0.25;
    one.status = grant_status::no_space;
    one.delay = 7us;
    EXPECT_EQ(f.rules[0], one);
    EXPECT_EQ(f.rules[1].first_reference, 3U);
    EXPECT_EQ(f.rules[1].last_reference, 4U);
    EXPECT_EQ(f.rules[1].delay, 60s);
    EXPECT_EQ(f.rules[2].status, grant_status::bad_reference);
}

TEST(faults_json, is_written_as_it_is_read)
{
    faults f;
    f.seed = 42;
    f.watch_delay = 20ms;
    f.watch_merging = merging::none;
    for (int i = 0; i < 3; ++i) {
        fault_rule r;
        r.on = static_cast<operation>(i);
        r.what = effect::fail;
        r.probability = 0.1;
        r.first_reference = 8;
        r.delay = 3us;
        f.rules.push_back(r);
    }
    f.rules[1].domain = domain_id{5};
    EXPECT_EQ(parse_faults(to_json(f)).value(), f);
    EXPECT_EQ(parse_faults(to_json({})).value(), faults{});
}

TEST(faults_json, names_what_is_wrong)
{
    EXPECT_THAT(why("{"), HasSubstr("no JSON"));
    EXPECT_THAT(why("[]"), HasSubstr("object"));
    EXPECT_THAT(why(R"({"sead": 1})"), HasSubstr("\"sead\""));
    EXPECT_THAT(why(R"({"seed": -1})"), AllOf(HasSubstr("\"seed\""), HasSubstr("whole number")));
    EXPECT_THAT(why(R"({"seed": 1.5})"), HasSubstr("\"seed\""));
    EXPECT_THAT(why(R"({"watch_delay_ms": 60001})"),
                AllOf(HasSubstr("\"watch_delay_ms\""), HasSubstr("60000")));
    EXPECT_THAT(why(R"({"watch_merging": "all"})"),
                AllOf(HasSubstr("\"watch_merging\""), HasSubstr("none same token")));
    EXPECT_THAT(why(R"({"rules": {}})"), HasSubstr("\"rules\""));
    EXPECT_THAT(why(R"({"rules": [1]})"), HasSubstr("\"on\""));
    EXPECT_THAT(why(R"({"rules": [{}]})"), HasSubstr("\"on\""));
    const auto rule = [](const std::string& members) {
        return why(R"({"rules": [{"on": "copy", )" + members + "}]}");
    };
    EXPECT_EQ(rule(R"("skip": 0)"), "");
    EXPECT_THAT(why(R"({"rules": [{"on": "notify"}]})"),
                AllOf(HasSubstr("\"on\""), HasSubstr("copy map bind commit")));
    EXPECT_THAT(rule(R"("effect": "explode")"),
                AllOf(HasSubstr("\"effect\""), HasSubstr("fail pretend deny delay")));
    EXPECT_THAT(rule(R"("domain": 32752)"), AllOf(HasSubstr("\"domain\""), HasSubstr("32751")));
    EXPECT_THAT(rule(R"("reference": [1])"), HasSubstr("\"reference\""));
    EXPECT_THAT(rule(R"("reference": [1, 2, 3])"), HasSubstr("\"reference\""));
    EXPECT_THAT(rule(R"("reference": "all")"), HasSubstr("\"reference\""));
    EXPECT_THAT(rule(R"("reference": 4294967296)"), HasSubstr("\"reference\""));
    EXPECT_THAT(rule(R"("skip": null)"), HasSubstr("\"skip\""));
    EXPECT_THAT(rule(R"("count": true)"), HasSubstr("\"count\""));
    EXPECT_THAT(rule(R"("probability": 1.01)"), HasSubstr("\"probability\""));
    EXPECT_THAT(rule(R"("probability": -0.1)"), HasSubstr("\"probability\""));
    EXPECT_THAT(rule(R"("probability": "half")"), HasSubstr("\"probability\""));
    EXPECT_THAT(rule(R"("status": 0)"), HasSubstr("\"status\"")) << "done is no fault";
    EXPECT_THAT(rule(R"("status": "done")"), HasSubstr("\"status\""));
    EXPECT_THAT(rule(R"("delay_us": 60000001)"), HasSubstr("\"delay_us\""));
    EXPECT_THAT(rule(R"("chance": 1)"), HasSubstr("\"chance\""));
    for (const char* on : {"map", "bind", "commit"}) {
        for (const char* effect : {"pretend", "deny"}) {
            EXPECT_THAT(why(R"({"rules": [{"on": ")" + std::string{on} + R"(", "effect": ")" +
                            effect + R"("}]})"),
                        HasSubstr("\"effect\""));
        }
    }
    EXPECT_THAT(why(R"({"rules": [{"on": "commit", "effect": "delay"}]})"),
                HasSubstr("\"effect\""));
}

TEST(faults_json, has_64_rules_at_most)
{
    std::string rules = R"({"on": "copy"})";
    for (int i = 1; i < 64; ++i) {
        rules += R"(, {"on": "copy"})";
    }
    EXPECT_EQ(why(R"({"rules": [)" + rules + "]}"), "");
    EXPECT_THAT(why(R"({"rules": [)" + rules + R"(, {"on": "copy"}]})"),
                AllOf(HasSubstr("\"rules\""), HasSubstr("64")));
}

class a_fault_plan : public testing::Test {
protected:
    static bool strikes(fault_plan& plan, operation on, domain_id d, std::uint32_t reference)
    {
        const fault_plan::target t{d, reference};
        return plan.strike(on, {&t, 1}) != nullptr;
    }
    // Which of so many copies of domain 1 are struck.
    static std::vector<bool> fates(const faults& f, int count)
    {
        fault_plan plan{f};
        std::vector<bool> all;
        for (int i = 0; i < count; ++i) {
            all.push_back(strikes(plan, operation::copy, domain_id{1}, 8));
        }
        return all;
    }
    static faults of(const std::string& rules, std::uint64_t seed = 1)
    {
        return parse_faults(R"({"seed": )" + std::to_string(seed) + R"(, "rules": [)" + rules +
                            "]}")
            .value();
    }
};

TEST_F(a_fault_plan, without_rules_strikes_nothing)
{
    fault_plan plan{faults{}};
    EXPECT_FALSE(strikes(plan, operation::copy, domain_id{1}, 8));
    EXPECT_FALSE(plan.concerns(operation::copy));
}

TEST_F(a_fault_plan, strikes_what_its_rule_is_about)
{
    fault_plan plan{of(R"({"on": "map", "domain": 2, "reference": [8, 9]})")};
    EXPECT_TRUE(plan.concerns(operation::map));
    EXPECT_FALSE(plan.concerns(operation::copy));
    EXPECT_TRUE(strikes(plan, operation::map, domain_id{2}, 8));
    EXPECT_TRUE(strikes(plan, operation::map, domain_id{2}, 9));
    EXPECT_FALSE(strikes(plan, operation::map, domain_id{2}, 10));
    EXPECT_FALSE(strikes(plan, operation::map, domain_id{2}, 7));
    EXPECT_FALSE(strikes(plan, operation::map, domain_id{1}, 8));
    EXPECT_FALSE(strikes(plan, operation::copy, domain_id{2}, 8));
}

TEST_F(a_fault_plan, strikes_a_copy_by_either_side)
{
    fault_plan plan{of(R"({"on": "copy", "domain": 2})")};
    const std::array<fault_plan::target, 2> sides{{{domain_id{1}, 8}, {domain_id{2}, 9}}};
    EXPECT_NE(plan.strike(operation::copy, sides), nullptr);
    EXPECT_EQ(plan.strike(operation::copy, std::span{sides}.first(1)), nullptr);
    EXPECT_EQ(plan.strike(operation::copy, {}), nullptr);
}

TEST_F(a_fault_plan, spares_the_first_and_strikes_so_many)
{
    EXPECT_EQ(fates(of(R"({"on": "copy", "skip": 2, "count": 3})"), 7),
              (std::vector<bool>{false, false, true, true, true, false, false}));
    EXPECT_EQ(fates(of(R"({"on": "copy", "count": 0})"), 3), std::vector<bool>(3, false));
}

TEST_F(a_fault_plan, counts_for_each_rule_what_reaches_it)
{
    // The second rule sees only what the first let pass.
    fault_plan plan{of(R"({"on": "copy", "count": 2, "status": "bad_page"},
                          {"on": "copy", "skip": 1, "count": 1, "status": "no_space"})")};
    std::vector<grant_status> said;
    for (int i = 0; i < 5; ++i) {
        const fault_plan::target t{domain_id{1}, 8};
        const auto* const rule = plan.strike(operation::copy, {&t, 1});
        said.push_back(rule == nullptr ? grant_status::done : rule->status);
    }
    using enum dataplane::remote_copy::status;
    EXPECT_EQ(said, (std::vector<grant_status>{bad_page, bad_page, done, no_space, done}));
}

TEST_F(a_fault_plan, repeats_itself_under_the_same_seed_alone)
{
    const std::string rule = R"({"on": "copy", "probability": 0.5})";
    const auto first = fates(of(rule), 1000);
    EXPECT_EQ(fates(of(rule), 1000), first);
    EXPECT_NE(fates(of(rule, 2), 1000), first);
    const auto struck = std::count(first.begin(), first.end(), true);
    EXPECT_GT(struck, 400);
    EXPECT_LT(struck, 600);
    // Two rules of one plan do not fall together.
    EXPECT_NE(fates(of(rule + "," + rule), 1000), first);
}

TEST_F(a_fault_plan, has_probabilities_from_never_to_always)
{
    EXPECT_EQ(fates(of(R"({"on": "copy", "probability": 0})"), 1000),
              std::vector<bool>(1000, false));
    EXPECT_EQ(fates(of(R"({"on": "copy", "probability": 1})"), 1000),
              std::vector<bool>(1000, true));
    const auto rare = fates(of(R"({"on": "copy", "probability": 0.01})"), 100'000);
    const auto struck = std::count(rare.begin(), rare.end(), true);
    EXPECT_GT(struck, 800);
    EXPECT_LT(struck, 1200);
}

TEST_F(a_fault_plan, strikes_as_often_from_many_threads)
{
    fault_plan plan{of(R"({"on": "copy", "skip": 1000, "count": 5000})")};
    std::atomic<int> struck{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < 2500; ++n) {
                struck += strikes(plan, operation::copy, domain_id{1}, 8) ? 1 : 0;
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
    EXPECT_EQ(struck, 5000);
}

} // namespace
} // namespace strait::xen::simulated
