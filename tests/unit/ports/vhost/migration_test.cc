// SPDX-License-Identifier: BSD-3-Clause
// What a front end that migrates its guest asks of a port: a log of what is written to the guest,
// where its rings stand, and the news of where it is.
#include "lab.hh"

#include "ports/vhost/dirty_log.hh"

#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <gmock/gmock.h>

#include <cstring>
#include <numeric>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t log_all = std::uint64_t{1} << feature::log_all;
constexpr std::uint64_t page = std::uint64_t{1} << dirty_log::page_bits;
constexpr std::size_t log_size = 4096; // for 128 MiB

// A log's file, as a front end has it.
class log_file {
public:
    explicit log_file(std::size_t size = log_size) : bits_(size)
    {
        fd_ = ::memfd_create("log", MFD_CLOEXEC);
        EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(size)), 0);
    }
    log_file(const log_file&) = delete;
    log_file& operator=(const log_file&) = delete;
    ~log_file() { ::close(fd_); }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    // Forgets what was marked before; for a guest whose rings nobody writes.
    void clear()
    {
        std::ranges::fill(bits_, 0);
        EXPECT_EQ(::pwrite(fd_, bits_.data(), bits_.size(), 0), static_cast<ssize_t>(bits_.size()));
    }
    [[nodiscard]] bool marked(std::uint64_t address)
    {
        EXPECT_EQ(::pread(fd_, bits_.data(), bits_.size(), 0), static_cast<ssize_t>(bits_.size()));
        return (bits_[address / page / 8] >> (address / page % 8) & 1) != 0;
    }
    [[nodiscard]] bool empty()
    {
        (void)marked(0);
        return std::ranges::all_of(bits_, [](unsigned char c) { return c == 0; });
    }

private:
    int fd_;
    std::vector<unsigned char> bits_;
};

class migration : public testing::TestWithParam<bool> {
protected:
    [[nodiscard]] static std::uint64_t features()
    {
        return GetParam() ? packed_features : split_features;
    }
    [[nodiscard]] static guest::options options() { return {.features = features()}; }

    // QEMU's messages, in its order.
    static void give_log(guest& g, const log_file& log, log_area area = {log_size, 0})
    {
        const int fd = log.fd();
        ASSERT_TRUE(g.front().send(request::set_log_base, area, std::span{&fd, 1}));
        const auto answer = g.front().answer();
        ASSERT_TRUE(answer) << "QEMU waits for one";
        EXPECT_TRUE(answer->empty());
    }
    static void set_logging(guest& g, bool yes)
    {
        ASSERT_EQ(g.front().try_out(request::set_features, features() | (yes ? log_all : 0)), 0U);
        for (unsigned ring = 0; ring < 2; ++ring) {
            ASSERT_EQ(g.front().try_out(request::set_vring_addr, address_of(g, ring, yes)), 0U);
        }
    }
    static vring_address address_of(guest& g, unsigned ring, bool logged)
    {
        const auto places = (ring == 0 ? g.rx() : g.tx()).places();
        return {.index = ring,
                .flags = logged ? ring_flag_log : 0,
                .descriptors = places[0].address,
                .used = places[2].address,
                .available = places[1].address,
                .log = places[2].address};
    }
    // What a frame to the guest, and one from it, leave marked: where they are used, and where the
    // first buffer lies.
    static void expect_marked(log_file& log, guest& g, const char* when)
    {
        const std::size_t used = GetParam() ? 0 : 2;
        EXPECT_TRUE(log.marked(g.rx().places()[used].address)) << when;
        EXPECT_TRUE(log.marked(g.tx().places()[used].address)) << when;
    }

    lab lab_{3};
    guest one_{lab_.socket(0), options()};
    guest two_{lab_.socket(1), options()};
};

TEST_P(migration, writes_are_marked_from_the_moment_that_they_are_to_be)
{
    log_file log;
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    give_log(one_, log);
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    EXPECT_TRUE(log.empty()) << "a log alone asks for nothing";
    set_logging(one_, true);
    EXPECT_THAT(lab_.detail(0, "features"), HasSubstr("log_all"));
    ASSERT_TRUE(talk(one_, 1, two_, 2, 100));
    expect_marked(log, one_, "logged");
    EXPECT_EQ(lab_.detail(0, "last_loss"), "");
    set_logging(one_, false);
    log.clear();
    ASSERT_TRUE(talk(one_, 1, two_, 2, 40));
    EXPECT_TRUE(log.empty()) << "the migration has ended";
}

