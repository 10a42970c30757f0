// SPDX-License-Identifier: BSD-3-Clause
// The registers of a virtio device, driven as a guest's driver does and as none should.
#include "vmm/pci/virtio_function.hh"

#include "test_fabric.hh"

#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>

namespace strait::vmm::pci::test {
namespace {

constexpr std::uint64_t version_1 = 1ULL << VIRTIO_F_VERSION_1;
constexpr std::uint64_t ring_packed = 1ULL << VIRTIO_F_RING_PACKED;
constexpr std::uint32_t bar = 0xc000'0000;

// Two queues, 8 bytes of configuration, and a memory of what it was told.
class test_device final : public virtio::device {
public:
    struct log {
        std::uint64_t offered{0xf0};
        std::optional<std::uint64_t> started{}; // with these features
        std::vector<virtio::queue_setup> queues{};
        std::function<void()> stopping{};
        std::array<std::byte, 8> config{};
        virtio::transport* transport{nullptr};
        const char* fault{nullptr};
        int starts{0};
    };

    explicit test_device(log& l) : log_{l} {}

    [[nodiscard]] std::uint16_t type() const noexcept override { return 1; }
    [[nodiscard]] std::uint64_t features() noexcept override { return log_.offered; }
    [[nodiscard]] std::uint16_t queues() const noexcept override { return 2; }
    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t /*queue*/) const noexcept override
    {
        return 256;
    }
    [[nodiscard]] std::size_t config_size() const noexcept override { return log_.config.size(); }
    void read_config(std::size_t offset, std::span<std::byte> to) noexcept override
    {
        std::memcpy(to.data(), log_.config.data() + offset, to.size());
    }
    void write_config(std::size_t offset, std::span<const std::byte> from) noexcept override
    {
        std::memcpy(log_.config.data() + offset, from.data(), from.size());
    }
    void attach(virtio::transport& t) noexcept override { log_.transport = &t; }
    [[nodiscard]] const char*
    fault_of(std::uint64_t features,
             std::span<const virtio::queue_setup> queues) const noexcept override
    {
        EXPECT_EQ(features & version_1, version_1);
        EXPECT_EQ(queues.size(), 2U);
        return log_.fault;
    }
    void start(std::uint64_t features, std::span<const virtio::queue_setup> queues) override
    {
        log_.started = features;
        log_.queues.assign(queues.begin(), queues.end());
        ++log_.starts;
    }
    void stop(std::function<void()> done) override { log_.stopping = std::move(done); }

private:
    log& log_;
};

class virtio_registers : public testing::Test {
protected:
    virtio_registers() { function->place(bar); }

