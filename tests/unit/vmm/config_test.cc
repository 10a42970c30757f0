// SPDX-License-Identifier: BSD-3-Clause
// The options of strait-vmm, on the command line and in a file.
#include "vmm/config.hh"

#include "control/cli.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

namespace strait::vmm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

std::vector<std::string> words(std::string_view line)
{
    return control::cli::split_words(line).value();
}

config parsed(std::string_view line)
{
    return parse_command_line(words(line)).value().machine;
}

std::string refused(std::string_view line)
{
    const auto c = parse_command_line(words(line));
    return c.has_error() ? c.error().message : "accepted";
}

class configuration : public testing::Test {
protected:
    ~configuration() override { ::unlink(path.c_str()); }

    std::string write(std::string_view text) const
    {
        std::ofstream{path} << text;
        return "run --config " + path;
    }
    // Without the file's name in front.
    std::string wrong(std::string_view text) const
    {
        const std::string why = refused(write(text));
        EXPECT_THAT(why, StartsWith(path + ":"));
        return why.substr(std::min(why.size(), path.size() + 1));
    }

    const std::string path = testing::TempDir() + "config_test_" + std::to_string(::getpid());
};

TEST_F(configuration, of_the_command_line_is_all_there)
{
    const auto c = parsed(
        "run --kernel K --initrd I --command-line 'console=ttyS0 quiet' --memory 2G --cpus 4 "
        "--vcpu-pin 0=2,3=5 --numa-node 1 --hugepages 1G --realtime 50 "
        "--net socket=/run/strait/vm1.sock,mac=52:54:00:00:00:01,queues=2,server=on,mtu=9000,"
        "packed=on,offloads=expected,queue-size=512 --net socket=/b,offloads=off "
        "--disk /images/root.img,read-only=on,serial=abc --disk /dev/sdb "
        "--console file:/log --control /run/c.sock --name vm1 --no-reboot --jail-folder /jail "
        "--user 65534:65533");
    EXPECT_EQ(c.kernel, "K");
    EXPECT_EQ(c.initrd, "I");
    EXPECT_EQ(c.command_line, "console=ttyS0 quiet");
    EXPECT_EQ(c.memory.bytes, std::uint64_t{2} << 30U);
    EXPECT_EQ(c.memory.huge_page, std::uint64_t{1} << 30U);
    EXPECT_EQ(c.memory.node, 1U);
    EXPECT_EQ(c.cpus, 4U);
    EXPECT_THAT(c.cpu_pins, ElementsAre(Pair(0U, 2U), Pair(3U, 5U)));
    EXPECT_EQ(c.realtime, 50U);
    ASSERT_EQ(c.nets.size(), 2U);
    const auto& net = c.nets[0];
    EXPECT_EQ(net.name, "net0");
    EXPECT_EQ(net.socket, "/run/strait/vm1.sock");
    EXPECT_EQ(net.mac.to_string(), "52:54:00:00:00:01");
    EXPECT_EQ(net.pairs, 2);
    EXPECT_EQ(net.queue_size, 512);
    EXPECT_EQ(net.mtu, 9000);
    EXPECT_TRUE(net.server && net.packed && net.offloads && net.offloads_expected);
    EXPECT_EQ(c.nets[1].name, "net1");
    EXPECT_FALSE(c.nets[1].server || c.nets[1].packed || c.nets[1].offloads);
    ASSERT_EQ(c.disks.size(), 2U);
    EXPECT_EQ(c.disks[0].path, "/images/root.img");
    EXPECT_TRUE(c.disks[0].read_only);
    EXPECT_EQ(c.disks[0].serial, "abc");
    EXPECT_EQ(c.disks[1].path, "/dev/sdb");
    EXPECT_FALSE(c.disks[1].read_only);
    EXPECT_EQ(c.console, "file:/log");
    EXPECT_EQ(c.control, "/run/c.sock");
    EXPECT_EQ(c.name, "vm1");
    EXPECT_FALSE(c.reboot);
    EXPECT_TRUE(c.jail.enabled);
    EXPECT_EQ(c.jail.folder, "/jail");
    EXPECT_EQ(c.jail.user, 65534U);
    EXPECT_EQ(c.jail.group, 65533U);
}