// Each byte of the guest's memory that changed while the port wrote it, and nobody else, is in a
// page that is marked.
TEST_P(migration, no_page_is_missing)
{
    log_file log;
    give_log(one_, log);
    set_logging(one_, true);
    one_.receive();
    const int rounds = strait::test::fewer_if(strait::test::thread_sanitizer, 20, 5);
    for (int round = 0; round < rounds; ++round) {
        const bytes before = one_.ram().image();
        const auto arrived = lab_.counters(0).tx_packets.read();
        for (unsigned i = 0; i < 10; ++i) {
            ASSERT_TRUE(eventually([&] {
                two_.receive();
                return two_.transmit(make_broadcast(2, 60 + i * 140, i));
            }));
        }
        ASSERT_TRUE(eventually([&] { return lab_.counters(0).tx_packets.read() == arrived + 10; }));
        // The port returns it all to the driver, which is the last that it writes.
        one_.front().enable(0, false);
        const bytes after = one_.ram().image();
        std::size_t changed = 0;
        for (std::size_t at = 0; at < after.size(); at += page) {
            if (std::memcmp(before.data() + at, after.data() + at, page) != 0) {
                ++changed;
                EXPECT_TRUE(log.marked(one_.ram().regions()[0].address + at))
                    << std::hex << one_.ram().regions()[0].address + at;
            }
        }
        EXPECT_GE(changed, 5U);
        log.clear();
        one_.front().enable(0, true);
        one_.receive();
    }
}

TEST_P(migration, a_log_is_replaced_during_traffic)
{
    log_file first;
    log_file second;
    give_log(one_, first);
    set_logging(one_, true);
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    expect_marked(first, one_, "the first log");
    for (int i = 0; i < 20; ++i) {
        (void)two_.transmit(make_broadcast(2, 700, 1));
        give_log(one_, i % 2 == 0 ? second : first);
        one_.receive();
        two_.receive();
    }
    give_log(one_, second);
    first.clear();
    second.clear();
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    expect_marked(second, one_, "the second log");
    EXPECT_TRUE(first.empty()) << "a log that was replaced is let go";
    EXPECT_EQ(lab_.detail(0, "last_loss"), "");
}

// A guest that is started again while it is migrated has its log last: QEMU's order.
TEST_P(migration, rings_wait_for_the_log_that_they_need)
{
    ASSERT_EQ(one_.front().try_out(request::set_features, features() | log_all), 0U);
    EXPECT_TRUE(eventually([&] { return !lab_.port(0).link_up(); }));
    EXPECT_THAT(lab_.detail(0, "obstacle"), HasSubstr("gave no log (SET_LOG_BASE)"));
    log_file log;
    give_log(one_, log);
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    expect_marked(log, one_, "after all");
    EXPECT_EQ(lab_.detail(0, "obstacle"), "");
}

TEST_P(migration, rings_wait_for_a_log_of_all_memory)
{
    log_file log;
    give_log(one_, log, {16, 0}); // the guest's memory ends at 5 MiB
    ASSERT_EQ(one_.front().try_out(request::set_features, features() | log_all), 0U);
    EXPECT_TRUE(eventually([&] { return !lab_.port(0).link_up(); }));
    EXPECT_THAT(lab_.detail(0, "obstacle"),
                HasSubstr("is for guest memory up to 0x80000, and there is some up to 0x500000"));
    EXPECT_TRUE(log.empty());
    give_log(one_, log);
    EXPECT_TRUE(talk(one_, 1, two_, 2));
}

TEST_P(migration, a_ring_is_not_logged_beyond_the_log)
{
    log_file log;
    give_log(one_, log);
    set_logging(one_, true);
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    for (const std::uint64_t wrong :
         {log_size * 8 * page, log_size * 8 * page - 2, ~0UL, ~0UL - 3}) {
        vring_address beyond = address_of(one_, 0, true);
        beyond.log = wrong;
        ASSERT_EQ(one_.front().try_out(request::set_vring_addr, beyond), 0U);
        EXPECT_TRUE(eventually([&] {
            return lab_.detail(0, "obstacle").find("and the dirty log ends at 0x8000000") !=
                   std::string::npos;
        })) << lab_.detail(0, "obstacle");
    }
    ASSERT_EQ(one_.front().try_out(request::set_vring_addr, address_of(one_, 0, true)), 0U);
    EXPECT_TRUE(talk(one_, 1, two_, 2));
}

