// SPDX-License-Identifier: BSD-3-Clause
// Guests whose memory is not what they said, or does not stay what it was.
#include "hostile_lab.hh"

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

using testing::HasSubstr;

constexpr auto introduced = [](front_end& f) { f.introduce(split_features); };

class hostile_memory : public attacked_switch {
protected:
    static int memory_file(std::size_t size)
    {
        const int fd = ::memfd_create("region", MFD_CLOEXEC);
        if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0) {
            std::abort();
        }
        return fd;
    }
    // A table of these regions is refused, with words that say why.
    void refused(const char* what, const std::vector<memory_region>& regions, const char* words,
                 std::optional<std::size_t> files = std::nullopt)
    {
        const int fd = memory_file(1 << 20);
        const std::vector<int> fds(files.value_or(std::min(regions.size(), std::size_t{8})), fd);
        const bytes table = front_end::memory_table(regions);
        expect_refused(what, introduced, [&](front_end& f, std::uint32_t flags) {
            return f.send(request::set_mem_table, std::span<const std::byte>{table}, fds, flags);
        });
        EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr(words)) << what;
        ::close(fd);
    }
    // The guest is sent away for what it did to its memory, soon.
    void expect_expelled(guest& g)
    {
        EXPECT_TRUE(g.front().is_closed());
        EXPECT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
        EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("guest memory went away"));
    }
    // Whoever sleeps looks at this driver's ring.
    static void wake(const driver& d) { ASSERT_EQ(::eventfd_write(d.kick_fd(), 1), 0); }
    static void truncate(const guest_ram& ram, std::size_t size)
    {
        ASSERT_EQ(::ftruncate(ram.fd(), static_cast<off_t>(size)), 0);
    }
};

TEST_F(hostile_memory, regions_none)
{
    refused("none", {}, "names 0 memory regions");
}

TEST_F(hostile_memory, regions_nine)
{
    std::vector<memory_region> regions;
    for (std::uint64_t i = 0; i < 9; ++i) {
        regions.push_back({i * 4096, 4096, i * 4096, 0});
    }
    refused("nine", regions, "names 9 memory regions");
}

TEST_F(hostile_memory, regions_without_their_files)
{
    refused("one of two", {{0, 4096, 0, 0}, {8192, 4096, 8192, 4096}}, "passes 1 files for 2", 1);
    refused("two for one", {{0, 4096, 0, 0}}, "passes 2 files for 1", 2);
}

TEST_F(hostile_memory, regions_that_overlap)
{
    refused("guest addresses", {{0x1000, 0x2000, 0x1000, 0}, {0x2000, 0x1000, 0x9000, 0}},
            "overlaps");
    refused("the front end's addresses", {{0x1000, 0x2000, 0x1000, 0}, {0x9000, 0x1000, 0x2fff, 0}},
            "overlaps");
    refused("twice the same", {{0x1000, 0x1000, 0x1000, 0}, {0x1000, 0x1000, 0x1000, 0}},
            "overlaps");
}

TEST_F(hostile_memory, regions_that_overflow)
{
    constexpr std::uint64_t top = ~std::uint64_t{0};
    const char* const words = "beyond the end of the address space";
    refused("guest address", {{top - 0xfff, 0x2000, 0x1000, 0}}, words);
    refused("front end's address", {{0x1000, 0x2000, top - 0xfff, 0}}, words);
    refused("offset", {{0x1000, 0x2000, 0x1000, top - 0xfff}}, words);
    refused("size", {{0x1000, top, 0x1000, 0}}, words);
    refused("size and offset", {{0, top - 0xfff, 0, 0xfff}}, "of a file that has");
    refused("nothing", {{0x1000, 0, 0x1000, 0}}, "is empty");
}

TEST_F(hostile_memory, regions_larger_than_their_file)
{
    refused("by a byte", {{0, (1 << 20) + 1, 0, 0}}, "of a file that has 1048576");
    refused("by their offset", {{0, 1 << 20, 0, 1}}, "of a file that has 1048576");
}