TEST_F(configuration, needs_a_kernel_alone)
{
    const auto c = parsed("run --kernel K");
    EXPECT_EQ(c.memory.bytes, std::uint64_t{256} << 20U);
    EXPECT_EQ(c.memory.huge_page, 0U);
    EXPECT_EQ(c.cpus, 1U);
    EXPECT_EQ(c.name, "guest");
    EXPECT_TRUE(c.reboot && c.jail.enabled);
    EXPECT_EQ(c.console, "stdio");
    EXPECT_FALSE(parsed("run --kernel K --no-jail").jail.enabled);
    EXPECT_EQ(parsed("run --kernel K --user root").jail.group, 0U);
}

TEST_F(configuration, makes_macs_that_are_local_and_stay_the_same)
{
    const std::string two = " --kernel K --net socket=/a --net socket=/b";
    std::set<std::string> all;
    for (const auto* name : {"vm1", "vm2", "vm11", "1vm"}) {
        const auto c = parsed("run --name " + std::string{name} + two);
        const auto again = parsed("run --name " + std::string{name} + two);
        for (std::size_t i = 0; i < c.nets.size(); ++i) {
            EXPECT_EQ(c.nets[i].mac, again.nets[i].mac);
            EXPECT_EQ(c.nets[i].mac.bytes()[0], 0x02) << "local, and one station's";
            EXPECT_TRUE(all.insert(c.nets[i].mac.to_string()).second);
        }
    }
}

struct mistake {
    std::string options;
    std::string_view says;
};