    template <typename T>
    T read(std::uint32_t offset)
    {
        T value{};
        function->read_bar(offset, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    template <typename T>
    void write(std::uint32_t offset, T value)
    {
        function->write_bar(offset, std::as_bytes(std::span{&value, 1}));
    }
    std::uint8_t status() { return read<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS); }
    void add_status(std::uint8_t bits)
    {
        write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, status() | bits);
    }
    std::uint64_t offered()
    {
        std::uint64_t all = 0;
        for (const std::uint32_t half : {0U, 1U}) {
            write(VIRTIO_PCI_COMMON_DFSELECT, half);
            all |= std::uint64_t{read<std::uint32_t>(VIRTIO_PCI_COMMON_DF)} << (32 * half);
        }
        return all;
    }
    void accept(std::uint64_t features)
    {
        for (const std::uint32_t half : {0U, 1U}) {
            write(VIRTIO_PCI_COMMON_GFSELECT, half);
            write(VIRTIO_PCI_COMMON_GF, static_cast<std::uint32_t>(features >> (32 * half)));
        }
    }
    void set_up_queue(std::uint16_t index, std::uint16_t size, std::uint64_t at,
                      std::uint16_t vector)
    {
        write(VIRTIO_PCI_COMMON_Q_SELECT, index);
        write(VIRTIO_PCI_COMMON_Q_SIZE, size);
        write(VIRTIO_PCI_COMMON_Q_MSIX, vector);
        write(VIRTIO_PCI_COMMON_Q_DESCLO, static_cast<std::uint32_t>(at));
        write(VIRTIO_PCI_COMMON_Q_DESCHI, static_cast<std::uint32_t>(at >> 32));
        write(VIRTIO_PCI_COMMON_Q_AVAILLO, at + 0x1000); // in one piece
        write(VIRTIO_PCI_COMMON_Q_USEDLO, at + 0x2000);
        write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE, 1);
    }
    // Up to DRIVER_OK.
    void drive(std::uint64_t features = version_1 | 0x30)
    {
        add_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
        add_status(VIRTIO_CONFIG_S_DRIVER);
        accept(features);
        add_status(VIRTIO_CONFIG_S_FEATURES_OK);
        set_up_queue(0, 128, 0x1'0000'0000, 1);
        set_up_queue(1, 64, 0x10'0000, 2);
        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
    }

    test_fabric fabric;
    test_device::log device;
    std::unique_ptr<virtio_function> function{
        virtio_function::make("test", std::make_unique<test_device>(device), fabric).value()};
};

TEST_F(virtio_registers, are_found_by_capabilities)
{
    const auto config = [this](std::size_t offset) {
        std::uint32_t value = 0;
        function->read_config(offset, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    };
    EXPECT_EQ(config(PCI_VENDOR_ID), 0x1041'1af4U);
    std::map<unsigned, std::pair<std::uint32_t, std::uint32_t>> found; // offset and length by type
    bool interrupts = false;
    int count = 0;
    for (std::size_t at = config(PCI_CAPABILITY_LIST) & 0xff; at != 0 && ++count < 16;
         at = config(at) >> 8 & 0xff) {
        if ((config(at) & 0xff) == PCI_CAP_ID_MSIX) {
            interrupts = true;
            EXPECT_EQ(config(at) >> 16, 2U); // three vectors
            EXPECT_EQ(config(at + 4), 0x3000U);
            EXPECT_EQ(config(at + 8), 0x3800U);
            continue;
        }
        EXPECT_EQ(config(at) & 0xff, static_cast<unsigned>(PCI_CAP_ID_VNDR));
        found[config(at) >> 24] = {config(at + 8), config(at + 12)};
        if (config(at) >> 24 == VIRTIO_PCI_CAP_NOTIFY_CFG) {
            EXPECT_EQ(config(at + 16), 4U);
        }
    }
    EXPECT_TRUE(interrupts);
    using place = std::pair<std::uint32_t, std::uint32_t>;
    EXPECT_EQ(found[VIRTIO_PCI_CAP_COMMON_CFG], (place{0, 56}));
    EXPECT_EQ(found[VIRTIO_PCI_CAP_ISR_CFG], (place{0x1000, 1}));
    EXPECT_EQ(found[VIRTIO_PCI_CAP_DEVICE_CFG], (place{0x2000, 8}));
    EXPECT_EQ(found[VIRTIO_PCI_CAP_NOTIFY_CFG], (place{0x4000, 8}));
    EXPECT_TRUE(found.contains(VIRTIO_PCI_CAP_PCI_CFG));
}

TEST_F(virtio_registers, start_the_device_with_what_was_agreed)
{
    EXPECT_EQ(offered(), version_1 | 0xf0);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_NUMQ), 2);
    drive();
    EXPECT_EQ(status(), 15);
    EXPECT_EQ(device.started, version_1 | 0x30);
    ASSERT_EQ(device.queues.size(), 2U);
    const virtio::queue_setup& q = device.queues[0];
    EXPECT_TRUE(q.enabled);
    EXPECT_EQ(q.size, 128);
    EXPECT_EQ(q.descriptors, 0x1'0000'0000U);
    EXPECT_EQ(q.driver, 0x1'0000'1000U);
    EXPECT_EQ(q.device, 0x1'0000'2000U);
    EXPECT_GE(q.kick, 0);
    EXPECT_NE(q.call, device.queues[1].call);
    EXPECT_EQ(fabric.addresses.at(bar + 0x4000), q.kick);
    EXPECT_EQ(fabric.addresses.at(bar + 0x4004), device.queues[1].kick);
}

TEST_F(virtio_registers, agree_to_nothing_that_was_not_offered)
{
    for (const std::uint64_t wrong : {version_1 | 1, std::uint64_t{0x30}, version_1 << 1}) {
        write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
        drive(wrong);
        EXPECT_EQ(status() & VIRTIO_CONFIG_S_FEATURES_OK, 0) << std::hex << wrong;
        EXPECT_EQ(status() & VIRTIO_CONFIG_S_DRIVER_OK, 0);
    }
    EXPECT_EQ(device.starts, 0);
}

TEST_F(virtio_registers, offer_the_same_until_the_driver_begins_anew)
{
    EXPECT_EQ(offered(), version_1 | 0xf0);
    device.offered = 0x10; // a back end came, with less
    EXPECT_EQ(offered(), version_1 | 0xf0);
    write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    EXPECT_EQ(offered(), version_1 | 0x10);
}

TEST_F(virtio_registers, are_frozen_once_the_driver_is_ready)
{
    drive();
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT, 0);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, 256);
    write<std::uint32_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 0xdead'0000);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE, 0);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX, 2);
    accept(0);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE), 128);
    EXPECT_EQ(read<std::uint32_t>(VIRTIO_PCI_COMMON_Q_DESCLO), 0U);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE), 1);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX), 1);
    write(VIRTIO_PCI_COMMON_GFSELECT, 0U);
    EXPECT_EQ(read<std::uint32_t>(VIRTIO_PCI_COMMON_GF), 0x30U);
    add_status(VIRTIO_CONFIG_S_DRIVER_OK);
    EXPECT_EQ(device.starts, 1);
}

