// SPDX-License-Identifier: BSD-3-Clause
// Messages of a guest's control ring: what each is answered, and what none of them can do.
#include "ports/xen-netback/control_ring.hh"

#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "ports/xen-netback/fault.hh"
#include "ports/xen-netback/simulated/front_ring.hh"

#include <gmock/gmock.h>

#include <array>
#include <numeric>

namespace strait::xen::test {
namespace {

using netif::control_response;
using netif::control_type;
using simulated::control_front_ring;
namespace hash_type = netif::hash_type;
namespace status = netif::control_status;

class control_ring_test : public testing::Test {
protected:
    static constexpr domain_id domain{5};
    static constexpr std::size_t queues = 4;

    control_ring_test()
        : ring_page_{guest_->allocate().value()},
          page_{guest_->allocate().value()},
          front_{ring_page_},
          offered_{guest_->offer(hypervisor_->own_domain()).value()},
          page_ref_{guest_->grant(hypervisor_->own_domain(), page_, true).value()}
    {
        rings_.guest = std::make_unique<guest>();
        rings_.guest->hypervisor = hypervisor_.get();
        rings_.guest->domain = domain;
        rings_.sinks.resize(queues);
        serve_by_another({});
        (void)offered_.end->take();
    }
    // As another process takes the ring up where it is.
    void serve_by_another(control_ring::keeper keep)
    {
        ring_.reset();
        const std::array refs{guest_->grant(hypervisor_->own_domain(), ring_page_).value()};
        auto channel = hypervisor_->bind(domain, offered_.port).value();
        ring_ = std::make_unique<control_ring>(hypervisor_->map(domain, refs).value(),
                                               std::move(channel), rings_, rcu_, std::move(keep));
    }
    ~control_ring_test() override
    {
        ring_.reset();
        rings_.sinks.clear();
    }