TEST_F(configuration, that_is_wrong_is_told_what_would_be_right)
{
    std::string many;
    for (int i = 0; i < 30; ++i) {
        many += "--net socket=/s" + std::to_string(i) + " ";
    }
    for (const auto& [options, says] : std::initializer_list<mistake>{
             {"--memory 256", "--memory is 256; it must be a size from 16M to 1T, like 256M"},
             {"--memory 15M", "a size from 16M"},
             {"--memory 2T", "to 1T"},
             {"--memory 99999999999999999999T", "to 1T"},
             {"--memory 18446744073709551615M", "to 1T"},
             {"--memory -1G", "a size from"},
             {"--memory 1.5G", "a size from"},
             {"--memory 256k", "a size from"},
             {"--memory 257M --hugepages 2M",
              "--memory is 257M; it must be whole huge pages of 2M"},
             {"--hugepages 1G", "--memory is 256M; it must be whole huge pages of 1G"},
             {"--hugepages 4K", "--hugepages is 4K; it must be 2M or 1G"},
             {"--cpus 0", "--cpus is 0; it must be an integer from 1 to 32"},
             {"--cpus 33", "from 1 to 32"},
             {"--cpus two", "--cpus is two;"},
             {"--vcpu-pin 0", "--vcpu-pin has \"0\" without a value; it must be 0=CPU"},
             {"--vcpu-pin x", "has \"x\" in it; it must be vCPUs with the host's CPUs"},
             {"--vcpu-pin 0=x", "--vcpu-pin 0 is x; it must be an integer from 0 to 1023"},
             {"--vcpu-pin 0=1024", "from 0 to 1023"},
             {"--vcpu-pin 0=1,0=2", "--vcpu-pin has two values for 0; one is right"},
             {"--vcpu-pin 1=1", "--vcpu-pin has vCPU 1, but --cpus is 1: they are numbered from 0"},
             {"--vcpu-pin 32=1", "--vcpu-pin has no 32; it takes vCPUs from 0 to 31"},
             {"--vcpu-pin 0=1 --vcpu-pin 1=1", "--vcpu-pin is given twice"},
             {"--numa-node -1", "--numa-node is -1"},
             {"--realtime 100", "from 1 to 99"},
             {"--net queues=2",
              "--net has no socket; it must be keys with their values, like socket=PATH"},
             {"--net /sock", "--net has \"/sock\" in it; it must be keys with their values, like"},
             {"--net socket=", "--net socket is \"\"; it must be text"},
             {"--net socket=/" + std::string(107, 'x'), "text of 1 to 107 bytes"},
             {"--net ''", "--net has \"\" in it"},
             {"--net socket=/a,,queues=1", "--net has \"\" in it"},
             {"--net socket=/a,socket=/b", "--net has two values for socket"},
             {"--net socket=/a,quues=2", "--net has no quues; did you mean queues?"},
             {"--net socket=/a,queues=17",
              "--net queues is 17; it must be an integer from 1 to 16"},
             {"--net socket=/a,queue-size=300",
              "--net queue-size is 300; it must be a power of two"},
             {"--net socket=/a,queue-size=1",
              "--net queue-size is 1; it must be an integer from 2"},
             {"--net socket=/a,queue-size=2048", "from 2 to 1024"},
             {"--net socket=/a,mtu=67", "--net mtu is 67; it must be an integer from 68 to 65521"},
             {"--net socket=/a,mtu=65522", "from 68 to 65521"},
             {"--net socket=/a,packed=yes", "--net packed is yes; it must be on or off"},
             {"--net socket=/a,offloads=some", "it must be on, off or expected"},
             {"--net socket=/a,mac=52:54", "--net mac is 52:54; it must be a MAC address like"},
             {"--net socket=/a,mac=01:00:00:00:00:01",
              "; it must be a single station's address, like"},
             {"--net socket=/a,mac=00:00:00:00:00:00",
              "; it must be a single station's address, like"},
             {"--net socket=/a --net socket=/a", "two --net have the socket /a"},
             {"--net socket=/a,mac=02:00:00:00:00:01 --net socket=/b,mac=02:00:00:00:00:01",
              "two --net have the mac 02:00:00:00:00:01"},
             {many + "--net socket=/t", "--net is given 31 times; at most 30 are possible"},
             {many + "--disk a",
              "30 --net and 1 --disk are 31 devices; the machine's PCI bus has room for 30"},
             {"--disk read-only=on",
              "--disk has no path; it must be a path, and keys with their values, like PATH"},
             {"--disk a,b", "--disk has two values for path"},
             {"--disk a,serial=123456789012345678901",
              "--disk serial is 123456789012345678901; it"},
             {"--disk a,read-only",
              "--disk has \"read-only\" without a value; it must be read-only=on|off"},
             {"--disk serial,a", "\"serial\" without a value; it must be serial=TEXT"},
             {"--net packed", "\"packed\" without a value; it must be packed=on|off"},
             {"--net socket=/a,queue-size=2,queue-size=2", "two values for queue-size; one is"},
             {"--disk ./a --disk b/../a", "two --disk have the file b/../a; each needs one of its"},
             {"--disk a,read-only=on --disk a", "or read-only=on for both"},
             {"--disk /etc/passwd --disk /proc/self/root/etc/passwd", "two --disk have the file"},
             {"--disk a,readonly=on", "did you mean read-only?"},
             {"--console tty",
              "--console is tty; it must be stdio, none, file:PATH or socket:PATH"},
             {"--console file:", "--console is file:;"},
             {"--control ''", "--control is \"\"; it must be text of 1 to 107"},
             {"--name a/b", "--name is a/b; it must be a name of 1 to 63 letters"},
             {"--no-reboot=yes", "--no-reboot is yes; it must be on or off"},
             {"--no-jail --user root", "--no-jail keeps all rights, and --user takes some"},
             {"--no-jail --jail-folder /j", "and --jail-folder takes some"},
             {"--user no-such-user", "--user: there is no user no-such-user"},
             {"--user root:no-such-group", "there is no group no-such-group"},
             {"--user :root", "--user is :root; it must be USER or USER:GROUP"},
             {"--user 4000000000",
              "a user whose group is not known; give it, too: 4000000000:GROUP"},
             {"--kernel L", "run: --kernel is given twice"},
             {"--kernle L", "run has no option --kernle; did you mean --kernel?"},
             {"--memory", "--memory needs a value: a size from 16M"},
             {"extra", "\"extra\" is one word too many"}}) {
        const std::string why = refused("run --kernel K " + options);
        EXPECT_THAT(why, HasSubstr(says)) << options;
        EXPECT_EQ(why.find('\n'), std::string::npos);
        EXPECT_LT(why.size(), 300U);
    }
    EXPECT_THAT(refused("run"), HasSubstr("run: --kernel is missing: a bzImage"));
    EXPECT_THAT(refused(""), HasSubstr("a command is missing; there are run and help"));
    EXPECT_THAT(refused("rum"), HasSubstr("did you mean run?"));
    EXPECT_THAT(refused("--json run"), HasSubstr("there are --version and --help"));
}

