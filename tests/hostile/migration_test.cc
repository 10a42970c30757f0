// SPDX-License-Identifier: BSD-3-Clause
// Front ends that give logs which are none, and announce stations which cannot be.
#include "hostile_lab.hh"

#include <array>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace strait::vhost::test {
namespace {

using testing::HasSubstr;

constexpr auto introduced = [](front_end& f) { f.introduce(split_features); };

class hostile_migration : public attacked_switch {
protected:
    void refused(const char* what, log_area area, std::span<const int> files, const char* words)
    {
        expect_refused(what, introduced, [&](front_end& f, std::uint32_t flags) {
            return f.send(request::set_log_base, area, files, flags);
        });
        EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr(words)) << what;
    }
};

TEST_F(hostile_migration, logs_that_are_none)
{
    constexpr std::uint64_t size = 4096;
    const int file = ::memfd_create("log", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(file, size), 0);
    const std::array one{file};
    const std::array two{file, file};
    refused("no file", {size, 0}, {}, "passes 0 files");
    refused("two files", {size, 0}, two, "passes 2 files");
    refused("too small", {size + 1, 0}, one, "needs 4097 bytes of a file that has 4096");
    refused("past the end", {size, size}, one, "needs 8192 bytes of a file that has 4096");
    refused("nothing", {0, 0}, one, "cannot be");
    refused("wraps", {size, ~std::uint64_t{0} - 100}, one, "cannot be");
    refused("all there is", {~std::uint64_t{0}, 0}, one, "cannot be");
    refused("between pages", {1, 5}, one, "no multiple of 4096");
    const std::array null{::open("/dev/zero", O_RDWR | O_CLOEXEC)};
    refused("a device", {size, 0}, null, "neither a memfd");
    const std::array event{::eventfd(0, EFD_CLOEXEC)};
    refused("an eventfd", {size, 0}, event, "neither a memfd");
    const std::array disk{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    refused("on a disk", {size, 0}, disk, "neither a memfd");
    for (const int fd : {file, null[0], event[0], disk[0]}) {
        ::close(fd);
    }
}

TEST_F(hostile_migration, messages_of_another_size)
{
    const int file = ::memfd_create("log", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(file, 4096), 0);
    const std::array<std::uint64_t, 4> words{4096, 0, 0, 0};
    const auto all = std::as_bytes(std::span{words});
    for (const request r : {request::set_log_base, request::set_log_fd, request::send_rarp}) {
        for (const std::size_t size : {std::size_t{0}, std::size_t{4}, all.size()}) {
            expect_refused("size", introduced, [&](front_end& f, std::uint32_t flags) {
                return f.send(r, all.first(size), std::span{&file, 1}, flags);
            });
            EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("its payload has"));
        }
    }
    ::close(file);
}

TEST_F(hostile_migration, events_that_are_none)
{
    const int file = ::memfd_create("log", MFD_CLOEXEC);
    expect_refused("a file", introduced, [&](front_end& f, std::uint32_t flags) {
        return f.send(request::set_log_fd, std::uint64_t{0}, std::span{&file, 1}, flags);
    });
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("no eventfd"));
    ::close(file);
}

TEST_F(hostile_migration, stations_that_cannot_be)
{
    for (const std::uint64_t station :
         {std::uint64_t{0}, std::uint64_t{0xffff'ffff'ffff}, std::uint64_t{1}, ~std::uint64_t{0}}) {
        expect_refused("a station", introduced, [&](front_end& f, std::uint32_t flags) {
            return f.send(request::send_rarp, station, {}, flags);
        });
        EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("is no station's address"));
    }
}

// Logs come, go and are cut off while packets flow; nothing is left of them.
TEST_F(hostile_migration, logs_in_the_middle_of_bursts)
{
    constexpr std::uint64_t log_all = std::uint64_t{1} << feature::log_all;
    std::size_t open = 0;
    std::size_t mapped = 0;
    for (int lap = 0; lap < 20; ++lap) {
        start_flood();
        const bool packed = lap % 2 == 0;
        const std::uint64_t features = packed ? packed_features : split_features;
        {
            guest g{lab_.socket(victim), {.features = features}};
            for (int i = 0; i < 10; ++i) {
                const int file = ::memfd_create("log", MFD_CLOEXEC);
                ASSERT_EQ(::ftruncate(file, 4096), 0);
                ASSERT_TRUE(
                    g.front().send(request::set_log_base, log_area{4096, 0}, std::span{&file, 1}));
                ASSERT_TRUE(g.front().answer());
                ASSERT_EQ(g.front().try_out(request::set_features, features | log_all), 0U);
                g.receive();
                if (i == 9) {
                    EXPECT_EQ(::ftruncate(file, 0), 0);
                    EXPECT_TRUE(g.front().is_closed());
                }
                ::close(file);
            }
        }
        EXPECT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
        stop_flood();
        open = lap == 1 ? settled() : open;
        mapped = lap == 1 ? holdings::now().mappings : mapped;
    }
    EXPECT_TRUE(eventually([&] { return settled() <= open; }));
    EXPECT_LE(holdings::now().mappings, mapped);
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("dirty log of its guest went away"));
}

} // namespace
} // namespace strait::vhost::test
