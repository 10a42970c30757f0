// SPDX-License-Identifier: BSD-3-Clause
// An FTP control connection through translation between two ends that know nothing of it, over
// ways that lose, repeat and delay: what arrives is what was sent with other addresses, and nobody
// is told of bytes that were never sent. Ends are this file's own.
#include "tests/soak.hh"
#include "tests/unit/dataplane/conntrack/packets.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace strait::test {
namespace {

using conntrack::parameters;
namespace tcp = conntrack::tcp;

constexpr end inner{0x0a00'0001, 1000}; // who is translated
constexpr end outer{0x0a00'0002, 21};

class random_numbers {
public:
    explicit random_numbers(unsigned seed) : numbers_{seed} {}
    [[nodiscard]] std::uint32_t below(std::uint32_t n)
    {
        return static_cast<std::uint32_t>(numbers_()) % n;
    }
    [[nodiscard]] bool one_in(std::uint32_t n) { return below(n) == 0; }

private:
    std::mt19937 numbers_;
};

std::string text_of(std::uint32_t address)
{
    std::string out;
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        out += std::to_string(address >> shift & 0xff) + (shift != 0 ? "," : "");
    }
    return out;
}

// Puts what comes in order.
class receiver {
public:
    explicit receiver(std::uint32_t first) : first_{first} {}
    void take(std::uint32_t sequence, const std::string& data)
    {
        for (std::size_t i = 0; i < data.size(); ++i) {
            const auto at = static_cast<std::int32_t>(sequence + i - first_);
            if (at < static_cast<std::int32_t>(got_.size())) {
                continue; // nobody looks at it
            }
            const auto [had, fresh] = bytes_.emplace(at, data[i]);
            if (!fresh) {
                EXPECT_EQ(had->second, data[i]) << "what is sent again is not the same";
            }
        }
        while (bytes_.contains(static_cast<std::int32_t>(got_.size()))) {
            got_ += bytes_[static_cast<std::int32_t>(got_.size())];
        }
    }
    [[nodiscard]] const std::string& got() const { return got_; }
    [[nodiscard]] std::uint32_t next() const
    {
        return first_ + static_cast<std::uint32_t>(got_.size());
    }
    // Of what has come out of order, the first piece, as an option.
    [[nodiscard]] std::vector<std::uint8_t> selective() const
    {
        auto from = bytes_.lower_bound(static_cast<std::int32_t>(got_.size()));
        if (from == bytes_.end()) {
            return {};
        }
        std::int32_t last = from->first;
        const std::int32_t begin = last;
        while (bytes_.contains(last)) {
            ++last;
        }
        std::vector<std::uint8_t> out{1, 1, 5, 10};
        for (const std::int32_t edge : {begin, last}) {
            for (const unsigned shift : {24U, 16U, 8U, 0U}) {
                out.push_back(static_cast<std::uint8_t>(
                    (first_ + static_cast<std::uint32_t>(edge)) >> shift));
            }
        }
        return out;
    }

private:
    std::uint32_t first_;
    std::map<std::int32_t, char> bytes_;
    std::string got_;
};

class conversation {
public:
    // `by_client`: who announces is the client, whose address is translated; else the server.
    conversation(unsigned seed, bool by_client)
        : random_{seed},
          by_client_{by_client},
          seen_as_{
              std::vector<std::uint32_t>{0x0101'0101, 0x0a00'0063, 0xc0a8'c8c8}[random_.below(3)]},
          first_{random_.one_in(2) ? 0xffff'ff00U + random_.below(200) : random_.below(100'000)},
          theirs_{first_}
    {
        nat_.which = by_client ? flow::nat::side::source : flow::nat::side::destination;
        nat_.first = nat_.last = by_client ? seen_as_ : inner.address;
        for (unsigned n = 12; n > 0; --n) {
            add_line(n);
        }
    }

    void run()
    {
        shake_hands();
        unsigned rounds = 0;
        while (acknowledged_ < whole_.size() && ++rounds < 20'000 && !testing::Test::HasFailure()) {
            if (!random_.one_in(3)) {
                send_something();
            }
            if (random_.one_in(3)) {
                answer();
            }
            arrive();
        }
        EXPECT_EQ(acknowledged_, whole_.size()) << "it does not go on";
        EXPECT_EQ(theirs_.got(), wanted_);
    }

private:
    struct on_its_way {
        bool back;
        frame bytes;
    };

    void add_line(unsigned n)
    {
        const std::string port = "," + std::to_string(4 + n) + "," + std::to_string(n * n);
        const std::string filler = "NOOP " + std::string(random_.below(40), 'n') + "\r\n";
        std::string line = filler;
        std::string seen = filler;
        if (!random_.one_in(3)) {
            const std::string before = by_client_ ? "PORT " : "227 Entering (";
            const std::string after = by_client_ ? "\r\n" : ")\r\n";
            line = before + text_of(inner.address) + port + after;
            seen = before + text_of(seen_as_) + port + after;
        }
        whole_ += line;
        wanted_ += seen;
        lines_.push_back(whole_.size());
    }
    [[nodiscard]] tcp_packet packet(bool back, std::uint8_t flags) const
    {
        const bool from_inner = !back; // who announces is who is translated
        return {.from = from_inner ? own() : far_end(),
                .to = from_inner ? far_end() : seen(),
                .flags = flags,
                .window = 20'000};
    }
    [[nodiscard]] end own() const { return by_client_ ? inner : end{inner.address, outer.port}; }
    [[nodiscard]] end seen() const { return {seen_as_, by_client_ ? inner.port : outer.port}; }
    [[nodiscard]] end far_end() const
    {
        return by_client_ ? outer : end{outer.address, inner.port};
    }
    std::optional<frame> through(const frame& f, bool commit = false)
    {
        asking a{f, parameters{.commit = commit,
                               .alg = flow::ct::helper::ftp,
                               .translation = commit ? &nat_ : &restore_}};
        tracker_.track({&a.request(), 1}, 1000);
        if (a.request().dropped) {
            EXPECT_EQ(a.request().reason, dataplane::drop_reason::ct_payload);
            return std::nullopt;
        }
        EXPECT_EQ(a.request().answer.state & conntrack::state::invalid, 0U);
        const auto sent = a.sent();
        EXPECT_EQ(sent.size(), 1U);
        EXPECT_TRUE(checksums_fit(sent.at(0)));
        return sent.at(0);
    }
    void shake_hands()
    {
        // Whose answers have which numbers does not matter here: the far end says nothing.
        tcp_packet syn = packet(!by_client_, tcp::syn);
        tcp_packet answer = packet(by_client_, tcp::syn | tcp::ack);
        tcp_packet last = packet(!by_client_, tcp::ack);
        const std::uint32_t begins = by_client_ ? first_ : 500;
        const std::uint32_t answers = by_client_ ? 500 : first_;
        syn.sequence = begins - 1;
        answer.sequence = answers - 1;
        answer.acknowledged = begins;
        last.sequence = begins;
        last.acknowledged = answers;
        ASSERT_TRUE(through(syn.build(), true));
        ASSERT_TRUE(through(answer.build()));
        ASSERT_TRUE(through(last.build()));
    }
    // A line that has not been through is sent whole; any other bytes in whatever pieces.
    void send_something()
    {
        std::size_t begin = acknowledged_;
        std::size_t end = passed_;
        const auto line = std::ranges::upper_bound(lines_, passed_);
        if (begin == end || random_.one_in(2)) {
            if (line == lines_.end()) {
                return;
            }
            begin = passed_;
            end = *line;
            if (random_.one_in(4) && line + 1 != lines_.end()) { // too early
                begin = *line;
                end = *(line + 1);
            } else if (random_.one_in(3)) { // with some that came before
                begin -= random_.below(static_cast<std::uint32_t>(begin - acknowledged_ + 1));
            }
        } else {
            begin += random_.below(static_cast<std::uint32_t>(end - begin));
            end = begin + 1 +
                  random_.below(static_cast<std::uint32_t>(std::min<std::size_t>(end - begin, 90)));
        }
        sent_ = std::max(sent_, end);
        if (random_.one_in(5)) {
            return; // lost before it came here
        }
        tcp_packet p = packet(false, tcp::ack);
        p.sequence = first_ + static_cast<std::uint32_t>(begin);
        p.acknowledged = 500;
        p.data = whole_.substr(begin, end - begin);
        if (const auto f = through(p.build())) {
            passed_ = begin <= passed_ ? std::max(passed_, end) : passed_;
            ways_.push_back({false, *f});
        } else {
            ++refused;
        }
    }
    void answer()
    {
        tcp_packet p = packet(true, tcp::ack);
        p.sequence = 500;
        p.acknowledged = theirs_.next();
        p.options = theirs_.selective();
        if (const auto f = through(p.build())) {
            ways_.push_back({true, *f});
        }
    }
    void arrive()
    {
        if (ways_.empty()) {
            return;
        }
        const auto which =
            ways_.begin() +
            random_.below(static_cast<std::uint32_t>(std::min<std::size_t>(ways_.size(), 4)));
        const on_its_way here = *which;
        if (!random_.one_in(6)) { // or it comes a second time
            ways_.erase(which);
        }
        if (random_.one_in(5)) {
            return;
        }
        if (!here.back) {
            theirs_.take(sequence_of(here.bytes), data_of(here.bytes));
            return;
        }
        const auto told = static_cast<std::int32_t>(acknowledged_by(here.bytes) - first_);
        ASSERT_GE(told, 0);
        ASSERT_LE(static_cast<std::size_t>(told), sent_) << "that was never sent";
        acknowledged_ = std::max(acknowledged_, static_cast<std::size_t>(told));
        for (std::size_t at = 14 + 40 + 4; (here.bytes.at(14 + 32) >> 4) > 5 && at < 14 + 40 + 12;
             at += 4) {
            const auto edge = static_cast<std::int32_t>(get32(here.bytes, at) - first_);
            EXPECT_GE(edge, told);
            EXPECT_LE(static_cast<std::size_t>(edge), sent_);
        }
    }

    random_numbers random_;
    const bool by_client_;
    const std::uint32_t seen_as_;
    const std::uint32_t first_;
    flow::nat nat_;
    const flow::nat restore_{};
    conntrack::store store_{{.connections = 100}};
    conntrack::tracker tracker_{store_};
    std::string whole_;
    std::string wanted_; // as the other side is to read it
    std::vector<std::size_t> lines_;
    receiver theirs_;
    std::vector<on_its_way> ways_;
    std::size_t sent_{0};
    std::size_t passed_{0};
    std::size_t acknowledged_{0};

public:
    unsigned refused{0};
};

class ftp_stream : public testing::TestWithParam<bool> {};

TEST_P(ftp_stream, arrives_whole_whatever_happens_on_the_way)
{
    unsigned refused = 0;
    const unsigned seeds = short_or_soak(40U, 150U);
    for (unsigned seed = 0; seed < seeds && !HasFailure(); ++seed) {
        SCOPED_TRACE(seed);
        conversation c{seed, GetParam()};
        c.run();
        refused += c.refused;
    }
    EXPECT_GT(refused, seeds / 2) << "what comes too early was tried";
}

INSTANTIATE_TEST_SUITE_P(ftp_stream, ftp_stream, testing::Bool(),
                         [](const auto& i) { return i.param ? "client" : "server"; });

} // namespace
} // namespace strait::test