TEST_F(configuration, may_have_one_file_for_two_disks_that_are_not_written_to)
{
    EXPECT_EQ(parsed("run --kernel K --disk a,read-only=on --disk a,read-only=on").disks.size(),
              2U);
    EXPECT_EQ(parsed("run --kernel K --disk a --disk b --disk c/a").disks.size(), 3U);
}

TEST_F(configuration, has_no_two_disks_in_one_file_by_whatever_names)
{
    const std::string folder = testing::TempDir() + "links." + std::to_string(::getpid());
    std::filesystem::create_directories(folder);
    const std::string one = folder + "/a";
    const std::string other = folder + "/b";
    std::ofstream{one} << "disk";
    std::filesystem::create_hard_link(one, other);
    EXPECT_EQ(refused("run --kernel K --disk " + one + " --disk " + other),
              "two --disk have the file " + other + ", of which " + one +
                  " is another name; each needs one of its own, or read-only=on for both");
    EXPECT_EQ(
        parsed("run --kernel K --disk " + one + ",read-only=on --disk " + other + ",read-only=on")
            .disks.size(),
        2U);
    std::filesystem::remove_all(folder);
}

TEST_F(configuration, of_a_file_is_the_same_in_json)
{
    const auto c = parsed(write(R"({
        "kernel": "K", "command_line": "a b", "memory": "64M", "cpus": 2,
        "vcpu_pin": {"0": 2, "1": 3}, "no_reboot": true, "no_jail": true, "bounded_log": true,
        "net": [{"socket": "/a,b", "queues": 2, "packed": true, "offloads": "off"},
                {"socket": "/c", "mac": "52:54:00:00:00:09"}],
        "disk": [{"path": "d", "read_only": true}],
        "console": "none", "name": "x"})"));
    EXPECT_EQ(c.kernel, "K");
    EXPECT_EQ(c.memory.bytes, std::uint64_t{64} << 20U);
    EXPECT_THAT(c.cpu_pins, ElementsAre(Pair(0U, 2U), Pair(1U, 3U)));
    ASSERT_EQ(c.nets.size(), 2U);
    EXPECT_EQ(c.nets[0].socket, "/a,b");
    EXPECT_TRUE(c.nets[0].packed);
    EXPECT_FALSE(c.nets[0].offloads);
    EXPECT_EQ(c.nets[1].mac.to_string(), "52:54:00:00:00:09");
    ASSERT_EQ(c.disks.size(), 1U);
    EXPECT_TRUE(c.disks[0].read_only);
    EXPECT_FALSE(c.reboot || c.jail.enabled);
    EXPECT_TRUE(c.bounded_log);
    EXPECT_EQ(c.console, "none");
    EXPECT_EQ(c.name, "x");
}

TEST_F(configuration, of_a_file_yields_to_the_command_line)
{
    const std::string run =
        write(R"({"kernel": "K", "cpus": 2, "no_reboot": true, "vcpu_pin": {"1": 1},
                  "net": [{"socket": "/a"}]})");
    const auto c = parsed(run + " --cpus 4 --no-reboot off --vcpu-pin 0=0 --disk d");
    EXPECT_EQ(c.cpus, 4U);
    EXPECT_TRUE(c.reboot);
    EXPECT_THAT(c.cpu_pins, ElementsAre(Pair(0U, 0U)));
    EXPECT_EQ(c.disks.size(), 1U);
    EXPECT_EQ(refused(run + " --net socket=/b"),
              "run: --net is given, and " + path +
                  " has \"net\", too; say all of them in one place");
    EXPECT_EQ(parsed("run --cpus 4 --config " + path).cpus, 4U) << "wherever it stands";
}

