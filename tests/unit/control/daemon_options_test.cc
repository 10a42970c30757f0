// SPDX-License-Identifier: BSD-3-Clause
// The options of straitd.
#include "control/daemon_options.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

daemon_options parsed(const std::vector<std::string>& words)
{
    return parse_daemon_options(words).value();
}

std::string refused(const std::vector<std::string>& words)
{
    const auto o = parse_daemon_options(words);
    return o.has_error() ? o.error().message : "accepted";
}

TEST(daemon_options, are_taken)
{
    const auto o = parsed({"--run-dir", "/tmp/s", "--workers=1,0", "--main-cpu", "0", "--no-huge",
                           "--memory", "128", "--config", "c", "--log-level", "debug"});
    EXPECT_EQ(o.eal.run_dir, "/tmp/s");
    EXPECT_THAT(o.eal.worker_cpus, ElementsAre(1, 0));
    EXPECT_EQ(o.eal.main_cpu, 0U);
    EXPECT_TRUE(o.eal.no_huge);
    EXPECT_EQ(o.eal.memory_mib, 128U);
    EXPECT_EQ(o.config, "c");
    EXPECT_EQ(o.log, log_level::debug);
}

TEST(daemon_options, say_where_metrics_are)
{
    EXPECT_EQ(parsed({"--metrics", "[::1]:9476"}).metrics.value().to_string(), "[::1]:9476");
    EXPECT_EQ(parsed({"--metrics=unix:/run/m"}).metrics.value().socket, "/run/m");
}

TEST(daemon_options, say_which_addresses_devices_are_given)
{
    EXPECT_TRUE(parsed({"--iova-mode", "pa"}).eal.physical_addresses);
    EXPECT_FALSE(parsed({"--iova-mode=va", "--no-huge"}).eal.physical_addresses);
    EXPECT_THAT(refused({"--iova-mode", "dc"}), HasSubstr("va or pa"));
    EXPECT_EQ(refused({"--iova-mode", "pa", "--no-huge"}),
              "--iova-mode pa is given with --no-huge, and works in huge pages alone; give one of "
              "them");
}

TEST(daemon_options, have_defaults)
{
    const auto o = parsed({});
    EXPECT_EQ(o.eal.run_dir, "/run/strait");
    EXPECT_FALSE(o.eal.no_huge);
    EXPECT_FALSE(o.eal.physical_addresses);
    EXPECT_FALSE(o.config);
    EXPECT_FALSE(o.metrics) << "nobody is let in unasked";
    EXPECT_GE(o.eal.memory_mib, minimum_memory_mib);
}

TEST(daemon_options, that_are_wrong_are_named)
{
    EXPECT_THAT(refused({"--wrokers", "1"}), HasSubstr("did you mean --workers?"));
    EXPECT_THAT(refused({"--xyzzy"}), HasSubstr("straitd has no option --xyzzy; it has --run-dir"));
    EXPECT_EQ(refused({"extra"}), "\"extra\" is one word too many");
    EXPECT_EQ(refused({"-x"}), "there is no option \"-x\"; options begin with --");
    EXPECT_EQ(refused({"--workers"}), "--workers needs a value: a list of CPUs");
    EXPECT_THAT(refused({"--workers", "--no-huge"}), HasSubstr("--workers needs a value"));
    EXPECT_THAT(refused({"--workers", "x"}), HasSubstr("not a list of CPUs"));
    EXPECT_THAT(refused({"--memory", "1"}), HasSubstr("from 32"));
    EXPECT_THAT(refused({"--metrics", "0.0.0.0:9476"}),
                AllOf(StartsWith("--metrics: 0.0.0.0:9476 can be reached from elsewhere"),
                      HasSubstr("127.0.0.1:9476")));
    EXPECT_THAT(refused({"--memory", "64M"}), HasSubstr("--memory is 64M; it must be an integer"));
    EXPECT_THAT(refused({"--main-cpu", "-1"}), HasSubstr("number of a CPU"));
    EXPECT_THAT(refused({"--no-huge=yes"}), HasSubstr("--no-huge is yes; it must be on or"));
    EXPECT_EQ(refused({"--run-dir", "/a", "--run-dir=/b"}), "--run-dir is given twice");
    EXPECT_EQ(refused({"--no-huge", "--no-huge"}), "--no-huge is given twice");
    EXPECT_THAT(refused({"--xen", "simulated:"}), HasSubstr("libxen or simulated:SOCKET"));
    EXPECT_THAT(refused({"--config="}), HasSubstr("must be a path"));
    EXPECT_THAT(refused({"--log-level", "loud"}), HasSubstr("error, warning, info or debug"));
}

TEST(daemon_options, are_all_in_the_help)
{
    const std::string help = daemon_help();
    for (const auto* name : {"--run-dir", "--workers", "--main-cpu", "--no-huge", "--iova-mode",
                             "--memory", "--config", "--log-level", "--version"}) {
        EXPECT_THAT(help, HasSubstr(name));
    }
}

} // namespace
} // namespace strait::control