TEST_F(virtio_registers, of_an_enabled_queue_stay_as_they_are)
{
    add_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    set_up_queue(0, 128, 0x10'0000, 1);
    write<std::uint32_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 0xdead'0000);
    EXPECT_EQ(read<std::uint32_t>(VIRTIO_PCI_COMMON_Q_DESCLO), 0x10'0000U);
}

TEST_F(virtio_registers, take_addresses_by_halves_or_whole)
{
    constexpr std::uint64_t there = 0x1'2345'6780;
    write(VIRTIO_PCI_COMMON_Q_DESCLO, there);
    write<std::uint8_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 1);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 1);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_DESCHI, 1);
    write<std::uint32_t>(VIRTIO_PCI_COMMON_Q_DESCLO + 2, 1);
    write<std::uint64_t>(VIRTIO_PCI_COMMON_Q_DESCHI, 1); // and half of the next
    EXPECT_EQ(read<std::uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO), there);
    EXPECT_EQ(read<std::uint64_t>(VIRTIO_PCI_COMMON_Q_AVAILLO), 0U);
    write<std::uint32_t>(VIRTIO_PCI_COMMON_Q_DESCHI, 2);
    EXPECT_EQ(read<std::uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO), 0x2'2345'6780U);
}

TEST_F(virtio_registers, are_read_to_their_end_and_no_further)
{
    write<std::uint32_t>(VIRTIO_PCI_COMMON_Q_USEDHI, 0xaaaa'5555);
    EXPECT_EQ(read<std::uint32_t>(VIRTIO_PCI_COMMON_Q_USEDHI), 0xaaaa'5555U);
    for (std::uint32_t over = 1; over < 8; ++over) {
        EXPECT_EQ(read<std::uint64_t>(sizeof(virtio_pci_common_cfg) - 8 + over), 0U) << over;
    }
    EXPECT_EQ(read<std::uint32_t>(0x0ffe), 0U); // over the end of the page
}

TEST_F(virtio_registers, take_no_size_that_a_queue_cannot_have)
{
    for (const std::uint16_t wrong : std::initializer_list<std::uint16_t>{0, 257, 0xffff}) {
        write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, wrong);
        EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE), 256);
    }
}

TEST_F(virtio_registers, take_no_vector_that_is_not_there)
{
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX, 3);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX), VIRTIO_MSI_NO_VECTOR);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_MSIX, 0xfffe);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_MSIX), VIRTIO_MSI_NO_VECTOR);
}

TEST_F(virtio_registers, refuse_queues_that_no_device_could_use)
{
    const auto drive_with = [this](std::uint64_t features, std::uint16_t size, std::uint64_t at) {
        write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
        add_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
        accept(features);
        add_status(VIRTIO_CONFIG_S_FEATURES_OK);
        set_up_queue(1, size, at, 1);
        add_status(VIRTIO_CONFIG_S_DRIVER_OK);
        return (status() & VIRTIO_CONFIG_S_NEEDS_RESET) == 0;
    };
    device.offered = ring_packed;
    EXPECT_FALSE(drive_with(version_1, 100, 0x1000));
    EXPECT_FALSE(drive_with(version_1, 64, 0x1008));
    EXPECT_FALSE(drive_with(version_1 | ring_packed, 100, 0x1004));
    EXPECT_EQ(device.starts, 0);
    EXPECT_TRUE(drive_with(version_1 | ring_packed, 100, 0x1010));
    EXPECT_EQ(device.starts, 1);
}

