// SPDX-License-Identifier: BSD-3-Clause
// The ring engine against DPDK's burst calls: two guests whose memory, drivers and traffic are the
// same, one worked by the engine and one by rte_vhost, over random rings as drivers make them.
// Packets, returned chains, written lengths and every byte of every buffer are compared.
#include "front_end.hh"
#include "test_ring.hh"

#include "tests/unit/dataplane/eal.hh"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <optional>
#include <stdexcept>
#include <thread>

#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>

namespace strait::vhost::test {
namespace {

constexpr std::size_t ram_size = std::size_t{4} << 20;

rte_mempool* pool()
{
    static strait::test::pool_ptr made = [] {
        strait::test::start_eal();
        rte_log_set_level_pattern("lib.vhost.*", RTE_LOG_CRIT);
        return strait::test::make_pool(4096);
    }();
    return made.get();
}

// A guest's two virtqueues.
struct machine {
    machine(const ring_options& options, std::uint64_t seed) : random{seed}, ram{ram_size}
    {
        ring_options o = options;
        if (!o.has(feature::in_order)) {
            o.shuffle = &random;
        }
        receive = make_driver(ram, o);
        transmit = make_driver(ram, o);
    }
    std::mt19937_64 random; // the same draws in both guests
    guest_ram ram;
    std::unique_ptr<driver> receive;
    std::unique_ptr<driver> transmit;
};

std::atomic<int> ready{-1}; // the library's identifier of a device that is

// The socket on which rte_vhost serves every oracle of this process: to begin takes it a second.
class server {
public:
    server()
    {
        pool();
        char name[] = "/tmp/strait-oracle-XXXXXX";
        if (::mkdtemp(name) == nullptr) {
            throw std::runtime_error{"no temporary folder"};
        }
        folder_ = name;
        static const rte_vhost_device_ops ops = [] {
            rte_vhost_device_ops o{};
            o.new_device = [](int vid) {
                ready = vid;
                return 0;
            };
            o.destroy_device = [](int) { ready = -1; };
            return o;
        }();
        if (rte_vhost_driver_register(path().c_str(), 0) != 0 ||
            rte_vhost_driver_callback_register(path().c_str(), &ops) != 0 ||
            rte_vhost_driver_start(path().c_str()) != 0) {
            throw std::runtime_error{"rte_vhost did not start"};
        }
    }
    server(const server&) = delete;
    server& operator=(const server&) = delete;
    ~server()
    {
        rte_vhost_driver_unregister(path().c_str());
        std::filesystem::remove_all(folder_);
    }
    [[nodiscard]] std::string path() const { return folder_ + "/socket"; }

private:
    std::string folder_;
};

// An rte_vhost device on such a guest.
class oracle {
public:
    oracle(const machine& m, std::uint64_t features)
    {
        static const server here;
        front_.emplace(here.path());
        front_->introduce(features | feature_bits({feature::protocol_features}));
        front_->share(m.ram);
        const std::uint32_t base = has_feature(features, feature::ring_packed) ? 0x8000 : 0;
        front_->set_ring(0, *m.receive, base);
        front_->set_ring(1, *m.transmit, base);
        front_->enable(0, true);
        front_->enable(1, true);
        wait([] { return ready >= 0; });
        vid_ = ready;
    }
    oracle(const oracle&) = delete;
    oracle& operator=(const oracle&) = delete;
    ~oracle()
    {
        front_.reset();
        wait([] { return ready < 0; });
    }

