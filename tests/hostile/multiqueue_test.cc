// SPDX-License-Identifier: BSD-3-Clause
// A front end with several queue pairs, worked by two workers, that sends any message about any
// ring at any time.
#include "hostile_lab.hh"
#include "random_source.hh"
#include "tests/soak.hh"

#include <array>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

using strait::test::random_source;

class hostile_pairs : public attacked_switch {
protected:
    static constexpr unsigned pairs = 4;
    static constexpr std::uint64_t multiqueue_bit = feature_bits({feature::multiqueue});

    hostile_pairs() : attacked_switch{pairs, 2} {}

    [[nodiscard]] static guest::options options(bool packed)
    {
        return {.features = (packed ? packed_features : split_features) | multiqueue_bit,
                .pairs = pairs};
    }
};

// One message, taken or refused, and all that the port says to it. False: the port has hung up.
class attacker {
public:
    attacker(guest& g, std::uint64_t features, random_source& random)
        : g_{g}, features_{features}, random_{random}, log_{::memfd_create("log", MFD_CLOEXEC)}
    {
        EXPECT_EQ(::ftruncate(log_, log_size), 0);
    }
    attacker(const attacker&) = delete;
    attacker& operator=(const attacker&) = delete;
    ~attacker() { ::close(log_); }

    [[nodiscard]] bool send()
    {
        const std::uint32_t ring = random_() % (rings_there + 2); // two that are not there
        const driver& d = driver_of(random_() % rings_there);
        switch (random_() % 14) {
        case 0:
            return say(request::set_vring_num, vring_state{ring, 32U << random_() % 3});
        case 1:
            return say(request::set_vring_base, vring_state{ring, random_() % 64});
        case 2:
            return say(request::get_vring_base, vring_state{ring, 0});
        case 3: {
            const auto places = d.places();
            return say(request::set_vring_addr, vring_address{.index = ring,
                                                              .flags = 0,
                                                              .descriptors = places[0].address,
                                                              .used = places[2].address,
                                                              .available = places[1].address,
                                                              .log = 0});
        }
        case 4:
            return descriptor(request::set_vring_call, ring, d.call_fd());
        case 5:
            return descriptor(request::set_vring_kick, ring, d.kick_fd());
        case 6:
            return say(request::set_features,
                       random_() % 2 == 0 ? features_
                                          : features_ ^ std::uint64_t{1} << feature::multiqueue);
        case 7:
            return say(request::set_features, features_ | std::uint64_t{1} << feature::log_all);
        case 8:
            return say(request::set_log_base, log_area{log_size, 0}, std::span{&log_, 1});
        case 9:
            return g_.front().try_to_share(g_.ram()).has_value();
        default: // most of all
            return say(request::set_vring_enable, vring_state{ring, random_() % 4 == 0 ? 0U : 1U});
        }
    }

private:
    static constexpr std::uint32_t rings_there = 8;
    static constexpr std::uint64_t log_size = 4096;

    [[nodiscard]] driver& driver_of(std::uint32_t ring)
    {
        return ring % 2 == 0 ? g_.rx(ring / 2) : g_.tx(ring / 2);
    }
    template <typename T>
    [[nodiscard]] bool say(request r, const T& payload, std::span<const int> fds = {})
    {
        return g_.front().send(r, payload, fds, 1 | need_reply) && g_.front().answer().has_value();
    }
    [[nodiscard]] bool descriptor(request r, std::uint32_t ring, int fd)
    {
        constexpr std::uint64_t none = 0x100;
        return random_() % 4 == 0 ? say(r, ring | none)
                                  : say(r, std::uint64_t{ring}, std::span{&fd, 1});
    }

    guest& g_;
    std::uint64_t features_;
    random_source& random_;
    int log_;
};

TEST_F(hostile_pairs, any_message_about_any_ring_in_the_middle_of_bursts)
{
    random_source random{11};
    const unsigned laps = strait::test::short_or_soak(30U, 2000U);
    constexpr unsigned messages = 60;
    unsigned said = 0;
    for (unsigned lap = 0; lap < laps; ++lap) {
        SCOPED_TRACE(lap);
        start_flood();
        const auto o = options(lap % 2 == 0);
        guest g{lab_.socket(victim), o};
        for (unsigned pair = 0; pair < pairs; ++pair) {
            for (unsigned n = 0; n < 16; ++n) {
                (void)g.transmit(make_broadcast(9, 60 + n * 80, n), false, pair);
            }
        }
        attacker a{g, o.features, random};
        for (unsigned i = 0; i < messages && a.send(); ++i, ++said) {
            if (i % 8 == 0) {
                g.tx(i / 8 % pairs).publish();
            }
        }
        g.detach();
        ASSERT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
        stop_flood();
        ASSERT_TRUE(talk(first_, 1, second_, 2, 4));
    }
    EXPECT_GT(said, laps * messages / 2) << "most were said to a port that listens";
    const std::size_t open = settled();
    {
        guest g{lab_.socket(victim), options(false)};
        EXPECT_TRUE(talk(g, 9, first_, 1));
    }
    EXPECT_TRUE(eventually([&] { return settled() <= open; })) << "as many files as before";
}

} // namespace
} // namespace strait::vhost::test