TEST_F(virtio_registers, begin_nothing_that_the_device_finds_wrong)
{
    device.fault = "nobody could read that";
    drive();
    EXPECT_NE(status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    EXPECT_EQ(device.starts, 0);
    EXPECT_TRUE(fabric.addresses.empty());
    write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    EXPECT_EQ(status(), 0) << "there is nothing to wait for";
    device.fault = nullptr;
    drive();
    EXPECT_EQ(device.starts, 1);
}

TEST_F(virtio_registers, wait_for_the_device_to_be_quiet)
{
    drive();
    write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    ASSERT_TRUE(device.stopping);
    EXPECT_EQ(status(), 15);
    EXPECT_TRUE(fabric.addresses.empty());
    // Meanwhile nothing counts.
    write<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT, 1);
    add_status(VIRTIO_CONFIG_S_FAILED);
    write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    device.stopping();
    EXPECT_EQ(status(), 0);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT), 0);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE), 256);
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE), 0);
    drive();
    EXPECT_EQ(device.starts, 2);
    EXPECT_EQ(fabric.wrong, 0);
}

TEST_F(virtio_registers, of_a_reset_device_have_no_kick_of_before)
{
    drive();
    write<std::uint16_t>(0x4000, 0); // one that KVM did not take
    EXPECT_EQ(device.queues[0].kick, fabric.addresses.at(bar + 0x4000));
    write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    device.stopping();
    drive();
    eventfd_t count = 0;
    EXPECT_NE(::eventfd_read(device.queues[0].kick, &count), 0);
}

TEST_F(virtio_registers, notify_by_a_plain_write_too)
{
    drive();
    write<std::uint16_t>(0x4004, 1);
    eventfd_t count = 0;
    EXPECT_EQ(::eventfd_read(device.queues[1].kick, &count), 0);
    EXPECT_NE(::eventfd_read(device.queues[0].kick, &count), 0);
    write<std::uint16_t>(0x4008, 2); // there are two queues
    write<std::uint16_t>(0x7ffe, 2);
}