    std::vector<bytes> dequeue()
    {
        std::vector<bytes> frames;
        while (true) {
            std::array<rte_mbuf*, 32> list{};
            const std::uint16_t n =
                rte_vhost_dequeue_burst(vid_, 1, pool(), list.data(), list.size());
            for (rte_mbuf* const m : std::span{list}.first(n)) {
                bytes& f = frames.emplace_back();
                for (const rte_mbuf* s = m; s != nullptr; s = s->next) {
                    const auto* const data = rte_pktmbuf_mtod(s, const std::byte*);
                    f.insert(f.end(), data, data + s->data_len);
                }
                rte_pktmbuf_free(m);
            }
            if (n == 0) {
                return frames;
            }
        }
    }
    // How many went in.
    std::size_t enqueue(std::span<const bytes> frames)
    {
        std::size_t sent = 0;
        while (sent < frames.size()) {
            std::vector<rte_mbuf*> list;
            for (const bytes& f :
                 frames.subspan(sent, std::min<std::size_t>(32, frames.size() - sent))) {
                strait::test::frame copy(f.size());
                std::memcpy(copy.data(), f.data(), f.size());
                list.push_back(strait::test::to_mbuf(copy, pool()));
            }
            const std::uint16_t n = rte_vhost_enqueue_burst(
                vid_, 0, list.data(), static_cast<std::uint16_t>(list.size()));
            for (rte_mbuf* const m : list) {
                rte_pktmbuf_free(m);
            }
            sent += n;
            if (n < list.size()) {
                break;
            }
        }
        return sent;
    }

private:
    template <typename Holds>
    static void wait(Holds holds)
    {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        while (!holds()) {
            if (std::chrono::steady_clock::now() > until) {
                throw std::runtime_error{"rte_vhost did not follow the front end"};
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
    }
    std::optional<front_end> front_;
    int vid_{-1};
};

// What both guests do in one step: chains, each of pieces that lie where they lie in both.
struct planned_chain {
    std::vector<buffer> list;
    bool indirect;
};

class ring_oracle : public testing::TestWithParam<std::tuple<bool, bool, bool>> {
protected:
    [[nodiscard]] static bool packed() { return std::get<0>(GetParam()); }
    [[nodiscard]] static bool mergeable() { return std::get<1>(GetParam()); }
    [[nodiscard]] static bool in_order() { return std::get<2>(GetParam()); }
    [[nodiscard]] std::uint64_t features()
    {
        std::uint64_t f = feature_bits({feature::version_1, feature::indirect});
        f |= mergeable() ? feature_bits({feature::mergeable_buffers}) : 0;
        f |= in_order() ? feature_bits({feature::in_order}) : 0;
        f |= pick(random, 0, 1) == 1 ? feature_bits({feature::event_index}) : 0;
        return f;
    }
    static void expect_same(const std::vector<bytes>& got, const std::vector<bytes>& expected)
    {
        ASSERT_EQ(got.size(), expected.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(got[i].size(), expected[i].size()) << "packet " << i;
            const auto [a, b] = std::ranges::mismatch(got[i], expected[i]);
            ASSERT_EQ(a - got[i].begin(), static_cast<std::ptrdiff_t>(got[i].size()))
                << "where packet " << i << " of " << got[i].size() << " bytes differs";
        }
    }
    // With a batch's last chain alone a device may return all of it: lengths are told apart only
    // without IN_ORDER.
    static void expect_same(std::vector<returned> ours, std::vector<returned> theirs)
    {
        if (in_order()) {
            for (returned& r : ours) {
                r.length = 0;
            }
            for (returned& r : theirs) {
                r.length = 0;
            }
        }
        ASSERT_EQ(ours, theirs);
    }

    std::mt19937_64 random{20264};
};

INSTANTIATE_TEST_SUITE_P(kinds, ring_oracle,
                         testing::Combine(testing::Bool(), testing::Bool(), testing::Bool()),
                         [](const testing::TestParamInfo<std::tuple<bool, bool, bool>>& param) {
                             return std::string{std::get<0>(param.param) ? "packed" : "split"} +
                                    (std::get<1>(param.param) ? "_mergeable" : "") +
                                    (std::get<2>(param.param) ? "_in_order" : "");
                         });

constexpr std::uint16_t split_sizes[] = {2, 4, 16, 64, 256, 1024};
constexpr std::uint16_t packed_sizes[] = {2, 3, 16, 50, 64, 256, 300, 1024};

TEST_P(ring_oracle, takes_what_rte_vhost_takes)
{
    for (int round = 0; round < 4; ++round) {
        const std::uint64_t f = features();
        const std::uint16_t size =
            packed() ? packed_sizes[pick(random, 0, 7)] : split_sizes[pick(random, 0, 5)];
        SCOPED_TRACE("ring of " + std::to_string(size) + ", round " + std::to_string(round));
        const ring_options options{.packed = packed(), .size = size, .features = f};
        const std::uint64_t seed = random();
        machine ours{options, seed};
        machine theirs{options, seed};
        oracle library{theirs, ours.transmit->options().all_features()};
        const auto engine = make_source(ours.transmit->setup());
        worker_side worker;
        std::size_t token = 0;
        for (int step = 0; step < 30; ++step) {
            std::vector<bytes> sent;
            std::vector<std::uint64_t> places;
            for (std::size_t n = pick(random, 1, std::min<std::size_t>(size, 100)); n > 0; --n) {
                const bytes frame =
                    random_bytes(random, pick(random, 0, 9) == 0 ? pick(random, 14, 9018)
                                                                 : pick(random, 14, 1514));
                bytes all(12);
                all.insert(all.end(), frame.begin(), frame.end());
                const std::uint64_t place = ours.ram.allocate(all.size());
                ASSERT_EQ(theirs.ram.allocate(all.size()), place);
                places.push_back(place);
                ours.ram.write(place, all);
                theirs.ram.write(place, all);
                std::vector<buffer> list;
                std::size_t at = 0;
                // A chain is shorter than the ring (2.6.5.3.1): rte_vhost insists.
                for (std::size_t pieces = pick(random, 0, std::min<std::size_t>(size - 2U, 3));
                     pieces > 0; --pieces) {
                    if (all.size() - at < 2) {
                        break;
                    }
                    const std::size_t piece = pick(random, 1, all.size() - at - 1);
                    list.push_back({place + at, static_cast<std::uint32_t>(piece), false});
                    at += piece;
                }
                list.push_back({place + at, static_cast<std::uint32_t>(all.size() - at), false});
                const bool indirect = pick(random, 0, 2) == 0;
                const bool added = ours.transmit->add(list, token, indirect);
                ASSERT_EQ(theirs.transmit->add(list, token, indirect), added);
                if (!added) {
                    break;
                }
                sent.push_back(frame);
                ++token;
            }
            ours.transmit->publish();
            theirs.transmit->publish();
            std::vector<bytes> got;
            while (true) {
                auto some = worker.take(*engine);
                if (some.empty()) {
                    break;
                }
                std::ranges::move(some, std::back_inserter(got));
            }
            ASSERT_EQ(engine->fault(), nullptr);
            ASSERT_EQ(worker.drops(), 0U);
            expect_same(got, sent);
            expect_same(library.dequeue(), sent);
            expect_same(ours.transmit->collect(), theirs.transmit->collect());
            if (HasFatalFailure()) {
                FAIL() << "in step " << step;
            }
            for (const std::uint64_t place : places) {
                ours.ram.free(place);
                theirs.ram.free(place);
            }
        }
        EXPECT_EQ(engine->fault(), nullptr);
        EXPECT_EQ(worker.counters().rx_packets.read(), token);
    }
}

TEST_P(ring_oracle, puts_what_rte_vhost_puts)
{
    for (int round = 0; round < 4; ++round) {
        const std::uint64_t f = features();
        std::uint16_t size =
            packed() ? packed_sizes[pick(random, 0, 7)] : split_sizes[pick(random, 0, 5)];
        if (mergeable()) {
            size = std::max<std::uint16_t>(size, 64);
        }
        SCOPED_TRACE("ring of " + std::to_string(size) + ", round " + std::to_string(round));
        const ring_options options{.packed = packed(), .size = size, .features = f};
        const std::uint64_t seed = random();
        machine ours{options, seed};
        machine theirs{options, seed};
        oracle library{theirs, ours.receive->options().all_features()};
        const auto engine = make_sink(ours.receive->setup());
        worker_side worker;
        std::size_t token = 0;
        std::map<std::size_t, std::vector<buffer>> offered;
        std::size_t sent_in_all = 0;
        for (int step = 0; step < 30; ++step) {
            for (std::size_t n = pick(random, 0, std::min<std::size_t>(size, 90)); n > 0; --n) {
                std::vector<buffer> list;
                const bool indirect = pick(random, 0, 2) == 0;
                // The library's batches on packed rings take each descriptor for a chain: there,
                // chains of several are in tables, which are too short for the frames.
                const std::size_t pieces =
                    packed() && !indirect ? 1
                                          : pick(random, 1, std::min<std::size_t>(size - 1U, 3));
                const std::size_t least = mergeable() ? 200 : 1600;
                const std::uint64_t place = ours.ram.allocate(least * 3);
                ASSERT_EQ(theirs.ram.allocate(least * 3), place);
                std::size_t at = 0;
                for (std::size_t i = 0; i < pieces; ++i) {
                    // Together no less than `least`, the first no less than a header.
                    const std::size_t piece = i + 1 == pieces ? pick(random, least, 2 * least)
                                                              : pick(random, 12, least / 2);
                    list.push_back({place + at, static_cast<std::uint32_t>(piece), true});
                    at += piece;
                }
                const bytes pattern = random_bytes(random, least * 3);
                ours.ram.write(place, pattern);
                theirs.ram.write(place, pattern);
                const bool added = ours.receive->add(list, token, indirect);
                ASSERT_EQ(theirs.receive->add(list, token, indirect), added);
                if (!added) {
                    ours.ram.free(place);
                    theirs.ram.free(place);
                    break;
                }
                offered[token++] = list;
            }
            ours.receive->publish();
            theirs.receive->publish();
            std::vector<bytes> frames;
            std::vector<std::unique_ptr<test_packet>> packets;
            std::vector<dataplane::packet*> list;
            for (std::size_t n = pick(random, 1, 64); n > 0; --n) {
                frames.push_back(random_bytes(random, mergeable() && pick(random, 0, 5) == 0
                                                          ? pick(random, 60, 9018)
                                                          : pick(random, 60, 1514)));
                packets.push_back(std::make_unique<test_packet>(frames.back()));
                list.push_back(packets.back()->get());
            }
            const std::uint64_t before = worker.counters().tx_packets.read();
            worker.send(*engine, list);
            const std::size_t sent = worker.counters().tx_packets.read() - before;
            ASSERT_EQ(sent, library.enqueue(frames));
            sent_in_all += sent;
            const std::vector<returned> back = ours.receive->collect();
            expect_same(back, theirs.receive->collect());
            for (const returned& r : back) {
                const auto found = offered.find(r.token);
                ASSERT_NE(found, offered.end());
                const std::uint64_t place = found->second.front().address;
                const std::size_t least = mergeable() ? 200 : 1600;
                if (!mergeable()) {
                    // The library leaves the number of buffers unset; it must be 1 (5.1.6.4.1).
                    EXPECT_EQ(ours.ram.as<std::uint16_t>(place + 10), 1);
                    theirs.ram.as<std::uint16_t>(place + 10) = 1;
                }
                ASSERT_EQ(ours.ram.read(place, least * 3), theirs.ram.read(place, least * 3));
                ours.ram.free(place);
                theirs.ram.free(place);
                offered.erase(found);
            }
        }
        EXPECT_EQ(engine->fault(), nullptr);
        EXPECT_GT(sent_in_all, 20U);
    }
}

} // namespace
} // namespace strait::vhost::test