// A page that must be fetched from a disk, or from a file system that the guest's owner serves,
// makes a worker wait.
TEST_F(hostile_memory, files_that_are_no_memory)
{
    char name[] = "/var/tmp/strait-hostile-XXXXXX";
    const int on_disk = ::mkstemp(name);
    ::unlink(name);
    ASSERT_EQ(::ftruncate(on_disk, 1 << 20), 0);
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    const int zero = ::open("/dev/zero", O_RDWR | O_CLOEXEC);
    const int folder = ::open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const memory_region region{0x1000, 0x1000, 0x1000, 0};
    const bytes table = front_end::memory_table({&region, 1});
    for (const int fd : {on_disk, pipe_ends[0], zero, folder, socket}) {
        expect_refused("kind", introduced, [&](front_end& f, std::uint32_t flags) {
            return f.send(request::set_mem_table, std::span<const std::byte>{table},
                          std::span{&fd, 1}, flags);
        });
        EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("neither a memfd nor"));
    }
    for (const int fd : {on_disk, pipe_ends[0], pipe_ends[1], zero, folder, socket}) {
        ::close(fd);
    }
}

// A file that may only be read cannot be mapped for writing: the library says no.
TEST_F(hostile_memory, files_that_may_not_be_written)
{
    const int writable = memory_file(1 << 20);
    const std::string path = "/proc/self/fd/" + std::to_string(writable);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    const memory_region region{0x1000, 0x1000, 0x1000, 0};
    const bytes table = front_end::memory_table({&region, 1});
    expect_refused("read-only", introduced, [&](front_end& f, std::uint32_t flags) {
        return f.send(request::set_mem_table, std::span<const std::byte>{table}, std::span{&fd, 1},
                      flags);
    });
    ::close(fd);
    ::close(writable);
}

TEST_F(hostile_memory, truncated_under_a_polling_worker)
{
    for (const bool packed : {false, true}) {
        for (const std::size_t to : {std::size_t{0}, std::size_t{32} << 10}) {
            SCOPED_TRACE(packed ? "packed" : "split");
            eventually([&] { return lab_.detail(victim, "connected") == "false"; });
            guest g{lab_.socket(victim), {.features = packed ? packed_features : split_features}};
            ASSERT_TRUE(talk(g, 9, first_, 1));
            if (to == 0) {
                // Already the poll of an empty ring meets it.
                truncate(g.ram(), to);
                wake(g.tx());
            } else {
                // The rings are still there; the buffers that frames go to are not.
                g.receive();
                truncate(g.ram(), to);
                start_flood();
            }
            expect_expelled(g);
            stop_flood();
            EXPECT_TRUE(talk(first_, 1, second_, 2));
        }
    }
}

TEST_F(hostile_memory, truncated_between_messages_that_make_the_library_read_it)
{
    for (int i = 0; i < 20; ++i) {
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
        guest g{lab_.socket(victim)};
        const driver& d = g.rx();
        const auto places = d.places();
        truncate(g.ram(), 0);
        // The library looks at the used index here, if the port has not yet sent the guest away.
        g.front().send(request::set_vring_addr, vring_address{.index = 0,
                                                              .flags = 0,
                                                              .descriptors = places[0].address,
                                                              .used = places[2].address,
                                                              .available = places[1].address,
                                                              .log = 0});
        expect_expelled(g);
    }
}

