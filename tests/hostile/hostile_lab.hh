// SPDX-License-Identifier: BSD-3-Clause
// What every attack is measured by: a switch with two guests that behave and a port to attack, and
// the checks that the neighbours go on and nothing was leaked.
#pragma once

#include "tests/unit/ports/vhost/lab.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

namespace strait::vhost::test {

// Ports: 0 is attacked; 1 and 2 have guests that behave, and talk after every attack.
class attacked_switch : public testing::Test {
protected:
    static constexpr unsigned victim = 0;

    // Ports that may have so many queue pairs, worked by so many workers.
    explicit attacked_switch(unsigned queues = 1, unsigned workers = 1)
        : lab_{3, false, queues, workers}
    {}

    void TearDown() override
    {
        flood_.reset();
        EXPECT_TRUE(talk(first_, 1, second_, 2)) << "the neighbours are cut off";
        EXPECT_EQ(lab_.detail(1, "last_loss"), "");
        EXPECT_EQ(lab_.detail(2, "last_loss"), "");
        // And the port itself serves the next guest that behaves.
        intruder_.reset();
        if (lab_.detail(victim, "mode") == "server") {
            std::optional<guest> next;
            EXPECT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
            next.emplace(lab_.socket(victim));
            EXPECT_TRUE(talk(*next, 9, first_, 1)) << "the port does not recover";
        }
    }

    // A raw connection to the attacked port; the one before is closed first.
    front_end& connect()
    {
        intruder_.reset();
        eventually([&] { return lab_.detail(victim, "connected") == "false"; });
        intruder_.emplace(lab_.socket(victim));
        return *intruder_;
    }
    // The port is done with everything sent so far, and the connection stays. Asked twice: the
    // library answers before it is done with the question.
    static bool answers(front_end& f)
    {
        return f.ask(request::get_features) && f.ask(request::get_features);
    }

    // A message that must be refused, once without and once with an answer asked for; `prepare`
    // brings a new connection to where it is sent. Nothing is leaked by either.
    template <typename Prepare, typename Send>
    void expect_refused(const char* what, Prepare&& prepare, Send&& send)
    {
        SCOPED_TRACE(what);
        {
            front_end& f = connect();
            prepare(f);
            const std::size_t open = settled();
            EXPECT_TRUE(send(f, 1U));
            EXPECT_TRUE(f.is_closed()) << "a front end that breaks the protocol stays connected";
            // Whatever it had mapped and passed is let go with it.
            EXPECT_TRUE(eventually([&] { return holdings::now().descriptors <= open; }))
                << holdings::now().descriptors << " open, " << open << " before";
        }
        front_end& f = connect();
        prepare(f);
        const std::size_t open = settled();
        EXPECT_TRUE(send(f, 1U | need_reply));
        const auto answer = f.answer();
        ASSERT_TRUE(answer) << "closed, where an answer was asked for";
        ASSERT_EQ(answer->size(), sizeof(std::uint64_t));
        EXPECT_NE((*answer)[0], std::byte{0}) << "taken";
        EXPECT_TRUE(eventually([&] { return holdings::now().descriptors == open; }))
            << holdings::now().descriptors << " open, " << open << " before";
        EXPECT_TRUE(answers(f));
        EXPECT_FALSE(lab_.port(victim).link_up());
    }

    // Frames to everyone, as fast as the first neighbour can, until it is destroyed.
    class flood {
    public:
        explicit flood(guest& from) : from_{from}, thread_{[this] { run(); }} {}
        flood(const flood&) = delete;
        flood& operator=(const flood&) = delete;
        ~flood()
        {
            stop_ = true;
            thread_.join();
            // Nothing is on its way any more that could take the room of what comes next.
            eventually([this] {
                from_.receive();
                return from_.unsent() == 0;
            });
        }

    private:
        void run()
        {
            unsigned n = 0;
            while (!stop_) {
                from_.receive();
                if (!from_.transmit(make_broadcast(1, 60 + n % 1400, n))) {
                    std::this_thread::sleep_for(std::chrono::microseconds{50});
                }
                ++n;
            }
        }
        guest& from_;
        std::atomic<bool> stop_{false};
        std::thread thread_;
    };
    void start_flood() { flood_.emplace(first_); }
    void stop_flood() { flood_.reset(); }

    // Open files once what was closed before is.
    static std::size_t settled()
    {
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
        return holdings::now().descriptors;
    }

    lab lab_;
    guest first_{lab_.socket(1)};
    guest second_{lab_.socket(2)};
    std::optional<front_end> intruder_;
    std::optional<flood> flood_;
};

} // namespace strait::vhost::test