    std::uint16_t put(control_type type, std::array<std::uint32_t, 3> data)
    {
        front_.put(netif::control_request{.id = ++last_id_,
                                          .type = static_cast<std::uint16_t>(type),
                                          .data = {data[0], data[1], data[2]}});
        return last_id_;
    }
    control_response take()
    {
        EXPECT_GE(front_.ready(), 1U);
        const auto r = front_.peek();
        front_.drop(1);
        return r;
    }
    control_response ask(control_type type, std::array<std::uint32_t, 3> data = {})
    {
        const std::uint16_t id = put(type, data);
        (void)front_.publish();
        EXPECT_TRUE(ring_->serve());
        const auto r = take();
        EXPECT_EQ(r.id, id);
        EXPECT_EQ(r.type, static_cast<std::uint16_t>(type));
        return r;
    }
    std::uint32_t page() const { return static_cast<std::uint32_t>(page_ref_); }
    void use_toeplitz()
    {
        EXPECT_EQ(ask(control_type::set_hash_algorithm, {netif::hash_algorithm::toeplitz}).status,
                  status::success);
    }
    void set_table(std::span<const std::uint32_t> entries)
    {
        std::memcpy(page_, entries.data(), entries.size_bytes());
    }
    [[nodiscard]] const hash_config* hash() const { return rings_.guest->hash.load(); }

    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};
    std::unique_ptr<simulated::simulated_guest> guest_{lab_.guest(domain)};
    std::byte* ring_page_;
    std::byte* page_;
    control_front_ring front_;
    simulated::simulated_guest::offered offered_;
    grant_ref page_ref_;
    dataplane::rcu_domain rcu_;
    ring_set rings_;
    std::unique_ptr<control_ring> ring_;
    std::uint16_t last_id_{0};
};

TEST_F(control_ring_test, what_is_supported_is_told)
{
    EXPECT_EQ(ask(control_type::get_hash_flags).status, status::not_supported);
    use_toeplitz();
    const auto types = ask(control_type::get_hash_flags);
    EXPECT_EQ(types.status, status::success);
    EXPECT_EQ(types.data, hash_type::all);
    const auto size = ask(control_type::get_hash_mapping_size);
    EXPECT_EQ(size.status, status::success);
    EXPECT_EQ(size.data, hash_config::max_mapping);
}

TEST_F(control_ring_test, toeplitz_is_published_with_its_key_and_table)
{
    EXPECT_EQ(hash(), nullptr);
    use_toeplitz();
    std::array<std::uint8_t, hash_config::max_key> key;
    std::iota(key.begin(), key.end(), std::uint8_t{1});
    std::memcpy(page_, key.data(), key.size());
    EXPECT_EQ(ask(control_type::set_hash_key, {page(), hash_config::max_key}).status,
              status::success);
    EXPECT_EQ(ask(control_type::set_hash_mapping_size, {4}).status, status::success);
    const std::array<std::uint32_t, 4> table{3, 2, 1, 0};
    set_table(table);
    EXPECT_EQ(ask(control_type::set_hash_mapping, {page(), 4, 0}).status, status::success);
    EXPECT_EQ(ask(control_type::set_hash_flags, {hash_type::all}).status, status::success);
    ASSERT_NE(hash(), nullptr);
    hash_config expected;
    ASSERT_TRUE(expected.set_key(std::as_bytes(std::span{key})));
    ASSERT_TRUE(expected.set_types(hash_type::all));
    strait::test::borrowed_packet p{make_frame("02:00:00:00:00:01", "02:00:00:00:00:02", 60)};
    EXPECT_EQ(hash()->of(p.get()).hash, expected.of(p.get()).hash);
    for (std::uint32_t i = 0; i < 4; ++i) {
        EXPECT_EQ(hash()->queue({.hash = i, .type = 1}, queues), table[i]);
    }
    EXPECT_EQ(ask(control_type::set_hash_algorithm, {netif::hash_algorithm::none}).status,
              status::success);
    EXPECT_EQ(hash(), nullptr);
}

TEST_F(control_ring_test, types_need_an_algorithm)
{
    EXPECT_EQ(ask(control_type::set_hash_flags, {hash_type::ipv4}).status,
              status::invalid_parameter);
    use_toeplitz();
    EXPECT_EQ(ask(control_type::set_hash_flags, {hash_type::ipv4}).status, status::success);
    EXPECT_EQ(ask(control_type::set_hash_flags, {hash_type::all + 1}).status,
              status::invalid_parameter);
}

TEST_F(control_ring_test, an_unknown_algorithm_is_refused)
{
    EXPECT_EQ(ask(control_type::set_hash_algorithm, {2}).status, status::invalid_parameter);
    EXPECT_EQ(ask(control_type::set_hash_algorithm, {0xffff'ffff}).status,
              status::invalid_parameter);
}

TEST_F(control_ring_test, an_unknown_message_is_not_supported)
{
    for (const unsigned type : {0U, 8U, 9U, 10U, 11U, 0xffffU}) {
        EXPECT_EQ(ask(static_cast<control_type>(type), {1, 2, 3}).status, status::not_supported)
            << type;
    }
    EXPECT_EQ(ring_->fault(), nullptr);
}

TEST_F(control_ring_test, a_key_that_is_too_long_or_cannot_be_read_changes_nothing)
{
    use_toeplitz();
    const auto refused = [&](std::uint32_t grant, std::uint32_t size) {
        return ask(control_type::set_hash_key, {grant, size}).status;
    };
    EXPECT_EQ(refused(page(), hash_config::max_key + 1), status::buffer_overflow);
    EXPECT_EQ(refused(page(), 0xffff'ffff), status::buffer_overflow);
    EXPECT_EQ(refused(page(), 0x1'0028), status::buffer_overflow) << "40 in 16 bits";
    EXPECT_EQ(refused(0xffff'fff0, 40), status::invalid_parameter);
    ASSERT_TRUE(guest_->end(page_ref_));
    EXPECT_EQ(refused(page(), 40), status::invalid_parameter);
    const auto pieces = hypervisor_->counts().pieces;
    EXPECT_EQ(refused(page(), 0), status::success);
    EXPECT_EQ(hypervisor_->counts().pieces, pieces) << "there is nothing to be read";
}

TEST_F(control_ring_test, a_table_outside_its_size_is_refused)
{
    const std::vector<std::uint32_t> ones(hash_config::max_mapping, 1);
    set_table(ones);
    const auto set = [&](std::uint32_t count, std::uint32_t first) {
        return ask(control_type::set_hash_mapping, {page(), count, first}).status;
    };
    EXPECT_EQ(ask(control_type::set_hash_mapping_size, {129}).status, status::invalid_parameter);
    EXPECT_EQ(ask(control_type::set_hash_mapping_size, {128}).status, status::success);
    EXPECT_EQ(set(128, 0), status::success);
    EXPECT_EQ(set(1, 128), status::invalid_parameter);
    EXPECT_EQ(set(2, 127), status::invalid_parameter);
    EXPECT_EQ(set(129, 0), status::buffer_overflow);
    EXPECT_EQ(set(0xffff'ffff, 1), status::buffer_overflow);
    EXPECT_EQ(set(2, 0xffff'ffff), status::invalid_parameter) << "the sum overflows";
    EXPECT_EQ(set(0, 128), status::success);
}

TEST_F(control_ring_test, a_table_names_queues_that_there_are)
{
    EXPECT_EQ(ask(control_type::set_hash_mapping_size, {2}).status, status::success);
    const std::array<std::uint32_t, 2> bad{1, queues};
    set_table(bad);
    EXPECT_EQ(ask(control_type::set_hash_mapping, {page(), 2, 0}).status,
              status::invalid_parameter);
}

TEST_F(control_ring_test, a_table_that_cannot_be_read_changes_nothing)
{
    EXPECT_EQ(ask(control_type::set_hash_mapping_size, {2}).status, status::success);
    EXPECT_EQ(ask(control_type::set_hash_mapping, {0xffff'fff0, 2, 0}).status,
              status::invalid_parameter);
    ASSERT_TRUE(guest_->end(page_ref_));
    EXPECT_EQ(ask(control_type::set_hash_mapping, {page(), 2, 0}).status,
              status::invalid_parameter);
    const auto pieces = hypervisor_->counts().pieces;
    EXPECT_EQ(ask(control_type::set_hash_mapping, {page(), 0, 0}).status, status::success);
    EXPECT_EQ(hypervisor_->counts().pieces, pieces) << "there is nothing to be read";
}

TEST_F(control_ring_test, a_part_of_the_thread_is_enough_for_one_guest)
{
    for (std::uint32_t i = 0; i < netif::control_ring_size; ++i) {
        (void)put(control_type::get_hash_flags, {});
    }
    (void)front_.publish();
    EXPECT_TRUE(ring_->serve());
    EXPECT_EQ(front_.ready(), control_ring::budget);
    for (std::uint32_t i = 1; i < netif::control_ring_size / control_ring::budget; ++i) {
        EXPECT_TRUE(ring_->serve());
    }
    EXPECT_EQ(front_.ready(), netif::control_ring_size);
    EXPECT_FALSE(ring_->serve());
    for (std::uint16_t id = 1; id <= netif::control_ring_size; ++id) {
        EXPECT_EQ(take().id, id);
    }
}

TEST_F(control_ring_test, more_messages_than_slots_end_it)
{
    front_.field(netif::ring_field::req_prod).store(netif::control_ring_size + 1);
    EXPECT_FALSE(ring_->serve());
    EXPECT_STREQ(ring_->fault(), fault_text::index);
    front_.field(netif::ring_field::req_prod).store(1);
    EXPECT_FALSE(ring_->serve()) << "and it stays so";
    EXPECT_EQ(front_.field(netif::ring_field::rsp_prod).load(), 0U);
}

TEST_F(control_ring_test, each_end_is_told_when_it_asks)
{
    (void)ask(control_type::get_hash_flags);
    EXPECT_TRUE(offered_.end->take());
    (void)ask(control_type::get_hash_flags);
    EXPECT_FALSE(offered_.end->take()) << "it did not ask again";
    ASSERT_TRUE(front_.may_sleep());
    (void)ask(control_type::get_hash_flags);
    EXPECT_TRUE(offered_.end->take());
    // Nothing is there: from now on this end wants to be told of the next message.
    EXPECT_FALSE(ring_->serve());
    (void)put(control_type::get_hash_flags, {});
    EXPECT_TRUE(front_.publish());
}

TEST_F(control_ring_test, it_goes_on_where_another_process_stopped)
{
    (void)ask(control_type::get_hash_flags);
    (void)put(control_type::get_hash_mapping_size, {});
    (void)front_.publish();
    serve_by_another({});
    EXPECT_TRUE(ring_->serve());
    EXPECT_EQ(take().data, hash_config::max_mapping);
}

// To keep takes time, and a process can be killed meanwhile: another one finds the ring as it is
// then, with messages that are not answered yet.
TEST_F(control_ring_test, one_that_is_killed_while_it_keeps_leaves_messages_that_can_be_read)
{
    std::array<std::byte, page_size> left{};
    std::string kept;
    serve_by_another([&](const std::string& text) {
        std::memcpy(left.data(), ring_page_, left.size());
        kept = text;
        return true;
    });
    std::array<std::uint8_t, hash_config::max_key> key;
    std::iota(key.begin(), key.end(), std::uint8_t{1});
    std::memcpy(page_, key.data(), key.size());
    (void)put(control_type::set_hash_algorithm, {netif::hash_algorithm::toeplitz});
    (void)put(control_type::set_hash_key, {page(), hash_config::max_key});
    (void)put(control_type::set_hash_mapping_size, {4});
    (void)put(control_type::set_hash_flags, {hash_type::all});
    (void)front_.publish();
    EXPECT_TRUE(ring_->serve());
    const std::string first = kept;
    ASSERT_TRUE(first.starts_with("toeplitz 0f0102"));
    std::memcpy(ring_page_, left.data(), left.size());
    serve_by_another([&](const std::string& text) {
        kept = text;
        return true;
    });
    ASSERT_TRUE(ring_->restore(first));
    EXPECT_TRUE(ring_->serve());
    ASSERT_NE(hash(), nullptr);
    EXPECT_EQ("toeplitz " + hash()->to_text(), first);
    EXPECT_EQ(kept, first);
    EXPECT_EQ(front_.ready(), 4U);
}

TEST_F(control_ring_test, what_cannot_be_kept_is_tried_again)
{
    bool works = false;
    unsigned calls = 0;
    serve_by_another([&](const std::string&) {
        ++calls;
        return works;
    });
    use_toeplitz();
    EXPECT_EQ(calls, 1U);
    (void)ask(control_type::get_hash_flags);
    EXPECT_EQ(calls, 2U);
    works = true;
    (void)ask(control_type::get_hash_flags);
    use_toeplitz();
    EXPECT_EQ(calls, 3U) << "what is kept already is not kept again";
}

} // namespace
} // namespace strait::xen::test