TEST_F(configuration, of_a_file_that_is_wrong_names_the_place)
{
    EXPECT_THAT(wrong("{\n  \"kernel\": \"K\",\n  \"cpus\": 2,,\n}"),
                StartsWith("3:13: this is not JSON: "));
    EXPECT_THAT(wrong(""), StartsWith("1:1: this is not JSON: "));
    EXPECT_THAT(wrong("{\"kernel\":"), StartsWith("1:11: this is not JSON: "));
    EXPECT_THAT(wrong("{} {}"), StartsWith("1:4: this is not JSON: "));
    EXPECT_THAT(wrong(std::string(100, '[')), HasSubstr("this is JSON of more than 8 levels"));
    EXPECT_EQ(wrong("{\"cpus\": 1,\n\"cpus\": 2}"),
              "2:6: an object has \"cpus\" twice; once is right");
    EXPECT_THAT(wrong(R"({"net": [{"socket": "/a", "mtu": 1500, "socket": "/b"}]})"),
                HasSubstr("an object has \"socket\" twice"));
    EXPECT_THAT(wrong("[]"), HasSubstr("no JSON object of options"));
    EXPECT_THAT(wrong("{\"kernel\": \"\xff\"}"), HasSubstr("UTF-8"));
    EXPECT_EQ(wrong(R"({"kernal": "K"})"),
              " run: there is no parameter \"kernal\"; did you mean \"kernel\"?");
    EXPECT_EQ(wrong(R"({"cpus": "2"})"),
              " run: \"cpus\" is \"2\"; it must be an integer from 1 to 32");
    EXPECT_THAT(wrong(R"({"no_reboot": 1})"), HasSubstr("must be true or false"));
    EXPECT_THAT(wrong(R"({"memory": 268435456})"), HasSubstr("a size from 16M to 1T"));
    EXPECT_THAT(wrong(R"({"net": {"socket": "/a"}})"), HasSubstr("\"net\" is"));
    EXPECT_THAT(wrong(R"({"net": {"socket": "/a"}})"), HasSubstr("it must be an array"));
    EXPECT_EQ(wrong(R"({"net": ["/a"]})"), " run: \"net\"[0] is \"/a\"; it must be an object");
    EXPECT_EQ(wrong(R"({"net": [{"socket": "/a"}, {"socket": "/b", "queues": 0}]})"),
              " run: \"net\"[1] \"queues\" is 0; it must be an integer from 1 to 16");
    EXPECT_THAT(wrong(R"({"net": [{"queues": 2}]})"),
                HasSubstr("\"net\"[0] has no \"socket\"; it must be text of 1 to 107 bytes"));
    EXPECT_EQ(wrong(R"({"disk": [{"path": "a", "read-only": true}]})"),
              " run: \"disk\"[0] has no \"read-only\"; did you mean \"read_only\"?");
    EXPECT_THAT(wrong(R"({"vcpu_pin": "0=1"})"),
                HasSubstr("\"vcpu_pin\" is \"0=1\"; it must be an"));
    EXPECT_THAT(wrong(R"({"config": "x"})"), HasSubstr("there is no parameter \"config\""));
    EXPECT_THAT(refused(write(R"({"cpus": 2})")), HasSubstr("--kernel is missing"));
    EXPECT_EQ(refused("run --config /nonexistent"),
              "the configuration /nonexistent cannot be read: No such file or directory");
    EXPECT_THAT(refused("run --config /tmp"), HasSubstr("it is a folder"));
}

TEST_F(configuration, has_help_for_every_option)
{
    const std::string text = help();
    for (const auto& p : commands().front().parameters) {
        EXPECT_THAT(text, HasSubstr(control::label(p, control::wording::command_line)));
    }
    EXPECT_THAT(text, HasSubstr("Exit status: 0"));
    EXPECT_TRUE(parse_command_line(words("--help")).value().help);
    EXPECT_TRUE(parse_command_line(words("run --help")).value().help);
    for (const std::string_view line : {"--version", "run --version", "run --version --cpus 2"}) {
        const auto version = parse_command_line(words(line)).value();
        EXPECT_TRUE(version.version && !version.help) << line;
    }
}

TEST(config, has_paths_that_hold_in_a_jail)
{
    const auto words = control::cli::split_words("run --kernel K --net socket=a/../b.sock "
                                                 "--console file:log --control c.sock")
                           .value();
    const config c = parse_command_line(words).value().machine;
    const std::string here = std::filesystem::current_path().string();
    EXPECT_EQ(c.nets.front().socket, here + "/b.sock");
    EXPECT_EQ(c.console, "file:" + here + "/log");
    EXPECT_EQ(c.control, here + "/c.sock");
}

} // namespace
} // namespace strait::vmm
