// SPDX-License-Identifier: BSD-3-Clause
// The serial port, as a driver finds it: what it is probed for, input, output, interrupts.
#include "vmm/devices/serial.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace strait::vmm {
namespace {

enum reg : std::uint64_t { data, ier, iir, lcr, mcr, lsr, msr, scr };
constexpr std::uint64_t fcr = iir;
constexpr std::uint64_t dll = data;
constexpr std::uint64_t dlm = ier;

class serial_test : public testing::Test {
protected:
    std::uint8_t in(std::uint64_t port)
    {
        std::byte b{};
        s.read(port, {&b, 1});
        return std::to_integer<std::uint8_t>(b);
    }
    void out(std::uint64_t port, unsigned value)
    {
        const auto b = static_cast<std::byte>(value);
        s.write(port, {&b, 1});
    }
    std::size_t type(std::string_view text) { return s.receive(std::as_bytes(std::span{text})); }
    std::string take_all()
    {
        std::string all;
        while ((in(lsr)&1) != 0) {
            all += static_cast<char>(in(data));
        }
        return all;
    }

    event interrupt{event::make().value()};
    std::string sent;
    serial s{interrupt, [this](std::byte b) { sent += static_cast<char>(b); }};
};

TEST_F(serial_test, sends_what_is_written)
{
    EXPECT_EQ(in(lsr), 0x60);
    for (const char c : std::string{"hello\n"}) {
        out(data, static_cast<unsigned char>(c));
        EXPECT_EQ(in(lsr), 0x60) << "gone already";
    }
    EXPECT_EQ(sent, "hello\n");
    EXPECT_FALSE(interrupt.take()) << "nobody asked";
}

TEST_F(serial_test, is_a_16550a_to_who_probes)
{
    // Interrupt enable has four bits.
    out(ier, 0);
    EXPECT_EQ(in(ier), 0);
    out(ier, 0xff);
    EXPECT_EQ(in(ier), 0x0f);
    out(ier, 0);
    // Looped back, OUT2 and RTS come back as carrier and clear to send.
    out(mcr, 0x1a);
    EXPECT_EQ(in(msr)&0xf0, 0x90);
    out(mcr, 0x15);
    EXPECT_EQ(in(msr)&0xf0, 0x60);
    out(mcr, 0);
    EXPECT_EQ(in(msr)&0xf0, 0xb0);
    // FIFOs that are on show themselves, and are no longer than a 16550's.
    EXPECT_EQ(in(iir), 0x01);
    out(fcr, 0x01);
    EXPECT_EQ(in(iir), 0xc1);
    out(lcr, 0x80);
    out(fcr, 0x21);
    EXPECT_EQ(in(iir), 0xc1);
    out(lcr, 0xbf);
    EXPECT_EQ(in(iir), 0xc1) << "no enhanced features";
    out(lcr, 0);
    out(scr, 0x5a);
    EXPECT_EQ(in(scr), 0x5a);
    EXPECT_EQ(in(mcr), 0);
    out(mcr, 0xff);
    EXPECT_EQ(in(mcr), 0x1f);
    EXPECT_EQ(sent, "");
}

TEST_F(serial_test, has_a_divisor_beside_its_data)
{
    out(ier, 0x05);
    out(lcr, 0x83);
    EXPECT_EQ(in(lcr), 0x83);
    EXPECT_EQ(in(dll), 12);
    out(dll, 0x34);
    out(dlm, 0x12);
    EXPECT_EQ(in(dll), 0x34);
    EXPECT_EQ(in(dlm), 0x12);
    out(lcr, 0x03);
    EXPECT_EQ(in(ier), 0x05);
    EXPECT_EQ(in(data), 0);
    EXPECT_EQ(sent, "");
}

TEST_F(serial_test, loops_back_as_many_bytes_as_its_fifo_has)
{
    for (const bool fifos : {true, false}) {
        out(fcr, fifos ? 0x07 : 0);
        out(mcr, 0x10);
        EXPECT_EQ(type("not now"), 7U);
        out(ier, 0x04);
        (void)interrupt.take();
        for (unsigned i = 0; i < 256; ++i) {
            out(data, i);
        }
        EXPECT_TRUE(interrupt.take()) << "an overrun";
        EXPECT_EQ(in(iir)&0x0f, 0x06);
        EXPECT_EQ(in(lsr), 0x63);
        EXPECT_EQ(in(lsr), 0x61) << "told once";
        EXPECT_EQ(in(iir)&0x0f, 0x01);
        unsigned count = 0;
        for (; (in(lsr)&1) != 0; ++count) {
            EXPECT_EQ(in(data), count);
        }
        EXPECT_EQ(count, fifos ? 16U : 1U);
        out(mcr, 0);
        out(ier, 0);
        EXPECT_EQ(take_all(), "not now") << "came when it listened again";
        EXPECT_EQ(sent, "");
    }
}

TEST_F(serial_test, interrupts_when_there_is_room_to_send)
{
    // As Linux tests for it: each time that it is enabled anew, and until it was read.
    for (int i = 0; i < 2; ++i) {
        out(ier, 0x02);
        EXPECT_TRUE(interrupt.take());
        EXPECT_EQ(in(lsr), 0x60);
        EXPECT_EQ(in(iir), 0x02);
        EXPECT_EQ(in(iir), 0x01);
        out(ier, 0x02);
        EXPECT_EQ(in(iir), 0x01) << "it was on already";
        out(ier, 0);
    }
    EXPECT_FALSE(interrupt.take());
    out(ier, 0x02);
    EXPECT_TRUE(interrupt.take());
    EXPECT_EQ(in(iir), 0x02);
    for (int i = 0; i < 16; ++i) {
        out(data, 'x');
    }
    EXPECT_TRUE(interrupt.take()) << "room again";
    EXPECT_FALSE(interrupt.take()) << "told once";
    EXPECT_EQ(in(iir), 0x02);
    EXPECT_EQ(in(iir), 0x01);
}

TEST_F(serial_test, interrupts_when_input_has_come)
{
    EXPECT_EQ(type("a"), 1U);
    EXPECT_FALSE(interrupt.take());
    out(ier, 0x01);
    EXPECT_TRUE(interrupt.take()) << "it was there before";
    EXPECT_EQ(in(iir), 0x04) << "without a FIFO";
    EXPECT_EQ(in(data), 'a');
    EXPECT_EQ(in(iir), 0x01);
    out(fcr, 0x81); // a trigger at 8
    EXPECT_EQ(type("1234567"), 7U);
    EXPECT_TRUE(interrupt.take());
    EXPECT_EQ(in(iir), 0xcc) << "some, and no more comes";
    EXPECT_EQ(type("8"), 1U);
    EXPECT_FALSE(interrupt.take()) << "the line is up already";
    EXPECT_EQ(in(iir), 0xc4);
    EXPECT_EQ(take_all(), "12345678");
    EXPECT_EQ(in(iir), 0xc1);
    EXPECT_EQ(type("9"), 1U);
    EXPECT_TRUE(interrupt.take());
    out(ier, 0);
    EXPECT_EQ(in(iir), 0xc1);
}

TEST_F(serial_test, the_most_urgent_comes_first)
{
    out(fcr, 0x01);
    out(mcr, 0x10);
    for (int i = 0; i < 17; ++i) {
        out(data, 'x');
    }
    out(ier, 0x0f);
    EXPECT_EQ(in(iir), 0xc6);
    (void)in(lsr);
    EXPECT_EQ(in(iir), 0xc4);
    (void)take_all();
    EXPECT_EQ(in(iir), 0xc2);
    EXPECT_EQ(in(iir), 0xc0) << "the modem's inputs went when it was looped back";
    EXPECT_EQ(in(msr), 0x0b);
    EXPECT_EQ(in(msr), 0x00);
    EXPECT_EQ(in(iir), 0xc1);
    out(mcr, 0x14);
    EXPECT_EQ(in(msr), 0x40) << "a ring that begins is no change";
    out(mcr, 0x10);
    EXPECT_EQ(in(msr), 0x04) << "one that ends is";
}

TEST_F(serial_test, input_waits_in_bounds)
{
    const std::string much(10'000, 'x');
    const std::size_t taken = type(much);
    EXPECT_EQ(taken, serial::input_bytes);
    EXPECT_LT(type(much), 2U);
    out(fcr, 0x01);
    std::string text;
    for (char c = 'a'; c <= 'z'; ++c) {
        text += c;
    }
    (void)take_all();
    EXPECT_EQ(type(text), 26U);
    out(fcr, 0x03);
    EXPECT_EQ(take_all(), text.substr(16)) << "what was in the FIFO was cleared";
    EXPECT_EQ(type(text), 26U);
    EXPECT_EQ(take_all(), text);
    EXPECT_EQ(in(data), 0) << "nothing is there";
}

TEST_F(serial_test, takes_accesses_of_any_size)
{
    std::vector<std::byte> eight(8, std::byte{'A'});
    s.write(0, eight);
    EXPECT_EQ(sent, "A");
    s.write(0, std::span{eight}.first(4));
    s.read(0, eight);
    EXPECT_EQ(eight[7], std::byte{'A'}) << "the scratch register";
    s.read(4, std::span{eight}.first(4));
}

TEST_F(serial_test, many_may_use_it_at_once)
{
    out(ier, 0x0f);
    out(fcr, 0x01);
    std::vector<std::thread> all;
    for (int t = 0; t < 3; ++t) {
        all.emplace_back([this] {
            for (unsigned i = 0; i < 5000; ++i) {
                out(i % 2 == 0 ? data : scr, i);
                (void)in(i % 8);
            }
        });
    }
    std::size_t taken = 0;
    for (int i = 0; i < 1000; ++i) {
        taken += type("some");
    }
    for (std::thread& t : all) {
        t.join();
    }
    EXPECT_GT(taken, 0U);
    EXPECT_EQ(sent.size(), 3 * 2500U);
}

} // namespace
} // namespace strait::vmm