TEST_F(virtio_registers, follow_their_bar)
{
    drive();
    function->place(0xd000'0000);
    EXPECT_EQ(fabric.addresses.size(), 2U);
    EXPECT_EQ(fabric.addresses.at(0xd000'4000), device.queues[0].kick);
    EXPECT_EQ(fabric.wrong, 0);
}

TEST_F(virtio_registers, tell_of_a_changed_configuration)
{
    const auto before = read<std::uint8_t>(VIRTIO_PCI_COMMON_CFGGENERATION);
    write<std::uint16_t>(VIRTIO_PCI_COMMON_MSIX, 0);
    drive();
    device.transport->config_changed();
    EXPECT_NE(read<std::uint8_t>(VIRTIO_PCI_COMMON_CFGGENERATION), before);
    EXPECT_EQ(read<std::uint8_t>(0x1000), 2);
    EXPECT_EQ(read<std::uint8_t>(0x1000), 0); // reading clears it
    EXPECT_EQ(read<std::uint8_t>(0x3800), 1); // pending, for it is masked
}

TEST_F(virtio_registers, tell_of_a_broken_device)
{
    drive();
    device.transport->broken("its ring is no ring");
    EXPECT_EQ(status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    device.stopping();
    EXPECT_EQ(status(), 0);
}

TEST_F(virtio_registers, pass_the_configuration_on_within_its_bounds)
{
    write<std::uint32_t>(0x2004, 0x0403'0201);
    EXPECT_EQ(read<std::uint8_t>(0x2006), 3);
    write<std::uint32_t>(0x2006, 0xffff'ffff); // over its end
    EXPECT_EQ(read<std::uint32_t>(0x2004), 0x0403'0201U);
    EXPECT_EQ(read<std::uint32_t>(0x2006), 0U);
}

TEST_F(virtio_registers, are_reached_by_the_window_in_the_configuration_space)
{
    std::size_t window = 0;
    for (std::size_t at = 0x40; at < 0x100; at += 4) {
        std::array<std::byte, 4> head{};
        function->read_config(at, head);
        if (head[0] == std::byte{PCI_CAP_ID_VNDR} && head[3] == std::byte{VIRTIO_PCI_CAP_PCI_CFG}) {
            window = at;
        }
    }
    ASSERT_NE(window, 0U);
    const auto set = [&](std::size_t offset, auto value) {
        function->write_config(window + offset, std::as_bytes(std::span{&value, 1}));
    };
    set(offsetof(virtio_pci_cap, offset), std::uint32_t{VIRTIO_PCI_COMMON_NUMQ});
    set(offsetof(virtio_pci_cap, length), std::uint32_t{2});
    std::uint16_t count = 0;
    function->read_config(window + 16, std::as_writable_bytes(std::span{&count, 1}));
    EXPECT_EQ(count, 2);
    set(offsetof(virtio_pci_cap, offset), std::uint32_t{VIRTIO_PCI_COMMON_Q_SIZE});
    set(16, std::uint16_t{32});
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE), 32);
    // Beyond the BAR, wrapping, and not aligned.
    for (const std::uint32_t outside : {0x8000U, 0xffff'fffeU, VIRTIO_PCI_COMMON_Q_SIZE - 1U}) {
        set(offsetof(virtio_pci_cap, offset), outside);
        count = 0xffff;
        function->read_config(window + 16, std::as_writable_bytes(std::span{&count, 1}));
        EXPECT_EQ(count, 0) << outside;
        set(16, std::uint16_t{0x1007});
    }
    EXPECT_EQ(read<std::uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE), 32);
}

TEST_F(virtio_registers, have_all_vectors_masked_by_a_bit_of_the_configuration_space)
{
    std::size_t control = 0;
    for (std::size_t at = 0x40; at < 0x100; at += 4) {
        std::array<std::byte, 4> head{};
        function->read_config(at, head);
        if (head[0] == std::byte{PCI_CAP_ID_MSIX} && control == 0) {
            control = at + PCI_MSIX_FLAGS;
        }
    }
    ASSERT_NE(control, 0U);
    for (std::uint32_t vector = 0; vector < 3; ++vector) {
        write(0x3000 + 16 * vector + 12, std::uint32_t{0});
    }
    for (const int bits : {PCI_MSIX_FLAGS_ENABLE, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL,
                           PCI_MSIX_FLAGS_ENABLE, PCI_MSIX_FLAGS_MASKALL}) {
        const auto value = static_cast<std::uint16_t>(bits);
        function->write_config(control, std::as_bytes(std::span{&value, 1}));
        EXPECT_EQ(fabric.interrupts.size(), bits == PCI_MSIX_FLAGS_ENABLE ? 3U : 0U) << bits;
    }
    EXPECT_EQ(fabric.wrong, 0);
}

// Whatever is written where: registers keep their bounds, and a device is started with nothing that
// was not checked.
TEST_F(virtio_registers, survive_random_writes)
{
    std::mt19937 random{7}; // NOLINT(cert-msc51-cpp)
    device.offered |= ring_packed;
    for (int i = 0; i < 200'000; ++i) {
        const std::size_t size = std::size_t{1} << random() % 4;
        const auto page = static_cast<std::uint32_t>(random() % 8) << 12;
        const auto offset = page | static_cast<std::uint32_t>(random() % 5 == 0 ? random() % 0x1000
                                                                                : random() % 64);
        std::uint64_t value = random() % 3 == 0 ? random() : random() % 16;
        const auto bytes = std::as_writable_bytes(std::span{&value, 1}).first(size);
        if (offset + size > 0x8000) {
            continue;
        }
        if (random() % 2 == 0) {
            function->write_bar(offset, bytes);
        } else {
            function->read_bar(offset, bytes);
        }
        if (random() % 64 == 0) {
            write<std::uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
            drive(version_1 | (random() % 2 == 0 ? ring_packed : 0));
        }
        if (device.started) {
            for (const virtio::queue_setup& q : device.queues) {
                EXPECT_LE(q.size, 256);
                EXPECT_NE(q.size, 0);
                EXPECT_TRUE(!q.enabled || q.descriptors % 16 == 0);
                EXPECT_TRUE(!q.enabled || (*device.started & ring_packed) != 0 ||
                            (q.size & (q.size - 1)) == 0);
            }
            device.started.reset();
        }
        if (device.stopping && random() % 8 == 0) {
            std::exchange(device.stopping, nullptr)();
        }
    }
    EXPECT_GT(device.starts, 100);
    EXPECT_EQ(fabric.wrong, 0);
}

} // namespace
} // namespace strait::vmm::pci::test