// The size is right when it is looked at, and wrong when the library reads the rings in what it has
// just mapped, before anyone could know where that is.
TEST_F(hostile_memory, truncated_while_it_is_being_mapped)
{
    int went = 0;
    for (int round = 0; round < 40 && went < 5; ++round) {
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
        guest g{lab_.socket(victim)};
        // Another size than before, so that the library maps it anew each time.
        std::atomic<bool> stop{false};
        std::thread shrinker{[&] {
            while (!stop) {
                if (::ftruncate(g.ram().fd(), 0) != 0 || ::ftruncate(g.ram().fd(), 4 << 20) != 0) {
                    std::abort();
                }
            }
        }};
        std::uint64_t size = 4 << 20;
        for (int i = 0; i < 100; ++i) {
            size -= 4096;
            const memory_region region{g.ram().regions()[0].address, size,
                                       g.ram().regions()[0].address, 0};
            const bytes table = front_end::memory_table({&region, 1});
            const int fd = g.ram().fd();
            if (!g.front().try_out(request::set_mem_table, std::span<const std::byte>{table},
                                   std::span{&fd, 1})) {
                break;
            }
        }
        stop = true;
        shrinker.join();
        went += g.front().is_closed(std::chrono::milliseconds{200}) ? 1 : 0;
    }
    EXPECT_GT(went, 0) << "the race was never won; this test showed nothing";
}

TEST_F(hostile_memory, holes_punched_under_a_polling_worker)
{
    for (const bool packed : {false, true}) {
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
        guest g{lab_.socket(victim), {.features = packed ? packed_features : split_features}};
        start_flood();
        ASSERT_TRUE(eventually([&] { return !g.receive().empty(); }));
        for (int i = 0; i < 50; ++i) {
            ASSERT_EQ(
                ::fallocate(g.ram().fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 << 20),
                0);
            g.tx().publish();
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        stop_flood();
        EXPECT_TRUE(talk(first_, 1, second_, 2));
    }
}

// The memory of huge pages is taken away by a truncation as any other; mapping a piece of it is not
// possible.
TEST_F(hostile_memory, huge_pages_truncated_under_a_polling_worker)
{
    constexpr std::size_t huge = std::size_t{2} << 20;
    const int fd = ::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
    if (fd < 0 || ::ftruncate(fd, 2 * huge) != 0) {
        GTEST_SKIP() << "no huge pages";
    }
    void* const at = ::mmap(nullptr, 2 * huge, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        ::close(fd);
        GTEST_SKIP() << "no free huge pages";
    }
    ::munmap(at, 2 * huge);
    // Both rings lie in the first, all zeros: the guest's driver does nothing.
    front_end& f = connect();
    f.introduce(split_features);
    const memory_region region{0, 2 * huge, 0, 0};
    const bytes table = front_end::memory_table({&region, 1});
    ASSERT_EQ(
        f.try_out(request::set_mem_table, std::span<const std::byte>{table}, std::span{&fd, 1}),
        0U);
    guest_ram elsewhere{1 << 20};
    const auto d = make_driver(
        elsewhere,
        {.packed = false, .size = 64, .features = split_features, .start = {}, .shuffle = nullptr});
    for (unsigned ring = 0; ring < 2; ++ring) {
        f.set_ring(ring, *d, 0);
        f.enable(ring, true);
    }
    ASSERT_TRUE(eventually([&] { return lab_.port(victim).link_up(); }));
    ASSERT_EQ(::ftruncate(fd, 0), 0);
    wake(*d);
    EXPECT_TRUE(f.is_closed());
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("guest memory went away"));
    ::close(fd);
}

// ---- a guest that breaks the ring's own rules loses its port; more in ring_hostile_test.cc ----

TEST_F(hostile_memory, a_broken_ring_costs_its_guest_the_port)
{
    guest g{lab_.socket(victim)};
    ASSERT_TRUE(talk(g, 9, first_, 1));
    // More buffers made available than the ring has.
    auto& index = g.ram().as<std::uint16_t>(g.tx().places()[1].address + 2);
    __atomic_store_n(&index, static_cast<std::uint16_t>(index + 1000), __ATOMIC_RELEASE);
    wake(g.tx());
    EXPECT_TRUE(g.front().is_closed());
    EXPECT_THAT(lab_.detail(victim, "last_loss"), HasSubstr("broke the protocol"));
    EXPECT_FALSE(lab_.port(victim).link_up());
}

} // namespace
} // namespace strait::vhost::test