TEST_P(migration, a_log_that_is_cut_off_costs_its_guest_the_port)
{
    log_file log;
    give_log(one_, log);
    set_logging(one_, true);
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    ASSERT_EQ(::ftruncate(log.fd(), 0), 0);
    ASSERT_TRUE(eventually([&] { return two_.transmit(make_broadcast(2, 60, 1)); }));
    EXPECT_TRUE(one_.front().is_closed());
    EXPECT_TRUE(eventually([&] { return lab_.detail(0, "connected") == "false"; }));
    EXPECT_THAT(lab_.detail(0, "last_loss"), HasSubstr("the dirty log of its guest went away"));
    EXPECT_EQ(lab_.detail(1, "last_loss"), "");
}

// The position that one port says is where another begins, in a copy of the guest.
TEST_P(migration, rings_go_on_behind_another_port_where_they_stood)
{
    log_file log;
    give_log(one_, log);
    set_logging(one_, true);
    ASSERT_TRUE(talk(one_, 1, two_, 2, 77));
    std::array<std::uint32_t, 2> base{};
    for (unsigned ring = 0; ring < 2; ++ring) {
        ASSERT_TRUE(one_.front().send(request::get_vring_base, vring_state{ring, 0}));
        const auto answer = one_.front().answer();
        ASSERT_TRUE(answer && answer->size() == sizeof(vring_state));
        vring_state state{};
        std::memcpy(&state, answer->data(), sizeof state);
        base[ring] = state.value;
        const driver& d = ring == 0 ? one_.rx() : one_.tx();
        one_.receive();
        const ring_index at = d.position();
        const packed_place place{at.next, at.wrap};
        EXPECT_EQ(state.value, GetParam() ? place.encoded() : at.next);
    }
    front_end f{lab_.socket(2)};
    f.introduce(features());
    f.share(one_.ram());
    f.set_ring(0, one_.rx(), base[0]);
    f.set_ring(1, one_.tx(), base[1]);
    f.enable(0, true);
    f.enable(1, true);
    EXPECT_TRUE(talk(one_, 1, two_, 2, 77));
}

bytes rarp_of(const std::array<unsigned char, 6>& mac)
{
    bytes frame(60);
    const auto put = [&](std::size_t at, std::initializer_list<unsigned char> list) {
        std::ranges::transform(list, frame.begin() + static_cast<std::ptrdiff_t>(at),
                               [](unsigned char c) { return std::byte{c}; });
    };
    put(0, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
    put(12, {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3});
    for (const std::size_t at : {6U, 22U, 32U}) {
        std::memcpy(frame.data() + at, mac.data(), mac.size());
    }
    return frame;
}

TEST_P(migration, a_station_is_announced_on_its_bridge)
{
    constexpr std::array<unsigned char, 6> mac{2, 0, 0, 0, 0, 1};
    std::uint64_t word = 0;
    std::memcpy(&word, mac.data(), mac.size());
    const auto announced = [&] {
        for (const bytes& frame : two_.receive()) {
            if (frame == rarp_of(mac)) {
                return true;
            }
        }
        return false;
    };
    ASSERT_TRUE(talk(one_, 1, two_, 2));
    ASSERT_EQ(one_.front().try_out(request::send_rarp, word), 0U);
    EXPECT_TRUE(eventually(announced));
    // Neither does it need rings, nor a worker that is awake; the padding says nothing.
    one_.front().enable(0, false);
    one_.front().enable(1, false);
    std::this_thread::sleep_for(std::chrono::milliseconds{30});
    ASSERT_EQ(one_.front().try_out(request::send_rarp, word | std::uint64_t{0xabcd} << 48), 0U);
    EXPECT_TRUE(eventually(announced));
    one_.front().enable(0, true);
    one_.front().enable(1, true);
    EXPECT_TRUE(talk(one_, 1, two_, 2));
    // The station has moved to the other port: what is sent to it goes there.
    ASSERT_EQ(two_.front().try_out(request::send_rarp, word), 0U);
    ASSERT_TRUE(eventually([&] {
        const auto frames = one_.receive();
        return std::ranges::find(frames, rarp_of(mac)) != frames.end();
    }));
    EXPECT_EQ(lab_.detail(0, "last_loss"), "");
}

INSTANTIATE_TEST_SUITE_P(rings, migration, testing::Bool(),
                         [](const auto& param) { return param.param ? "packed" : "split"; });

} // namespace
} // namespace strait::vhost::test
